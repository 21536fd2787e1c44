// ipcpp.containers:search_tree - what map, multimap, set and multiset have in common.
//
// Representation: 32 bytes (more if the comparison has state), the same from every compiler
//
//   | memory | first element | root | size |
//
// and a node per element of a red-black tree, 24 bytes before the element:
//
//   | left | right | parent, bit 0: red | element |
//
// `root` is laid out as a node's `left`, so the container itself is the parent of the root and what
// comes after the last element: end() is its address. Nodes lie at multiples of 8, which leaves the
// low bits of a distance free.
//
// Invariants: those of red-black trees (no red node has a red child; every way down passes as many
// black ones); equal keys, where they may occur, are in the order they came.
//
// All of C++20's interface, with node handles, hints, and lookup by other types than the key if the
// comparison is transparent (std::less<> is the default), for erase and extract too. Merging,
// swapping and inserting handles between different memories, undefined for the standard's
// containers, moves the elements.
//
// Failure model: the strong guarantee for every insertion of one element and for copy assignment.
// Nothing is mended after a death.
module;

#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

export module ipcpp.containers:search_tree;

import ipcpp.platform;
import ipcpp.malloc;
import :checks;
import :functors;
import :links;
import :node_handle;
import :sequence_support;

namespace ipcpp::detail {

template <bool relative>
struct tree_links;

// What a node and the end have in common.
template <bool relative>
struct tree_end {
  link<tree_links<relative>, relative> left;
};

template <bool relative>
struct tree_links : tree_end<relative> {
  using end = tree_end<relative>;

  link<tree_links, relative> right;

  tree_links() noexcept = default;
  tree_links(const tree_links&) = delete;
  tree_links& operator=(const tree_links&) = delete;

  [[nodiscard]] bool is_red() const noexcept { return (parent_ & 1) != 0; }
  void set_red(bool red) noexcept { parent_ = (parent_ & ~std::uint64_t{1}) | (red ? 1 : 0); }
  [[nodiscard]] end* parent_or_end() const noexcept {
    return reinterpret_cast<end*>(origin() + (parent_ & ~std::uint64_t{1}));
  }
  // Precondition: this is not the root.
  [[nodiscard]] tree_links* parent() const noexcept {
    return static_cast<tree_links*>(parent_or_end());
  }
  void set_parent(end* parent) noexcept {
    parent_ = (reinterpret_cast<std::uintptr_t>(parent) - origin()) | (parent_ & 1);
  }
  [[nodiscard]] bool is_left() const noexcept { return parent_or_end()->left.get() == this; }

 private:
  [[nodiscard]] std::uintptr_t origin() const noexcept {
    return relative ? reinterpret_cast<std::uintptr_t>(this) : 0;
  }
  std::uint64_t parent_ = 0;
};
static_assert(sizeof(tree_links<true>) == 24 && alignof(tree_links<true>) == 8);

template <bool relative>
[[nodiscard]] tree_links<relative>* leftmost(tree_links<relative>* at) noexcept {
  while (auto* const left = at->left.get()) at = left;
  return at;
}
template <bool relative>
[[nodiscard]] tree_links<relative>* rightmost(tree_links<relative>* at) noexcept {
  while (auto* const right = at->right.get()) at = right;
  return at;
}
// Precondition: not the end.
template <bool relative>
[[nodiscard]] tree_end<relative>* next_in_tree(tree_links<relative>* at) noexcept {
  if (auto* const right = at->right.get()) return leftmost(right);
  while (!at->is_left()) at = at->parent();
  return at->parent_or_end();
}
// Precondition: not the first.
template <bool relative>
[[nodiscard]] tree_links<relative>* previous_in_tree(tree_end<relative>* at) noexcept {
  if (auto* const left = at->left.get()) return rightmost(left);
  auto* node = static_cast<tree_links<relative>*>(at);
  while (node->is_left()) node = node->parent();
  return node->parent();
}

// `child` takes the place that `old` has below its parent.
template <bool relative>
void replace_child(tree_links<relative>* old, tree_links<relative>* child) noexcept {
  auto* const parent = old->parent_or_end();
  if (parent->left.get() == old) {
    parent->left.set(child);
  } else {
    static_cast<tree_links<relative>*>(parent)->right.set(child);
  }
  if (child != nullptr) child->set_parent(parent);
}
template <bool relative>
void rotate_left(tree_links<relative>* x) noexcept {
  auto* const y = x->right.target();
  auto* const between = y->left.get();
  x->right.set(between);
  if (between != nullptr) between->set_parent(x);
  replace_child(x, y);
  y->left.lead_to(x);
  x->set_parent(y);
}
template <bool relative>
void rotate_right(tree_links<relative>* x) noexcept {
  auto* const y = x->left.target();
  auto* const between = y->right.get();
  x->left.set(between);
  if (between != nullptr) between->set_parent(x);
  replace_child(x, y);
  y->right.lead_to(x);
  x->set_parent(y);
}

// After `x`, a leaf, was attached: no red node below a red one.
template <bool relative>
void balance_after_insert(tree_end<relative>* end, tree_links<relative>* x) noexcept {
  x->set_red(true);
  while (x != end->left.target() && x->parent()->is_red()) {
    auto* parent = x->parent();
    auto* grandparent = parent->parent();  // there is one: the root is black
    const bool left = parent->is_left();
    auto* const uncle = left ? grandparent->right.get() : grandparent->left.get();
    if (uncle != nullptr && uncle->is_red()) {
      parent->set_red(false);
      uncle->set_red(false);
      grandparent->set_red(true);
      x = grandparent;
      continue;
    }
    if (left != x->is_left()) {  // the inner grandchild goes outside first
      if (left) {
        rotate_left(parent);
      } else {
        rotate_right(parent);
      }
      parent = x;
    }
    parent->set_red(false);
    grandparent->set_red(true);
    if (left) {
      rotate_right(grandparent);
    } else {
      rotate_left(grandparent);
    }
    break;
  }
  end->left.target()->set_red(false);
}

// The ways through the missing child of `parent` on that side are one black node short.
template <bool relative>
void balance_after_erase(tree_end<relative>* end, tree_links<relative>* parent,
                         bool left) noexcept {
  const auto red = [](tree_links<relative>* at) { return at != nullptr && at->is_red(); };
  for (;;) {
    auto* sibling = left ? parent->right.target() : parent->left.target();
    if (sibling->is_red()) {
      sibling->set_red(false);
      parent->set_red(true);
      if (left) {
        rotate_left(parent);
        sibling = parent->right.target();
      } else {
        rotate_right(parent);
        sibling = parent->left.target();
      }
    }
    auto* outer = left ? sibling->right.get() : sibling->left.get();
    auto* const inner = left ? sibling->left.get() : sibling->right.get();
    if (!red(outer) && !red(inner)) {
      sibling->set_red(true);
      if (parent->is_red() || parent == end->left.target()) {
        parent->set_red(false);
        return;
      }
      left = parent->is_left();
      parent = parent->parent();
      continue;
    }
    if (!red(outer)) {
      inner->set_red(false);
      sibling->set_red(true);
      if (left) {
        rotate_right(sibling);
      } else {
        rotate_left(sibling);
      }
      outer = sibling;
      sibling = inner;
    }
    sibling->set_red(parent->is_red());
    parent->set_red(false);
    outer->set_red(false);
    if (left) {
      rotate_left(parent);
    } else {
      rotate_right(parent);
    }
    return;
  }
}

// Takes `old` out of the tree; all others stay where they are in memory.
template <bool relative>
void take_out(tree_end<relative>* end, tree_links<relative>* old) noexcept {
  // `hole` is what leaves its place: old itself, or the next one, which then goes to old's place.
  auto* const hole = old->left.get() == nullptr || old->right.get() == nullptr
                         ? old
                         : leftmost(old->right.target());
  auto* const child = hole->left.get() != nullptr ? hole->left.get() : hole->right.get();
  const bool black_is_missing = !hole->is_red();
  const bool left = hole->is_left();
  auto* parent = hole->parent_or_end();
  replace_child(hole, child);
  if (hole != old) {
    if (parent == old) parent = hole;
    replace_child(old, hole);
    hole->set_red(old->is_red());
    auto* const below_left = old->left.target();
    hole->left.lead_to(below_left);
    below_left->set_parent(hole);
    auto* const below_right = old->right.get();  // null if that was the hole's own place
    hole->right.set(below_right);
    if (below_right != nullptr) below_right->set_parent(hole);
  }
  if (!black_is_missing) return;
  if (child != nullptr) {
    child->set_red(false);
  } else if (parent != end) {
    balance_after_erase(end, static_cast<tree_links<relative>*>(parent), left);
  }
}

template <class Value, bool relative>
struct tree_node : tree_links<relative> {
  alignas(Value) std::byte room[sizeof(Value)];
  [[nodiscard]] Value* value() noexcept { return reinterpret_cast<Value*>(room); }
};

template <class Value, bool relative, bool constant>
class tree_iterator {
  using end = tree_end<relative>;
  using links = tree_links<relative>;

 public:
  using iterator_category = std::bidirectional_iterator_tag;
  using value_type = Value;
  using difference_type = std::ptrdiff_t;
  using pointer = std::conditional_t<constant, const Value*, Value*>;
  using reference = std::conditional_t<constant, const Value&, Value&>;

  tree_iterator() noexcept = default;
  explicit tree_iterator(end* at) noexcept : at_(at) {}
  template <bool from>
    requires(constant && !from)
  tree_iterator(const tree_iterator<Value, relative, from>& other) noexcept : at_(other.at()) {}

  [[nodiscard]] reference operator*() const noexcept {
    return *static_cast<tree_node<Value, relative>*>(at_)->value();
  }
  [[nodiscard]] pointer operator->() const noexcept { return std::addressof(**this); }
  tree_iterator& operator++() noexcept {
    at_ = next_in_tree(static_cast<links*>(at_));
    return *this;
  }
  tree_iterator& operator--() noexcept {
    at_ = previous_in_tree(at_);
    return *this;
  }
  tree_iterator operator++(int) noexcept {
    const tree_iterator before = *this;
    ++*this;
    return before;
  }
  tree_iterator operator--(int) noexcept {
    const tree_iterator before = *this;
    --*this;
    return before;
  }
  bool operator==(const tree_iterator& other) const = default;
  [[nodiscard]] end* at() const noexcept { return at_; }

 private:
  end* at_ = nullptr;
};

template <class Kind, bool multi, class Compare, class Allocator>
class search_tree : private two_functors<Compare, no_functor> {
 protected:
  using key = typename Kind::key_type;
  using value = typename Kind::value_type;
  static constexpr bool relative = is_relative<Allocator>;
  using end_links = tree_end<relative>;
  using links = tree_links<relative>;
  using node = tree_node<value, relative>;
  using all_nodes = nodes<node, Allocator>;
  using functors = two_functors<Compare, no_functor>;
  template <class Q>
  static constexpr bool looks_up =
      transparent<Compare> && !std::same_as<std::remove_cvref_t<Q>, key>;

  static_assert(std::same_as<typename Allocator::value_type, value>,
                "ipcpp: the allocator of this container is for another value_type");

 public:
  using key_type = key;
  using value_type = value;
  using key_compare = Compare;
  using allocator_type = Allocator;
  using size_type = std::size_t;
  using difference_type = std::ptrdiff_t;
  using reference = value&;
  using const_reference = const value&;
  using pointer = value*;
  using const_pointer = const value*;
  using iterator = tree_iterator<value, relative, Kind::constant>;
  using const_iterator = tree_iterator<value, relative, true>;
  using reverse_iterator = std::reverse_iterator<iterator>;
  using const_reverse_iterator = std::reverse_iterator<const_iterator>;
  using node_type = node_handle<Kind, node, Allocator>;
  using insert_return_type = node_insertion<iterator, node_type>;

  // Elements by their keys.
  class value_compare {
   public:
    explicit value_compare(Compare less) : less_(std::move(less)) {}
    [[nodiscard]] bool operator()(const value& a, const value& b) const {
      return less_(Kind::key_of(a), Kind::key_of(b));
    }

   private:
    Compare less_;
  };

  // ---- construction ----
  search_tree() : search_tree(Compare(), Allocator()) {}
  explicit search_tree(const Compare& less, const Allocator& memory = Allocator())
      : functors(less, {}), memory_(memory) {
    become_empty();
  }
  explicit search_tree(const Allocator& memory) : search_tree(Compare(), memory) {}
  template <std::input_iterator It>
  search_tree(It first, It last, const Compare& less = Compare(),
              const Allocator& memory = Allocator())
      : search_tree(less, memory) {
    insert(first, last);
  }
  template <std::input_iterator It>
  search_tree(It first, It last, const Allocator& memory)
      : search_tree(first, last, Compare(), memory) {}
  search_tree(std::initializer_list<value> all, const Compare& less = Compare(),
              const Allocator& memory = Allocator())
      : search_tree(all.begin(), all.end(), less, memory) {}
  search_tree(std::initializer_list<value> all, const Allocator& memory)
      : search_tree(all.begin(), all.end(), Compare(), memory) {}
  search_tree(const search_tree& other)
      : search_tree(other, std::allocator_traits<Allocator>::select_on_container_copy_construction(
                               other.get_allocator())) {}
  search_tree(const search_tree& other, const std::type_identity_t<Allocator>& memory)
      : search_tree(other.key_comp(), memory) {
    for (const value& element : other) append(element);
  }
  search_tree(search_tree&& other) noexcept
      : functors(other.key_comp(), {}), memory_(other.memory_) {
    become_empty();
    take(other);
  }
  search_tree(search_tree&& other, const std::type_identity_t<Allocator>& memory)
      : search_tree(other.key_comp(), memory) {
    if (memory_ == other.memory_) {
      take(other);
    } else {
      for (const_iterator at = other.cbegin(); at != other.cend(); ++at)
        append(Kind::passed_on(const_cast<value&>(*at)));
      other.clear();
    }
  }
  ~search_tree() {
    static_assert(fits<key, Allocator> && fits<value, Allocator>,
                  "ipcpp: an element of this map or set would mean nothing to another process: it "
                  "holds a raw pointer, or may hide one; see ipcpp::shareable");
    clear();
  }
  search_tree& operator=(const search_tree& other) {
    if (this != std::addressof(other)) {
      search_tree made(other, get_allocator());
      exchange(made);
    }
    return *this;
  }
  search_tree& operator=(search_tree&& other) {
    if (this != std::addressof(other)) {
      search_tree made(std::move(other), get_allocator());
      exchange(made);
    }
    return *this;
  }
  search_tree& operator=(std::initializer_list<value> all) {
    search_tree made(all, key_comp(), get_allocator());
    exchange(made);
    return *this;
  }
  [[nodiscard]] allocator_type get_allocator() const noexcept { return Allocator(memory_); }
  [[nodiscard]] key_compare key_comp() const { return this->first_functor(); }
  [[nodiscard]] value_compare value_comp() const { return value_compare(key_comp()); }

  // ---- elements ----
  [[nodiscard]] iterator begin() noexcept { return iterator(first_.target()); }
  [[nodiscard]] const_iterator begin() const noexcept { return const_iterator(first_.target()); }
  [[nodiscard]] const_iterator cbegin() const noexcept { return begin(); }
  [[nodiscard]] iterator end() noexcept { return iterator(the_end()); }
  [[nodiscard]] const_iterator end() const noexcept { return const_iterator(the_end()); }
  [[nodiscard]] const_iterator cend() const noexcept { return end(); }
  [[nodiscard]] reverse_iterator rbegin() noexcept { return reverse_iterator(end()); }
  [[nodiscard]] const_reverse_iterator rbegin() const noexcept {
    return const_reverse_iterator(end());
  }
  [[nodiscard]] const_reverse_iterator crbegin() const noexcept { return rbegin(); }
  [[nodiscard]] reverse_iterator rend() noexcept { return reverse_iterator(begin()); }
  [[nodiscard]] const_reverse_iterator rend() const noexcept {
    return const_reverse_iterator(begin());
  }
  [[nodiscard]] const_reverse_iterator crend() const noexcept { return rend(); }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] size_type size() const noexcept { return static_cast<size_type>(size_); }
  [[nodiscard]] size_type max_size() const noexcept {
    return static_cast<size_type>(std::numeric_limits<difference_type>::max()) / sizeof(node);
  }

  // ---- insertion: an iterator if equal keys may occur, else that and whether it is new ----
  auto insert(const value& element) { return emplace_by(Kind::key_of(element), element); }
  auto insert(value&& element) { return emplace_by(Kind::key_of(element), std::move(element)); }
  template <class P>
    requires(std::constructible_from<value, P> && !std::same_as<std::remove_cvref_t<P>, value> &&
             !std::same_as<std::remove_cvref_t<P>, node_type>)
  auto insert(P&& element) {
    return emplace(std::forward<P>(element));
  }
  iterator insert(const_iterator hint, const value& element) {
    return emplace_near(hint, Kind::key_of(element), element);
  }
  iterator insert(const_iterator hint, value&& element) {
    return emplace_near(hint, Kind::key_of(element), std::move(element));
  }
  template <class P>
    requires(std::constructible_from<value, P> && !std::same_as<std::remove_cvref_t<P>, value> &&
             !std::same_as<std::remove_cvref_t<P>, node_type>)
  iterator insert(const_iterator hint, P&& element) {
    return emplace_hint(hint, std::forward<P>(element));
  }
  template <std::input_iterator It>
  void insert(It first, It last) {
    for (; first != last; ++first) emplace_hint(cend(), *first);
  }
  void insert(std::initializer_list<value> all) { insert(all.begin(), all.end()); }
  template <class... Args>
  auto emplace(Args&&... args) {
    if constexpr (Kind::template names_key<Args...>) {
      return emplace_by(Kind::key_among(args...), std::forward<Args>(args)...);
    } else {
      unowned made(*this, std::forward<Args>(args)...);
      const position at = position_of(Kind::key_of(*made.held->value()));
      const bool inserted = at.taken == nullptr;
      return result_of(inserted ? attach(at, made.release()) : iterator(at.taken), inserted);
    }
  }
  template <class... Args>
  iterator emplace_hint(const_iterator hint, Args&&... args) {
    if constexpr (Kind::template names_key<Args...>) {
      return emplace_near(hint, Kind::key_among(args...), std::forward<Args>(args)...);
    } else {
      unowned made(*this, std::forward<Args>(args)...);
      const position at = position_near(hint, Kind::key_of(*made.held->value()));
      return at.taken != nullptr ? iterator(at.taken) : attach(at, made.release());
    }
  }
  auto insert(node_type&& handle) {
    if constexpr (multi) {
      return handle.empty() ? end() : insert(end(), std::move(handle));
    } else {
      if (handle.empty()) return insert_return_type{end(), false, node_type()};
      const position at = position_of(Kind::key_of(*handle.node()->value()));
      if (at.taken != nullptr)
        return insert_return_type{iterator(at.taken), false, std::move(handle)};
      return insert_return_type{attach(at, adopted(handle)), true, node_type()};
    }
  }
  iterator insert(const_iterator hint, node_type&& handle) {
    if (handle.empty()) return end();
    const position at = position_near(hint, Kind::key_of(*handle.node()->value()));
    return at.taken != nullptr ? iterator(at.taken) : attach(at, adopted(handle));
  }

  // ---- removal ----
  iterator erase(const_iterator at) noexcept {
    node* const old = static_cast<node*>(at.at());
    const iterator after(next_in_tree(static_cast<links*>(old)));
    detach(old);
    all_nodes::drop(memory_, old);
    return after;
  }
  iterator erase(iterator at) noexcept
    requires(!Kind::constant)
  {
    return erase(const_iterator(at));
  }
  iterator erase(const_iterator from, const_iterator to) noexcept {
    while (from != to) from = erase(from);
    return iterator(to.at());
  }
  size_type erase(const key& which) { return erase_equal(which); }
  template <class Q>
    requires(looks_up<Q> && !std::convertible_to<Q &&, const_iterator>)
  size_type erase(Q&& which) {
    return erase_equal(which);
  }
  void clear() noexcept {
    links* at = root();
    become_empty();
    if (at == nullptr) return;
    at->set_parent(the_end());
    // Always to a leaf, which goes; its parent may be one then.
    while (at != nullptr) {
      if (links* const left = at->left.get()) {
        at = left;
      } else if (links* const right = at->right.get()) {
        at = right;
      } else {
        end_links* const parent = at->parent_or_end();
        all_nodes::drop(memory_, static_cast<node*>(at));
        if (parent == the_end()) return;
        links* const above = static_cast<links*>(parent);
        if (above->left.get() == at) {
          above->left.set(nullptr);
        } else {
          above->right.set(nullptr);
        }
        at = above;
      }
    }
  }
  node_type extract(const_iterator at) noexcept {
    node* const old = static_cast<node*>(at.at());
    detach(old);
    return node_type(old, get_allocator());
  }
  node_type extract(const key& which) { return extract_equal(which); }
  template <class Q>
    requires(looks_up<Q> && !std::convertible_to<Q &&, const_iterator>)
  node_type extract(Q&& which) {
    return extract_equal(which);
  }
  template <bool other_multi, class OtherCompare>
  void merge(search_tree<Kind, other_multi, OtherCompare, Allocator>& other) {
    if (static_cast<const void*>(std::addressof(other)) == this) return;
    for (auto at = other.begin(); at != other.end();) {
      const auto one = at++;
      const position to = position_of(Kind::key_of(*one));
      if (to.taken != nullptr) continue;
      if (get_allocator() == other.get_allocator()) {
        auto handle = other.extract(one);
        attach(to, handle.release());
      } else {
        attach(to, all_nodes::make(memory_, Kind::passed_on(const_cast<value&>(*one))));
        other.erase(one);
      }
    }
  }
  template <bool other_multi, class OtherCompare>
  void merge(search_tree<Kind, other_multi, OtherCompare, Allocator>&& other) {
    merge(other);
  }

  // ---- lookup ----
  [[nodiscard]] iterator find(const key& which) { return iterator(found(which)); }
  [[nodiscard]] const_iterator find(const key& which) const { return const_iterator(found(which)); }
  template <class Q>
    requires looks_up<Q>
  [[nodiscard]] iterator find(const Q& which) {
    return iterator(found(which));
  }
  template <class Q>
    requires looks_up<Q>
  [[nodiscard]] const_iterator find(const Q& which) const {
    return const_iterator(found(which));
  }
  [[nodiscard]] bool contains(const key& which) const { return found(which) != the_end(); }
  template <class Q>
    requires looks_up<Q>
  [[nodiscard]] bool contains(const Q& which) const {
    return found(which) != the_end();
  }
  [[nodiscard]] size_type count(const key& which) const { return count_equal(which); }
  template <class Q>
    requires looks_up<Q>
  [[nodiscard]] size_type count(const Q& which) const {
    return count_equal(which);
  }
  [[nodiscard]] iterator lower_bound(const key& which) { return iterator(lower(which)); }
  [[nodiscard]] const_iterator lower_bound(const key& which) const {
    return const_iterator(lower(which));
  }
  template <class Q>
    requires looks_up<Q>
  [[nodiscard]] iterator lower_bound(const Q& which) {
    return iterator(lower(which));
  }
  template <class Q>
    requires looks_up<Q>
  [[nodiscard]] const_iterator lower_bound(const Q& which) const {
    return const_iterator(lower(which));
  }
  [[nodiscard]] iterator upper_bound(const key& which) { return iterator(upper(which)); }
  [[nodiscard]] const_iterator upper_bound(const key& which) const {
    return const_iterator(upper(which));
  }
  template <class Q>
    requires looks_up<Q>
  [[nodiscard]] iterator upper_bound(const Q& which) {
    return iterator(upper(which));
  }
  template <class Q>
    requires looks_up<Q>
  [[nodiscard]] const_iterator upper_bound(const Q& which) const {
    return const_iterator(upper(which));
  }
  [[nodiscard]] std::pair<iterator, iterator> equal_range(const key& which) {
    return {iterator(lower(which)), iterator(upper(which))};
  }
  [[nodiscard]] std::pair<const_iterator, const_iterator> equal_range(const key& which) const {
    return {const_iterator(lower(which)), const_iterator(upper(which))};
  }
  template <class Q>
    requires looks_up<Q>
  [[nodiscard]] std::pair<iterator, iterator> equal_range(const Q& which) {
    return {iterator(lower(which)), iterator(upper(which))};
  }
  template <class Q>
    requires looks_up<Q>
  [[nodiscard]] std::pair<const_iterator, const_iterator> equal_range(const Q& which) const {
    return {const_iterator(lower(which)), const_iterator(upper(which))};
  }

  [[nodiscard]] friend bool operator==(const search_tree& a, const search_tree& b) {
    return a.size() == b.size() && equal_ranges(a.begin(), a.end(), b.begin());
  }
  [[nodiscard]] friend auto operator<=>(const search_tree& a, const search_tree& b)
    requires requires(const value& v) { v < v; }
  {
    return compare_ranges<value>(a.begin(), a.end(), b.begin(), b.end());
  }

 protected:
  void exchange(search_tree& other) {
    if (memory_ == other.memory_) {
      functors& mine = *this;
      functors& theirs = other;
      std::swap(mine, theirs);
      search_tree between(key_comp(), get_allocator());
      between.take(*this);
      take(other);
      other.take(between);
    } else {
      search_tree mine(std::move(other), get_allocator());
      search_tree theirs(std::move(*this), other.get_allocator());
      exchange(mine);
      other.exchange(theirs);
    }
  }

  // A new element for the key; if there is one already (and not multi) nothing is built.
  template <class Q, class... Args>
  auto emplace_by(const Q& which, Args&&... args) {
    const position at = position_of(which);
    if (at.taken != nullptr) return result_of(iterator(at.taken), false);
    return result_of(attach(at, all_nodes::make(memory_, std::forward<Args>(args)...)), true);
  }
  template <class Q, class... Args>
  iterator emplace_near(const_iterator hint, const Q& which, Args&&... args) {
    const position at = position_near(hint, which);
    if (at.taken != nullptr) return iterator(at.taken);
    return attach(at, all_nodes::make(memory_, std::forward<Args>(args)...));
  }
  // The end if there is none.
  template <class Q>
  [[nodiscard]] end_links* found(const Q& which) const {
    end_links* const at = lower(which);
    return at != the_end() && !less(which, key_at(at)) ? at : the_end();
  }
  [[nodiscard]] end_links* the_end() const noexcept {
    return const_cast<end_links*>(std::addressof(end_));
  }
  static node* node_at(end_links* at) noexcept { return static_cast<node*>(at); }

 private:
  template <class, bool, class, class>
  friend class search_tree;

  // Where a new element goes: below `parent`, on that side; or it is there already.
  struct position {
    end_links* parent;
    bool left;
    links* taken;
  };
  struct unowned {
    template <class... Args>
    explicit unowned(search_tree& of, Args&&... args)
        : owner(of), held(all_nodes::make(of.memory_, std::forward<Args>(args)...)) {}
    unowned(const unowned&) = delete;
    unowned& operator=(const unowned&) = delete;
    ~unowned() {
      if (held != nullptr) all_nodes::drop(owner.memory_, held);
    }
    [[nodiscard]] node* release() noexcept { return std::exchange(held, nullptr); }
    search_tree& owner;
    node* held;
  };

  [[nodiscard]] static auto result_of(iterator at, [[maybe_unused]] bool inserted) {
    if constexpr (multi) {
      return at;
    } else {
      return std::pair<iterator, bool>(at, inserted);
    }
  }
  [[nodiscard]] links* root() const noexcept { return end_.left.get(); }
  static const key& key_at(end_links* at) noexcept { return Kind::key_of(*node_at(at)->value()); }
  template <class A, class B>
  [[nodiscard]] bool less(const A& a, const B& b) const {
    return this->first_functor()(a, b);
  }
  template <class Q>
  [[nodiscard]] end_links* lower(const Q& which) const {
    end_links* best = the_end();
    for (links* at = root(); at != nullptr;) {
      if (less(key_at(at), which)) {
        at = at->right.get();
      } else {
        best = at;
        at = at->left.get();
      }
    }
    return best;
  }
  template <class Q>
  [[nodiscard]] end_links* upper(const Q& which) const {
    end_links* best = the_end();
    for (links* at = root(); at != nullptr;) {
      if (less(which, key_at(at))) {
        best = at;
        at = at->left.get();
      } else {
        at = at->right.get();
      }
    }
    return best;
  }
  template <class Q>
  [[nodiscard]] size_type count_equal(const Q& which) const {
    size_type n = 0;
    for (const_iterator at(lower(which)), to(upper(which)); at != to; ++at) ++n;
    return n;
  }
  template <class Q>
  size_type erase_equal(const Q& which) {
    const const_iterator from(lower(which));
    const const_iterator to(upper(which));
    const auto n = static_cast<size_type>(std::distance(from, to));
    erase(from, to);  // `which`, if it is part of one of them, is used no more
    return n;
  }
  template <class Q>
  [[nodiscard]] node_type extract_equal(const Q& which) {
    end_links* const at = found(which);
    return at == the_end() ? node_type() : extract(const_iterator(at));
  }

  // After all that are equal, if that is allowed.
  template <class Q>
  [[nodiscard]] position position_of(const Q& which) const {
    end_links* parent = the_end();
    links* not_greater = nullptr;
    bool left = true;
    for (links* at = root(); at != nullptr;) {
      parent = at;
      left = less(which, key_at(at));
      if (left) {
        at = at->left.get();
      } else {
        not_greater = at;
        at = at->right.get();
      }
    }
    if constexpr (!multi)
      if (not_greater != nullptr && !less(key_at(not_greater), which))
        return {nullptr, false, not_greater};
    return {parent, left, nullptr};
  }
  // Before all that are equal.
  template <class Q>
  [[nodiscard]] position position_before_equals(const Q& which) const {
    end_links* parent = the_end();
    bool left = true;
    for (links* at = root(); at != nullptr;) {
      parent = at;
      left = !less(key_at(at), which);
      at = left ? at->left.get() : at->right.get();
    }
    return {parent, left, nullptr};
  }
  // Right before the hint if the order allows it, else as near to it as possible.
  template <class Q>
  [[nodiscard]] position position_near(const_iterator hint, const Q& which) const {
    end_links* const at = hint.at();
    const auto fits_before = [&](end_links* next) {
      if (next == the_end()) return true;
      return multi ? !less(key_at(next), which) : less(which, key_at(next));
    };
    if (!fits_before(at)) {
      if constexpr (multi) return position_before_equals(which);
      return position_of(which);
    }
    if (at == first_.target()) return {at, true, nullptr};
    links* const before = previous_in_tree(at);
    if (multi ? less(which, key_at(before)) : !less(key_at(before), which))
      return position_of(which);
    if (at->left.get() == nullptr) return {at, true, nullptr};
    return {before, false, nullptr};
  }
  iterator attach(const position& at, node* made) noexcept {
    made->left.set(nullptr);
    made->right.set(nullptr);
    made->set_parent(at.parent);
    if (at.left) {
      at.parent->left.lead_to(made);
      if (at.parent == first_.target()) first_.lead_to(made);
    } else {
      static_cast<links*>(at.parent)->right.lead_to(made);
    }
    balance_after_insert(the_end(), static_cast<links*>(made));
    ++size_;
    return iterator(made);
  }
  void detach(node* old) noexcept {
    if (first_.target() == old) first_.lead_to(next_in_tree(static_cast<links*>(old)));
    take_out(the_end(), static_cast<links*>(old));
    --size_;
  }
  // Precondition: nothing here is greater.
  template <class Value>
  void append(Value&& element) {
    node* const made = all_nodes::make(memory_, std::forward<Value>(element));
    if (empty()) {
      attach({the_end(), true, nullptr}, made);
    } else {
      attach({rightmost(root()), false, nullptr}, made);
    }
  }
  [[nodiscard]] node* adopted(node_type& handle) {
    if (handle.get_allocator() == get_allocator()) return handle.release();
    node* const made = all_nodes::make(memory_, std::move(*handle.node()->value()));
    handle = node_type();
    return made;
  }
  void become_empty() noexcept {
    end_.left.set(nullptr);
    first_.lead_to(the_end());
    size_ = 0;
  }
  // Precondition: equal allocators, this is empty.
  void take(search_tree& other) noexcept {
    if (other.empty()) return;
    end_.left.lead_to(other.root());
    root()->set_parent(the_end());
    first_.lead_to(other.first_.target());
    size_ = other.size_;
    other.become_empty();
  }

  typename all_nodes::allocator_type memory_;
  link<end_links, relative> first_;
  end_links end_;
  std::uint64_t size_ = 0;
};

}  // namespace ipcpp::detail
