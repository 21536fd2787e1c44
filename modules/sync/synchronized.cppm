// ipcpp.sync:synchronized - a value that can only be reached with its lock held.
//
//   auto& stock = segment.find_or_construct<ipcpp::synchronized<stock_map>>("stock");
//   stock.with([](stock_map& shelves) { shelves["apples"].push_back(300); });
//   const auto n = stock.with_shared([](const stock_map& shelves) { return shelves.size(); });
//
// Representation: the lock, then the value.
//
// with() is exclusive; with_shared() is for readers, who do not exclude each other. What the function
// returns is returned by value: no reference to the value gets out (a pointer may: do not). An
// exception from the function leaves the lock free and the value as the function left it.
//
// Failure model. When a process dies inside with(), the value may be half changed: with() and
// with_shared() throw owner_died until somebody mends it, by repair(f) (which looks at the value and
// makes it whole) or reset(args...) (which makes a new one). A std::map torn by a kill cannot be mended:
// reset it, or use concurrent_map. The death of a reader harms nobody.
module;

#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

export module ipcpp.sync:synchronized;

import ipcpp.platform;
import :shared_mutex;

namespace ipcpp {

// May a T be destroyed although somebody died while changing it? Then reset() after a death destroys
// it, which gives its memory back; else its blocks stay in use. A destructor that follows links must
// not be trusted with torn ones.
export template <class T>
inline constexpr bool destructible_when_torn = std::is_trivially_destructible_v<T>;

namespace detail {

// Builds the value of a synchronized<T> with the memory of the place it lies in. The layers above
// specialise it for a T that allocates (ipcpp.malloc:construction).
export template <class T>
struct value_builder {
  template <class... Args>
  static void build(T* at, Args&&... args) {
    if constexpr (std::is_constructible_v<T, Args...>) {
      std::construct_at(at, std::forward<Args>(args)...);
    } else {
      ::new (static_cast<void*>(at)) T{std::forward<Args>(args)...};
    }
  }
};

// Says that the second argument builds the value: f(T*).
export struct built_by_t {
  explicit built_by_t() = default;
};
export inline constexpr built_by_t built_by{};

// Throws owner_died: a reset() failed, or somebody died in one.
export [[noreturn]] void refuse_missing_value();

}  // namespace detail

export template <class T>
class synchronized {
  static_assert(std::is_object_v<T> && !std::is_const_v<T> && !std::is_array_v<T>);

 public:
  static constexpr bool is_ipcpp_shareable = shareable<T>;
  using value_type = T;
  // For our allocators: what has to be built with theirs.
  using built_inside = T;

  // Of those arguments, or by T{args...} for an aggregate. By an allocator of ours (a container's,
  // or segment.construct) all that is inside uses its memory.
  template <class... Args>
    requires(std::is_constructible_v<T, Args...> || requires { T{std::declval<Args>()...}; })
  explicit(sizeof...(Args) == 1) synchronized(Args&&... args) {
    detail::value_builder<T>::build(std::addressof(value_), std::forward<Args>(args)...);
  }
  template <class Build>
  synchronized(detail::built_by_t, Build&& build) {
    std::forward<Build>(build)(std::addressof(value_));
  }
  synchronized(const synchronized&) = delete;
  synchronized& operator=(const synchronized&) = delete;
  // Nobody uses it any more. A value that was torn by a death is not destroyed unless
  // destructible_when_torn.
  ~synchronized() {
    if (built_ != 0 && (!lock_.owner_died() || destructible_when_torn<T>))
      std::destroy_at(std::addressof(value_));
  }

  // f(T&) with the lock held exclusively; returns what f returns, by value. Blocks. Throws
  // owner_died, would_deadlock (called inside itself), limit_reached, and what f throws.
  template <std::invocable<T&> F>
  std::decay_t<std::invoke_result_t<F, T&>> with(F&& f) {
    const holding held(lock_);
    return std::invoke(std::forward<F>(f), value_);
  }
  // f(const T&) with the lock shared with other readers; otherwise the same.
  template <std::invocable<const T&> F>
  std::decay_t<std::invoke_result_t<F, const T&>> with_shared(F&& f) const {
    const reading held(lock_);
    return std::invoke(std::forward<F>(f), std::as_const(value_));
  }

  // f(T&) with the lock held whatever became of its last owner; when f returns, the value is whole
  // again by f's word. When it throws, the value stays as it is and what it was.
  template <std::invocable<T&> F>
  std::decay_t<std::invoke_result_t<F, T&>> repair(F&& f) {
    auto held = lock_.lock_for_repair();
    if (built_ == 0) detail::refuse_missing_value();
    if constexpr (std::is_void_v<std::invoke_result_t<F, T&>>) {
      std::invoke(std::forward<F>(f), value_);
      held.make_consistent();
    } else {
      std::decay_t<std::invoke_result_t<F, T&>> result = std::invoke(std::forward<F>(f), value_);
      held.make_consistent();
      return result;
    }
  }
  // A new value in place of the old, whatever became of it. After a death the old one is destroyed
  // only if destructible_when_torn, see there. If building throws, there is no value, and only another
  // reset() helps.
  template <class... Args>
  void reset(Args&&... args) {
    auto held = lock_.lock_for_repair();
    const bool torn = held.owner_died();
    held.mark_inconsistent();  // until the new one stands, whatever happens
    const bool destroyed = std::exchange(built_, 0) != 0 && (!torn || destructible_when_torn<T>);
    if (destroyed) std::destroy_at(std::addressof(value_));
    detail::value_builder<T>::build(std::addressof(value_), std::forward<Args>(args)...);
    built_ = 1;
    held.make_consistent();
  }

  // For our allocators, while nobody else uses it.
  [[nodiscard]] T* built_value(detail::built_by_t) noexcept { return std::addressof(value_); }

  // Has an owner died since the value was last whole, as far as anybody noticed?
  [[nodiscard]] bool owner_died() const noexcept { return lock_.owner_died(); }

 private:
  class holding {
   public:
    explicit holding(shared_mutex& lock) : lock_(&lock) { lock_->lock(); }
    holding(const holding&) = delete;
    holding& operator=(const holding&) = delete;
    ~holding() { lock_->unlock(); }

   private:
    shared_mutex* lock_;
  };
  class reading {
   public:
    explicit reading(shared_mutex& lock) : lock_(&lock) { lock_->lock_shared(); }
    reading(const reading&) = delete;
    reading& operator=(const reading&) = delete;
    ~reading() { lock_->unlock_shared(); }

   private:
    shared_mutex* lock_;
  };

  mutable shared_mutex lock_;
  std::uint64_t built_ = 1;  // is there a value? Changed by the owner alone, while the lock says B
  union {
    T value_;
  };
};

}  // namespace ipcpp
