// A heap's bytes, read by nobody's code but this: what impl/malloc/layout.cppm draws, decoded once
// more, so that the proof does not believe what the heap says about itself. Only for a heap that
// nobody is changing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

namespace crash {

class heap_image {
 public:
  explicit heap_image(const std::byte* header) : header_(header) {}

  // Offsets of fields from the header.
  static constexpr std::size_t words_at = 40, bits_at = 48, pages_at = 56, most_pages = 64,
                               end_page = 128, run_lock = 256;
  [[nodiscard]] std::uint64_t field(std::size_t at) const {
    return *reinterpret_cast<const volatile std::uint64_t*>(header_ + at);
  }
  // Everything before the first page.
  [[nodiscard]] std::size_t metadata_bytes() const { return field(pages_at); }
  [[nodiscard]] std::uint64_t word(std::uint64_t page) const {
    return field(field(words_at) + page * 8);
  }

  static constexpr unsigned free_run = 1, large = 2, held = 3, slab = 4, slab_part = 5, pending = 6;
  static constexpr unsigned kind(std::uint64_t word) { return word & 15; }
  static constexpr std::uint64_t owner(std::uint64_t word) { return word >> 48; }
  static constexpr bool tracked(std::uint64_t word) { return (word & 32) != 0; }
  static constexpr unsigned class_of(std::uint64_t word) { return word >> 8 & 255; }
  static constexpr std::uint64_t pages(std::uint64_t word) {
    return kind(word) == slab ? (word >> 16 & 255) + 1 : word >> 16 & 0xffffffff;
  }
  static constexpr std::size_t class_bytes(unsigned k) {
    return k < 8 ? (k + 1) * 16 : std::size_t{9 + (k - 8) % 8} << (4 + (k - 8) / 8);
  }
  static constexpr std::uint64_t blocks(std::uint64_t word) {
    return pages(word) * 4096 / class_bytes(class_of(word));
  }
  // Bits of the blocks [i * 64, i * 64 + 64) of a slab that are not in use.
  [[nodiscard]] std::uint64_t free_bits(std::uint64_t page, std::uint64_t word,
                                        std::uint64_t i) const;

  struct place {
    bool in_use = false;  // it is a block's first byte, and that block is in use
    std::uint64_t page = 0;
    std::uint64_t word = 0;
    std::size_t bytes = 0;
  };
  [[nodiscard]] place at(std::uint64_t offset) const;

  struct summary {
    std::string
        fault;  // "": every page is a slab's, a large block's or free, and nobody's who is gone
    std::uint64_t in_use = 0;
    std::uint64_t free_pages = 0;                  // in free runs
    std::uint64_t empty_pages = 0;                 // in slabs without a block in use
    std::array<std::uint32_t, 144> free_blocks{};  // by class, tracked ones second; other slabs'
  };
  // `may_own`: whether somebody may own what this handle (slot + 1) owns.
  [[nodiscard]] summary look(const std::function<bool(std::uint64_t)>& may_own) const;
  // Calls f with the page and word of each run.
  void each_run(const std::function<void(std::uint64_t, std::uint64_t)>& f) const;
  // Calls f with the offset and size of each block in use.
  void each(const std::function<void(std::uint64_t, std::size_t)>& f) const;

 private:
  const std::byte* header_;
};

}  // namespace crash
