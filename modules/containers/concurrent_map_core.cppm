// ipcpp.containers:concurrent_map_core - the part of concurrent_map that does not know what keys and
// values are: the list, its buckets, locks that survive their holders, and when a removed node's
// memory may be used again. docs/concurrent_map.md has the argument as a whole.
//
// Representation. A node's key is the hash of what the user calls the key; all nodes lie in lists sorted
// by it, one list for each of 64 stripes (the top six bits). A bucket is an entry point into its
// stripe's list: bucket b of level n stands where keys with the top bits b begin. Doubling the buckets
// adds entry points and moves no node:
//
//   stripe  head -> node 0b00.. -> [bucket 0b01 of level 7] -> node 0b010.. -> node 0b011.. -> end
//
//   directory   level 6: the stripes' heads; level m > 6: one block with the 2^(m-1) odd buckets of
//               that level. An even bucket is the same as the half of it one level below.
//   link        63                        3   2       1         0
//               | distance from the map       | ready | removed | to a bucket |    0: the list's end
//               `ready` only in a bucket's own link: may be entered here. `removed` only in a
//               node's own: it is in the list no more
//
// Roles. Readers walk without a lock, announced in their record. Writers change a stripe's list under
// the stripe's lock, for a few stores each; they build nodes before and never call user code in it,
// except to compare keys.
//
// Invariants
//   A node is in its list, or in its stripe's limbo, or named by one record or stripe as being made or
//   given back. A node that was removed keeps its link; nodes change in their link and value only.
//   What a living reader may have reached is not freed: its record's [lower, upper] meets
//   [born, retired] of the node.
//   A record's tag stands for blocks that are in no list, or in the list of the stripe whose lock the
//   record's process holds.
// Failure model: killed anywhere, each change is one store to a link or value; locks name the process
// that holds them and are taken over when that is dead, after repair() (impl/containers). A stopped
// writer holds at most one stripe's other writers up. Memory damaged by a buggy peer is not defended
// against.
module;

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

export module ipcpp.containers:concurrent_map_core;

import ipcpp.platform;
import ipcpp.sync;
import ipcpp.malloc;

namespace ipcpp::detail {

[[nodiscard]] inline std::atomic_ref<std::uint64_t> shared_word(std::uint64_t& word) noexcept {
  return std::atomic_ref<std::uint64_t>(word);
}
static_assert(std::atomic_ref<std::uint64_t>::is_always_lock_free);

// What every node begins with: what a reader looks at, in one cache line with the user's key if that is
// short.
export struct map_node {
  std::uint64_t link;
  std::uint64_t key;
};
static_assert(sizeof(map_node) == 16 && std::is_trivially_copyable_v<map_node>);
// What every node ends with: what its removal needs.
export struct map_node_end {
  std::uint64_t born;     // the clock, before the node was reachable
  std::uint64_t retired;  // the clock, after it was not any more; 0: not yet stamped
  std::uint64_t limbo;    // distance of the next node in limbo; 0: the last
};
static_assert(sizeof(map_node_end) == 24 && std::is_trivially_copyable_v<map_node_end>);

inline constexpr std::uint64_t link_to_bucket = 1;
export inline constexpr std::uint64_t link_removed = 2;
inline constexpr std::uint64_t link_ready = 4;
inline constexpr std::uint64_t link_target = ~std::uint64_t{7};

inline constexpr unsigned base_level = 6;
inline constexpr unsigned most_levels = 40;
export inline constexpr std::uint64_t map_stripe_count = 1u << base_level;

// One thread that uses the map.
struct alignas(platform::line_stride) map_record {
  std::uint64_t lower;         // the clock when it began to read; 0: it does not
  std::uint64_t upper;         // the latest clock it has read under
  std::uint64_t self_fencing;  // it orders these stores before its loads by itself
  std::uint64_t use;           // never the same twice; 0: the record is nobody's
  std::uint64_t owner;         // process, as in a lock
  std::uint64_t tag;           // of what it is building; 0: nothing
  std::uint64_t stripe;        // for which
  std::uint64_t built;         // distance of the finished node; 0: unfinished
  std::uint64_t zero[8];
};
static_assert(sizeof(map_record) == 128 && offsetof(map_record, tag) == 40);

struct alignas(platform::line_stride) map_stripe {
  std::uint64_t head;
  std::uint64_t lock;         // generation of the holding process << 32 | its slot + 1; 0: free
  std::uint64_t count;        // nodes in the list
  std::uint64_t victim;       // being removed: out of the list it belongs into limbo
  std::uint64_t freeing;      // being freed: neither in limbo nor in use
  std::uint64_t freeing_tag;  // of its blocks
  std::uint64_t limbo;        // removed, perhaps still read
  std::uint64_t limbo_count;
  std::uint64_t reclaim_at;  // so many in limbo
  // Hints: of the buckets that came with this level, so many were made ready in their order.
  std::uint64_t swept_level;
  std::uint64_t swept;
  std::uint64_t zero[5];
};
static_assert(sizeof(map_stripe) == 128 && offsetof(map_stripe, limbo) == 48);

export class map_core;

// What one thread keeps about one map, in private memory that a forked child sees zeroed.
struct map_thread {
  map_core* map;  // nullptr: unused
  std::uint64_t id;
  map_record* record;
  std::uint64_t use;
  std::uint64_t removals;  // when the map was last known to be mapped
  participants* who;
  mapped_place* grows_by_mappings;  // the map's place if it has to be caught up with, else nullptr
  std::uint64_t me;                 // this process as in a lock
  heap_header* heap;
  std::uint64_t next_tag;
  // 0: a reading may begin the short way. Else how many are going on, and `careful` if all take the
  // long way, because of self_fencing or grows_by_mappings.
  std::uint64_t readings;
  std::uint32_t self_fencing;
  std::uint32_t no_heavy_fence;

  static constexpr std::uint64_t careful = std::uint64_t{1} << 32;
  [[nodiscard]] inline bool is_careful() const noexcept { return readings >= careful; }
  [[nodiscard]] inline std::uint64_t depth() const noexcept { return readings & (careful - 1); }

  // After each load that may lead to memory which somebody else has added.
  inline void catch_up() const noexcept {
    if (grows_by_mappings != nullptr) [[unlikely]]
      grows_by_mappings->catch_up(*grows_by_mappings);
  }
};

// Which of its map_threads a thread used last for maps at addresses like that; never null.
export struct map_thread_table {
  static constexpr std::size_t size = 64;
  map_thread* at[size];
};
export extern constinit thread_local map_thread_table recent_map_threads;

class map_core {
 public:
  // Fills itself in, allocates nothing. In nodes, map_node_end lies `end_at` bytes behind their
  // beginning. Throws invalid_argument for private memory.
  map_core(heap_header* of, std::size_t end_at);
  map_core(const map_core&) = delete;
  map_core& operator=(const map_core&) = delete;
  // Frees directory and records. The nodes are gone, nobody uses the map any more.
  ~map_core();

  using destroy_function = void (*)(heap_header* of, map_node* node) noexcept;

  // Of this thread, made at its first use of the map. Throws limit_reached, std::bad_alloc,
  // not_a_participant.
  [[nodiscard]] inline map_thread& this_thread() {
    map_thread& t = *recent_map_threads.at[place_in_table(this)];
    // Relaxed: if the record is this thread's, nobody else changes `use`.
    if (t.map == this && t.id == id_ && t.removals == address_map::removals() &&
        shared_word(t.record->use).load(std::memory_order_relaxed) == t.use) [[likely]]
      return t;
    return find_or_make_thread();
  }

  [[nodiscard]] inline map_node* node_at(std::uint64_t link) noexcept {
    return reinterpret_cast<map_node*>(address_at(link));
  }
  [[nodiscard]] inline map_node_end& end_of(map_node& node) noexcept {
    return *reinterpret_cast<map_node_end*>(reinterpret_cast<std::byte*>(&node) + end_at_);
  }
  [[nodiscard]] inline std::uint64_t& bucket_at(std::uint64_t link) noexcept {
    return *reinterpret_cast<std::uint64_t*>(address_at(link));
  }
  [[nodiscard]] inline std::uint64_t distance_to(const void* shared) const noexcept {
    return reinterpret_cast<std::uintptr_t>(shared) - reinterpret_cast<std::uintptr_t>(this);
  }
  [[nodiscard]] inline heap_header* heap() const noexcept { return memory_.header(); }
  [[nodiscard]] inline static std::uint64_t stripe_of(std::uint64_t key) noexcept {
    return key >> (64 - base_level);
  }
  [[nodiscard]] inline std::uint64_t now() noexcept {
    return shared_word(clock_).load(std::memory_order_acquire);  // pairs with reclaim
  }
  [[nodiscard]] inline std::uint64_t levels() noexcept {
    return shared_word(levels_).load(std::memory_order_acquire);  // pairs with grow
  }
  [[nodiscard]] inline std::uint64_t& head_of(std::uint64_t stripe) noexcept {
    return stripes_[stripe].head;
  }
  [[nodiscard]] std::uint64_t size() noexcept;

  // ---- reading, within a map_reading ----

  // Where to begin to look for the key. `exact`: up to the next bucket there is all there is, while
  // the number of levels stays.
  [[nodiscard]] inline std::uint64_t& entry_for(std::uint64_t key, std::uint64_t levels,
                                                bool& exact) noexcept {
    std::uint64_t bucket = key >> (64 - levels);
    std::uint64_t& entry = bucket_of(bucket, levels);
    // Acquire: pairs with make_ready.
    exact = (shared_word(entry).load(std::memory_order_acquire) & link_ready) != 0;
    return exact ? entry : ready_before(bucket, levels);
  }

  // ---- changing, under the stripe's lock ----

  // Throws what repair of a dead holder's work may need: nothing, once this_thread() has succeeded.
  void lock(map_thread& t, std::uint64_t stripe) noexcept;
  void unlock(std::uint64_t stripe) noexcept;
  // The link from which the key's place is found by walking to the next bucket at most.
  [[nodiscard]] std::uint64_t& locked_entry_for(const map_thread& t, std::uint64_t key) noexcept;
  // The thread's finished node becomes reachable at `place`. Returns whether to grow.
  bool insert(map_thread& t, std::uint64_t& place, map_node* node) noexcept;
  // The same instead of what is there.
  void replace(map_thread& t, std::uint64_t& place, map_node* old_node, map_node* node) noexcept;
  void remove(std::uint64_t& place, map_node* node) noexcept;
  // Frees what is in limbo and not read any more, if it is time. Returns whether the dead should be
  // looked for.
  [[nodiscard]] bool reclaim(map_thread& t, std::uint64_t stripe, destroy_function destroy,
                             bool at_once) noexcept;

  // ---- neither ----

  // From here to abandoned() or insert or replace, blocks with the tag that is returned are this
  // thread's unfinished node.
  std::uint64_t begin_building(map_thread& t, std::uint64_t stripe);
  void finish_building(map_thread& t, map_node* node) noexcept;
  void abandoned(map_thread& t) noexcept;
  // More buckets, unless somebody is at it. No memory: another time.
  void grow(map_thread& t) noexcept;
  // Looks for dead threads and takes back what they were building. How many.
  std::size_t bury(map_thread& t) noexcept;
  // Takes over what locks the dead hold.
  void mend_all(map_thread& t) noexcept;
  // Frees all of a stripe's limbo; nobody uses the map any more.
  void destroy_limbo(std::uint64_t stripe, destroy_function destroy) noexcept;
  // Frees all of limbo that is not read any more.
  void reclaim_all(map_thread& t, destroy_function destroy) noexcept;

 private:
  friend struct map_threads;
  friend class map_reading;
  friend class map_walk;

  [[nodiscard]] inline static std::size_t place_in_table(const map_core* map) noexcept {
    const auto address = static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(map));
    return static_cast<std::size_t>(address * 0x9e3779b97f4a7c15U >> 58);
  }
  static_assert(map_thread_table::size == std::size_t{1} << (64 - 58));
  [[nodiscard]] map_thread& find_or_make_thread();

  [[nodiscard]] inline std::byte* address_at(std::uint64_t link) noexcept {
    return reinterpret_cast<std::byte*>(reinterpret_cast<std::uintptr_t>(this) +
                                        (link & link_target));
  }
  [[nodiscard]] inline std::uint64_t& bucket_of(std::uint64_t bucket,
                                                std::uint64_t levels) noexcept {
    // The bit above the bucket's stands for all the zeros before those of bucket 0.
    const auto zeros = static_cast<unsigned>(std::countr_zero(bucket | std::uint64_t{1} << levels));
    if (levels <= base_level + zeros) return stripes_[bucket >> (levels - base_level)].head;
    // There, before `levels_` said so.
    return *reinterpret_cast<std::uint64_t*>(reinterpret_cast<std::uintptr_t>(this) +
                                             buckets_at_[levels - zeros] +
                                             (bucket >> (zeros + 1)) * 8);
  }
  [[nodiscard]] std::uint64_t& ready_before(std::uint64_t bucket, std::uint64_t levels) noexcept;
  [[nodiscard]] std::uint64_t first_key_of(std::uint64_t bucket_link) noexcept;
  void make_ready(std::uint64_t bucket, std::uint64_t levels) noexcept;
  void make_some_ready(const map_thread& t, std::uint64_t stripe) noexcept;
  void put_into_limbo(map_stripe& s, std::uint64_t node) noexcept;
  [[nodiscard]] bool in_list(map_stripe& s, std::uint64_t node) noexcept;
  void repair(map_thread& t, std::uint64_t stripe) noexcept;
  void resolve(map_thread& t, map_record& of) noexcept;
  [[nodiscard]] bool order_readers(map_thread& t) noexcept;
  [[nodiscard]] map_record& record_at(std::uint64_t i) noexcept;
  [[nodiscard]] std::uint64_t record_count(const map_thread& t) noexcept;
  void take_record(map_thread& t);
  std::size_t bury_locked(map_thread& t) noexcept;
  static void order_announcement(const map_thread& t) noexcept;

  std::uint64_t id_;
  std::uint64_t clock_ = 1;
  std::uint64_t levels_ = base_level;
  std::uint64_t fences_needed_ = 0;
  allocator<std::byte> memory_;
  std::uint64_t record_chunks_ = 0;  // usable ones
  std::uint64_t uses_ = 0;           // of records so far; under the record lock
  std::uint64_t end_at_;
  std::uint64_t zero_[8] = {};
  alignas(platform::line_stride) std::uint64_t record_lock_ = 0;
  std::uint64_t growth_lock_ = 0;
  offset_ptr<void> records_[12];                    // chunk k has 16 << k
  offset_ptr<void> directory_[most_levels + 1];     // by level
  std::uint64_t buckets_at_[most_levels + 1] = {};  // the same as distances, for readers
  alignas(platform::line_stride) map_stripe stripes_[map_stripe_count];
};

// What a reading knows while it goes from link to link. Small, and meant to be copied: a copy that
// nobody has the address of stays in registers.
class map_walk {
 public:
  // What the link of a bucket or of a node that was reached holds, once it is certain that the reading
  // covers it. false: begin anew at a bucket. A node that was removed may lead to one that came and
  // went before the reading covered it.
  [[nodiscard]] inline bool follow(std::uint64_t& link, std::uint64_t& found) noexcept {
    // Acquire: pairs with the stores that made the node reachable. The clock is read afterwards,
    // so it is at least the node's `born`.
    found = shared_word(link).load(std::memory_order_acquire);
    if (shared_word(map_->clock_).load(std::memory_order_relaxed) == expected_) [[likely]]
      return true;
    const followed now = follow_carefully(*map_, *thread_, link, covered_);
    found = now.link;
    cover(now.covered);
    return (found & link_removed) == 0;
  }
  [[nodiscard]] inline std::uint64_t levels() noexcept {
    if (expected_ == never) [[unlikely]]
      return levels_carefully(*map_, *thread_);
    return map_->levels();
  }

 private:
  friend class map_reading;

  static constexpr std::uint64_t never = 0;  // no clock shows that

  struct followed {
    std::uint64_t link;  // with link_removed if that matters
    std::uint64_t covered;
  };

  inline map_walk(map_core& map, map_thread& t) noexcept : map_(&map), thread_(&t) {}
  inline void cover(std::uint64_t clock) noexcept {
    covered_ = clock;
    expected_ = thread_->is_careful() ? never : clock;
  }
  [[nodiscard]] static std::uint64_t levels_carefully(map_core& map, map_thread& t) noexcept;
  [[nodiscard]] static followed follow_carefully(map_core& map, map_thread& t, std::uint64_t& link,
                                                 std::uint64_t covered) noexcept;

  map_core* map_;
  map_thread* thread_;
  std::uint64_t covered_ = 0;   // the clock when what is at hand was last known to be in the list
  std::uint64_t expected_ = 0;  // the same, or `never`: look closer each time
};

// While it lives, whatever was reached by following links stays where it is and whole, however long ago.
class map_reading {
 public:
  inline map_reading(map_core& map, map_thread& t) noexcept : walk_(map, t) {
    const bool plain =
        (t.readings | shared_word(map.fences_needed_).load(std::memory_order_relaxed)) == 0;
    if (plain) [[likely]] {
      t.readings = 1;
      walk_.covered_ = announce(map, t);
      // The announcement before the loads that follow: by the reclaimer's heavy fence; the compiler
      // alone must not reorder.
      std::atomic_signal_fence(std::memory_order_seq_cst);
      walk_.expected_ = walk_.covered_;
    } else {
      walk_.cover(begin_carefully(map, t));
    }
  }
  map_reading(const map_reading&) = delete;
  map_reading& operator=(const map_reading&) = delete;
  inline ~map_reading() {
    map_thread& t = *walk_.thread_;
    t.readings -= 1;
    // Release: pairs with reclaim; what was read was read before.
    if (t.depth() == 0) shared_word(t.record->lower).store(0, std::memory_order_release);
  }

  [[nodiscard]] inline map_walk walk() const noexcept { return walk_; }
  // From here on anew: nothing that was reached before may be used. Does nothing within another one.
  void refresh() noexcept;

 private:
  // Returns the clock.
  inline static std::uint64_t announce(map_core& map, map_thread& t) noexcept {
    const std::uint64_t clock = map.now();
    // In any order: whoever misses one of them fenced before we read. Release: what an earlier
    // reading read (refresh) was read before; pairs with reclaim.
    shared_word(t.record->upper).store(clock, std::memory_order_relaxed);
    shared_word(t.record->lower).store(clock, std::memory_order_release);
    return clock;
  }
  [[nodiscard]] static std::uint64_t announce_carefully(map_core& map, map_thread& t) noexcept;
  [[nodiscard]] static std::uint64_t begin_carefully(map_core& map, map_thread& t) noexcept;

  map_walk walk_;
};

// The stripe's lock for a scope.
class map_locking {
 public:
  inline map_locking(map_core& map, map_thread& t, std::uint64_t stripe) noexcept
      : map_(&map), stripe_(stripe) {
    map.lock(t, stripe);
  }
  map_locking(const map_locking&) = delete;
  map_locking& operator=(const map_locking&) = delete;
  inline ~map_locking() { map_->unlock(stripe_); }

 private:
  map_core* map_;
  std::uint64_t stripe_;
};

}  // namespace ipcpp::detail
