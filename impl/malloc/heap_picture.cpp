// Bodies of ipcpp.malloc:heap_picture. The same rules as heap_checker's (inspect.cpp), on copies of
// the words instead of the words themselves.
module;

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

module ipcpp.malloc;

import ipcpp.platform;
import ipcpp.sync;
import :heap;
import :heap_picture;
import :layout;
import :state;

namespace ipcpp {

using namespace detail;

namespace {

constexpr std::size_t most_faults = 100;

// A window of block bits: pages in ascending order, so one chunk at a time is enough.
class bits_reader {
 public:
  bits_reader(const platform::object_image& image, std::uint64_t at, std::uint64_t pages)
      : image_(image), at_(at), pages_(pages) {}

  // The words of `pages` pages from `page` on; nullptr: unreadable.
  [[nodiscard]] const std::uint64_t* of(std::uint64_t page, std::uint64_t pages) {
    if (page < first_ || page + pages > first_ + count_) {
      first_ = page;
      count_ = std::min(std::max<std::uint64_t>(pages, 4096), pages_ - page);
      words_.resize(static_cast<std::size_t>(count_ * bits_words_per_page));
      if (!image_.read(at_ + first_ * bits_words_per_page * 8, words_.data(), words_.size() * 8)) {
        // The last committed page of bits may end within what was asked for.
        count_ = pages;
        words_.resize(static_cast<std::size_t>(count_ * bits_words_per_page));
        if (!image_.read(at_ + first_ * bits_words_per_page * 8, words_.data(),
                         words_.size() * 8)) {
          count_ = 0;
          return nullptr;
        }
      }
    }
    return words_.data() + (page - first_) * bits_words_per_page;
  }

 private:
  const platform::object_image& image_;
  std::uint64_t at_;
  std::uint64_t pages_;
  std::uint64_t first_ = 0;
  std::uint64_t count_ = 0;
  std::vector<std::uint64_t> words_;
};

struct painter {
  const platform::object_image& image;
  heap_picture& seen;
  std::uint32_t handles = 0;  // limit; 0: unknown
  bool torn = false;          // the run lock's holder died: the next one mends what these words say
  std::vector<std::uint64_t> words;
  bits_reader bits;
  std::uint64_t longest_free = 0;
  std::uint64_t pages_free = 0;
  std::uint64_t pages_away = 0;

  // What only the holder of the run lock changes, in several steps.
  void fault_in_runs(std::uint64_t page, const std::string& what) {
    if (!torn) fault(page, what);
  }
  void fault(std::uint64_t page, const std::string& what) {
    if (seen.faults.size() < most_faults)
      seen.faults.push_back("heap page " + std::to_string(page) + ": " + what);
  }

  void slab(heap_run& run, std::uint64_t word) {
    heap_statistics& of = seen.statistics;
    const std::uint32_t k = class_field(word);
    run.block_bytes = class_bytes(k);
    run.blocks = slab_blocks(word);
    for (std::uint32_t i = 1; i < run.pages; ++i)
      if (words[run.page + i] != slab_part_word(k, i))
        fault(run.page + i, "does not lead back to its slab");
    run.bits_at = seen.in_use.size();
    const std::uint64_t* const free = bits.of(run.page, run.pages);
    if (free == nullptr) {
      fault(run.page, "its block bits lie beyond the object's end");
    } else {
      const auto n = static_cast<std::uint32_t>(run.pages * free_words_per_page);
      for (std::uint32_t i = 0; i < n; ++i) {
        const std::uint64_t either = free[i] | free[n + i];
        const std::uint64_t valid = valid_bits(run.blocks, i);
        if ((either & ~valid) != 0)
          fault(run.page, "bits beyond the slab's last block in word " + std::to_string(i));
        if (i * 64 >= run.blocks) continue;
        seen.in_use.push_back(~either & valid);
        run.blocks_in_use += static_cast<std::uint32_t>(std::popcount(~either & valid));
      }
    }
    if (handles != 0 && run.owner > handles) fault(run.page, "owned by a handle that cannot be");
    const std::size_t usable = run.block_bytes - (run.tracked ? tag_bytes : 0);
    class_statistics& of_class = of.classes[k];
    ++of_class.slabs;
    of_class.blocks_in_use += run.blocks_in_use;
    of_class.blocks_free += run.blocks - run.blocks_in_use;
    of.blocks_in_use += run.blocks_in_use;
    of.bytes_in_use += run.blocks_in_use * usable;
    of.bytes_free += (run.pages << page_shift) - run.blocks_in_use * usable;
  }

  void other(const heap_run& run, std::uint64_t word) {
    heap_statistics& of = seen.statistics;
    const std::uint64_t bytes = run.pages << page_shift;
    if (run.kind == run_kind::large) {
      ++of.blocks_in_use;
      ++of.large_blocks_in_use;
      of.bytes_in_use += bytes;
    } else {
      if (!run.decommitted) of.bytes_free += bytes;
    }
    if (run.decommitted) pages_away += run.pages;
    const bool is_free = run.kind == run_kind::free;
    if (is_free) {
      pages_free += run.pages;
      longest_free = std::max(longest_free, run.pages);
      if (run.pages > 1 &&
          words[run.page + run.pages - 1] != run_word(page_kind::free_tail, run.pages))
        fault_in_runs(run.page, "a free run whose last page does not lead back");
    }
    const std::uint64_t tail = is_free && run.pages > 1 ? 1 : 0;
    if (run.kind != run_kind::held)
      for (std::uint64_t i = 1; i + tail < run.pages; ++i)
        if (words[run.page + i] != 0) {
          fault_in_runs(run.page + i, "inside a run, yet not empty");
          break;
        }
    (void)word;
  }

  // Free runs must be in the index: each list is walked once.
  void index(const run_index& of) {
    std::vector<bool> listed(static_cast<std::size_t>(seen.end_page));
    for (std::uint32_t list = 0; list < list_count; ++list) {
      std::uint64_t at = of.first[list];
      for (std::uint64_t n = 0; at != 0 && n <= seen.end_page; ++n) {
        if (at - 1 >= seen.end_page) {
          fault_in_runs(at - 1, "the index of free runs leads beyond the heap's end");
          break;
        }
        if (listed[at - 1]) break;  // round in a circle, or two lists that meet
        listed[at - 1] = true;
        // The links stand in the first page's bits.
        const auto next =
            image.get<std::uint64_t>(seen.bits_at + (at - 1) * bits_words_per_page * 8);
        at = next.value_or(0);
      }
    }
    for (const heap_run& run : seen.runs)
      if (run.kind == run_kind::free && !listed[run.page])
        fault_in_runs(run.page, "a free run that is not in the index");
  }

  void paint(const heap_header& header) {
    run_kind before = run_kind::unknown;
    for (std::uint64_t page = 0; page < seen.end_page;) {
      const std::uint64_t word = words[page];
      const std::uint64_t pages = length_of(word);
      if (pages == 0 || pages > seen.end_page - page) {
        // Inside something, or wrong: on to the next word that begins a run.
        if (!seen.runs.empty() && seen.runs.back().kind == run_kind::unknown) {
          ++seen.runs.back().pages;
        } else {
          fault(page, pages == 0 ? "begins no run: word " + std::to_string(word)
                                 : "a run beyond the end: word " + std::to_string(word));
          seen.runs.push_back({.page = page, .pages = 1});
        }
        before = run_kind::unknown;
        ++page;
        continue;
      }
      heap_run run{.page = page, .pages = pages};
      run.decommitted = (flags_of(word) & decommitted_flag) != 0;
      run.tracked = (flags_of(word) & tracked_flag) != 0;
      switch (kind_of(word)) {
        case page_kind::slab:
          run.kind = run_kind::slab;
          break;
        case page_kind::large:
          run.kind = run_kind::large;
          break;
        case page_kind::held:
          run.kind = run_kind::held;
          break;
        case page_kind::pending:
          run.kind = run_kind::pending;
          break;
        default:
          run.kind = run_kind::free;
      }
      if (run.kind != run_kind::free && run.kind != run_kind::pending)
        run.owner = owner_field(word);
      if (run.kind == run_kind::slab)
        slab(run, word);
      else
        other(run, word);
      if (run.kind == run_kind::free && before == run_kind::free)
        fault_in_runs(page, "two free runs side by side");
      before = run.kind;
      seen.runs.push_back(run);
      page += pages;
    }
    index(header.index);
    heap_statistics& of = seen.statistics;
    of.largest_block = static_cast<std::size_t>(longest_free << page_shift);
    if (longest_free == 0)
      for (const class_statistics& k : of.classes)
        if (k.blocks_free != 0) of.largest_block = std::max(of.largest_block, k.block_bytes);
    of.fragmentation =
        pages_free == 0 ? 0
                        : 1.0 - static_cast<double>(longest_free) / static_cast<double>(pages_free);
  }
};

}  // namespace

std::string_view name_of(run_kind kind) noexcept {
  switch (kind) {
    case run_kind::free:
      return "free";
    case run_kind::large:
      return "large";
    case run_kind::held:
      return "held";
    case run_kind::slab:
      return "slab";
    case run_kind::pending:
      return "pending";
    case run_kind::unknown:
      break;
  }
  return "unknown";
}

heap_picture look_at_heap(const platform::object_image& image, std::uint64_t source_at) {
  heap_picture seen;
  // As heap::make places it; every mapping begins at a page.
  const std::uint64_t skew = source_at % page_size_bytes;
  seen.at = source_at - skew +
            (skew + platform::line_stride - 1) / platform::line_stride * platform::line_stride;
  const auto fault = [&](const std::string& what) { seen.faults.push_back("heap: " + what); };
  const auto header = image.get<heap_header>(seen.at);
  if (!header) {
    fault("no header at byte " + std::to_string(seen.at) + ": the object ends before");
    return seen;
  }
  if (header->magic != heap_magic) {
    fault("something else in the header's place at byte " + std::to_string(seen.at));
    return seen;
  }
  seen.version = header->version;
  if (header->version != heap_layout_version || header->classes != class_count) {
    fault("layout version " + std::to_string(header->version) + ", this program knows " +
          std::to_string(heap_layout_version));
    return seen;
  }
  if (header->checksum != checksum_of(*header)) {
    fault("the header is not as its creator wrote it");
    return seen;
  }
  const std::uint64_t object_bytes = image.prologue().capacity_bytes;
  if (header->capacity_bytes > object_bytes || seen.at > object_bytes - header->capacity_bytes ||
      header->words_at > header->capacity_bytes || header->bits_at > header->capacity_bytes ||
      header->pages_at > header->capacity_bytes || header->most_pages > max_pages ||
      header->most_pages > (header->capacity_bytes - header->pages_at) >> page_shift) {
    fault("parts that lie outside its " + std::to_string(header->capacity_bytes) + " bytes");
    return seen;
  }
  seen.readable = true;
  seen.capacity_bytes = header->capacity_bytes;
  seen.words_at = seen.at + header->words_at;
  seen.bits_at = seen.at + header->bits_at;
  seen.pages_at = seen.at + header->pages_at;
  seen.participants_at = header->participants_at == 0 ? 0 : source_at + header->participants_at;
  seen.most_pages = header->most_pages;
  seen.end_page = header->end_page;
  seen.pinned_at = header->pinned_at;
  seen.tracked = header->tracked != 0;
  seen.max_footprint = header->max_footprint;
  seen.footprint_limit = header->footprint_limit;
  seen.damage_contained = header->damaged != 0;
  seen.run_lock = header->run_lock;
  if (!is_free_lock(header->run_lock))
    seen.holder = {static_cast<std::uint32_t>(header->run_lock & 0xffff) - 1,
                   static_cast<std::uint32_t>(header->run_lock >> 32)};
  if (seen.end_page > seen.most_pages) {
    fault("more pages than ever fit: " + std::to_string(seen.end_page));
    seen.end_page = 0;
  }
  // The words of all pages are there, so there are no more pages than that.
  if (seen.end_page * 8 > image.facts().committed_bytes) {
    fault(std::to_string(seen.end_page) + " pages, but no memory for as many words");
    seen.end_page = 0;
  }
  if (seen.damage_contained) fault("damage was seen before and contained");
  for (std::uint32_t k = 0; k < class_count; ++k)
    seen.statistics.classes[k].block_bytes = class_bytes(k);

  std::uint32_t handles = 0;
  bool torn = false;
  if (seen.participants_at != 0) {
    const participants_picture who = look_at_participants(image, seen.participants_at);
    handles = who.limits.handles;
    const participants_picture::process* const holder = who.find(seen.holder);
    torn = seen.holder && (holder == nullptr || !holder->alive);
  }
  painter of{image, seen, handles, torn, {}, bits_reader(image, seen.bits_at, seen.end_page)};
  of.words.resize(static_cast<std::size_t>(seen.end_page));
  if (!image.read(seen.words_at, of.words.data(), of.words.size() * 8)) {
    fault("its page words lie beyond the object's end");
    seen.end_page = 0;
    of.words.clear();
  } else {
    // One byte of the last page tells whether all of them are there.
    std::byte last{};
    if (seen.end_page != 0 &&
        !image.read(seen.pages_at + (seen.end_page << page_shift) - 1, &last, 1))
      fault("its last pages lie beyond the object's end");
  }
  of.paint(*header);
  const std::uint64_t away = std::min(header->decommitted_pages, seen.end_page);
  seen.statistics.metadata_bytes = static_cast<std::size_t>(
      header->metadata_bytes + (header->sparse != 0 ? seen.end_page * 72 : 0));
  seen.statistics.footprint = static_cast<std::size_t>(((seen.end_page - away) << page_shift) +
                                                       seen.statistics.metadata_bytes);
  return seen;
}

const heap_run* heap_picture::run_at(std::uint64_t page) const noexcept {
  const auto after =
      std::upper_bound(runs.begin(), runs.end(), page,
                       [](std::uint64_t wanted, const heap_run& run) { return wanted < run.page; });
  if (after == runs.begin()) return nullptr;
  const heap_run& found = *(after - 1);
  return page - found.page < found.pages ? &found : nullptr;
}

std::optional<heap_picture::block> heap_picture::find(std::uint64_t offset) const noexcept {
  if (offset < pages_at) return std::nullopt;
  const heap_run* const run = run_at((offset - pages_at) >> page_shift);
  if (run == nullptr) return std::nullopt;
  const std::uint64_t begin = pages_at + (run->page << page_shift);
  if (run->kind != run_kind::slab)
    return block{begin, run->pages << page_shift, run->kind == run_kind::large};
  const std::uint64_t i = (offset - begin) / run->block_bytes;
  if (i >= run->blocks) return std::nullopt;
  const std::size_t word = run->bits_at + static_cast<std::size_t>(i / 64);
  const bool used = word < in_use.size() && (in_use[word] >> i % 64 & 1) != 0;
  return block{begin + i * run->block_bytes, run->block_bytes, used};
}

std::vector<layout_field> fields_of(const heap_picture& seen) {
  std::vector<layout_field> all;
  const auto add = [&](std::size_t offset, std::size_t bytes, std::string_view name) {
    all.push_back({seen.at + offset, static_cast<std::uint32_t>(bytes), name});
  };
#define IPCPP_FIELD(member) \
  add(offsetof(heap_header, member), sizeof(heap_header::member), "heap." #member)
  IPCPP_FIELD(magic);
  IPCPP_FIELD(version);
  IPCPP_FIELD(classes);
  IPCPP_FIELD(id_high);
  IPCPP_FIELD(id_low);
  IPCPP_FIELD(capacity_bytes);
  IPCPP_FIELD(words_at);
  IPCPP_FIELD(bits_at);
  IPCPP_FIELD(pages_at);
  IPCPP_FIELD(most_pages);
  IPCPP_FIELD(participants_at);
  IPCPP_FIELD(pinned_at);
  IPCPP_FIELD(tracked);
  IPCPP_FIELD(base_offset);
  IPCPP_FIELD(sparse);
  IPCPP_FIELD(checksum);
  IPCPP_FIELD(end_page);
  IPCPP_FIELD(metadata_bytes);
  IPCPP_FIELD(decommitted_pages);
  IPCPP_FIELD(max_footprint);
  IPCPP_FIELD(footprint_limit);
  IPCPP_FIELD(fences_needed);
  IPCPP_FIELD(links_in_flight);
  IPCPP_FIELD(slabs_made);
  IPCPP_FIELD(damaged);
  IPCPP_FIELD(run_lock);
  IPCPP_FIELD(pending);
#undef IPCPP_FIELD
  return all;
}

}  // namespace ipcpp
