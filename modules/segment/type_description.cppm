// ipcpp.segment:type_description - what a type looks like, as a text that every compiler writes
// alike.
//
//   person                     demo::person{ipcpp::basic_string<...>:24/8,u32}:32/8
//   std::uint64_t              u64
//   std::vector<int, ...>      std::vector<i32,ipcpp::allocator<i32>:8/8>:32/8 by libstdc++
//
// Grammar. Arithmetic types by kind and bits; enumerations with their underlying type; arrays with
// their length; class templates with the descriptions of their type arguments; aggregates with the
// descriptions of their fields in order, in braces; every class with size and alignment. What holds
// a part whose layout is the standard library's own affair ends with that library's name. A type
// inside its own description is only named, so the text is finite.
//
// Two descriptions that agree mean the same bytes, as far as C++20 can see: classes with private
// members that keep size and alignment look alike. Their authors can tell versions apart:
//
//   template <> inline constexpr std::uint32_t ipcpp::type_version<account> = 2;
//
// Everything here happens at compile time; a program holds the finished text.
module;

#include <array>
#include <atomic>
#include <complex>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <version>

export module ipcpp.segment:type_description;

import ipcpp.platform;

namespace ipcpp {

// Part of T's description; change it when T's private layout or meaning changes.
export template <class T>
inline constexpr std::uint32_t type_version = 0;

namespace detail {

// ---- names as the compilers write them, made alike ----

template <class T>
consteval std::string_view signature_of() {
#if defined(_MSC_VER) && !defined(__clang__)
  return __FUNCSIG__;
#else
  return __PRETTY_FUNCTION__;
#endif
}

// The compiler's own name of T: what stands where another signature says "double". GCC says in some
// signatures and not in others which module signature_of is attached to, so the place is counted from
// "[with T = ", where there is one.
template <class T>
consteval std::string_view compilers_name_of() {
  constexpr std::string_view pattern = signature_of<double>();
  constexpr std::size_t before = pattern.find("double");
  constexpr std::size_t bracket = pattern.rfind('[', before);
  constexpr std::size_t from = bracket == std::string_view::npos ? 0 : bracket;
  constexpr std::string_view mark = pattern.substr(from, before - from);
  constexpr std::size_t after = pattern.size() - before - 6;
  std::string_view name = signature_of<T>();
  name.remove_prefix(from == 0 ? before : name.find(mark) + mark.size());
  return name.substr(0, name.size() - after);
}

constexpr bool is_word_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

// Writes `name` without what differs from compiler to compiler: class keywords, inline namespaces of
// the standard libraries, module attachments, spaces, ways to say "anonymous namespace".
template <class Sink>
constexpr void put_alike(Sink& sink, std::string_view name) {
  constexpr std::array<std::string_view, 4> keywords{"class ", "struct ", "enum ", "union "};
  constexpr std::array<std::string_view, 4> anonymous{
      "(anonymous namespace)", "{anonymous}", "`anonymous-namespace'", "`anonymous namespace'"};
  char last = 0;
  const auto put = [&](char c) {
    sink.put(c);
    last = c;
  };
  bool in_std = false;
  while (!name.empty()) {
    bool again = false;
    if (!is_word_character(last)) {
      for (const std::string_view k : keywords)
        if (name.starts_with(k)) {
          name.remove_prefix(k.size());
          again = true;
        }
    }
    for (const std::string_view a : anonymous)
      if (name.starts_with(a)) {
        for (const char c : std::string_view("(anonymous)")) put(c);
        name.remove_prefix(a.size());
        again = true;
      }
    if (again) continue;
    if (name.front() == '@') {  // "@ipcpp.malloc": where GCC says a name is attached
      do {
        name.remove_prefix(1);
      } while (!name.empty() && (is_word_character(name.front()) || name.front() == '.' ||
                                 (name.front() == ':' && !name.starts_with("::"))));
      continue;
    }
    if (name.front() == ' ') {
      name.remove_prefix(1);
      if (is_word_character(last) && !name.empty() && is_word_character(name.front())) put(' ');
      continue;
    }
    if (is_word_character(name.front()) && !is_word_character(last)) {
      std::size_t n = 0;
      while (n < name.size() && is_word_character(name[n])) ++n;
      const std::string_view word = name.substr(0, n);
      const bool qualifies = name.substr(n).starts_with("::");
      if (in_std && qualifies && (word.starts_with("__") || word == "_V2")) {
        name.remove_prefix(n + 2);
        continue;
      }
      in_std = qualifies && (in_std || (word == "std" && last != ':'));
      for (const char c : word) put(c);
      name.remove_prefix(n);
      continue;
    }
    put(name.front());
    name.remove_prefix(1);
  }
}

// ---- what a description is made of ----

struct counting_sink {
  std::size_t length = 0;
  bool library_matters = false;
  constexpr void put(char) { ++length; }
};
struct writing_sink {
  char* to = nullptr;
  std::size_t length = 0;
  bool library_matters = false;
  constexpr void put(char c) { to[length++] = c; }
};

template <class Sink>
constexpr void put_text(Sink& sink, std::string_view text) {
  for (const char c : text) sink.put(c);
}
template <class Sink>
constexpr void put_number(Sink& sink, std::size_t n) {
  if (n >= 10) put_number(sink, n / 10);
  sink.put(static_cast<char>('0' + n % 10));
}

// Types of the standard library whose layout is the same in all of them.
template <class T>
inline constexpr bool same_in_every_library = std::is_empty_v<T>;
template <class A, class B>
inline constexpr bool same_in_every_library<std::pair<A, B>> = true;
template <class T, std::size_t n>
inline constexpr bool same_in_every_library<std::array<T, n>> = true;
template <class T>
inline constexpr bool same_in_every_library<std::atomic<T>> = true;
template <class T>
inline constexpr bool same_in_every_library<std::complex<T>> = true;
template <class T>
inline constexpr bool same_in_every_library<std::optional<T>> = true;

consteval std::string_view standard_library() {
#if defined(_LIBCPP_VERSION)
  return "libc++";
#elif defined(__GLIBCXX__)
  return "libstdc++";
#elif defined(_MSVC_STL_VERSION)
  return "msvc";
#else
  return "another library";
#endif
}

template <class T, class... Known>
struct describer;

template <class T, class... Known, class Sink>
constexpr void describe(Sink& sink) {
  describer<T, Known...>::put(sink);
}

// The arguments of a class template that has type arguments only.
template <class T>
struct type_arguments {
  static constexpr bool known = false;
};
template <template <class...> class Template, class... Args>
struct type_arguments<Template<Args...>> {
  static constexpr bool known = true;
  template <class Sink, class... Known>
  static constexpr void put(Sink& sink) {
    bool first = true;
    (
        [&] {
          if (!first) sink.put(',');
          first = false;
          describe<Args, Known...>(sink);
        }(),
        ...);
  }
};

template <class List>
struct all_of_list;
template <class... Types>
struct all_of_list<type_list<Types...>> {
  template <class Sink, class... Known>
  static constexpr void put(Sink& sink) {
    bool first = true;
    (
        [&] {
          if (!first) sink.put(',');
          first = false;
          describe<Types, Known...>(sink);
        }(),
        ...);
  }
};

template <class T>
struct array_facts {
  static constexpr bool known = false;
};
template <class T, std::size_t n>
struct array_facts<T[n]> {
  static constexpr bool known = true;
  static constexpr std::size_t length = n;
  using element = T;
};
template <class T, std::size_t n>
struct array_facts<std::array<T, n>> {
  static constexpr bool known = true;
  static constexpr std::size_t length = n;
  using element = T;
};

template <class T>
concept complete = requires { sizeof(T); };

template <class Qualified, class... Known>
struct describer {
  using T = std::remove_cv_t<Qualified>;

  template <class Sink>
  static constexpr void put(Sink& sink) {
    if constexpr (std::is_same_v<T, bool>) {
      put_text(sink, "bool");
    } else if constexpr (std::is_same_v<T, char> || std::is_same_v<T, char8_t>) {
      put_text(sink, std::is_same_v<T, char> ? "char" : "char8_t");
    } else if constexpr (std::is_integral_v<T>) {
      sink.put(std::is_same_v<T, wchar_t> || std::is_same_v<T, char16_t> ||
                       std::is_same_v<T, char32_t>
                   ? 'c'
               : std::is_signed_v<T> ? 'i'
                                     : 'u');
      put_number(sink, sizeof(T) * 8);
    } else if constexpr (std::is_floating_point_v<T>) {
      sink.put('f');
      put_number(sink, sizeof(T) * 8);
      if constexpr (std::numeric_limits<T>::digits != 24 && std::numeric_limits<T>::digits != 53) {
        sink.put('d');  // long double: as many digits
        put_number(sink, std::numeric_limits<T>::digits);
      }
    } else if constexpr (std::is_enum_v<T>) {
      put_alike(sink, compilers_name_of<T>());
      sink.put(':');
      describer<std::underlying_type_t<T>>::put(sink);
    } else if constexpr (array_facts<T>::known) {
      describe<typename array_facts<T>::element, Known...>(sink);
      sink.put('[');
      put_number(sink, array_facts<T>::length);
      sink.put(']');
    } else if constexpr (std::is_class_v<T>) {
      put_class(sink);
    } else {
      put_alike(sink, compilers_name_of<T>());
    }
  }

 private:
  template <class Sink>
  static constexpr void put_class(Sink& sink) {
    constexpr std::string_view name = compilers_name_of<T>();
    if constexpr ((std::is_same_v<T, Known> || ...)) {
      put_alike(sink, name.substr(0, name.find('<')));
      put_text(sink, "...");
      return;
    } else {
      if constexpr (type_arguments<T>::known) {
        put_alike(sink, name.substr(0, name.find('<')));
        sink.put('<');
        type_arguments<T>::template put<Sink, T, Known...>(sink);
        sink.put('>');
      } else {
        put_alike(sink, name);
      }
      if constexpr (complete<T>) {
        constexpr bool standard = is_standard();
        if constexpr (standard && !same_in_every_library<T>) sink.library_matters = true;
        if constexpr (!standard && std::is_aggregate_v<T> && !std::is_empty_v<T>) {
          if constexpr (fields_of<T>::known) {
            sink.put('{');
            all_of_list<typename fields_of<T>::types>::template put<Sink, T, Known...>(sink);
            sink.put('}');
          }
        }
        if constexpr (type_version<T> != 0) {
          sink.put('v');
          put_number(sink, type_version<T>);
        }
        sink.put(':');
        put_number(sink, sizeof(T));
        sink.put('/');
        put_number(sink, alignof(T));
      }
    }
  }
  static consteval bool is_standard() {
    std::string_view name = compilers_name_of<T>();
    // An array, not a list: GCC would ask every importer for <initializer_list>.
    constexpr std::string_view keywords[] = {"class ", "struct "};
    for (const std::string_view k : keywords)
      if (name.starts_with(k)) name.remove_prefix(k.size());
    return name.starts_with("std::");
  }
};

template <class T, class Sink>
constexpr void put_description(Sink& sink) {
  describe<T>(sink);
  if (sink.library_matters) {
    put_text(sink, " by ");
    put_text(sink, standard_library());
  }
}

template <class T>
consteval std::size_t description_length() {
  counting_sink sink;
  put_description<T>(sink);
  return sink.length;
}
template <class T>
consteval auto make_description() {
  std::array<char, description_length<T>()> text{};
  writing_sink sink{text.data()};
  put_description<T>(sink);
  return text;
}
template <class T>
inline constexpr auto description_text = make_description<T>();

// FNV-1a.
export constexpr std::uint64_t hash_of_text(std::string_view text) noexcept {
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  return hash;
}

// What a segment has to know of a type.
export struct type_facts {
  std::string_view text;
  std::uint64_t hash = 0;
  std::size_t bytes = 0;
  std::size_t alignment = 0;
};

export template <class T>
[[nodiscard]] constexpr type_facts facts_of() noexcept {
  constexpr std::string_view text(description_text<T>.data(), description_text<T>.size());
  constexpr std::uint64_t hash = hash_of_text(text);
  return {text, hash, sizeof(T), alignof(T)};
}

// The first thing in which two descriptions differ, as a hint for people. Allocates.
export [[nodiscard]] std::string difference_of(std::string_view expected, std::string_view found);

}  // namespace detail

// The description a segment keeps of its objects of type T. Static storage.
export template <class T>
[[nodiscard]] constexpr std::string_view type_description() noexcept {
  return detail::facts_of<T>().text;
}

}  // namespace ipcpp
