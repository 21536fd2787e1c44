// ipcpp.platform:fields - the types of an aggregate's fields, found at compile time.
//
// C++20 has no reflection, but an aggregate tells how many fields it has (it can be initialised
// from as many `{}`) and a structured binding of that many names tells their types, arrays
// included. The technique is Boost.PFR's; counting with empty braces instead of a converting probe
// keeps `char text[256]` one field.
//
// Limits: at most 24 fields, all public and in one class (no base with fields). A field that cannot be
// initialised from `{}` (a latch, a semaphore) has a default member initialiser, and so have those
// after it; none of these is an array. An aggregate outside these limits has known = false, and whoever asks must
// say what that means (for `shareable`: no).
module;

#include <cstddef>
#include <type_traits>
#include <utility>

export module ipcpp.platform:fields;

namespace ipcpp::detail {

export template <class... Types>
struct type_list {
  static constexpr std::size_t size = sizeof...(Types);
};

inline constexpr std::size_t max_fields = 24;

// Stands for a value of whatever type a field has, in unevaluated places only. Not for T itself: an
// aggregate of one field must not be taken for a copy of itself.
template <class T>
struct some_value {
  template <class Field>
    requires(!std::is_same_v<Field, T>)
  operator Field() const noexcept;
};

// Can T be initialised from exactly n empty braces, and after them values of the types Rest?
template <class T, std::size_t n, class... Rest>
consteval bool accepts_braces() {
  if constexpr (n == 0) {
    return requires { T{Rest{}...}; };
  } else if constexpr (n == 1) {
    return requires { T{{}, Rest{}...}; };
  } else if constexpr (n == 2) {
    return requires { T{{}, {}, Rest{}...}; };
  } else if constexpr (n == 3) {
    return requires { T{{}, {}, {}, Rest{}...}; };
  } else if constexpr (n == 4) {
    return requires { T{{}, {}, {}, {}, Rest{}...}; };
  } else if constexpr (n == 5) {
    return requires { T{{}, {}, {}, {}, {}, Rest{}...}; };
  } else if constexpr (n == 6) {
    return requires { T{{}, {}, {}, {}, {}, {}, Rest{}...}; };
  } else if constexpr (n == 7) {
    return requires { T{{}, {}, {}, {}, {}, {}, {}, Rest{}...}; };
  } else if constexpr (n == 8) {
    return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, Rest{}...}; };
  } else if constexpr (n == 9) {
    return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, Rest{}...}; };
  } else if constexpr (n == 10) {
    return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, Rest{}...}; };
  } else if constexpr (n == 11) {
    return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, Rest{}...}; };
  } else if constexpr (n == 12) {
    return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, Rest{}...}; };
  } else if constexpr (n == 13) {
    return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, Rest{}...}; };
  } else if constexpr (n == 14) {
    return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, Rest{}...}; };
  } else if constexpr (n == 15) {
    return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, Rest{}...}; };
  } else if constexpr (n == 16) {
    return requires {
      T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, Rest{}...};
    };
  } else if constexpr (n == 17) {
    return requires {
      T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, Rest{}...};
    };
  } else if constexpr (n == 18) {
    return requires {
      T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, Rest{}...};
    };
  } else if constexpr (n == 19) {
    return requires {
      T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, Rest{}...};
    };
  } else if constexpr (n == 20) {
    return requires {
      T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, Rest{}...};
    };
  } else if constexpr (n == 21) {
    return requires {
      T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
        {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, Rest{}...};
    };
  } else if constexpr (n == 22) {
    return requires {
      T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},       {},
        {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, Rest{}...};
    };
  } else if constexpr (n == 23) {
    return requires {
      T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
        {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, Rest{}...};
    };
  } else if constexpr (n == 24) {
    return requires {
      T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},       {},
        {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, Rest{}...};
    };
  } else if constexpr (n == 25) {
    return requires {
      T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
        {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, Rest{}...};
    };
  } else {
    return false;
  }
}

template <class T, std::size_t n = max_fields + 1>
consteval std::size_t count_braces() {
  if constexpr (n == 0) {
    return 0;
  } else if constexpr (accepts_braces<T, n>()) {
    return n;
  } else {
    return count_braces<T, n - 1>();
  }
}

// From the first field on that has no {} (its default member initialiser stands for it), fields are
// counted by values.
template <class T, std::size_t braces, class... Values>
consteval std::size_t count_fields() {
  if constexpr (braces + sizeof...(Values) > max_fields) {
    return max_fields + 1;
  } else if constexpr (accepts_braces<T, braces, Values..., some_value<T>>()) {
    return count_fields<T, braces, Values..., some_value<T>>();
  } else {
    return braces + sizeof...(Values);
  }
}
template <class T>
inline constexpr std::size_t field_count = count_fields<T, count_braces<T>()>();

template <class T, std::size_t n>
auto list_fields([[maybe_unused]] T& object) {
  if constexpr (n == 0) {
    return type_list<>{};
  } else if constexpr (n == 1) {
    auto& [f0] = object;
    return type_list<decltype(f0)>{};
  } else if constexpr (n == 2) {
    auto& [f0, f1] = object;
    return type_list<decltype(f0), decltype(f1)>{};
  } else if constexpr (n == 3) {
    auto& [f0, f1, f2] = object;
    return type_list<decltype(f0), decltype(f1), decltype(f2)>{};
  } else if constexpr (n == 4) {
    auto& [f0, f1, f2, f3] = object;
    return type_list<decltype(f0), decltype(f1), decltype(f2), decltype(f3)>{};
  } else if constexpr (n == 5) {
    auto& [f0, f1, f2, f3, f4] = object;
    return type_list<decltype(f0), decltype(f1), decltype(f2), decltype(f3), decltype(f4)>{};
  } else if constexpr (n == 6) {
    auto& [f0, f1, f2, f3, f4, f5] = object;
    return type_list<decltype(f0), decltype(f1), decltype(f2), decltype(f3), decltype(f4),
                     decltype(f5)>{};
  } else if constexpr (n == 7) {
    auto& [f0, f1, f2, f3, f4, f5, f6] = object;
    return type_list<decltype(f0), decltype(f1), decltype(f2), decltype(f3), decltype(f4),
                     decltype(f5), decltype(f6)>{};
  } else if constexpr (n == 8) {
    auto& [f0, f1, f2, f3, f4, f5, f6, f7] = object;
    return type_list<decltype(f0), decltype(f1), decltype(f2), decltype(f3), decltype(f4),
                     decltype(f5), decltype(f6), decltype(f7)>{};
  } else if constexpr (n == 9) {
    auto& [f0, f1, f2, f3, f4, f5, f6, f7, f8] = object;
    return type_list<decltype(f0), decltype(f1), decltype(f2), decltype(f3), decltype(f4),
                     decltype(f5), decltype(f6), decltype(f7), decltype(f8)>{};
  } else if constexpr (n == 10) {
    auto& [f0, f1, f2, f3, f4, f5, f6, f7, f8, f9] = object;
    return type_list<decltype(f0), decltype(f1), decltype(f2), decltype(f3), decltype(f4),
                     decltype(f5), decltype(f6), decltype(f7), decltype(f8), decltype(f9)>{};
  } else if constexpr (n == 11) {
    auto& [f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10] = object;
    return type_list<decltype(f0), decltype(f1), decltype(f2), decltype(f3), decltype(f4),
                     decltype(f5), decltype(f6), decltype(f7), decltype(f8), decltype(f9),
                     decltype(f10)>{};
  } else if constexpr (n == 12) {
    auto& [f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11] = object;
    return type_list<decltype(f0), decltype(f1), decltype(f2), decltype(f3), decltype(f4),
                     decltype(f5), decltype(f6), decltype(f7), decltype(f8), decltype(f9),
                     decltype(f10), decltype(f11)>{};
  } else if constexpr (n == 13) {
    auto& [f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12] = object;
    return type_list<decltype(f0), decltype(f1), decltype(f2), decltype(f3), decltype(f4),
                     decltype(f5), decltype(f6), decltype(f7), decltype(f8), decltype(f9),
                     decltype(f10), decltype(f11), decltype(f12)>{};
  } else if constexpr (n == 14) {
    auto& [f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13] = object;
    return type_list<decltype(f0), decltype(f1), decltype(f2), decltype(f3), decltype(f4),
                     decltype(f5), decltype(f6), decltype(f7), decltype(f8), decltype(f9),
                     decltype(f10), decltype(f11), decltype(f12), decltype(f13)>{};
  } else if constexpr (n == 15) {
    auto& [f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14] = object;
    return type_list<decltype(f0), decltype(f1), decltype(f2), decltype(f3), decltype(f4),
                     decltype(f5), decltype(f6), decltype(f7), decltype(f8), decltype(f9),
                     decltype(f10), decltype(f11), decltype(f12), decltype(f13), decltype(f14)>{};
  } else if constexpr (n == 16) {
    auto& [f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15] = object;
    return type_list<decltype(f0), decltype(f1), decltype(f2), decltype(f3), decltype(f4),
                     decltype(f5), decltype(f6), decltype(f7), decltype(f8), decltype(f9),
                     decltype(f10), decltype(f11), decltype(f12), decltype(f13), decltype(f14),
                     decltype(f15)>{};
  } else if constexpr (n == 17) {
    auto& [f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16] = object;
    return type_list<decltype(f0), decltype(f1), decltype(f2), decltype(f3), decltype(f4),
                     decltype(f5), decltype(f6), decltype(f7), decltype(f8), decltype(f9),
                     decltype(f10), decltype(f11), decltype(f12), decltype(f13), decltype(f14),
                     decltype(f15), decltype(f16)>{};
  } else if constexpr (n == 18) {
    auto& [f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17] = object;
    return type_list<decltype(f0), decltype(f1), decltype(f2), decltype(f3), decltype(f4),
                     decltype(f5), decltype(f6), decltype(f7), decltype(f8), decltype(f9),
                     decltype(f10), decltype(f11), decltype(f12), decltype(f13), decltype(f14),
                     decltype(f15), decltype(f16), decltype(f17)>{};
  } else if constexpr (n == 19) {
    auto& [f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18] =
        object;
    return type_list<decltype(f0), decltype(f1), decltype(f2), decltype(f3), decltype(f4),
                     decltype(f5), decltype(f6), decltype(f7), decltype(f8), decltype(f9),
                     decltype(f10), decltype(f11), decltype(f12), decltype(f13), decltype(f14),
                     decltype(f15), decltype(f16), decltype(f17), decltype(f18)>{};
  } else if constexpr (n == 20) {
    auto& [f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18,
           f19] = object;
    return type_list<decltype(f0), decltype(f1), decltype(f2), decltype(f3), decltype(f4),
                     decltype(f5), decltype(f6), decltype(f7), decltype(f8), decltype(f9),
                     decltype(f10), decltype(f11), decltype(f12), decltype(f13), decltype(f14),
                     decltype(f15), decltype(f16), decltype(f17), decltype(f18), decltype(f19)>{};
  } else if constexpr (n == 21) {
    auto& [f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19,
           f20] = object;
    return type_list<decltype(f0), decltype(f1), decltype(f2), decltype(f3), decltype(f4),
                     decltype(f5), decltype(f6), decltype(f7), decltype(f8), decltype(f9),
                     decltype(f10), decltype(f11), decltype(f12), decltype(f13), decltype(f14),
                     decltype(f15), decltype(f16), decltype(f17), decltype(f18), decltype(f19),
                     decltype(f20)>{};
  } else if constexpr (n == 22) {
    auto& [f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19,
           f20, f21] = object;
    return type_list<decltype(f0), decltype(f1), decltype(f2), decltype(f3), decltype(f4),
                     decltype(f5), decltype(f6), decltype(f7), decltype(f8), decltype(f9),
                     decltype(f10), decltype(f11), decltype(f12), decltype(f13), decltype(f14),
                     decltype(f15), decltype(f16), decltype(f17), decltype(f18), decltype(f19),
                     decltype(f20), decltype(f21)>{};
  } else if constexpr (n == 23) {
    auto& [f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19,
           f20, f21, f22] = object;
    return type_list<decltype(f0), decltype(f1), decltype(f2), decltype(f3), decltype(f4),
                     decltype(f5), decltype(f6), decltype(f7), decltype(f8), decltype(f9),
                     decltype(f10), decltype(f11), decltype(f12), decltype(f13), decltype(f14),
                     decltype(f15), decltype(f16), decltype(f17), decltype(f18), decltype(f19),
                     decltype(f20), decltype(f21), decltype(f22)>{};
  } else if constexpr (n == 24) {
    auto& [f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19,
           f20, f21, f22, f23] = object;
    return type_list<decltype(f0), decltype(f1), decltype(f2), decltype(f3), decltype(f4),
                     decltype(f5), decltype(f6), decltype(f7), decltype(f8), decltype(f9),
                     decltype(f10), decltype(f11), decltype(f12), decltype(f13), decltype(f14),
                     decltype(f15), decltype(f16), decltype(f17), decltype(f18), decltype(f19),
                     decltype(f20), decltype(f21), decltype(f22), decltype(f23)>{};
  }
}

// fields_of<T>::types is a type_list of T's fields in order of declaration, if fields_of<T>::known.
export template <class T>
struct fields_of {
  static constexpr bool known = false;
};

template <class T>
  requires(std::is_aggregate_v<T> && std::is_class_v<T> && field_count<T> <= max_fields &&
           (field_count<T> != 0 || std::is_empty_v<T>))
struct fields_of<T> {
  static constexpr bool known = true;
  static constexpr std::size_t count = field_count<T>;
  using types = decltype(list_fields<T, count>(std::declval<T&>()));
};

}  // namespace ipcpp::detail
