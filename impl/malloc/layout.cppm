// ipcpp.malloc:layout - the bytes of a heap, and the arithmetic on them. Internal: only the heap's
// bodies import it. docs/ipcmalloc.md draws it at leisure.
//
// Representation, offsets from the source's base:
//
//   | heap_header | participants (*) | page words | block bits | page 0 | page 1 | ... | capacity
//                                      8 B/page     64 B/page    4 KiB each
//   (*) of an object_source; other sources keep the table in an anchor object of their own
//
// Page words. A run of pages is described by the word of its first page; the words of its other
// pages are interior (0), except that the pages of a slab lead back to its first and the last page
// of a free run leads back too.
//
//             63    48 47           24 23    16 15   8 7    4 3    0
//   slab      | owner | generation    | pages-1 | class | flags | kind |   owner: handle slot + 1, 0 nobody
//   slab_part | 0                     | delta   | class | 0     | kind |   pages back to the first
//             63    48 47                    16 15   8 7    4 3    0
//   held      | owner | pages                 | 0     | flags | kind |     owner: handle slot + 1
//   large     | owner | pages                 | 0     | flags | kind |     owner: process slot + 1, if tracked;
//                                                                          0xffff: a tag in its last 8 bytes
//   free, pending, free_tail  0 | pages       | 0     | flags | kind |
//
// Block bits of a slab of n pages: 4n words "free" (its owner's), then 4n words "remote" (freed by
// others, by atomic OR). A set bit is a free block; a block is in use when both of its bits are 0.
// In a free run the first page's bits hold the links of the run index.
//
// Invariants
//   Hopping from word to word by length, from page 0, ends exactly at end_page.
//   Only the holder of the run lock changes where runs begin and end; only its owner changes a slab
//   word or a held word, by one compare-exchange; a slab word never repeats (generation).
module;

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <type_traits>

module ipcpp.malloc:layout;

import ipcpp.platform;
import ipcpp.sync;
import :heap;

namespace ipcpp {

namespace detail {

inline constexpr std::uint64_t heap_magic = 0x636f6c6c616d6370;  // "pcmalloc"
inline constexpr std::uint32_t heap_layout_version = 1;

inline constexpr std::size_t page_size_bytes = 4096;
inline constexpr unsigned page_shift = 12;
inline constexpr std::size_t bits_words_per_page = 8;
inline constexpr std::size_t free_words_per_page = 4;
inline constexpr std::uint64_t max_pages = std::uint64_t{1} << 32;
inline constexpr std::size_t largest_small = 32768;
inline constexpr std::size_t largest_alignment = std::size_t{1} << 30;
inline constexpr std::size_t largest_size = std::size_t{1} << 47;

// ---- size classes: every 16 bytes up to 128, then eight to a doubling, up to 32 KiB ----

inline constexpr std::uint32_t class_count = heap_class_count;

[[nodiscard]] constexpr std::uint32_t class_of(std::size_t bytes) noexcept {
  if (bytes <= 128) return bytes == 0 ? 0 : static_cast<std::uint32_t>((bytes + 15) / 16 - 1);
  const std::size_t last = bytes - 1;
  const auto width = static_cast<std::uint32_t>(std::bit_width(last));
  return 8 + (width - 8) * 8 + static_cast<std::uint32_t>(last >> (width - 4) & 7);
}

[[nodiscard]] constexpr std::uint32_t class_bytes(std::uint32_t k) noexcept {
  return k < 8 ? (k + 1) * 16 : (9 + (k - 8) % 8) << (4 + (k - 8) / 8);
}
static_assert(class_of(1) == 0 && class_of(128) == 7 && class_of(129) == 8 && class_of(144) == 8);
static_assert(class_of(largest_small) == class_count - 1);
static_assert(class_bytes(class_count - 1) == largest_small);

// A slab's most pages, and its fewest: as many as waste at most an eighth.
[[nodiscard]] constexpr std::uint32_t most_slab_pages(std::uint32_t k) noexcept {
  const std::uint32_t bytes = class_bytes(k);
  return bytes <= 8192 ? 16 : bytes <= 16384 ? 32 : 64;
}
[[nodiscard]] constexpr std::uint32_t fewest_slab_pages(std::uint32_t k) noexcept {
  const std::uint32_t bytes = class_bytes(k);
  for (std::uint32_t pages = 1; pages < most_slab_pages(k); ++pages) {
    const std::uint32_t room = pages * static_cast<std::uint32_t>(page_size_bytes);
    if (room >= bytes && room % bytes <= room / 8) return pages;
  }
  return most_slab_pages(k);
}

// index = offset * reciprocal >> 40 is exact for every byte of a slab: offset < 2^18 and the
// reciprocal errs by less than a block's size of at most 2^15, together less than 2^40.
struct class_facts {
  std::uint64_t reciprocal;
  std::uint64_t bytes;
};

// By the class byte of a page word, whatever a buggy peer wrote there: the size of a class that does
// not exist fits into no slab.
inline constexpr std::array<class_facts, 256> facts_of_class = [] {
  std::array<class_facts, 256> facts{};
  for (class_facts& f : facts) f = {0, std::uint64_t{1} << 40};
  for (std::uint32_t k = 0; k < class_count; ++k) {
    const std::uint64_t bytes = class_bytes(k);
    facts[k] = {((std::uint64_t{1} << 40) + bytes - 1) / bytes, bytes};
  }
  return facts;
}();

inline constexpr std::array<std::uint8_t, 65> class_of_16 = [] {
  std::array<std::uint8_t, 65> table{};
  for (std::size_t i = 0; i < table.size(); ++i)
    table[i] = static_cast<std::uint8_t>(class_of(i * 16));
  return table;
}();

[[nodiscard]] inline std::uint32_t quick_class_of(std::size_t bytes) noexcept {
  return bytes <= 1024 ? class_of_16[(bytes + 15) >> 4] : class_of(bytes);
}

// ---- page words ----

enum class page_kind : std::uint8_t {
  interior = 0,
  free = 1,   // in the run index
  large = 2,  // one block
  held = 3,   // being made or given back by a handle's owner
  slab = 4,
  slab_part = 5,  // not the first page of a slab
  pending = 6,    // freed, waits for the run lock
  free_tail = 7,  // last page of a free run of two or more
};

inline constexpr std::uint64_t decommitted_flag = 1 << 4;  // commit before use
inline constexpr std::uint64_t tracked_flag = 1 << 5;
inline constexpr std::uint32_t owned_by_tag = 0xffff;  // of a large block

[[nodiscard]] constexpr page_kind kind_of(std::uint64_t word) noexcept {
  return static_cast<page_kind>(word & 15);
}
[[nodiscard]] constexpr std::uint64_t flags_of(std::uint64_t word) noexcept {
  return word & 0xf0;
}
[[nodiscard]] constexpr std::uint32_t owner_field(std::uint64_t word) noexcept {
  return static_cast<std::uint32_t>(word >> 48);
}
[[nodiscard]] constexpr std::uint64_t run_word(page_kind kind, std::uint64_t pages,
                                               std::uint64_t flags = 0,
                                               std::uint32_t owner = 0) noexcept {
  return std::uint64_t{owner} << 48 | pages << 16 | flags | static_cast<std::uint64_t>(kind);
}
[[nodiscard]] constexpr std::uint64_t run_pages(std::uint64_t word) noexcept {
  return word >> 16 & 0xffff'ffff;
}
[[nodiscard]] constexpr std::uint64_t slab_word(std::uint32_t k, std::uint32_t pages,
                                                std::uint64_t flags, std::uint64_t generation,
                                                std::uint32_t owner) noexcept {
  return std::uint64_t{owner} << 48 | (generation & 0xff'ffff) << 24 |
         std::uint64_t{pages - 1} << 16 | std::uint64_t{k} << 8 | flags |
         static_cast<std::uint64_t>(page_kind::slab);
}
[[nodiscard]] constexpr std::uint64_t slab_part_word(std::uint32_t k,
                                                     std::uint32_t delta) noexcept {
  return std::uint64_t{delta} << 16 | std::uint64_t{k} << 8 |
         static_cast<std::uint64_t>(page_kind::slab_part);
}
[[nodiscard]] constexpr std::uint32_t class_field(std::uint64_t word) noexcept {
  return word >> 8 & 0xff;
}
[[nodiscard]] constexpr std::uint32_t slab_pages(std::uint64_t word) noexcept {
  return (word >> 16 & 0xff) + 1;
}
[[nodiscard]] constexpr std::uint32_t slab_delta(std::uint64_t word) noexcept {
  return word >> 16 & 0xff;
}
// The same slab with another owner: never the same word twice.
[[nodiscard]] constexpr std::uint64_t passed_on(std::uint64_t word, std::uint32_t owner) noexcept {
  const std::uint64_t generation = (word >> 24 & 0xff'ffff) + 1;
  return slab_word(class_field(word), slab_pages(word), flags_of(word), generation, owner);
}
[[nodiscard]] constexpr std::uint32_t slab_blocks(std::uint64_t word) noexcept {
  return slab_pages(word) * static_cast<std::uint32_t>(page_size_bytes) /
         static_cast<std::uint32_t>(facts_of_class[class_field(word)].bytes);
}
// How many pages the run takes that begins with this word; 0 if no run begins so.
[[nodiscard]] constexpr std::uint64_t length_of(std::uint64_t word) noexcept {
  switch (kind_of(word)) {
    case page_kind::slab:
      return class_field(word) < class_count ? slab_pages(word) : 0;
    case page_kind::free:
    case page_kind::large:
    case page_kind::held:
    case page_kind::pending:
      return run_pages(word);
    default:
      return 0;
  }
}

// ---- the run index: where to look for free runs of a length, rebuilt when its keeper died ----

// Four lists to a doubling. A list's runs are at least as long as its first length.
inline constexpr std::uint32_t list_count = 33 * 4;
[[nodiscard]] constexpr std::uint32_t list_of(std::uint64_t pages) noexcept {
  if (pages < 4) return static_cast<std::uint32_t>(pages);
  const auto width = static_cast<std::uint32_t>(std::bit_width(pages));
  return (width - 2) * 4 + static_cast<std::uint32_t>(pages >> (width - 3) & 3);
}
static_assert(list_of(3) == 3 && list_of(4) == 4 && list_of(7) == 7 && list_of(8) == 8);
static_assert(list_of(max_pages - 1) < list_count);

// ---- the header ----

// The run lock: generation of the holding process << 32 | changes of hands << 16 | process slot + 1,
// the last 0 while it is free. The changes of hands go on counting when it is free: a survivor that
// saw a dead holder and then was slow must not take the lock from that dead one's undertaker.
[[nodiscard]] constexpr bool is_free_lock(std::uint64_t lock) noexcept {
  return (lock & 0xffff) == 0;
}
[[nodiscard]] constexpr std::uint64_t freed_lock(std::uint64_t lock) noexcept {
  return lock & 0xffff'0000;
}

struct run_index {
  std::uint64_t nonempty[3];
  std::uint32_t first[list_count];  // page + 1
};

}  // namespace detail

// The heap's first bytes. Immutable after creation up to `end_page`.
struct heap_header {
  std::uint64_t magic;
  std::uint32_t version;
  std::uint32_t classes;
  std::uint64_t id_high;
  std::uint64_t id_low;
  std::uint64_t capacity_bytes;
  std::uint64_t words_at;  // offsets from this header
  std::uint64_t bits_at;
  std::uint64_t pages_at;
  std::uint64_t most_pages;       // that ever fit
  std::uint64_t participants_at;  // offset in the source's object; 0: in the anchor object
  std::uint64_t pinned_at;        // address everyone maps the header at; 0: not pinned
  std::uint32_t tracked;
  std::uint32_t base_offset;  // this header's address modulo the page size
  std::uint64_t sparse;       // the source commits anywhere; else it only appends
  std::uint64_t checksum;     // of everything above but the magic

  // Changed under the run lock; read by anyone.
  alignas(platform::line_stride) std::uint64_t end_page;  // pages below exist
  std::uint64_t metadata_bytes;                           // committed before page 0
  std::uint64_t decommitted_pages;
  std::uint64_t max_footprint;
  std::uint64_t footprint_limit;
  // Hints, and a promise: whoever reads fences_needed orders its own loads and stores.
  std::uint64_t orphan_classes[2];
  std::uint64_t fences_needed;
  std::uint64_t links_in_flight;  // free_from operations under way
  std::uint64_t slabs_made;       // where generations begin
  std::uint64_t damaged;
  std::uint64_t tag_batches;  // of 65536 tags each, given out so far

  alignas(platform::line_stride) std::uint64_t run_lock;
  std::uint64_t pending;  // hint: some run is pending
  detail::run_index index;
};
static_assert(std::is_standard_layout_v<heap_header> && std::is_trivially_copyable_v<heap_header>);
static_assert(sizeof(heap_header) <= 1024 && sizeof(heap_header) % platform::line_stride == 0);
static_assert(offsetof(heap_header, end_page) == 128 && offsetof(heap_header, run_lock) == 256);
static_assert(std::atomic_ref<std::uint64_t>::is_always_lock_free);

namespace detail {

// FNV-1a over what never changes after creation.
[[nodiscard]] inline std::uint64_t checksum_of(const heap_header& header) noexcept {
  std::uint64_t words[offsetof(heap_header, checksum) / 8];
  std::memcpy(words, &header, sizeof words);
  std::uint64_t sum = 0xcbf29ce484222325;
  for (std::size_t i = 1; i < std::size(words); ++i) sum = (sum ^ words[i]) * 0x100000001b3;
  return sum;
}

[[nodiscard]] inline std::atomic_ref<std::uint64_t> in_heap(std::uint64_t& word) noexcept {
  return std::atomic_ref<std::uint64_t>(word);
}

}  // namespace detail
}  // namespace ipcpp
