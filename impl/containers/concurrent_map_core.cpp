// Bodies of ipcpp.containers:concurrent_map_core: changing lists, growing, and mending what the dead
// left.
//
// Crash story. `|` is where it takes effect; before that nothing happened, after it the rest is made up
// for by whoever takes the lock over, in repair().
//   insert    node.link = successor | place = node    count, tag = 0
//             killed after |: the node is found in the list, so the tag is struck off; the count is
//             made anew
//   replace   victim = old, node.link | place = node    old into limbo, victim = 0, tag = 0
//   remove    victim = node | place = node.link    node into limbo, victim = 0
//             killed after |: the victim is not in the list, so it goes into limbo unless it is there
//             already; before: it is in the list, so nothing
//   reclaim   freeing = node, out of limbo, blocks freed one by one, freeing = 0
//             killed after the first: out of limbo, and whatever still carries its tag is freed
//   make_ready  bucket.link = successor, place = bucket, bucket ready
//             killed after the second: found in its place by the next who wants it
//   grow      the block linked to the directory by the heap's own atomic step, zeroed, its distance
//             noted | levels + 1
//             killed before |: the block is zeroed again, its distance noted again
//   building  tag = T, blocks that carry T, built = node, (lock, insert); or blocks freed, tag = 0
//             killed with tag T: bury() or repair() looks for the node in its stripe's list, under the
//             lock. It can only be there if the dead one held the lock, and then nobody touched the list
//             since. If it is not there, all blocks with T are freed
//
// Race story. Links are stored with release by the lock's holder and loaded with acquire by readers.
// Reclaiming: (1) unlink, (2) heavy fence, (3) stamp with the clock, (4) advance the clock, (5) look at
// the records. A reading that is not seen in 5 announced itself after 2, so its loads see 1. One that is
// seen has [lower, upper]: if lower is larger than the stamp it began after 4 and saw 1; if upper is less
// than `born` it has followed no link since the node became reachable, and will look at the clock when it
// does (map_walk::follow). Then it goes on only from a node that is in the list still: one without
// the flag. Modelled in tests/models/reading.cpp.
module;

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <thread>
#include <utility>

module ipcpp.containers;

import ipcpp.platform;
import ipcpp.sync;
import ipcpp.malloc;
import :concurrent_map_core;

namespace ipcpp::detail {

namespace {

constexpr std::uint64_t first_reclaim = 32;
constexpr std::uint64_t first_chunk = 16;

[[nodiscard]] participant_id holder_of(std::uint64_t lock) noexcept {
  return {static_cast<std::uint32_t>(lock & 0xffff'ffff) - 1,
          static_cast<std::uint32_t>(lock >> 32)};
}

[[nodiscard]] bool is_dead(const map_thread& t, std::uint64_t holder) noexcept {
  return holder != t.me && t.who->probe(holder_of(holder)) != vitality::alive;
}

// true: taken over from the dead.
bool take(std::uint64_t& lock, const map_thread& t) noexcept {
  for (int looks = 1;; ++looks) {
    std::uint64_t seen = shared_word(lock).load(std::memory_order_relaxed);  // the exchange decides
    // Acquire: pairs with the release of whoever unlocked; a death passes on what the dead did.
    if (seen == 0 && shared_word(lock).compare_exchange_weak(seen, t.me, std::memory_order_acquire))
      return false;
    if (looks % 64 != 0 || seen == 0) continue;
    if (is_dead(t, seen) &&
        shared_word(lock).compare_exchange_strong(seen, t.me, std::memory_order_acquire))
      return true;
    std::this_thread::yield();
  }
}

void give(std::uint64_t& lock) noexcept {
  shared_word(lock).store(0, std::memory_order_release);  // pairs with take
}

// Unless somebody who lives holds it.
bool take_at_once(std::uint64_t& lock, const map_thread& t) noexcept {
  std::uint64_t seen = shared_word(lock).load(std::memory_order_relaxed);  // the exchange decides
  return (seen == 0 || is_dead(t, seen)) &&
         shared_word(lock).compare_exchange_strong(seen, t.me, std::memory_order_acquire);
}

// A lock that is held already, for the rest of a scope.
class taken {
 public:
  explicit taken(std::uint64_t& lock) noexcept : lock_(&lock) {}
  taken(const taken&) = delete;
  taken& operator=(const taken&) = delete;
  ~taken() { give(*lock_); }

 private:
  std::uint64_t* lock_;
};

}  // namespace

map_core::map_core(heap_header* of, std::size_t end_at)
    : id_(platform::fresh_object_id().low), memory_(of), end_at_(end_at) {
  if (of == nullptr)
    throw error(errc::invalid_argument, "concurrent_map", "the memory of a segment",
                "private memory", "make it by segment.construct, or with segment.heap()");
  for (map_stripe& s : stripes_) {
    s = {};
    s.head = link_ready;
    s.reclaim_at = first_reclaim;
  }
}

map_core::~map_core() {
  for (offset_ptr<void>& block : directory_)
    if (block) heap_deallocate(heap(), block.get());
  for (offset_ptr<void>& chunk : records_)
    if (chunk) heap_deallocate(heap(), chunk.get());
  id_ = 0;
}

std::uint64_t map_core::size() noexcept {
  std::uint64_t total = 0;
  for (map_stripe& s : stripes_)
    total += shared_word(s.count).load(std::memory_order_relaxed);  // a number, nothing more
  return total;
}

// ---- buckets ----

std::uint64_t& map_core::ready_before(std::uint64_t bucket, std::uint64_t levels) noexcept {
  for (;;) {
    bucket &= bucket - 1;
    std::uint64_t& entry = bucket_of(bucket, levels);
    // Acquire: pairs with make_ready.
    if ((shared_word(entry).load(std::memory_order_acquire) & link_ready) != 0) return entry;
  }
}

std::uint64_t map_core::first_key_of(std::uint64_t bucket_link) noexcept {
  const std::byte* const at = address_at(bucket_link);
  for (std::uint64_t level = levels(); level > base_level; --level) {
    const auto* const first = static_cast<const std::byte*>(directory_[level].get());
    if (at < first || at >= first + (std::size_t{8} << (level - 1))) continue;
    return (static_cast<std::uint64_t>(at - first) / 8 * 2 + 1) << (64 - level);
  }
  return ~std::uint64_t{0};  // damaged
}

void map_core::make_ready(std::uint64_t bucket, std::uint64_t levels) noexcept {
  std::uint64_t& entry = bucket_of(bucket, levels);
  if ((shared_word(entry).load(std::memory_order_relaxed) & link_ready) != 0) return;  // locked
  const std::uint64_t before = bucket & (bucket - 1);
  make_ready(before, levels);
  const std::uint64_t own = distance_to(&entry);
  const std::uint64_t key = bucket << (64 - levels);
  std::uint64_t* place = &bucket_of(before, levels);
  std::uint64_t found = 0;
  for (;;) {
    found = shared_word(*place).load(std::memory_order_relaxed);  // changed under our lock only
    const std::uint64_t target = found & link_target;
    if (target == 0) break;
    if ((found & link_to_bucket) != 0) {
      if (target == own || first_key_of(target) > key) break;
      place = &bucket_at(target);
    } else {
      if (node_at(target)->key > key) break;
      place = &node_at(target)->link;
    }
  }
  if ((found & link_target) != own) {
    shared_word(entry).store(found & ~link_ready, std::memory_order_relaxed);
    // Release: who gets here finds the rest of the list.
    shared_word(*place).store(own | link_to_bucket | (found & link_ready),
                              std::memory_order_release);
  }
  const std::uint64_t rest = shared_word(entry).load(std::memory_order_relaxed);
  shared_word(entry).store(rest | link_ready, std::memory_order_release);  // pairs with entry_for
}

// After a doubling the new buckets are made ready by and by: by whoever changes something in one, and a
// few by each who inserts. Readers make do with what is ready, on longer ways.
void map_core::make_some_ready(const map_thread& t, std::uint64_t stripe) noexcept {
  constexpr int some = 4;
  map_stripe& s = stripes_[stripe];
  const std::uint64_t n = levels();
  // Whatever a death leaves in these two: a bucket that is passed over waits for who changes it.
  if (s.swept_level != n) {
    s.swept = 0;
    s.swept_level = n;
  }
  const std::uint64_t end = n > base_level ? std::uint64_t{1} << (n - base_level - 1) : 0;
  if (s.swept >= end) return;
  t.catch_up();
  for (int i = 0; i < some && s.swept < end; ++i) {
    make_ready((stripe << (n - base_level)) | (2 * s.swept + 1), n);
    s.swept += 1;
  }
}

std::uint64_t& map_core::locked_entry_for(const map_thread& t, std::uint64_t key) noexcept {
  const std::uint64_t n = levels();
  t.catch_up();
  const std::uint64_t bucket = key >> (64 - n);
  make_ready(bucket, n);
  return bucket_of(bucket, n);
}

void map_core::grow(map_thread& t) noexcept {
  if (!take_at_once(growth_lock_, t)) return;
  const taken held(growth_lock_);
  t.catch_up();  // with the block that a dead grower may have left
  const std::uint64_t level = levels() + 1;
  if (level <= most_levels) {
    const std::size_t bytes = std::size_t{8} << (level - 1);
    try {
      if (!directory_[level]) (void)heap_allocate_to(heap(), directory_[level], bytes);
      std::memset(directory_[level].get(), 0, bytes);
      buckets_at_[level] = distance_to(directory_[level].get());
      // Release: pairs with levels(). The commit.
      shared_word(levels_).store(level, std::memory_order_release);
    } catch (...) {  // lists get longer instead
    }
  }
}

// ---- lists ----

void map_core::lock(map_thread& t, std::uint64_t stripe) noexcept {
  const bool from_the_dead = take(stripes_[stripe].lock, t);
  t.catch_up();
  if (from_the_dead) [[unlikely]]
    repair(t, stripe);
}

void map_core::unlock(std::uint64_t stripe) noexcept {
  give(stripes_[stripe].lock);
}

bool map_core::insert(map_thread& t, std::uint64_t& place, map_node* node) noexcept {
  map_stripe& s = stripes_[stripe_of(node->key)];
  const std::uint64_t found = shared_word(place).load(std::memory_order_relaxed);  // locked
  node->link = found & ~link_ready;
  // The commit. Release: pairs with follow.
  shared_word(place).store(distance_to(node) | (found & link_ready), std::memory_order_release);
  const std::uint64_t count = shared_word(s.count).load(std::memory_order_relaxed) + 1;
  shared_word(s.count).store(count, std::memory_order_release);  // in this order, for a survivor
  shared_word(t.record->tag).store(0, std::memory_order_release);
  make_some_ready(t, stripe_of(node->key));
  const std::uint64_t buckets = std::uint64_t{1} << (levels() - base_level);
  return count > buckets && (buckets < 4 || count % 4 == 0);
}

void map_core::put_into_limbo(map_stripe& s, std::uint64_t node) noexcept {
  const auto link = shared_word(node_at(node)->link);
  // Release, before any node after it is removed: pairs with follow.
  link.store(link.load(std::memory_order_relaxed) | link_removed, std::memory_order_release);
  shared_word(end_of(*node_at(node)).limbo)
      .store(shared_word(s.limbo).load(std::memory_order_relaxed), std::memory_order_release);
  shared_word(s.limbo).store(node, std::memory_order_release);
  s.limbo_count += 1;  // locked, and made anew after a death
}

void map_core::replace(map_thread& t, std::uint64_t& place, map_node* old_node,
                       map_node* node) noexcept {
  map_stripe& s = stripes_[stripe_of(node->key)];
  const std::uint64_t found = shared_word(place).load(std::memory_order_relaxed);  // locked
  node->link = shared_word(old_node->link).load(std::memory_order_relaxed);
  shared_word(s.victim).store(distance_to(old_node), std::memory_order_release);
  // The commit. Release: pairs with follow.
  shared_word(place).store(distance_to(node) | (found & link_ready), std::memory_order_release);
  put_into_limbo(s, distance_to(old_node));
  shared_word(s.victim).store(0, std::memory_order_release);
  shared_word(t.record->tag).store(0, std::memory_order_release);
}

void map_core::remove(std::uint64_t& place, map_node* node) noexcept {
  map_stripe& s = stripes_[stripe_of(node->key)];
  const std::uint64_t found = shared_word(place).load(std::memory_order_relaxed);  // locked
  const std::uint64_t rest = shared_word(node->link).load(std::memory_order_relaxed);
  shared_word(s.victim).store(distance_to(node), std::memory_order_release);
  // The commit. Release: pairs with follow.
  shared_word(place).store(rest | (found & link_ready), std::memory_order_release);
  put_into_limbo(s, distance_to(node));
  shared_word(s.count).store(shared_word(s.count).load(std::memory_order_relaxed) - 1,
                             std::memory_order_release);
  shared_word(s.victim).store(0, std::memory_order_release);
}

// ---- nodes under construction ----

std::uint64_t map_core::begin_building(map_thread& t, std::uint64_t stripe) {
  if ((t.next_tag & 0xffff) == 0) t.next_tag = heap_fresh_tags(heap()) + 1;
  const std::uint64_t tag = t.next_tag++;
  shared_word(t.record->built).store(0, std::memory_order_release);
  shared_word(t.record->stripe).store(stripe, std::memory_order_release);
  shared_word(t.record->tag).store(tag, std::memory_order_release);  // pairs with repair, bury
  return tag;
}

void map_core::finish_building(map_thread& t, map_node* node) noexcept {
  shared_word(t.record->built).store(distance_to(node), std::memory_order_release);
}

void map_core::abandoned(map_thread& t) noexcept {
  shared_word(t.record->tag).store(0, std::memory_order_release);
}

// ---- reading that is not plain: within another, or fencing for itself, or where the map's place grows
// by mappings ----

// The announcement before the loads that follow.
void map_core::order_announcement(const map_thread& t) noexcept {
  if (t.self_fencing != 0)
    std::atomic_thread_fence(std::memory_order_seq_cst);
  else
    std::atomic_signal_fence(std::memory_order_seq_cst);  // and the reclaimer's heavy fence
}

std::uint64_t map_reading::announce_carefully(map_core& map, map_thread& t) noexcept {
  if (shared_word(map.fences_needed_).load(std::memory_order_relaxed) != t.self_fencing) {
    t.self_fencing = 1;  // from now on
    t.readings |= map_thread::careful;
    shared_word(t.record->self_fencing).store(1, std::memory_order_seq_cst);
  }
  const std::uint64_t clock = announce(map, t);
  map_core::order_announcement(t);
  return clock;
}

std::uint64_t map_reading::begin_carefully(map_core& map, map_thread& t) noexcept {
  t.readings += 1;
  if (t.depth() == 1) return announce_carefully(map, t);
  return shared_word(t.record->upper).load(std::memory_order_relaxed);  // ours
}

// For who goes on to the buckets.
std::uint64_t map_walk::levels_carefully(map_core& map, map_thread& t) noexcept {
  const std::uint64_t n = map.levels();
  t.catch_up();
  return n;
}

map_walk::followed map_walk::follow_carefully(map_core& map, map_thread& t, std::uint64_t& link,
                                              std::uint64_t covered) noexcept {
  for (bool again = false;;) {
    const std::uint64_t found = shared_word(link).load(std::memory_order_acquire);  // as in follow
    t.catch_up();
    const std::uint64_t clock = shared_word(map.clock_).load(std::memory_order_relaxed);
    if (clock == covered) return {again ? found : found & ~link_removed, covered};
    again = true;
    covered = clock;
    if (clock != shared_word(t.record->upper).load(std::memory_order_relaxed)) {  // ours
      shared_word(t.record->upper).store(clock, std::memory_order_release);
      map_core::order_announcement(t);
    }
  }
}

void map_reading::refresh() noexcept {
  if (walk_.thread_->depth() == 1) walk_.cover(announce_carefully(*walk_.map_, *walk_.thread_));
}

// ---- memory that may be read still ----

bool map_core::order_readers(map_thread& t) noexcept {
  if (t.no_heavy_fence == 0) {
    if (platform::heavy_fence()) return true;
    t.no_heavy_fence = 1;
  }
  // Whoever begins to read from now on fences by himself, and says so.
  shared_word(fences_needed_).store(1, std::memory_order_seq_cst);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  for (std::uint64_t i = 0, n = record_count(t); i < n; ++i) {
    map_record& r = record_at(i);
    if (&r == t.record || shared_word(r.use).load(std::memory_order_acquire) == 0) continue;
    if (shared_word(r.self_fencing).load(std::memory_order_seq_cst) == 0 &&
        !is_dead(t, shared_word(r.owner).load(std::memory_order_relaxed)))
      return false;
  }
  return true;
}

bool map_core::reclaim(map_thread& t, std::uint64_t stripe, destroy_function destroy,
                       bool at_once) noexcept {
  map_stripe& s = stripes_[stripe];
  if (s.limbo_count == 0 || (!at_once && s.limbo_count < s.reclaim_at)) return false;
  if (!order_readers(t)) {
    s.reclaim_at = 2 * s.limbo_count;
    return false;
  }
  const std::uint64_t stamp = shared_word(clock_).load(std::memory_order_seq_cst);
  for (std::uint64_t at = s.limbo; at != 0;) {
    map_node_end& end = end_of(*node_at(at));
    if (end.retired == 0) end.retired = stamp;
    at = end.limbo;
  }
  shared_word(clock_).fetch_add(1, std::memory_order_seq_cst);  // pairs with now()

  struct interval {
    std::uint64_t lower, upper;
  };
  constexpr std::size_t most = 64;
  interval reading[most];
  std::size_t readers = 0;
  for (std::uint64_t i = 0, n = record_count(t); i < n; ++i) {
    map_record& r = record_at(i);
    // Acquire: pairs with the end of a reading, and with `upper` before `lower`.
    const std::uint64_t lower = shared_word(r.lower).load(std::memory_order_seq_cst);
    if (lower == 0) continue;
    const std::uint64_t upper = shared_word(r.upper).load(std::memory_order_acquire);
    if (readers < most) {
      reading[readers++] = {lower, upper};
    } else {  // as if one had read all the time
      if (lower < reading[most - 1].lower) reading[most - 1].lower = lower;
      if (upper > reading[most - 1].upper) reading[most - 1].upper = upper;
    }
  }
  std::uint64_t kept = 0;
  for (std::uint64_t* place = &s.limbo; *place != 0;) {
    const std::uint64_t at = *place;
    map_node* const node = node_at(at);
    map_node_end& end = end_of(*node);
    bool read = false;
    for (std::size_t i = 0; i < readers && !read; ++i)
      read = reading[i].lower <= end.retired && reading[i].upper >= end.born;
    if (read) {
      ++kept;
      place = &end.limbo;
      continue;
    }
    shared_word(s.freeing_tag).store(heap_tag_of(heap(), node), std::memory_order_release);
    shared_word(s.freeing).store(at, std::memory_order_release);
    shared_word(*place).store(end.limbo, std::memory_order_release);
    std::atomic_signal_fence(std::memory_order_seq_cst);  // out of limbo before it is touched
    destroy(heap(), node);
    shared_word(s.freeing).store(0, std::memory_order_release);
  }
  s.limbo_count = kept;
  s.reclaim_at = 2 * kept + first_reclaim;
  return kept >= first_reclaim;
}

void map_core::reclaim_all(map_thread& t, destroy_function destroy) noexcept {
  for (std::uint64_t i = 0; i < map_stripe_count; ++i) {
    if (shared_word(stripes_[i].limbo).load(std::memory_order_relaxed) == 0 &&
        shared_word(stripes_[i].lock).load(std::memory_order_relaxed) == 0)
      continue;
    const map_locking locked(*this, t, i);
    (void)reclaim(t, i, destroy, true);
  }
}

void map_core::destroy_limbo(std::uint64_t stripe, destroy_function destroy) noexcept {
  for (std::uint64_t at = std::exchange(stripes_[stripe].limbo, 0); at != 0;) {
    map_node* const node = node_at(at);
    at = end_of(*node).limbo;
    destroy(heap(), node);
  }
}

// ---- after a death ----

void map_core::mend_all(map_thread& t) noexcept {
  for (std::uint64_t i = 0; i < map_stripe_count; ++i) {
    const std::uint64_t holder =
        shared_word(stripes_[i].lock).load(std::memory_order_relaxed);  // take decides
    if (holder == 0 || !is_dead(t, holder)) continue;
    const map_locking locked(*this, t, i);
  }
}

bool map_core::in_list(map_stripe& s, std::uint64_t node) noexcept {
  for (std::uint64_t link = s.head;;) {
    const std::uint64_t target = link & link_target;
    if (target == 0) return false;
    if ((link & link_to_bucket) == 0 && target == node) return true;
    // Locked; acquire all the same: what the dead stored last.
    link = shared_word((link & link_to_bucket) != 0 ? bucket_at(target) : node_at(target)->link)
               .load(std::memory_order_acquire);
  }
}

// The stripe's lock is held, the record's owner is dead. Idempotent.
void map_core::resolve(map_thread& t, map_record& of) noexcept {
  (void)t;
  const std::uint64_t tag = shared_word(of.tag).load(std::memory_order_acquire);
  if (tag == 0) return;
  const std::uint64_t built = shared_word(of.built).load(std::memory_order_acquire);
  if (built == 0 || !in_list(stripes_[of.stripe % map_stripe_count], built))
    heap_free_tagged(heap(), tag);
  shared_word(of.tag).store(0, std::memory_order_release);
}

// The lock was taken over from the dead. Killed anywhere, the next one does the same again.
void map_core::repair(map_thread& t, std::uint64_t stripe) noexcept {
  map_stripe& s = stripes_[stripe];
  if (const std::uint64_t node = s.freeing; node != 0) {
    for (std::uint64_t* place = &s.limbo; *place != 0; place = &end_of(*node_at(*place)).limbo)
      if (*place == node) {
        shared_word(*place).store(end_of(*node_at(node)).limbo, std::memory_order_release);
        break;
      }
    std::atomic_signal_fence(std::memory_order_seq_cst);
    if (s.freeing_tag != 0) heap_free_tagged(heap(), s.freeing_tag);
    shared_word(s.freeing).store(0, std::memory_order_release);
  }
  if (const std::uint64_t node = s.victim; node != 0) {
    if (!in_list(s, node) && s.limbo != node) put_into_limbo(s, node);
    shared_word(s.victim).store(0, std::memory_order_release);
  }
  for (std::uint64_t i = 0, n = record_count(t); i < n; ++i) {
    map_record& r = record_at(i);
    // The tag before the owner: a tag of the record's next owner is not taken for the dead one's.
    if (shared_word(r.tag).load(std::memory_order_acquire) != 0 &&
        shared_word(r.stripe).load(std::memory_order_relaxed) == stripe &&
        is_dead(t, shared_word(r.owner).load(std::memory_order_acquire)))
      resolve(t, r);
  }
  std::uint64_t count = 0;
  for (std::uint64_t link = s.head; (link & link_target) != 0;) {
    const bool bucket = (link & link_to_bucket) != 0;
    if (!bucket) ++count;
    link = bucket ? bucket_at(link) : node_at(link)->link;
  }
  shared_word(s.count).store(count, std::memory_order_release);
  s.limbo_count = 0;
  for (std::uint64_t at = s.limbo; at != 0; at = end_of(*node_at(at)).limbo) ++s.limbo_count;
  s.reclaim_at = first_reclaim;
}

// ---- records ----

std::uint64_t map_core::record_count(const map_thread& t) noexcept {
  // Acquire: pairs with take_record; the chunks are zeroed.
  const std::uint64_t chunks = shared_word(record_chunks_).load(std::memory_order_acquire);
  t.catch_up();
  return ((std::uint64_t{1} << chunks) - 1) * first_chunk;
}

map_record& map_core::record_at(std::uint64_t i) noexcept {
  const auto chunk = static_cast<unsigned>(std::bit_width(i / first_chunk + 1)) - 1;
  const std::uint64_t first = ((std::uint64_t{1} << chunk) - 1) * first_chunk;
  return static_cast<map_record*>(records_[chunk].get())[i - first];
}

std::size_t map_core::bury_locked(map_thread& t) noexcept {
  std::size_t buried = 0;
  for (std::uint64_t i = 0, n = record_count(t); i < n; ++i) {
    map_record& r = record_at(i);
    if (shared_word(r.use).load(std::memory_order_acquire) == 0 ||
        !is_dead(t, shared_word(r.owner).load(std::memory_order_relaxed)))
      continue;
    if (shared_word(r.tag).load(std::memory_order_acquire) != 0) {
      const map_locking locked(*this, t, r.stripe % map_stripe_count);
      resolve(t, r);
    }
    shared_word(r.lower).store(0, std::memory_order_release);
    shared_word(r.self_fencing).store(0, std::memory_order_release);
    shared_word(r.use).store(0, std::memory_order_release);
    ++buried;
  }
  return buried;
}

std::size_t map_core::bury(map_thread& t) noexcept {
  if (!take_at_once(record_lock_, t))
    return 0;  // somebody is at it, or takes a record and does the same
  const taken held(record_lock_);
  return bury_locked(t);
}

// A record for a thread that has everything else. Killed anywhere before `use`: the record is nobody's.
void map_core::take_record(map_thread& t) {
  take(record_lock_, t);
  const taken held(record_lock_);
  t.catch_up();
  bury_locked(t);
  for (;;) {
    for (std::uint64_t i = 0, n = record_count(t); i < n; ++i) {
      map_record& r = record_at(i);
      if (shared_word(r.use).load(std::memory_order_acquire) != 0) continue;
      shared_word(r.owner).store(t.me, std::memory_order_release);
      shared_word(r.self_fencing).store(t.self_fencing, std::memory_order_release);
      t.use = ++uses_;
      shared_word(r.use).store(t.use, std::memory_order_seq_cst);
      t.record = &r;
      return;
    }
    const std::uint64_t chunk = shared_word(record_chunks_).load(std::memory_order_relaxed);
    if (chunk >= sizeof records_ / sizeof records_[0])
      throw error(errc::limit_reached, "concurrent_map", "room for another thread",
                  "65520 living ones", "");
    const std::size_t bytes = (first_chunk << chunk) * sizeof(map_record);
    if (!records_[chunk]) (void)heap_allocate_to(heap(), records_[chunk], bytes);
    std::memset(records_[chunk].get(), 0, bytes);
    shared_word(record_chunks_).store(chunk + 1, std::memory_order_release);
  }
}

}  // namespace ipcpp::detail
