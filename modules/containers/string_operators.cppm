// ipcpp.containers:string_operators - what is said of strings from outside: comparison,
// concatenation, streams, erase_if.
//
// Everything that is a string_view compares with a string, in either order and without becoming
// one. A sum is in private memory, unless its first operand was a temporary, whose memory it keeps.
module;

#include <compare>
#include <concepts>
#include <cstddef>
#include <initializer_list>
#include <iosfwd>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

export module ipcpp.containers:string_operators;

import ipcpp.malloc;
import :string;

namespace ipcpp {

// ---- comparison ----

export template <class Char, class Traits, class A, class B>
[[nodiscard]] bool operator==(const basic_string<Char, Traits, A>& a,
                              const basic_string<Char, Traits, B>& b) noexcept {
  return a.size() == b.size() && Traits::compare(a.data(), b.data(), a.size()) == 0;
}
export template <class Char, class Traits, class A>
[[nodiscard]] bool operator==(
    const basic_string<Char, Traits, A>& a,
    std::type_identity_t<std::basic_string_view<Char, Traits>> b) noexcept {
  return a.size() == b.size() && Traits::compare(a.data(), b.data(), a.size()) == 0;
}
export template <class Char, class Traits, class A, class B>
[[nodiscard]] auto operator<=>(const basic_string<Char, Traits, A>& a,
                               const basic_string<Char, Traits, B>& b) noexcept {
  using view = std::basic_string_view<Char, Traits>;
  return view(a) <=> view(b);
}
export template <class Char, class Traits, class A>
[[nodiscard]] auto operator<=>(
    const basic_string<Char, Traits, A>& a,
    std::type_identity_t<std::basic_string_view<Char, Traits>> b) noexcept {
  using view = std::basic_string_view<Char, Traits>;
  return view(a) <=> b;
}

// ---- concatenation ----

namespace detail {

template <class String, class First, class Second>
[[nodiscard]] String joined(const First& first, const Second& second) {
  String sum;
  sum.reserve(first.size() + second.size());
  sum.append(first.data(), first.size());
  sum.append(second.data(), second.size());
  return sum;
}

}  // namespace detail

export template <class Char, class Traits, class A>
[[nodiscard]] basic_string<Char, Traits, A> operator+(const basic_string<Char, Traits, A>& a,
                                                      const basic_string<Char, Traits, A>& b) {
  return detail::joined<basic_string<Char, Traits, A>>(a, b);
}
export template <class Char, class Traits, class A>
[[nodiscard]] basic_string<Char, Traits, A> operator+(
    const basic_string<Char, Traits, A>& a,
    std::type_identity_t<std::basic_string_view<Char, Traits>> b) {
  return detail::joined<basic_string<Char, Traits, A>>(a, b);
}
export template <class Char, class Traits, class A>
[[nodiscard]] basic_string<Char, Traits, A> operator+(
    std::type_identity_t<std::basic_string_view<Char, Traits>> a,
    const basic_string<Char, Traits, A>& b) {
  return detail::joined<basic_string<Char, Traits, A>>(a, b);
}
export template <class Char, class Traits, class A>
[[nodiscard]] basic_string<Char, Traits, A> operator+(const basic_string<Char, Traits, A>& a,
                                                      std::type_identity_t<Char> b) {
  return detail::joined<basic_string<Char, Traits, A>>(a, std::basic_string_view<Char>(&b, 1));
}
export template <class Char, class Traits, class A>
[[nodiscard]] basic_string<Char, Traits, A> operator+(std::type_identity_t<Char> a,
                                                      const basic_string<Char, Traits, A>& b) {
  return detail::joined<basic_string<Char, Traits, A>>(std::basic_string_view<Char>(&a, 1), b);
}
export template <class Char, class Traits, class A>
[[nodiscard]] basic_string<Char, Traits, A> operator+(basic_string<Char, Traits, A>&& a,
                                                      const basic_string<Char, Traits, A>& b) {
  return std::move(a.append(b));
}
export template <class Char, class Traits, class A>
[[nodiscard]] basic_string<Char, Traits, A> operator+(basic_string<Char, Traits, A>&& a,
                                                      basic_string<Char, Traits, A>&& b) {
  return std::move(a.append(b));
}
export template <class Char, class Traits, class A>
[[nodiscard]] basic_string<Char, Traits, A> operator+(const basic_string<Char, Traits, A>& a,
                                                      basic_string<Char, Traits, A>&& b) {
  return std::move(b.insert(0, a));
}
export template <class Char, class Traits, class A>
[[nodiscard]] basic_string<Char, Traits, A> operator+(
    basic_string<Char, Traits, A>&& a,
    std::type_identity_t<std::basic_string_view<Char, Traits>> b) {
  return std::move(a.append(b));
}
export template <class Char, class Traits, class A>
[[nodiscard]] basic_string<Char, Traits, A> operator+(
    std::type_identity_t<std::basic_string_view<Char, Traits>> a,
    basic_string<Char, Traits, A>&& b) {
  return std::move(b.insert(0, a));
}
export template <class Char, class Traits, class A>
[[nodiscard]] basic_string<Char, Traits, A> operator+(basic_string<Char, Traits, A>&& a,
                                                      std::type_identity_t<Char> b) {
  a.push_back(b);
  return std::move(a);
}
export template <class Char, class Traits, class A>
[[nodiscard]] basic_string<Char, Traits, A> operator+(std::type_identity_t<Char> a,
                                                      basic_string<Char, Traits, A>&& b) {
  return std::move(b.insert(0, 1, a));
}

// ---- erase ----

export template <class Char, class Traits, class A, class Predicate>
std::size_t erase_if(basic_string<Char, Traits, A>& text, Predicate predicate) {
  Char* kept = text.begin();
  for (Char& c : text)
    if (!predicate(c)) *kept++ = c;
  const auto erased = static_cast<std::size_t>(text.end() - kept);
  text.resize(text.size() - erased);
  return erased;
}
export template <class Char, class Traits, class A, class U>
std::size_t erase(basic_string<Char, Traits, A>& text, const U& value) {
  return erase_if(text, [&](const Char& c) { return c == value; });
}

// ---- streams: who uses them includes <istream>, <ostream> ----

export template <class Char, class Traits, class A>
std::basic_ostream<Char, Traits>& operator<<(std::basic_ostream<Char, Traits>& out,
                                             const basic_string<Char, Traits, A>& text) {
  return out << std::basic_string_view<Char, Traits>(text);
}
// These two read into private memory first; the string changes at the end.
export template <class Char, class Traits, class A>
std::basic_istream<Char, Traits>& operator>>(std::basic_istream<Char, Traits>& in,
                                             basic_string<Char, Traits, A>& text) {
  std::basic_string<Char, Traits> word;
  in >> word;
  text.assign(word.data(), word.size());
  return in;
}
export template <class Char, class Traits, class A>
std::basic_istream<Char, Traits>& getline(std::basic_istream<Char, Traits>& in,
                                          basic_string<Char, Traits, A>& text,
                                          std::type_identity_t<Char> delimiter) {
  std::basic_string<Char, Traits> line;
  getline(in, line, delimiter);
  text.assign(line.data(), line.size());
  return in;
}
export template <class Char, class Traits, class A>
std::basic_istream<Char, Traits>& getline(std::basic_istream<Char, Traits>& in,
                                          basic_string<Char, Traits, A>& text) {
  std::basic_string<Char, Traits> line;
  getline(in, line);
  text.assign(line.data(), line.size());
  return in;
}

}  // namespace ipcpp
