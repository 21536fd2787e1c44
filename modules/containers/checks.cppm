// ipcpp.containers:checks - what all containers of this module ask before they do something.
//
// Failure model: the functions here throw what the standard asks of its containers, out of line, so
// that the code that calls them stays small.
module;

#include <cstddef>
#include <memory>
#include <type_traits>

export module ipcpp.containers:checks;

import ipcpp.platform;

namespace ipcpp::detail {

// std::out_of_range and std::length_error; `what` names the function.
export [[noreturn]] void throw_out_of_range(const char* what);
export [[noreturn]] void throw_length_error(const char* what);

// An element goes where another process may read it, unless the allocator's pointers are raw.
template <class T, class Allocator>
inline constexpr bool fits =
    shareable<T> || std::is_pointer_v<typename std::allocator_traits<Allocator>::pointer>;

// Does this allocator know how to build a T? Ours does where a T holds containers; for all other T
// bytes may be copied.
template <class T, class Allocator, class... Args>
concept built_by = requires(Allocator& a, T* at, Args&&... args) {
  a.construct(at, static_cast<Args&&>(args)...);
};

}  // namespace ipcpp::detail
