// ipcpp.malloc:construction - how our allocators build an element, so that everything inside it uses
// the element's memory.
//
// std::pmr's allocators pass themselves on to elements that take an allocator, and to those of pairs
// and tuples. That leaves out a plain struct with containers in it, whose fields would quietly use
// private memory. Here a struct is built field by field, and each field the same way again:
//
//   knows our allocator (uses_allocator)      with the allocator, as the standard says
//   wraps something that has to (synchronized)   around it, see wraps_a_value
//   pair, tuple, array, aggregate with        part by part, in place: from a T as a copy or move of
//   such a thing in it                        each part, from anything else see below
//   everything else                           as ever
//
// An aggregate that is made from other arguments (none, or those of its braces) is first made by
// its own rules, default member initialisers included, with whatever memory they choose; then each
// part that uses other memory is moved over. A part that cannot be moved (a lock, a queue) is
// made anew from the allocator alone; one that does not know our allocator stays as it is.
//
// Invariant: carries<T, A>() is false exactly if building a T needs no allocator at all.
// Failure model: an exception leaves nothing behind; parts already built are destroyed, last first.
// Whoever is killed in between leaves an element that nobody has been told of.
// Limits: those of detail::fields_of; no bit-fields in a struct that also holds containers. If such
// a struct has a destructor of its own, that does not run when its construction fails.
module;

#include <array>
#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <tuple>
#include <type_traits>
#include <utility>

export module ipcpp.malloc:construction;

import ipcpp.platform;
import ipcpp.sync;

namespace ipcpp::detail {

template <class T>
inline constexpr bool is_pair = false;
template <class First, class Second>
inline constexpr bool is_pair<std::pair<First, Second>> = true;

template <class T>
inline constexpr bool is_tuple = false;
template <class... Types>
inline constexpr bool is_tuple<std::tuple<Types...>> = true;

// Arrays of either kind: what they have, and how many of it.
template <class T>
struct elements_of {
  static constexpr bool known = false;
};
template <class T, std::size_t n>
struct elements_of<T[n]> {
  static constexpr bool known = true;
  static constexpr std::size_t count = n;
  using type = T;
};
template <class T, std::size_t n>
struct elements_of<std::array<T, n>> {
  static constexpr bool known = true;
  static constexpr std::size_t count = n;
  using type = T;
};

// References to all parts of a pair, tuple or aggregate.
template <class T, std::size_t n>
auto tie_fields([[maybe_unused]] T& object) {
  if constexpr (n == 0) {
    return std::tuple<>();
  } else if constexpr (n == 1) {
    auto& [f0] = object;
    return std::tie(f0);
  } else if constexpr (n == 2) {
    auto& [f0, f1] = object;
    return std::tie(f0, f1);
  } else if constexpr (n == 3) {
    auto& [f0, f1, f2] = object;
    return std::tie(f0, f1, f2);
  } else if constexpr (n == 4) {
    auto& [f0, f1, f2, f3] = object;
    return std::tie(f0, f1, f2, f3);
  } else if constexpr (n == 5) {
    auto& [f0, f1, f2, f3, f4] = object;
    return std::tie(f0, f1, f2, f3, f4);
  } else if constexpr (n == 6) {
    auto& [f0, f1, f2, f3, f4, f5] = object;
    return std::tie(f0, f1, f2, f3, f4, f5);
  } else if constexpr (n == 7) {
    auto& [f0, f1, f2, f3, f4, f5, f6] = object;
    return std::tie(f0, f1, f2, f3, f4, f5, f6);
  } else if constexpr (n == 8) {
    auto& [f0, f1, f2, f3, f4, f5, f6, f7] = object;
    return std::tie(f0, f1, f2, f3, f4, f5, f6, f7);
  } else if constexpr (n == 9) {
    auto& [f0, f1, f2, f3, f4, f5, f6, f7, f8] = object;
    return std::tie(f0, f1, f2, f3, f4, f5, f6, f7, f8);
  } else if constexpr (n == 10) {
    auto& [f0, f1, f2, f3, f4, f5, f6, f7, f8, f9] = object;
    return std::tie(f0, f1, f2, f3, f4, f5, f6, f7, f8, f9);
  } else if constexpr (n == 11) {
    auto& [f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10] = object;
    return std::tie(f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10);
  } else if constexpr (n == 12) {
    auto& [f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11] = object;
    return std::tie(f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11);
  } else if constexpr (n == 13) {
    auto& [f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12] = object;
    return std::tie(f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12);
  } else if constexpr (n == 14) {
    auto& [f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13] = object;
    return std::tie(f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13);
  } else if constexpr (n == 15) {
    auto& [f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14] = object;
    return std::tie(f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14);
  } else if constexpr (n == 16) {
    auto& [f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15] = object;
    return std::tie(f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15);
  } else if constexpr (n == 17) {
    auto& [f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16] = object;
    return std::tie(f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16);
  } else if constexpr (n == 18) {
    auto& [f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17] = object;
    return std::tie(f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17);
  } else if constexpr (n == 19) {
    auto& [f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18] =
        object;
    return std::tie(f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17,
                    f18);
  } else if constexpr (n == 20) {
    auto& [f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18,
           f19] = object;
    return std::tie(f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17,
                    f18, f19);
  } else if constexpr (n == 21) {
    auto& [f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19,
           f20] = object;
    return std::tie(f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17,
                    f18, f19, f20);
  } else if constexpr (n == 22) {
    auto& [f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19,
           f20, f21] = object;
    return std::tie(f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17,
                    f18, f19, f20, f21);
  } else if constexpr (n == 23) {
    auto& [f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19,
           f20, f21, f22] = object;
    return std::tie(f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17,
                    f18, f19, f20, f21, f22);
  } else if constexpr (n == 24) {
    auto& [f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19,
           f20, f21, f22, f23] = object;
    return std::tie(f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17,
                    f18, f19, f20, f21, f22, f23);
  }
}
template <class T, std::size_t... i>
auto tie_elements(T& object, std::index_sequence<i...>) {
  return std::tie(std::get<i>(object)...);
}
template <class T>
auto tie_parts(T& object) {
  using plain = std::remove_cv_t<T>;
  if constexpr (is_pair<plain> || is_tuple<plain>) {
    return tie_elements(object, std::make_index_sequence<std::tuple_size_v<plain>>());
  } else {
    return tie_fields<T, fields_of<plain>::count>(object);
  }
}

// A T that is built around a T::built_inside by T(built_by, f), which calls f(address of the inside).
template <class T>
concept wraps_a_value = requires { typename T::built_inside; };

template <class T, class A>
consteval bool carries();

template <class A, class... Types>
consteval bool some_carries(type_list<Types...>) {
  return (carries<Types, A>() || ...);
}
template <class T, class A, std::size_t... i>
consteval bool some_element_carries(std::index_sequence<i...>) {
  return (carries<std::tuple_element_t<i, T>, A>() || ...);
}

// Does a T hold anything that allocates with an A, as far as we can see?
template <class Qualified, class A>
consteval bool carries() {
  using T = std::remove_cv_t<Qualified>;
  if constexpr (elements_of<T>::known) {
    return carries<typename elements_of<T>::type, A>();
  } else if constexpr (!std::is_class_v<T>) {
    return false;
  } else if constexpr (is_pair<T> || is_tuple<T>) {
    return some_element_carries<T, A>(std::make_index_sequence<std::tuple_size_v<T>>());
  } else if constexpr (std::uses_allocator_v<T, A>) {
    return true;
  } else if constexpr (wraps_a_value<T>) {
    return carries<typename T::built_inside, A>();
  } else if constexpr (std::is_aggregate_v<T> && !std::is_trivially_copyable_v<T>) {
    if constexpr (fields_of<T>::known) {
      return some_carries<A>(typename fields_of<T>::types{});
    } else {
      return false;
    }
  } else {
    return false;
  }
}

template <class T, class A>
consteval bool in_parts();

template <class T, class A, std::size_t... i>
consteval bool some_element_in_parts(std::index_sequence<i...>) {
  return (in_parts<std::tuple_element_t<i, T>, A>() || ...);
}

// Has a T to be built in parts, because handing it the allocator would not reach all of it?
template <class Qualified, class A>
consteval bool in_parts() {
  using T = std::remove_cv_t<Qualified>;
  if constexpr (!carries<T, A>()) {
    return false;
  } else if constexpr (is_pair<T> || is_tuple<T>) {
    return some_element_in_parts<T, A>(std::make_index_sequence<std::tuple_size_v<T>>());
  } else {
    return !std::uses_allocator_v<T, A>;
  }
}

template <class T>
class destroyed_on_failure {
 public:
  explicit destroyed_on_failure(T* object) noexcept : object_(object) {}
  destroyed_on_failure(const destroyed_on_failure&) = delete;
  destroyed_on_failure& operator=(const destroyed_on_failure&) = delete;
  ~destroyed_on_failure() {
    if (object_ != nullptr) std::destroy_at(object_);
  }
  void release() noexcept { object_ = nullptr; }

 private:
  T* object_;
};

// Builds with the allocator it was given; A is a value type's worth of allocator, whichever.
export template <class A>
class builder {
 public:
  explicit builder(const A& allocator) noexcept : allocator_(allocator) {}

  template <class T, class... Args>
  void build(T* at, Args&&... args) const {
    constexpr bool from_same =
        sizeof...(Args) == 1 &&
        (std::is_same_v<std::remove_cvref_t<Args>, std::remove_cv_t<T>> && ...);
    if constexpr (std::is_const_v<T>) {
      build(without_const(at), std::forward<Args>(args)...);
    } else if constexpr (elements_of<T>::known && from_same) {
      build_elements(at, std::forward<Args>(args)...);
    } else if constexpr (!carries<T, A>()) {
      build_plainly(at, std::forward<Args>(args)...);
    } else if constexpr (wraps_a_value<T>) {
      std::construct_at(at, built_by, [&](typename T::built_inside* inside) {
        build(inside, std::forward<Args>(args)...);
      });
    } else if constexpr (!in_parts<T, A>()) {
      std::uninitialized_construct_using_allocator(at, allocator_, std::forward<Args>(args)...);
    } else if constexpr (is_pair<T> && requires { build_pair(at, std::forward<Args>(args)...); }) {
      build_pair(at, std::forward<Args>(args)...);
    } else if constexpr (from_same) {
      build_parts(at, std::forward<Args>(args)...);
    } else {
      build_plainly(at, std::forward<Args>(args)...);
      settle(at);
    }
  }

 private:
  template <class T>
  static std::remove_cv_t<T>* without_const(T* at) noexcept {
    return static_cast<std::remove_cv_t<T>*>(const_cast<void*>(static_cast<const void*>(at)));
  }

  template <class T, class... Args>
  void build_plainly(T* at, Args&&... args) const {
    if constexpr (std::is_constructible_v<T, Args...>) {
      std::construct_at(at, std::forward<Args>(args)...);
    } else {
      ::new (static_cast<void*>(at)) T{std::forward<Args>(args)...};
    }
  }

  template <class T>
  void build_pair(T* at) const {
    build_both(
        at, [&] { build(std::addressof(at->first)); }, [&] { build(std::addressof(at->second)); });
  }
  template <class T, class... First, class... Second>
  void build_pair(T* at, std::piecewise_construct_t, std::tuple<First...> first,
                  std::tuple<Second...> second) const {
    build_both(
        at,
        [&] {
          build_from_tuple(std::addressof(at->first), first, std::index_sequence_for<First...>());
        },
        [&] {
          build_from_tuple(std::addressof(at->second), second,
                           std::index_sequence_for<Second...>());
        });
  }
  template <class T, class First, class Second>
  void build_pair(T* at, First&& first, Second&& second) const {
    build_both(
        at, [&] { build(std::addressof(at->first), std::forward<First>(first)); },
        [&] { build(std::addressof(at->second), std::forward<Second>(second)); });
  }
  template <class T, class Pair>
    requires is_pair<std::remove_cvref_t<Pair>>
  void build_pair(T* at, Pair&& both) const {
    build_pair(at, std::get<0>(std::forward<Pair>(both)), std::get<1>(std::forward<Pair>(both)));
  }
  template <class T, class BuildFirst, class BuildSecond>
  void build_both(T* at, BuildFirst build_first, BuildSecond build_second) const {
    build_first();
    destroyed_on_failure first(std::addressof(at->first));
    build_second();
    first.release();
  }
  template <class T, class Tuple, std::size_t... i>
  void build_from_tuple(T* at, Tuple& args, std::index_sequence<i...>) const {
    build(at, std::get<i>(std::move(args))...);
  }

  // Copies or moves, as `source` says.
  template <class T, class Source>
  void build_parts(T* at, Source&& source) const {
    build_each<0, std::is_lvalue_reference_v<Source>>(tie_parts(*at), tie_parts(source));
  }
  template <std::size_t i, bool copy, class To, class From>
  void build_each([[maybe_unused]] const To& to, [[maybe_unused]] const From& from) const {
    if constexpr (i < std::tuple_size_v<To>) {
      using part = std::remove_reference_t<std::tuple_element_t<i, To>>;
      // A part without bytes of its own may lie upon another part's.
      if constexpr (!std::is_empty_v<part> || !std::is_trivially_copyable_v<part>) {
        part* const at = std::addressof(std::get<i>(to));
        if constexpr (copy) {
          build(at, std::get<i>(from));
        } else {
          build(at, std::move(std::get<i>(from)));
        }
        destroyed_on_failure built(at);
        build_each<i + 1, copy>(to, from);
        built.release();
      } else {
        build_each<i + 1, copy>(to, from);
      }
    }
  }
  template <class Array, class Source>
  void build_elements(Array* at, Source&& source) const {
    using element = typename elements_of<Array>::type;
    if constexpr (elements_of<Array>::count == 0) {
      ::new (static_cast<void*>(at)) Array;
    } else if constexpr (std::is_trivially_copyable_v<element>) {
      std::memcpy(static_cast<void*>(at), std::addressof(source), sizeof(Array));
    } else {
      std::size_t built = 0;
      try {
        for (; built < elements_of<Array>::count; ++built) {
          if constexpr (std::is_lvalue_reference_v<Source>) {
            build(std::addressof((*at)[built]), source[built]);
          } else {
            build(std::addressof((*at)[built]), std::move(source[built]));
          }
        }
      } catch (...) {
        while (built-- > 0) std::destroy_at(std::addressof((*at)[built]));
        throw;
      }
    }
  }

  // Moves the memory of the finished object *at over. On an exception *at is no more, in all parts.
  template <class T>
  void settle(T* at) const {
    if constexpr (std::is_const_v<T>) {
      settle(without_const(at));
    } else if constexpr (!carries<T, A>()) {
      return;
    } else if constexpr (elements_of<T>::known) {
      settle_elements(at);
    } else if constexpr (wraps_a_value<T>) {
      settle(at->built_value(built_by));
    } else if constexpr (in_parts<T, A>()) {
      settle_each<0>(tie_parts(*at));
    } else {
      rebuild(at);
    }
  }
  template <class T>
  void rebuild(T* at) const {
    if constexpr (requires { at->get_allocator() == allocator_; })
      if (at->get_allocator() == allocator_) return;
    if constexpr (std::is_move_constructible_v<T>) {
      destroyed_on_failure whole(at);
      T saved(std::move(*at));
      whole.release();
      std::destroy_at(at);
      build(at, std::move(saved));
    } else {
      std::destroy_at(at);
      build(at);
    }
  }
  template <std::size_t i, class Parts>
  void settle_each([[maybe_unused]] const Parts& parts) const {
    if constexpr (i < std::tuple_size_v<Parts>) {
      auto* const part = std::addressof(std::get<i>(parts));
      try {
        settle(part);
      } catch (...) {
        destroy_each<i + 1>(parts);
        throw;
      }
      destroyed_on_failure settled(part);
      settle_each<i + 1>(parts);
      settled.release();
    }
  }
  template <std::size_t i, class Parts>
  static void destroy_each([[maybe_unused]] const Parts& parts) noexcept {
    if constexpr (i < std::tuple_size_v<Parts>) {
      destroy_each<i + 1>(parts);
      std::destroy_at(std::addressof(std::get<i>(parts)));
    }
  }
  template <class Array>
  void settle_elements(Array* at) const {
    constexpr std::size_t count = elements_of<Array>::count;
    std::size_t i = 0;
    try {
      for (; i < count; ++i) settle(std::addressof((*at)[i]));
    } catch (...) {
      for (std::size_t other = count; other-- > 0;)
        if (other != i) std::destroy_at(std::addressof((*at)[other]));
      throw;
    }
  }

  A allocator_;
};

}  // namespace ipcpp::detail
