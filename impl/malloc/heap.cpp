// Bodies of ipcpp.malloc:heap: making, opening and closing a heap, and what users call.
//
// Crash story of making: nobody else sees the source before create() returned (a segment gets its
// name afterwards); the magic is written last all the same, so that open() of a source whose
// creator died says "damaged". Opening and closing change the participant table alone.
module;

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <utility>

module ipcpp.malloc;

import ipcpp.platform;
import ipcpp.sync;
import :heap;
import :layout;
import :memory_source;
import :offset_ptr;
import :state;

namespace ipcpp {

using namespace detail;

namespace {

[[nodiscard]] constexpr std::size_t rounded(std::size_t n, std::size_t to) noexcept {
  return (n + to - 1) / to * to;
}

constexpr std::size_t colourful_capacity = std::size_t{64} << 20;

// Where everything goes in a source of so many bytes whose base is so many bytes past a page.
struct plan {
  std::size_t header_at = 0;
  std::size_t participants_at = 0;  // from the source's base; 0: elsewhere
  std::size_t words_at = 0;         // from the header, as the next two
  std::size_t bits_at = 0;
  std::size_t pages_at = 0;
  std::uint64_t pages = 0;
};

//
// `colour`: large heaps begin at addresses whose low 30 bits are alike, and so would everything in
// them; heaps used side by side then fight for the same few cache sets and predictor entries. A
// number of the heap's own shifts their parts against each other.
[[nodiscard]] plan plan_for(std::size_t capacity, std::uintptr_t base, std::size_t table_bytes,
                            std::uint64_t colour) {
  plan p;
  const std::size_t lines = capacity >= colourful_capacity ? colour % 32 : 0;
  const std::size_t pages = capacity >= colourful_capacity ? colour / 32 % 16 : 0;
  const std::size_t skew = base % page_size_bytes;
  p.header_at = rounded(skew, platform::line_stride) - skew;
  std::size_t at = p.header_at + sizeof(heap_header) + lines * platform::line_stride;
  if (table_bytes != 0) {
    p.participants_at = at;
    at += table_bytes;
  }
  const std::size_t fixed = at + pages * page_size_bytes;
  // Each page costs 4096 + 8 + 64 bytes; the pages begin at an address that is a multiple of 4096.
  if (capacity > fixed) p.pages = std::min<std::uint64_t>((capacity - fixed) / 4168, max_pages - 1);
  for (; p.pages > 0; --p.pages) {
    p.words_at = at - p.header_at;
    p.bits_at = rounded(p.words_at + p.pages * 8, 64) + lines * 64;
    p.pages_at = rounded(skew + p.header_at + p.bits_at + p.pages * 64, page_size_bytes) - skew -
                 p.header_at + pages * page_size_bytes;
    if (p.header_at + p.pages_at + p.pages * page_size_bytes <= capacity) break;
  }
  return p;
}

[[nodiscard]] participant_limits limits_for(participant_limits asked, std::size_t capacity) {
  constexpr participant_limits usual{};
  const std::size_t lines = std::clamp<std::size_t>(capacity / 100 / platform::line_stride, 23,
                                                    usual.processes + usual.handles);
  if (asked.processes == 0)
    asked.processes = static_cast<std::uint32_t>(
        std::min<std::size_t>(usual.processes, std::max<std::size_t>(lines / 4, 4)));
  if (asked.handles == 0)
    asked.handles = static_cast<std::uint32_t>(std::min<std::size_t>(
        usual.handles,
        std::max<std::size_t>(lines - std::min<std::size_t>(lines, asked.processes), 8)));
  return asked;
}

[[nodiscard]] std::string describe(const source_functions& source) {
  if (source.place != nullptr && !source.place->object().name().empty())
    return "heap in '" + source.place->object().name() + "'";
  return "heap";
}

[[nodiscard]] std::string anchor_name(const heap_header& header) {
  return "heap-" + platform::object_id{header.id_high, header.id_low}.text();
}

void bind(heap_state& s, const source_functions& source, std::size_t header_at) {
  s.source = source;
  s.source_skip = header_at;
  auto* const first = static_cast<std::byte*>(source.base) + header_at;
  s.header = reinterpret_cast<heap_header*>(first);
  s.words = reinterpret_cast<std::uint64_t*>(first + s.header->words_at);
  s.bits = reinterpret_cast<std::uint64_t*>(first + s.header->bits_at);
  s.pages = first + s.header->pages_at;
  s.shared_source = source.adopt != nullptr;
}

// The anchor of a heap whose source has no shared object: the participant table alone.
void make_anchor(heap_state& s, participant_limits limits, bool publish) {
  const std::size_t at = rounded(platform::first_usable_byte, platform::line_stride);
  const std::size_t bytes = participants::bytes_needed(limits);
  platform::object_options options;
  options.capacity_bytes = at + bytes;
  auto object = platform::shared_object::create(options);
  s.anchor = std::make_unique<platform::mapping>(platform::mapping::map(std::move(object)));
  if (!s.anchor->commit(0, at + bytes)) throw std::bad_alloc();
  s.members =
      std::make_unique<ipcpp::participants>(ipcpp::participants::create(*s.anchor, at, limits));
  if (publish) {
    auto named = s.anchor->object().again();
    named.publish(anchor_name(*s.header));
  }
}

void catch_up(mapped_place& place) noexcept {
  (void)end_page(static_cast<heap_state&>(place));
}

void take_part(heap_state& s) {
  s.members->set_repair(repair, &s);
  s.heavy_fences = platform::enrol_in_heavy_fence();
  if (!s.heavy_fences) demand_fences(s);
  (void)s.members->self();
  s.who = s.members.get();
  // A source of the user's own that has adopt() is taken at its word.
  if (s.source.place != nullptr ? s.source.place->grows_by_mappings() : s.source.adopt != nullptr)
    s.catch_up = catch_up;
  if (!address_map::of_this_process().enter(s.header, s.header->capacity_bytes, &s))
    throw error(errc::limit_reached, describe(s.source), "room in this process's address map",
                "an overlapping heap, or 1024 others", "");
}

void enter_checked(const source_functions& source, const char* what, std::size_t least) {
  if (source.base == nullptr || source.capacity < least ||
      reinterpret_cast<std::uintptr_t>(source.base) % 16 != 0)
    throw error(errc::invalid_argument, describe(source),
                std::string(what) + " aligned to 16 bytes, of at least " + std::to_string(least),
                std::to_string(source.capacity) + " bytes", "give it more");
}

constexpr std::size_t least_capacity = std::size_t{16} << 10;

}  // namespace

// ---- making, opening, closing ----

heap heap::make(const source_functions& asked, const heap_options& options) {
  source_functions source = asked;
  if (options.max_size != 0) source.capacity = std::min(source.capacity, options.max_size);
  enter_checked(source, "a source", least_capacity);
  const participant_limits limits = limits_for(options.participants, source.capacity);
  const bool own_table = source.place != nullptr;
  const platform::object_id id = platform::fresh_object_id();
  const plan p = plan_for(source.capacity, reinterpret_cast<std::uintptr_t>(source.base),
                          own_table ? ipcpp::participants::bytes_needed(limits) : 0, id.low);
  if (p.pages == 0)
    throw error(errc::invalid_argument, describe(source), "room for a page besides the metadata",
                std::to_string(source.capacity) + " bytes", "give it more, or fewer participants");
  const bool sparse = source.commit != nullptr;
  const std::size_t fixed = p.header_at + p.words_at;
  const std::size_t before_pages = sparse ? fixed : p.header_at + p.pages_at;
  if (sparse ? !source.commit(source.object, 0, before_pages)
             : source.extend(source.object, before_pages) < before_pages)
    throw std::bad_alloc();

  auto state = std::make_unique<heap_state>();
  auto* const header = new (static_cast<std::byte*>(source.base) + p.header_at) heap_header{};
  header->version = heap_layout_version;
  header->classes = class_count;
  header->id_high = id.high;
  header->id_low = id.low;
  header->capacity_bytes = source.capacity - p.header_at;
  header->words_at = p.words_at;
  header->bits_at = p.bits_at;
  header->pages_at = p.pages_at;
  header->most_pages = p.pages;
  header->participants_at = p.participants_at;
  header->pinned_at = options.pinned ? reinterpret_cast<std::uintptr_t>(header) : 0;
  header->tracked = options.tracked ? 1 : 0;
  header->base_offset =
      static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(header) % page_size_bytes);
  header->sparse = sparse ? 1 : 0;
  header->metadata_bytes = before_pages;
  header->checksum = checksum_of(*header);
  header->footprint_limit = options.footprint_limit;
  bind(*state, source, p.header_at);
  state->on_misuse = options.on_misuse;
  if (!sparse) {  // a user's buffer need not be zeroed
    std::memset(state->words, 0, p.pages * 8);
    std::memset(state->bits, 0, p.pages * 64);
  }
  if (own_table)
    state->members = std::make_unique<ipcpp::participants>(ipcpp::participants::create(
        *source.place,
        static_cast<std::size_t>(static_cast<std::byte*>(source.base) - source.place->base()) +
            p.participants_at,
        limits));
  else
    make_anchor(*state, limits, state->shared_source);
  if (!grow_first(*state)) throw std::bad_alloc();
  take_part(*state);
  // Release: whoever reads the magic sees the rest.
  in_heap(header->magic).store(heap_magic, std::memory_order_release);
  return heap(state.release());
}

heap heap::join(const source_functions& source, misuse on_misuse) {
  enter_checked(source, "a source", least_capacity);
  const std::size_t skew = reinterpret_cast<std::uintptr_t>(source.base) % page_size_bytes;
  const std::size_t header_at = rounded(skew, platform::line_stride) - skew;
  auto* const header =
      reinterpret_cast<heap_header*>(static_cast<std::byte*>(source.base) + header_at);
  if (heap_state* const known = state_of_header(header); known != nullptr) {
    ++known->references;
    return heap(known);
  }
  if (!source.adopt(source.object, header_at + sizeof(heap_header)))
    throw error(errc::damaged, describe(source), "a heap's header", "memory that is not there", "");
  // Read once, then checked, then used.
  heap_header found;
  std::memcpy(&found, header, sizeof found);
  const std::string name = describe(source);
  if (found.magic != heap_magic)
    throw error(errc::damaged, name, "a heap in this source", "none, or one half made",
                "create it first");
  if (found.version != heap_layout_version || found.classes != class_count)
    throw error(errc::wrong_layout, name,
                "heap layout version " + std::to_string(heap_layout_version),
                std::to_string(found.version), "build all programs with the same ipcpp");
  if (found.checksum != checksum_of(found))
    throw error(errc::damaged, name, "a header as its creator wrote it", "one that was changed",
                "remove it and make a new one");
  if (found.capacity_bytes > source.capacity - header_at ||
      (found.participants_at == 0) != (source.place == nullptr))
    throw error(
        errc::damaged, name,
        "a source of at least " + std::to_string(header_at + found.capacity_bytes) + " bytes",
        std::to_string(source.capacity), "open it as its creator did");
  if (found.base_offset != reinterpret_cast<std::uintptr_t>(header) % page_size_bytes)
    throw error(errc::invalid_argument, name,
                "the source at the same distance from a page as at its creator's", "another one",
                "map it at a multiple of 4096, or of what its creator had");
  if (found.pinned_at != 0 && found.pinned_at != reinterpret_cast<std::uintptr_t>(header))
    throw error(errc::no_address_space, name, "the address it is pinned to", "another one",
                "map it where its creator did");
  auto state = std::make_unique<heap_state>();
  bind(*state, source, header_at);
  state->on_misuse = on_misuse;
  if (source.place != nullptr) {
    state->members = std::make_unique<ipcpp::participants>(ipcpp::participants::attach(
        *source.place,
        static_cast<std::size_t>(static_cast<std::byte*>(source.base) - source.place->base()) +
            found.participants_at));
  } else {
    state->anchor = std::make_unique<platform::mapping>(
        platform::mapping::map(platform::shared_object::open(anchor_name(found))));
    state->members = std::make_unique<ipcpp::participants>(ipcpp::participants::attach(
        *state->anchor, rounded(platform::first_usable_byte, platform::line_stride)));
  }
  take_part(*state);
  (void)end_page(*state);  // maps what others committed so far
  return heap(state.release());
}

heap::~heap() {
  if (state_ == nullptr || --state_->references != 0) return;
  heap_state& s = *state_;
  while (s.caches != nullptr) close_cache(*s.caches);
  if (s.members->joined()) {
    const participant_id me = s.members->self();
    // Under the run lock, as by an undertaker: no slab it looks at becomes another one meanwhile.
    const run_guard guard(s, me);
    free_tracked(s, me);
  }
  address_map::of_this_process().remove(s.header);
  const bool named = s.anchor != nullptr && s.shared_source;
  const std::string name = named ? anchor_name(*s.header) : std::string();
  s.members.reset();
  s.anchor.reset();
  if (named) {
    try {
      platform::shared_object::remove_if_unused(name);
    } catch (...) {  // another user's by now: not ours to remove
    }
  }
  delete state_;
}

// ---- allocating and freeing ----

void* heap::allocate(std::size_t bytes) {
  return heap_allocate(state_->header, bytes);
}

void* heap::allocate(std::size_t bytes, std::size_t alignment) {
  return heap_allocate(state_->header, bytes, alignment);
}

void* heap::try_allocate(std::size_t bytes, std::size_t alignment) noexcept {
  try {
    return heap_allocate(state_->header, bytes, alignment);
  } catch (...) {
    return nullptr;
  }
}

void* heap::allocate_zeroed(std::size_t bytes) {
  void* const block = allocate(bytes);
  std::memset(block, 0, bytes);
  return block;
}

void heap::deallocate(void* block) {
  heap_deallocate(state_->header, block);
}

std::size_t heap::usable_size(const void* block) const {
  return place_of(*state_, block).bytes;
}

bool heap::resize_in_place(void* block, std::size_t bytes) {
  const block_place place = place_of(*state_, block);
  const std::uint64_t pages = (bytes + page_size_bytes - 1) >> page_shift;
  if (kind_of(place.word) != page_kind::large) return bytes <= place.bytes;
  if (bytes > largest_size) return false;
  return resize_run(*state_, this_member(*state_), place.page, std::max<std::uint64_t>(pages, 1));
}

void* heap::reallocate(void* block, std::size_t bytes) {
  if (block == nullptr) return allocate(bytes);
  const block_place place = place_of(*state_, block);
  const bool large = kind_of(place.word) == page_kind::large;
  const bool tracked = (flags_of(place.word) & tracked_flag) != 0;
  // A small block stays while it is not less than half used; a large one while it is large.
  if (large ? bytes > largest_small && resize_in_place(block, bytes)
            : bytes <= place.bytes && bytes * 2 >= place.bytes)
    return block;
  void* const moved = tracked ? allocate_tracked(bytes) : allocate(bytes);
  std::memcpy(moved, block, std::min(bytes, place.bytes));
  deallocate(block);
  return moved;
}

void* heap::try_reallocate(void* block, std::size_t bytes) noexcept {
  try {
    return reallocate(block, bytes);
  } catch (...) {
    return nullptr;
  }
}

void heap::allocate_many(std::size_t bytes, std::span<void*> blocks) {
  std::size_t made = 0;
  try {
    for (; made < blocks.size(); ++made) blocks[made] = allocate(bytes);
  } catch (...) {
    deallocate_many(blocks.first(made));
    throw;
  }
}

void heap::allocate_each(std::span<const std::size_t> bytes, std::span<void*> blocks) {
  if (bytes.size() != blocks.size())
    throw error(errc::invalid_argument, "heap::allocate_each", "as many sizes as blocks",
                std::to_string(bytes.size()) + " and " + std::to_string(blocks.size()), "");
  std::size_t made = 0;
  try {
    for (; made < blocks.size(); ++made) blocks[made] = allocate(bytes[made]);
  } catch (...) {
    deallocate_many(blocks.first(made));
    throw;
  }
}

void heap::deallocate_many(std::span<void* const> blocks) {
  for (void* const block : blocks) deallocate(block);
}

// ---- blocks that a death must not lose ----

void* heap::allocate_tracked(std::size_t bytes) {
  return allocate_from(this_cache(state_->header), bytes, 16, true);
}

void heap::publish(void* block) {
  const block_place place = place_of(*state_, block);
  if ((flags_of(place.word) & tracked_flag) == 0) return;
  if (kind_of(place.word) == page_kind::large) {
    std::uint64_t expected = place.word;
    page_word(*state_, place.page)
        .compare_exchange_strong(expected, run_word(page_kind::large, run_pages(place.word)),
                                 std::memory_order_acq_rel);
    return;
  }
  // Release: pairs with free_tracked; the block's content is published with it.
  tag_at(static_cast<std::byte*>(block), class_bytes(class_field(place.word)))
      .store(0, std::memory_order_release);
}

namespace {

[[nodiscard]] std::uint64_t checked_link(const heap_state& s, offset_ptr<void>& link) {
  const auto address = reinterpret_cast<std::uintptr_t>(&link);
  const auto first = reinterpret_cast<std::uintptr_t>(s.pages);
  if (address % 8 != 0 || address < first || (address - first) >> page_shift >= end_page(s))
    throw error(errc::invalid_argument, describe(s.source), "a link within the heap",
                "one outside it", "let the pointer live in a block of the same heap");
  return address - reinterpret_cast<std::uintptr_t>(s.header);
}

}  // namespace

void* detail::heap_allocate_to(heap_header* of, offset_ptr<void>& link, std::size_t bytes) {
  if (bytes > largest_size) throw std::bad_alloc();
  cache& c = this_cache(of);
  return allocate_linked(c, checked_link(*c.state, link), std::max<std::size_t>(bytes, 1));
}

void* heap::allocate_to(offset_ptr<void>& link, std::size_t bytes) {
  return heap_allocate_to(state_->header, link, bytes);
}

void heap::free_from(offset_ptr<void>& link) {
  free_linked(this_cache(state_->header), checked_link(*state_, link));
}

std::size_t heap::recover() {
  const std::size_t buried = state_->members->bury_dead();
  collect_pending(*state_, this_member(*state_));
  return buried;
}

// ---- memory ----

std::size_t heap::trim(std::size_t keep) {
  cache& c = this_cache(state_->header);
  sweep(c, true);
  return trim_runs(*state_, c, keep);
}

std::size_t heap::footprint() const noexcept {
  return footprint_of(*state_);
}

std::size_t heap::max_footprint() const noexcept {
  return in_heap(state_->header->max_footprint).load(std::memory_order_relaxed);
}

std::size_t heap::footprint_limit() const noexcept {
  return in_heap(state_->header->footprint_limit).load(std::memory_order_relaxed);
}

void heap::set_footprint_limit(std::size_t bytes) noexcept {
  in_heap(state_->header->footprint_limit).store(bytes, std::memory_order_relaxed);
}

std::size_t heap::capacity() const noexcept {
  return state_->header->capacity_bytes;
}

std::size_t heap::good_size(std::size_t bytes) noexcept {
  return bytes <= largest_small ? class_bytes(class_of(bytes)) : rounded(bytes, page_size_bytes);
}

bool detail::heap_contains(const heap_header* of, const void* address) noexcept {
  const heap_state* const s = state_of_header(of);
  if (s == nullptr) return false;
  const auto at = reinterpret_cast<std::uintptr_t>(address);
  const auto first = reinterpret_cast<std::uintptr_t>(s->pages);
  return at >= first && (at - first) >> page_shift < end_page(*s);
}

bool heap::contains(const void* address) const noexcept {
  return heap_contains(state_->header, address);
}

heap_header* heap::header() const noexcept {
  return state_->header;
}

participants& heap::participants() const noexcept {
  return *state_->members;
}

}  // namespace ipcpp
