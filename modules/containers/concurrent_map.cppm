// ipcpp.containers:concurrent_map - a hash map that many processes and threads use at once, without a
// lock around it.
//
//   auto& words = segment.find_or_construct<ipcpp::concurrent_map<ipcpp::string, std::uint64_t>>("words");
//   words.update("tree", [](std::uint64_t& count) { ++count; });       from 0 where absent
//   std::optional<std::uint64_t> count = words.find("tree");            a copy
//
// Every operation happens or does not, whoever dies, and at one instant (linearizable); for_each is
// weakly consistent. Readers never wait. Operations on values of at most 8 bytes (trivially copyable)
// that are there already do not wait either: the value is changed where it is. Other changes hold a
// 64th of the map for a few stores; a holder that was killed is noticed and its work mended, one that
// is stopped is waited for.
//
// Representation: :concurrent_map_core; a node is
//
//   | link, key (hash) 16 B | K | V, or a word that holds it | born, retired, limbo 24 B |
//
// Invariant: a node that others can reach changes in its link, and if V fits a word in that; else an
// update makes a new node. Everything else in it is written before and stays.
//
// The function given to update may be run more than once, if others change the same value meanwhile; what
// counts is its last run. It works on a private copy, holds no lock, and may use the map. What copies and
// compares keys and values must not.
//
// Failure model: std::bad_alloc, after all removed entries that nobody reads were freed: nothing
// changed. errc::limit_reached at a thread's first use. A process that is killed leaves at most one
// unfinished node and a record for each of its threads; recover(), a new thread, or running out of
// memory takes them back.
module;

#include <algorithm>
#include <atomic>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

export module ipcpp.containers:concurrent_map;

import ipcpp.platform;
import ipcpp.malloc;
import :concurrent_map_core;
import :hash;

namespace ipcpp {

namespace detail {

template <class T>
concept transparent = requires { typename T::is_transparent; };

template <class V>
inline constexpr bool fits_word = std::is_trivially_copyable_v<V> && sizeof(V) <= 8;

template <class V>
[[nodiscard]] V from_word(std::uint64_t word) noexcept {
  alignas(V) unsigned char bytes[sizeof(V)];
  std::memcpy(bytes, &word, sizeof(V));
  return std::bit_cast<V>(bytes);
}

template <class K, class V>
struct map_entry : map_node {
  K key_;
  std::conditional_t<fits_word<V>, std::uint64_t, V> value_;
  map_node_end end_;
};
// Where end_ is in that: offsetof does not answer for every K and V.
template <class K, class V>
[[nodiscard]] consteval std::size_t map_entry_end_at() {
  using value = decltype(map_entry<K, V>::value_);
  const auto up = [](std::size_t n, std::size_t to) { return (n + to - 1) / to * to; };
  const std::size_t value_at = up(up(sizeof(map_node), alignof(K)) + sizeof(K), alignof(value));
  const std::size_t end_at = up(value_at + sizeof(value), alignof(map_node_end));
  return up(end_at + sizeof(map_node_end), alignof(map_entry<K, V>)) == sizeof(map_entry<K, V>)
             ? end_at
             : throw "map_entry is laid out in an unexpected way";
}

}  // namespace detail

export template <class K, class V, class Hash = hash<K>, class Equal = std::equal_to<>>
class concurrent_map : private detail::map_core {
  static_assert(shareable<K> && shareable<V>,
                "ipcpp::concurrent_map: a key or value of this type would mean nothing to another "
                "process: it holds a raw pointer, or may hide one; see ipcpp::shareable");
  static_assert(std::is_same_v<K, std::remove_cv_t<K>> && std::is_same_v<V, std::remove_cv_t<V>>);
  static_assert(alignof(K) <= 16 && alignof(V) <= 16);

  static constexpr bool in_word = detail::fits_word<V>;
  using entry = detail::map_entry<K, V>;
  // A K, or what Hash and Equal take for one.
  template <class Q>
  static constexpr bool taken_as_it_is =
      std::same_as<Q, K> || (detail::transparent<Hash> && detail::transparent<Equal>);

 public:
  using key_type = K;
  using mapped_type = V;
  using hasher = Hash;
  using key_equal = Equal;
  using size_type = std::size_t;
  using allocator_type = allocator<std::byte>;

  // An empty map in the allocator's heap; allocates nothing. Lies in that heap itself. Throws
  // invalid_argument for private memory.
  explicit concurrent_map(const allocator_type& memory)
      : map_core(memory.header(), detail::map_entry_end_at<K, V>()) {}
  // Nobody uses it any more. Not atomic with respect to a kill.
  ~concurrent_map() { destroy_all(); }

  [[nodiscard]] allocator_type get_allocator() const noexcept { return allocator_type(heap()); }

  // Runs f(V&) on the value, a value-initialised one where absent, and keeps what f made of it. true:
  // the key is new. What f throws comes through, and nothing changed.
  template <class Q = K, std::invocable<V&> F>
  bool update(const Q& key, F&& f) {
    const auto& wanted = lookup_form(key);
    const std::uint64_t h = key_of(wanted);
    detail::map_thread& t = core().this_thread();
    for (;;) {
      {
        const detail::map_reading reading(core(), t);
        if (entry* const found = find_entry(reading, h, wanted)) {
          if constexpr (in_word) {
            change(*found, f);
            return false;
          } else {
            V changed(found->value_);
            f(changed);
            if (replace_entry(t, h, wanted, found, std::move(changed))) return false;
            continue;
          }
        }
      }
      V fresh{};
      f(fresh);
      if (insert_entry(t, h, wanted, std::move(fresh))) return true;
    }
  }

  // Only if absent; else false.
  template <class Q = K, class U = V>
    requires std::constructible_from<V, U&&>
  bool insert(const Q& key, U&& value) {
    const auto& wanted = lookup_form(key);
    const std::uint64_t h = key_of(wanted);
    detail::map_thread& t = core().this_thread();
    {
      const detail::map_reading reading(core(), t);
      if (find_entry(reading, h, wanted) != nullptr) return false;
    }
    return insert_entry(t, h, wanted, std::forward<U>(value));
  }
  // Only if present; else false.
  template <class Q = K, class U = V>
    requires std::constructible_from<V, U&&>
  bool assign(const Q& key, U&& value) {
    return assign_or(key, std::forward<U>(value), false) == outcome::assigned;
  }
  // true: the key is new.
  template <class Q = K, class U = V>
    requires std::constructible_from<V, U&&>
  bool insert_or_assign(const Q& key, U&& value) {
    return assign_or(key, std::forward<U>(value), true) == outcome::inserted;
  }
  // false: it was absent.
  template <class Q = K>
  bool erase(const Q& key) {
    const auto& wanted = lookup_form(key);
    const std::uint64_t h = key_of(wanted);
    detail::map_thread& t = core().this_thread();
    bool look_for_dead = false;
    {
      const std::uint64_t stripe = stripe_of(h);
      const detail::map_locking locked(core(), t, stripe);
      const position at = seek(t, h, wanted);
      if (at.found == nullptr) return false;
      core().remove(*at.link, at.found);
      look_for_dead = core().reclaim(t, stripe, destroy, false);
    }
    if (look_for_dead) core().bury(t);
    return true;
  }

  // A copy, in private memory.
  template <class Q = K>
  [[nodiscard]] std::optional<V> find(const Q& key) const {
    const auto& wanted = lookup_form(key);
    const std::uint64_t h = key_of(wanted);
    const detail::map_reading reading(core(), core().this_thread());
    entry* const found = find_entry(reading, h, wanted);
    if (found == nullptr) return std::nullopt;
    if constexpr (in_word)
      return detail::from_word<V>(word_of(*found));
    else
      return std::optional<V>(std::in_place, std::as_const(found->value_));
  }
  template <class Q = K>
  [[nodiscard]] bool contains(const Q& key) const {
    const auto& wanted = lookup_form(key);
    const std::uint64_t h = key_of(wanted);
    const detail::map_reading reading(core(), core().this_thread());
    return find_entry(reading, h, wanted) != nullptr;
  }

  // Calls f(const K&, const V&) once for each entry that is there all the time, at most once for
  // others. f may use the map. While it runs, what others remove is not freed.
  template <std::invocable<const K&, const V&> F>
  void for_each(F&& f) const {
    detail::map_reading reading(core(), core().this_thread());
    std::vector<const entry*> visited;  // of the key (hash) at which the walk is
    for (std::uint64_t stripe = 0; stripe < detail::map_stripe_count; ++stripe) {
      reading.refresh();
      detail::map_walk walk = reading.walk();
      visited.clear();
      std::uint64_t reached = 0;
      for (std::uint64_t* link = &core().head_of(stripe);;) {
        std::uint64_t found = 0;
        if (!walk.follow(*link, found)) {  // anew, to where it was
          link = &core().head_of(stripe);
          continue;
        }
        const std::uint64_t target = found & detail::link_target;
        if (target == 0) break;
        if ((found & detail::link_to_bucket) != 0) {
          link = &core().bucket_at(target);
          continue;
        }
        entry& e = *static_cast<entry*>(core().node_at(target));
        link = &e.link;
        if (e.key < reached) continue;
        if (e.key > reached) visited.clear();
        reached = e.key;
        if (std::ranges::any_of(visited, [&](const entry* v) { return Equal{}(v->key_, e.key_); }))
          continue;
        visited.push_back(&e);
        if constexpr (in_word)
          f(std::as_const(e.key_), detail::from_word<V>(word_of(e)));
        else
          f(std::as_const(e.key_), std::as_const(e.value_));
      }
    }
  }

  // Exact when nobody changes the map, also after deaths once somebody took the dead one's locks over.
  [[nodiscard]] std::size_t size() const noexcept {
    return static_cast<std::size_t>(core().size());
  }
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }

  // Takes back what dead processes were building, and frees all removed entries that nobody reads.
  // Returns how many threads were found dead. Nobody has to call it.
  std::size_t recover() {
    detail::map_thread& t = core().this_thread();
    const std::size_t dead = core().bury(t);
    core().mend_all(t);
    core().reclaim_all(t, destroy);
    return dead;
  }

 private:
  enum class outcome { absent, inserted, assigned };

  struct position {
    std::uint64_t* link;
    entry* found;
  };

  // Shared memory is changed by readers, too: they say where they are.
  [[nodiscard]] detail::map_core& core() const noexcept {
    return const_cast<concurrent_map&>(*this);
  }

  template <class Q>
  [[nodiscard]] static decltype(auto) lookup_form(const Q& key) {
    if constexpr (taken_as_it_is<Q>)
      return static_cast<const Q&>(key);
    else
      return static_cast<K>(key);
  }
  // The top bits choose stripe and bucket: spread, whatever Hash gives. Odd: buckets begin at even keys.
  template <class Q>
  [[nodiscard]] static std::uint64_t key_of(const Q& key) {
    const auto h = static_cast<std::uint64_t>(Hash{}(key));
    if constexpr (detail::avalanches<Hash>)
      return h | 1;
    else
      return h * 0x9e3779b97f4a7c15U | 1;
  }

  [[nodiscard]] static std::uint64_t word_of(entry& e) noexcept
    requires in_word
  {
    // Acquire: pairs with change; what its writer did before is seen.
    return std::atomic_ref<std::uint64_t>(e.value_).load(std::memory_order_acquire);
  }
  [[nodiscard]] static std::uint64_t as_word(const V& value) noexcept
    requires in_word
  {
    std::uint64_t word = 0;
    std::memcpy(&word, std::addressof(value), sizeof(V));
    return word;
  }
  template <class F>
  static void change(entry& e, F& f)
    requires in_word
  {
    std::uint64_t before = word_of(e);
    for (;;) {
      V value = detail::from_word<V>(before);
      f(value);
      // The commit. On a node that was removed meanwhile it counts as before the removal: we reached
      // it while it was there.
      if (std::atomic_ref<std::uint64_t>(e.value_).compare_exchange_strong(
              before, as_word(value), std::memory_order_acq_rel, std::memory_order_acquire))
        return;
    }
  }

  // Part of each operation: a call, and the registers it saves and restores, would be a fifth of a find.
  template <class Q>
#if defined(__GNUC__)
  [[gnu::always_inline]]
#endif
  [[nodiscard]] inline entry*
  find_entry(const detail::map_reading& reading, std::uint64_t h, const Q& key) const {
    detail::map_core& map = core();
    detail::map_walk walk = reading.walk();
    for (;;) {
      const std::uint64_t levels = walk.levels();
      bool exact = false;
      std::uint64_t* link = &map.entry_for(h, levels, exact);
      for (;;) {
        std::uint64_t found = 0;
        if (!walk.follow(*link, found)) [[unlikely]]
          break;  // anew
        const std::uint64_t target = found & detail::link_target;
        if (target == 0) return nullptr;
        if ((found & detail::link_to_bucket) != 0) {
          if (exact && map.levels() == levels) return nullptr;
          link = &map.bucket_at(target);
          continue;
        }
        entry* const e = static_cast<entry*>(map.node_at(target));
        if (e->key >= h) {
          if (e->key > h) return nullptr;
          if (Equal{}(e->key_, key)) return e;
        }
        link = &e->link;
      }
    }
  }
  // Under the stripe's lock.
  template <class Q>
  [[nodiscard]] position seek(const detail::map_thread& t, std::uint64_t h, const Q& key) {
    detail::map_core& map = core();
    std::uint64_t* link = &map.locked_entry_for(t, h);
    for (;;) {
      const std::uint64_t found =
          std::atomic_ref<std::uint64_t>(*link).load(std::memory_order_relaxed);  // locked
      const std::uint64_t target = found & detail::link_target;
      if (target == 0 || (found & detail::link_to_bucket) != 0) return {link, nullptr};
      entry* const e = static_cast<entry*>(map.node_at(target));
      if (e->key > h) return {link, nullptr};
      if (e->key == h && Equal{}(e->key_, key)) return {link, e};
      link = &e->link;
    }
  }

  static void destroy(heap_header* of, detail::map_node* node) noexcept {
    std::destroy_at(static_cast<entry*>(node));
    detail::heap_deallocate(of, node);
  }

  // A node that is not reachable yet; unless given away, it is gone with this.
  class unfinished {
   public:
    template <class Q, class U>
    unfinished(detail::map_core& map, detail::map_thread& t, std::uint64_t h, const Q& key,
               U&& value)
        : map_(&map), thread_(&t) {
      const std::uint64_t tag = map.begin_building(t, stripe_of(h));
      try {
        const tagging tagged(t.heap, tag);
        build(h, key, std::forward<U>(value));
      } catch (...) {
        map.abandoned(t);
        throw;
      }
      map.finish_building(t, entry_);
    }
    unfinished(const unfinished&) = delete;
    unfinished& operator=(const unfinished&) = delete;
    ~unfinished() {
      if (entry_ == nullptr) return;
      destroy(thread_->heap, entry_);
      map_->abandoned(*thread_);
    }
    [[nodiscard]] entry* get() const noexcept { return entry_; }
    entry* give_away() noexcept { return std::exchange(entry_, nullptr); }

   private:
    class tagging {
     public:
      tagging(heap_header* of, std::uint64_t tag)
          : heap_(of), before_(detail::heap_set_tag(of, tag)) {}
      tagging(const tagging&) = delete;
      tagging& operator=(const tagging&) = delete;
      ~tagging() { (void)detail::heap_set_tag(heap_, before_); }

     private:
      heap_header* heap_;
      std::uint64_t before_;
    };

    template <class Q, class U>
    void build(std::uint64_t h, const Q& key, U&& value) {
      void* const block = detail::heap_allocate(thread_->heap, sizeof(entry));
      auto* const e = static_cast<entry*>(block);
      e->detail::map_node::link = 0;
      e->detail::map_node::key = h;
      e->end_.born = map_->now();
      e->end_.retired = 0;
      e->end_.limbo = 0;
      try {
        const detail::builder with(allocator_type(thread_->heap));
        with.build(std::addressof(e->key_), key);
        try {
          if constexpr (in_word)
            e->value_ = as_word(V(std::forward<U>(value)));
          else
            with.build(std::addressof(e->value_), std::forward<U>(value));
        } catch (...) {
          std::destroy_at(std::addressof(e->key_));
          throw;
        }
      } catch (...) {
        detail::heap_deallocate(thread_->heap, block);
        throw;
      }
      entry_ = e;
    }

    detail::map_core* map_;
    detail::map_thread* thread_;
    entry* entry_ = nullptr;
  };

  // Again, once everything was freed that can be, if memory is short.
  template <class F>
  auto with_memory(F&& f) {
    try {
      return f();
    } catch (const std::bad_alloc&) {
      recover();
    }
    return f();
  }

  // false: somebody else did. Values are built from as often as it takes, so they are copied.
  template <class Q, class U>
  bool insert_entry(detail::map_thread& t, std::uint64_t h, const Q& key, const U& value) {
    bool inserted = false;
    const bool full = with_memory([&] {
      unfinished node(core(), t, h, key, value);
      const detail::map_locking locked(core(), t, stripe_of(h));
      const position at = seek(t, h, key);
      if (at.found != nullptr) return false;
      inserted = true;
      return core().insert(t, *at.link, node.give_away());
    });
    if (full) core().grow(t);
    return inserted;
  }

  // The node `expected`, within a reading that covers it, becomes one with another value; false: it is
  // not there any more.
  template <class Q, class U>
  bool replace_entry(detail::map_thread& t, std::uint64_t h, const Q& key, entry* expected,
                     const U& value) {
    bool replaced = false;
    const bool look_for_dead = with_memory([&] {
      unfinished node(core(), t, h, std::as_const(expected->key_), value);
      const detail::map_locking locked(core(), t, stripe_of(h));
      const position at = seek(t, h, key);
      if (at.found != expected) return false;
      replaced = true;
      core().replace(t, *at.link, expected, node.give_away());
      return core().reclaim(t, stripe_of(h), destroy, false);
    });
    if (look_for_dead) core().bury(t);
    return replaced;
  }

  template <class Q, class U>
  outcome assign_or(const Q& key, U&& value, bool may_insert) {
    const auto& wanted = lookup_form(key);
    const std::uint64_t h = key_of(wanted);
    detail::map_thread& t = core().this_thread();
    for (;;) {
      {
        const detail::map_reading reading(core(), t);
        if (entry* const found = find_entry(reading, h, wanted)) {
          if constexpr (in_word) {
            const std::uint64_t word = as_word(V(value));
            // The commit; see change. Release and acquire: as if by update.
            std::atomic_ref<std::uint64_t>(found->value_).exchange(word, std::memory_order_acq_rel);
            return outcome::assigned;
          } else {
            if (replace_entry(t, h, wanted, found, value)) return outcome::assigned;
            continue;
          }
        }
      }
      if (!may_insert) return outcome::absent;
      if (insert_entry(t, h, wanted, value)) return outcome::inserted;
    }
  }

  void destroy_all() noexcept {
    detail::map_core& map = core();
    try {
      recover();
      map.this_thread().catch_up();
    } catch (...) {  // what a dead process was building is lost
    }
    for (std::uint64_t stripe = 0; stripe < detail::map_stripe_count; ++stripe) {
      for (std::uint64_t link = map.head_of(stripe); (link & detail::link_target) != 0;) {
        if ((link & detail::link_to_bucket) != 0) {
          link = map.bucket_at(link);
          continue;
        }
        detail::map_node* const node = map.node_at(link);
        link = node->link;
        destroy(heap(), node);
      }
      map.destroy_limbo(stripe, destroy);
    }
  }
};

}  // namespace ipcpp
