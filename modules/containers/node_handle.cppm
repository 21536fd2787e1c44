// ipcpp.containers:node_handle - what maps and sets say about their elements, and the handle that
// carries one from container to container.
//
//   map_elements<Key, Mapped>, set_elements<Key>     "Kind" of the containers: value_type, key_type,
//                                                    how to get at the key, and when the arguments
//                                                    of emplace name the key already
//
// A node handle is of the process that extracted the element: it holds raw pointers and does not go
// into a segment. The element it owns stays where it was.
module;

#include <cstddef>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

export module ipcpp.containers:node_handle;

import ipcpp.platform;
import ipcpp.malloc;
import :checks;
import :links;

namespace ipcpp::detail {

template <class Key, class Mapped>
struct map_elements {
  using key_type = Key;
  using mapped_type = Mapped;
  using value_type = std::pair<const Key, Mapped>;
  static constexpr bool is_map = true;
  static constexpr bool constant = false;

  [[nodiscard]] static const Key& key_of(const value_type& element) noexcept {
    return element.first;
  }

  // An element on its way to other memory: the key is copied.
  [[nodiscard]] static value_type&& passed_on(value_type& element) noexcept {
    return std::move(element);
  }

  template <class... Args>
  struct naming {
    static constexpr bool known = false;
  };
  template <class First, class Second>
  struct naming<First, Second> {
    static constexpr bool known = std::is_same_v<First, Key>;
  };
  template <class First, class Second>
  struct naming<std::pair<First, Second>> {
    static constexpr bool known = std::is_same_v<std::remove_cv_t<First>, Key>;
  };
  template <class... Args>
  static constexpr bool names_key = naming<std::remove_cvref_t<Args>...>::known;
  template <class First, class Second>
  [[nodiscard]] static const Key& key_among(const First& first, const Second&) noexcept {
    return first;
  }
  template <class Pair>
  [[nodiscard]] static const Key& key_among(const Pair& both) noexcept {
    return both.first;
  }
};

template <class Key>
struct set_elements {
  using key_type = Key;
  using value_type = Key;
  static constexpr bool is_map = false;
  static constexpr bool constant = true;

  [[nodiscard]] static const Key& key_of(const Key& element) noexcept { return element; }

  // An element on its way to other memory: copied if that is possible, for moving would upset the
  // order of those that stay if memory runs out.
  [[nodiscard]] static auto& passed_on(Key& element) noexcept
    requires std::is_copy_constructible_v<Key>
  {
    return std::as_const(element);
  }
  [[nodiscard]] static Key&& passed_on(Key& element) noexcept { return std::move(element); }

  template <class... Args>
  static constexpr bool names_key = false;
  template <class Arg>
  static constexpr bool names_key<Arg> = std::is_same_v<std::remove_cvref_t<Arg>, Key>;
  [[nodiscard]] static const Key& key_among(const Key& only) noexcept { return only; }
};

template <class Kind, class Node, class Allocator>
class node_handle {
  using all_nodes = nodes<Node, Allocator>;
  using element = typename Kind::value_type;

 public:
  using allocator_type = Allocator;

  node_handle() noexcept = default;
  node_handle(Node* node, const Allocator& memory) noexcept : node_(node), memory_(memory) {}
  node_handle(node_handle&& other) noexcept
      : node_(std::exchange(other.node_, nullptr)), memory_(other.memory_) {
    other.memory_.reset();
  }
  node_handle& operator=(node_handle&& other) noexcept {
    if (this != std::addressof(other)) {
      drop();
      node_ = std::exchange(other.node_, nullptr);
      memory_.reset();
      if (other.memory_) memory_.emplace(*other.memory_);
      other.memory_.reset();
    }
    return *this;
  }
  ~node_handle() { drop(); }

  [[nodiscard]] bool empty() const noexcept { return node_ == nullptr; }
  explicit operator bool() const noexcept { return node_ != nullptr; }
  // Precondition of the rest: not empty.
  [[nodiscard]] allocator_type get_allocator() const { return *memory_; }
  [[nodiscard]] auto& key() const
    requires Kind::is_map
  {
    return const_cast<typename Kind::key_type&>(node_->value()->first);
  }
  [[nodiscard]] auto& mapped() const
    requires Kind::is_map
  {
    return node_->value()->second;
  }
  [[nodiscard]] element& value() const
    requires(!Kind::is_map)
  {
    return *node_->value();
  }
  void swap(node_handle& other) noexcept { std::swap(*this, other); }
  friend void swap(node_handle& a, node_handle& b) noexcept { a.swap(b); }

  // For the containers.
  [[nodiscard]] Node* node() const noexcept { return node_; }
  [[nodiscard]] Node* release() noexcept {
    memory_.reset();
    return std::exchange(node_, nullptr);
  }

 private:
  void drop() noexcept {
    if (node_ == nullptr) return;
    typename all_nodes::allocator_type memory(*memory_);
    all_nodes::drop(memory, std::exchange(node_, nullptr));
  }

  Node* node_ = nullptr;
  std::optional<Allocator> memory_;
};

template <class Container, class Predicate>
std::size_t erase_where(Container& from, Predicate& predicate) {
  const std::size_t before = from.size();
  for (auto at = from.begin(); at != from.end();) {
    if (predicate(*at)) {
      at = from.erase(at);
    } else {
      ++at;
    }
  }
  return before - from.size();
}

template <class Iterator, class Handle>
struct node_insertion {
  Iterator position;
  bool inserted;
  Handle node;
};

}  // namespace ipcpp::detail
