// ipcpp.containers:hash - hash values that are the same in every process, from every compiler.
//
// std::hash promises nothing beyond one run of one program, and standard libraries differ in it: a
// table in a segment that one program fills would look empty to another. ipcpp::hash gives
//
//   integers, enumerations, bool       one folded multiplication
//   floating point                     the same of its bits; 0.0 and -0.0 are equal
//   strings and views of characters    the bytes, 16 at a time; "transparent": looks up by any of
//                                      them, literals included, without making a string
//   pairs, tuples, arrays              their parts, one after the other
//   everything else                    std::hash<T>, if it has one: whoever wrote that answers for
//                                      its values being the same in every process
//
// The folded multiplication (both halves of the 128-bit product, exclusive-or) is wyhash's, by Wang
// Yi; so is the way the words of a string go through it. Not made to withstand chosen keys.
//
// Invariant: the values are part of the layout of a segment. tests/containers/hash_test.cpp holds
// some of them fast.
module;

#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

export module ipcpp.containers:hash;

namespace ipcpp {

export template <class T>
struct hash;

namespace detail {

static_assert(std::endian::native == std::endian::little,
              "ipcpp: a big-endian machine would read strings and hash values otherwise");

inline constexpr std::uint64_t hash_odd_a = 0x9E3779B97F4A7C15;
inline constexpr std::uint64_t hash_odd_b = 0xD1342543DE82EF95;
inline constexpr std::uint64_t hash_odd_c = 0xA24BAED4963EE407;

export [[nodiscard]] inline std::uint64_t folded_product(std::uint64_t a,
                                                         std::uint64_t b) noexcept {
#if defined(__SIZEOF_INT128__)
  __extension__ typedef unsigned __int128 wide;
  const wide product = static_cast<wide>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
#else
  constexpr std::uint64_t low = 0xFFFFFFFF;
  const std::uint64_t ll = (a & low) * (b & low);
  const std::uint64_t lh = (a & low) * (b >> 32);
  const std::uint64_t hl = (a >> 32) * (b & low);
  const std::uint64_t hh = (a >> 32) * (b >> 32);
  const std::uint64_t middle = (ll >> 32) + (lh & low) + hl;
  return ((middle << 32) | (ll & low)) ^ (hh + (lh >> 32) + (middle >> 32));
#endif
}

export [[nodiscard]] inline std::uint64_t hash_word(std::uint64_t word) noexcept {
  return folded_product(word ^ hash_odd_a, hash_odd_b);
}

[[nodiscard]] inline std::uint64_t eight_bytes(const unsigned char* at) noexcept {
  std::uint64_t word;
  std::memcpy(&word, at, 8);
  return word;
}
[[nodiscard]] inline std::uint64_t four_bytes(const unsigned char* at) noexcept {
  std::uint32_t word;
  std::memcpy(&word, at, 4);
  return word;
}

export [[nodiscard]] inline std::uint64_t hash_bytes(const void* bytes, std::size_t n) noexcept {
  const auto* at = static_cast<const unsigned char*>(bytes);
  std::uint64_t a = 0;
  std::uint64_t b = 0;
  std::uint64_t state = hash_odd_c;
  if (n > 16) {
    std::size_t left = n;
    do {
      state = folded_product(eight_bytes(at) ^ hash_odd_b, eight_bytes(at + 8) ^ state);
      at += 16;
      left -= 16;
    } while (left > 16);
    a = eight_bytes(at + left - 16);  // may overlap what went before
    b = eight_bytes(at + left - 8);
  } else if (n >= 8) {
    a = eight_bytes(at);
    b = eight_bytes(at + n - 8);
  } else if (n >= 4) {
    a = four_bytes(at);
    b = four_bytes(at + n - 4);
  } else if (n > 0) {
    a = static_cast<std::uint64_t>(at[0]) << 16 | static_cast<std::uint64_t>(at[n / 2]) << 8 |
        at[n - 1];
  }
  return folded_product(hash_odd_a ^ n, folded_product(a ^ hash_odd_b, b ^ state));
}

[[nodiscard]] inline std::uint64_t hash_another(std::uint64_t before, std::uint64_t next) noexcept {
  return folded_product(before ^ hash_odd_c, next ^ hash_odd_a);
}

template <class T>
inline constexpr bool has_parts = requires { std::tuple_size<T>::value; };

template <class T, std::size_t... i>
[[nodiscard]] std::uint64_t hash_parts(const T& value, std::index_sequence<i...>) {
  std::uint64_t so_far = sizeof...(i);
  ((so_far = hash_another(
        so_far, hash<std::remove_cv_t<std::tuple_element_t<i, T>>>{}(std::get<i>(value)))),
   ...);
  return so_far;
}

template <class T>
concept hashed_by_value =
    std::is_arithmetic_v<T> || std::is_enum_v<T> || has_parts<std::remove_cv_t<T>>;

template <class T>
[[nodiscard]] std::size_t hash_of(const T& value) {
  if constexpr (std::is_integral_v<T> || std::is_enum_v<T>) {
    static_assert(sizeof(T) <= 8);
    return static_cast<std::size_t>(hash_word(static_cast<std::uint64_t>(value)));
  } else if constexpr (std::is_floating_point_v<T>) {
    static_assert(sizeof(T) <= 8, "ipcpp::hash: a long double is not the same on every system");
    if (value == T(0)) return static_cast<std::size_t>(hash_word(0));
    using word = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
    return static_cast<std::size_t>(hash_word(std::bit_cast<word>(value)));
  } else if constexpr (has_parts<T>) {
    return static_cast<std::size_t>(
        hash_parts(value, std::make_index_sequence<std::tuple_size<T>::value>()));
  } else {
    return std::hash<T>{}(value);
  }
}

// Of anything that is text to a reader.
template <class Char>
struct text_hash {
  using is_transparent = void;
  using is_avalanching = void;
  [[nodiscard]] std::size_t operator()(std::basic_string_view<Char> text) const noexcept {
    return static_cast<std::size_t>(hash_bytes(text.data(), text.size() * sizeof(Char)));
  }
};

// A hash whose every bit depends on every bit of the key says so by `is_avalanching`; what another
// one gives is mixed before use.
template <class Hash>
inline constexpr bool avalanches = requires { typename Hash::is_avalanching; };

}  // namespace detail

template <class T>
struct hash {
  [[nodiscard]] std::size_t operator()(const T& value) const { return detail::hash_of(value); }
};
template <class T>
  requires detail::hashed_by_value<T>
struct hash<T> {
  using is_avalanching = void;
  [[nodiscard]] std::size_t operator()(const T& value) const { return detail::hash_of(value); }
};
template <class Char>
struct hash<std::basic_string_view<Char>> : detail::text_hash<Char> {};

}  // namespace ipcpp
