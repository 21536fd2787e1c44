// ipcpp.containers:functors - what a container is told to hash and compare with, kept in it.
//
// A functor without state takes no space and is made anew where it is needed. That is done with one
// base class and no [[no_unique_address]], which compilers lay out differently.
module;

#include <type_traits>

export module ipcpp.containers:functors;

namespace ipcpp::detail {

// Two functors, in no space at all if they have no state.
template <class A, class B>
inline constexpr bool without_state =
    std::is_empty_v<A> && std::is_empty_v<B> && std::is_default_constructible_v<A> &&
    std::is_default_constructible_v<B>;
template <class A, class B, bool = without_state<A, B>>
class two_functors {
 public:
  two_functors() = default;
  two_functors(const A& a, const B& b) : a_(a), b_(b) {}
  [[nodiscard]] const A& first_functor() const noexcept { return a_; }
  [[nodiscard]] const B& second_functor() const noexcept { return b_; }

 private:
  A a_{};
  B b_{};
};
template <class A, class B>
class two_functors<A, B, true> {
 public:
  two_functors() = default;
  two_functors(const A&, const B&) {}
  [[nodiscard]] A first_functor() const { return A{}; }
  [[nodiscard]] B second_functor() const { return B{}; }
};

template <class F>
concept transparent = requires { typename F::is_transparent; };

// In the place of a second functor where there is none.
struct no_functor {};

}  // namespace ipcpp::detail
