// ipcpp.malloc:heap_picture - a heap as an outsider sees it: every run, every block, statistics and
// faults, read from an image of the object without taking part.
//
// A moment's picture of something that others go on changing: what looks wrong in one picture and
// not in the next was only at work. A fault that stays is damage.
module;

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

export module ipcpp.malloc:heap_picture;

import ipcpp.platform;
import ipcpp.sync;
import :heap;

namespace ipcpp {

export enum class run_kind : std::uint8_t { free, large, held, slab, pending, unknown };
export [[nodiscard]] std::string_view name_of(run_kind kind) noexcept;

export struct heap_run {
  std::uint64_t page = 0;
  std::uint64_t pages = 0;
  run_kind kind = run_kind::unknown;  // unknown: words that begin no run
  bool decommitted = false;
  bool tracked = false;
  std::uint32_t owner =
      0;  // slab, held: handle slot + 1; tracked large: process slot + 1; 0 nobody
  // Of a slab:
  std::uint32_t block_bytes = 0;
  std::uint32_t blocks = 0;
  std::uint32_t blocks_in_use = 0;
  std::size_t bits_at = 0;  // in heap_picture::in_use, 64 blocks a word
};

export struct heap_picture {
  std::uint64_t at = 0;  // the header, from the object's first byte; as all that follows
  std::uint32_t version = 0;
  std::uint64_t capacity_bytes = 0;
  std::uint64_t words_at = 0;
  std::uint64_t bits_at = 0;
  std::uint64_t pages_at = 0;
  std::uint64_t participants_at = 0;  // 0: elsewhere
  std::uint64_t most_pages = 0;
  std::uint64_t end_page = 0;
  std::uint64_t pinned_at = 0;
  std::uint64_t max_footprint = 0;
  std::uint64_t footprint_limit = 0;
  bool tracked = false;
  bool damage_contained = false;  // somebody met damage before and went round it
  std::uint64_t run_lock = 0;     // as it stands; see holder
  participant_id holder{};        // of the run lock; none: it is free
  heap_statistics statistics;     // largest_block: without growth
  std::vector<heap_run> runs;
  std::vector<std::uint64_t> in_use;
  std::vector<std::string> faults;
  bool readable = false;  // the header is right: everything above is filled in

  struct block {
    std::uint64_t at = 0;
    std::uint64_t bytes = 0;
    bool in_use = false;
  };
  // The block or free range around that byte of the object; none: metadata, or beyond the end.
  [[nodiscard]] std::optional<block> find(std::uint64_t offset) const noexcept;
  [[nodiscard]] const heap_run* run_at(std::uint64_t page) const noexcept;
};

export inline constexpr std::uint64_t heap_page_bytes = 4096;

// The heap whose source begins at that distance from the object's first byte. Never throws for what
// it reads.
export [[nodiscard]] heap_picture look_at_heap(const platform::object_image& image,
                                               std::uint64_t source_at);

// A word of shared memory with a name, for dumps.
export struct layout_field {
  std::uint64_t at = 0;  // from the object's first byte
  std::uint32_t bytes = 0;
  std::string_view name;  // static
};
// The heap's header.
export [[nodiscard]] std::vector<layout_field> fields_of(const heap_picture& seen);

}  // namespace ipcpp
