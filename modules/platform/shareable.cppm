// ipcpp.platform:shareable - which types mean the same to every process.
//
// shareable<T> holds when T is
//   - arithmetic, an enumeration, or an array of shareables;
//   - an aggregate whose fields are all shareable;
//   - tuple-like (std::pair, std::tuple, std::array) with shareable elements;
//   - ours, or allocator-aware with our allocator: the class, or its allocator_type, has
//     `static constexpr bool is_ipcpp_shareable = true`;
//   - trivially copyable otherwise (its members are private: nobody can look inside), unless it is
//     visibly a view, an iterator or a std::reference_wrapper;
//   - vouched for by its author:
//     `template <> inline constexpr bool ipcpp::vouched_shareable<mine> = true;`.
// Pointers, references and classes that hide a pointer behind a destructor (std::string,
// std::unique_ptr) are not.
//
// Limit: a trivially copyable class with a private raw pointer passes. There is no way to see it in
// C++20.
module;

#include <cstddef>
#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>

export module ipcpp.platform:shareable;

import :fields;

namespace ipcpp {

export template <class T>
inline constexpr bool vouched_shareable = false;

namespace detail {

template <class T>
consteval bool is_shareable();

template <class T>
concept marked_shareable = requires { requires T::is_ipcpp_shareable; };

template <class T>
concept allocates_shareably = requires { requires T::allocator_type::is_ipcpp_shareable; };

template <class T>
concept tuple_like = requires { std::tuple_size<T>::value; };

// Trivially copyable, yet visibly a pointer in disguise.
template <class T>
concept disguised_pointer =
    requires(T& t) { requires std::is_pointer_v<decltype(t.data())>; } || requires(T& t) {
      ++t;
      *t;
    };

template <class T>
inline constexpr bool is_reference_wrapper = false;
template <class T>
inline constexpr bool is_reference_wrapper<std::reference_wrapper<T>> = true;

template <class... Types>
consteval bool all_shareable(type_list<Types...>) {
  return (is_shareable<Types>() && ...);
}

template <class T, std::size_t... i>
consteval bool elements_shareable(std::index_sequence<i...>) {
  return (is_shareable<std::tuple_element_t<i, T>>() && ...);
}

template <class Qualified>
consteval bool is_shareable() {
  using T = std::remove_cv_t<Qualified>;
  if constexpr (vouched_shareable<T>) {
    return true;
  } else if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T>) {
    return true;
  } else if constexpr (std::is_bounded_array_v<T>) {
    return is_shareable<std::remove_extent_t<T>>();
  } else if constexpr (!std::is_class_v<T> && !std::is_union_v<T>) {
    return false;
  } else if constexpr (marked_shareable<T> || allocates_shareably<T>) {
    return true;
  } else if constexpr (tuple_like<T> && requires { typename T::value_type; }) {
    return is_shareable<typename T::value_type>();  // std::array
  } else if constexpr (tuple_like<T>) {
    return elements_shareable<T>(std::make_index_sequence<std::tuple_size<T>::value>());
  } else if constexpr (std::is_union_v<T>) {
    return false;  // nobody can tell which member is live
  } else if constexpr (std::is_aggregate_v<T>) {
    if constexpr (fields_of<T>::known) {
      return all_shareable(typename fields_of<T>::types{});
    } else {
      return false;
    }
  } else {
    return std::is_trivially_copyable_v<T> && !disguised_pointer<T> && !is_reference_wrapper<T>;
  }
}

}  // namespace detail

export template <class T>
concept shareable = detail::is_shareable<T>();

}  // namespace ipcpp
