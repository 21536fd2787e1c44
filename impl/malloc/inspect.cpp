// Bodies of ipcpp.malloc:heap: looking inside. All of it reads only; the chain of runs is read under
// the run lock where a consistent picture matters (check), without it elsewhere.
module;

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

module ipcpp.malloc;

import ipcpp.platform;
import ipcpp.sync;
import :heap;
import :layout;
import :state;

namespace ipcpp {

using namespace detail;

// GCC 16 fails to read the module's compiled form at the first use of the header otherwise.
static_assert(sizeof(heap_header) != 0);

namespace {

[[nodiscard]] std::uint64_t free_bits(const heap_state& s, std::uint64_t page, std::uint64_t slab,
                                      std::uint32_t i) noexcept {
  std::uint64_t* const free = free_words(s, page);
  std::uint64_t* const remote = free + free_words_per_page * slab_pages(slab);
  // Remote first: a merge moves bits the other way.
  const std::uint64_t freed = in_heap(remote[i]).load(std::memory_order_acquire);
  return freed | in_heap(free[i]).load(std::memory_order_acquire);
}

[[nodiscard]] participant_id owner_of_tag(std::uint64_t tag) noexcept {
  if ((tag >> 16 & 0xffff) != tag_mark || (tag & 0xffff) == 0) return {};
  return {static_cast<std::uint32_t>(tag & 0xffff) - 1, static_cast<std::uint32_t>(tag >> 32)};
}

}  // namespace

void heap::visit_blocks(void (*f)(void*, const block_info&), void* context) const {
  const heap_state& s = *state_;
  walk(s, 0, end_page(s), [&](std::uint64_t page, std::uint64_t word) {
    const bool tracked = (flags_of(word) & tracked_flag) != 0;
    if (kind_of(word) != page_kind::slab) {
      block_info block{page_address(s, page),
                       run_pages(word) << page_shift,
                       kind_of(word) == page_kind::large,
                       false,
                       {}};
      if (block.in_use && tracked && owner_field(word) != 0 && owner_field(word) != owned_by_tag) {
        block.tracked = true;
        block.owner = {owner_field(word) - 1, 0};
      }
      f(context, block);
      return true;
    }
    const std::uint32_t blocks = slab_blocks(word);
    const std::uint64_t size = class_bytes(class_field(word));
    for (std::uint32_t i = 0; i < blocks; ++i) {
      std::byte* const at = page_address(s, page) + i * size;
      block_info block{at,
                       size - (tracked ? tag_bytes : 0),
                       (free_bits(s, page, word, i / 64) >> i % 64 & 1) == 0,
                       false,
                       {}};
      if (block.in_use && tracked) {
        block.owner = owner_of_tag(tag_at(at, size).load(std::memory_order_acquire));
        block.tracked = static_cast<bool>(block.owner);
      }
      f(context, block);
    }
    return true;
  });
}

heap_statistics heap::statistics() const {
  heap_state& s = *state_;
  heap_statistics of;
  for (std::uint32_t k = 0; k < class_count; ++k) of.classes[k].block_bytes = class_bytes(k);
  std::uint64_t longest_free = 0;
  std::uint64_t pages_free = 0;
  walk(s, 0, end_page(s), [&](std::uint64_t page, std::uint64_t word) {
    const std::uint64_t pages = length_of(word);
    switch (kind_of(word)) {
      case page_kind::large:
        ++of.blocks_in_use;
        ++of.large_blocks_in_use;
        of.bytes_in_use += pages << page_shift;
        break;
      case page_kind::slab: {
        class_statistics& k = of.classes[class_field(word)];
        const std::uint32_t blocks = slab_blocks(word);
        std::uint32_t in_use = blocks;
        for (std::uint32_t i = 0; i * 64 < blocks; ++i)
          in_use -= static_cast<std::uint32_t>(
              std::popcount(free_bits(s, page, word, i) & valid_bits(blocks, i)));
        const std::size_t usable =
            k.block_bytes - ((flags_of(word) & tracked_flag) != 0 ? tag_bytes : 0);
        ++k.slabs;
        k.blocks_in_use += in_use;
        k.blocks_free += blocks - in_use;
        of.blocks_in_use += in_use;
        of.bytes_in_use += in_use * usable;
        of.bytes_free += (pages << page_shift) - in_use * usable;
        break;
      }
      default:
        of.bytes_free += pages << page_shift;
        if (kind_of(word) == page_kind::free) {
          pages_free += pages;
          longest_free = std::max(longest_free, pages);
        }
    }
    return true;
  });
  of.footprint = footprint();
  const std::uint64_t end = end_page(s);
  of.metadata_bytes = s.header->metadata_bytes + (s.header->sparse != 0 ? end * 72 : 0);
  const std::uint64_t longest = longest_run(s, this_member(s), true);
  of.largest_block = longest << page_shift;
  if (longest == 0)
    for (const class_statistics& k : of.classes)
      if (k.blocks_free != 0) of.largest_block = std::max(of.largest_block, k.block_bytes);
  of.fragmentation =
      pages_free == 0 ? 0
                      : 1.0 - static_cast<double>(longest_free) / static_cast<double>(pages_free);
  return of;
}

// ---- check ----

struct heap_checker {
  heap_state& s;
  check_report report;

  void fault(std::uint64_t page, const std::string& what) {
    if (report.faults_.size() < 100)
      report.faults_.push_back("page " + std::to_string(page) + ": " + what);
  }

  void slab(std::uint64_t page, std::uint64_t word) {
    for (std::uint32_t i = 1; i < slab_pages(word); ++i) {
      const std::uint64_t part = page_word(s, page + i).load(std::memory_order_acquire);
      if (part != slab_part_word(class_field(word), i))
        fault(page + i, "does not lead back to its slab");
    }
    const std::uint32_t blocks = slab_blocks(word);
    std::uint64_t* const free = free_words(s, page);
    const std::uint32_t words = slab_pages(word) * static_cast<std::uint32_t>(free_words_per_page);
    for (std::uint32_t i = 0; i < words; ++i) {
      const std::uint64_t bits = in_heap(free[i]).load(std::memory_order_acquire) |
                                 in_heap(free[words + i]).load(std::memory_order_acquire);
      if ((bits & ~valid_bits(blocks, i)) != 0)
        fault(page, "bits beyond the slab's last block in word " + std::to_string(i));
    }
    const std::uint32_t owner = owner_field(word);
    if (owner > s.members->limits().handles) fault(page, "owned by a handle that cannot be");
    report.blocks_ += blocks;
  }

  // The free run whose first word is this, and its end.
  void free_run(std::uint64_t page, std::uint64_t word) {
    const std::uint64_t pages = run_pages(word);
    if (pages > 1 && page_word(s, page + pages - 1).load(std::memory_order_relaxed) !=
                         run_word(page_kind::free_tail, pages))
      fault(page, "a free run whose last page does not lead back");
    if (!indexed(page, pages)) fault(page, "a free run that is not in the index");
  }

  [[nodiscard]] bool indexed(std::uint64_t page, std::uint64_t pages) const {
    std::uint64_t at = s.header->index.first[list_of(pages)];
    for (std::uint64_t n = 0; at != 0 && at - 1 < end_page(s) && n <= end_page(s); ++n) {
      if (at - 1 == page) return true;
      at = in_heap(free_words(s, at - 1)[0]).load(std::memory_order_relaxed);
    }
    return false;
  }

  void run() {
    const run_guard guard(s, this_member(s));
    const std::uint64_t end = end_page(s);
    if (s.header->end_page > s.header->most_pages) fault(0, "more pages than ever fit");
    if (in_heap(s.header->damaged).load(std::memory_order_relaxed) != 0)
      fault(0, "damage was seen before and contained");
    page_kind before = page_kind::interior;
    for (std::uint64_t page = 0; page < end;) {
      const std::uint64_t word = page_word(s, page).load(std::memory_order_acquire);
      const std::uint64_t pages = length_of(word);
      if (pages == 0 || pages > end - page) {
        fault(page, "begins no run, or one beyond the end: word " + std::to_string(word));
        return;
      }
      const page_kind kind = kind_of(word);
      if (kind == page_kind::slab) {
        slab(page, word);
      } else {
        if (kind == page_kind::large) ++report.blocks_;
        if (kind == page_kind::free) {
          if (before == page_kind::free) fault(page, "two free runs side by side");
          free_run(page, word);
        }
        const std::uint64_t tail = kind == page_kind::free && pages > 1 ? 1 : 0;
        if (kind != page_kind::held)
          for (std::uint64_t i = 1; i + tail < pages; ++i)
            if (page_word(s, page + i).load(std::memory_order_acquire) != 0)
              fault(page + i, "inside a run, yet not empty");
      }
      before = kind;
      page += pages;
    }
  }
};

check_report heap::check() const {
  heap_checker checker{*state_, {}};
  checker.run();
  return std::move(checker.report);
}

std::string check_report::message() const {
  if (faults_.empty()) return "no fault in " + std::to_string(blocks_) + " blocks";
  std::string text;
  for (const std::string& fault : faults_) {
    if (!text.empty()) text += '\n';
    text += fault;
  }
  return text;
}

}  // namespace ipcpp
