// ipcpp.containers:hash_table - what the four unordered containers have in common.
//
// Representation: 48 bytes (more if the functors have state), the same from every compiler
//
//   | memory | buckets | number of buckets | first | size | max load, 4 B | 0 |
//
// and a node per element in one chain, those of a bucket (and in it, equal keys) side by side:
//
//   first -> | next | hash | element | -> | next | hash | element | -> ...
//
// A bucket leads to what stands *before* its first node, a node or the container's own `first`, so
// that a node can be taken out of the chain from its bucket alone, and walking all elements costs
// nothing for empty buckets. The number of buckets is a power of two, or 0 without any; the hash of
// a functor that does not say `is_avalanching` is mixed before it is kept.
//
// Kind says what an element is, see :node_handle; `multi` whether equal keys may occur.
//
// All of C++20's interface, with node handles, hints (accepted, of no use here) and lookup by other
// types than the key if both functors are transparent, for erase and extract too. Merging, swapping
// and inserting handles between different memories, undefined for the standard's containers, moves
// the elements.
//
// Failure model: the strong guarantee for every insertion, for rehashing and for copy assignment.
// Nothing is mended after a death.
module;

#include <bit>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <memory>
#include <new>
#include <tuple>
#include <type_traits>
#include <utility>

export module ipcpp.containers:hash_table;

import ipcpp.platform;
import ipcpp.malloc;
import :checks;
import :functors;
import :hash;
import :links;
import :node_handle;

namespace ipcpp::detail {

template <bool relative>
struct hash_links {
  link<hash_links, relative> next;
};

template <class Value, bool relative>
struct hash_node : hash_links<relative> {
  std::uint64_t hash;
  alignas(Value) std::byte room[sizeof(Value)];
  [[nodiscard]] Value* value() noexcept { return reinterpret_cast<Value*>(room); }
  [[nodiscard]] hash_node* after() const noexcept {
    return static_cast<hash_node*>(this->next.get());
  }
};

template <class Value, bool relative, bool constant>
class hash_iterator {
  using node = hash_node<Value, relative>;

 public:
  using iterator_category = std::forward_iterator_tag;
  using value_type = Value;
  using difference_type = std::ptrdiff_t;
  using pointer = std::conditional_t<constant, const Value*, Value*>;
  using reference = std::conditional_t<constant, const Value&, Value&>;

  hash_iterator() noexcept = default;
  explicit hash_iterator(node* at) noexcept : at_(at) {}
  template <bool from>
    requires(constant && !from)
  hash_iterator(const hash_iterator<Value, relative, from>& other) noexcept : at_(other.at()) {}

  [[nodiscard]] reference operator*() const noexcept { return *at_->value(); }
  [[nodiscard]] pointer operator->() const noexcept { return at_->value(); }
  hash_iterator& operator++() noexcept {
    at_ = at_->after();
    return *this;
  }
  hash_iterator operator++(int) noexcept { return hash_iterator(std::exchange(at_, at_->after())); }
  bool operator==(const hash_iterator& other) const = default;
  [[nodiscard]] node* at() const noexcept { return at_; }

 private:
  node* at_ = nullptr;
};

// Over one bucket.
template <class Value, bool relative, bool constant>
class bucket_iterator {
  using node = hash_node<Value, relative>;

 public:
  using iterator_category = std::forward_iterator_tag;
  using value_type = Value;
  using difference_type = std::ptrdiff_t;
  using pointer = std::conditional_t<constant, const Value*, Value*>;
  using reference = std::conditional_t<constant, const Value&, Value&>;

  bucket_iterator() noexcept = default;
  bucket_iterator(node* at, std::uint64_t mask) noexcept : at_(at), mask_(mask) {}
  template <bool from>
    requires(constant && !from)
  bucket_iterator(const bucket_iterator<Value, relative, from>& other) noexcept
      : at_(other.at()), mask_(other.mask()) {}

  [[nodiscard]] reference operator*() const noexcept { return *at_->value(); }
  [[nodiscard]] pointer operator->() const noexcept { return at_->value(); }
  bucket_iterator& operator++() noexcept {
    node* const after = at_->after();
    at_ = after != nullptr && ((after->hash ^ at_->hash) & mask_) == 0 ? after : nullptr;
    return *this;
  }
  bucket_iterator operator++(int) noexcept {
    const bucket_iterator before = *this;
    ++*this;
    return before;
  }
  [[nodiscard]] bool operator==(const bucket_iterator& other) const noexcept {
    return at_ == other.at_;
  }
  [[nodiscard]] node* at() const noexcept { return at_; }
  [[nodiscard]] std::uint64_t mask() const noexcept { return mask_; }

 private:
  node* at_ = nullptr;
  std::uint64_t mask_ = 0;
};

template <class Kind, bool multi, class Hash, class Equal, class Allocator>
class hash_table : private two_functors<Hash, Equal> {
 protected:
  using key = typename Kind::key_type;
  using value = typename Kind::value_type;
  static constexpr bool relative = is_relative<Allocator>;
  using links = hash_links<relative>;
  using node = hash_node<value, relative>;
  using all_nodes = nodes<node, Allocator>;
  using bucket_link = link<links, relative>;
  using bucket_traits =
      typename std::allocator_traits<Allocator>::template rebind_traits<bucket_link>;
  using functors = two_functors<Hash, Equal>;
  template <class Q>
  static constexpr bool looks_up =
      transparent<Hash> && transparent<Equal> && !std::same_as<std::remove_cvref_t<Q>, key>;

  static_assert(std::same_as<typename Allocator::value_type, value>,
                "ipcpp: the allocator of this container is for another value_type");

 public:
  using key_type = key;
  using value_type = value;
  using hasher = Hash;
  using key_equal = Equal;
  using allocator_type = Allocator;
  using size_type = std::size_t;
  using difference_type = std::ptrdiff_t;
  using reference = value&;
  using const_reference = const value&;
  using pointer = value*;
  using const_pointer = const value*;
  using iterator = hash_iterator<value, relative, Kind::constant>;
  using const_iterator = hash_iterator<value, relative, true>;
  using local_iterator = bucket_iterator<value, relative, Kind::constant>;
  using const_local_iterator = bucket_iterator<value, relative, true>;
  using node_type = node_handle<Kind, node, Allocator>;
  using insert_return_type = node_insertion<iterator, node_type>;

  // ---- construction ----
  hash_table() : hash_table(Allocator()) {}
  explicit hash_table(const Allocator& memory) : memory_(memory) {}
  explicit hash_table(size_type n, const Hash& hash = Hash(), const Equal& equal = Equal(),
                      const Allocator& memory = Allocator())
      : hash_table(hash, equal, memory) {
    rehash(n);
  }
  hash_table(size_type n, const Allocator& memory) : hash_table(memory) { rehash(n); }
  hash_table(size_type n, const Hash& hash, const Allocator& memory)
      : hash_table(hash, Equal(), memory) {
    rehash(n);
  }
  template <std::input_iterator It>
  hash_table(It first, It last, const Allocator& memory = Allocator()) : hash_table(memory) {
    insert(first, last);
  }
  template <std::input_iterator It>
  hash_table(It first, It last, size_type n, const Hash& hash = Hash(),
             const Equal& equal = Equal(), const Allocator& memory = Allocator())
      : hash_table(n, hash, equal, memory) {
    insert(first, last);
  }
  template <std::input_iterator It>
  hash_table(It first, It last, size_type n, const Allocator& memory) : hash_table(n, memory) {
    insert(first, last);
  }
  template <std::input_iterator It>
  hash_table(It first, It last, size_type n, const Hash& hash, const Allocator& memory)
      : hash_table(n, hash, memory) {
    insert(first, last);
  }
  hash_table(std::initializer_list<value> all, const Allocator& memory = Allocator())
      : hash_table(all.begin(), all.end(), memory) {}
  hash_table(std::initializer_list<value> all, size_type n, const Hash& hash = Hash(),
             const Equal& equal = Equal(), const Allocator& memory = Allocator())
      : hash_table(all.begin(), all.end(), n, hash, equal, memory) {}
  hash_table(std::initializer_list<value> all, size_type n, const Allocator& memory)
      : hash_table(all.begin(), all.end(), n, memory) {}
  hash_table(std::initializer_list<value> all, size_type n, const Hash& hash,
             const Allocator& memory)
      : hash_table(all.begin(), all.end(), n, hash, memory) {}
  hash_table(const hash_table& other)
      : hash_table(other, std::allocator_traits<Allocator>::select_on_container_copy_construction(
                              other.get_allocator())) {}
  hash_table(const hash_table& other, const std::type_identity_t<Allocator>& memory)
      : hash_table(other.hash_function(), other.key_eq(), memory) {
    max_load_ = other.max_load_;
    clone(other, [](const value& element) -> const value& { return element; });
  }
  hash_table(hash_table&& other) noexcept
      : functors(other.hash_function(), other.key_eq()), memory_(other.memory_) {
    take(other);
  }
  hash_table(hash_table&& other, const std::type_identity_t<Allocator>& memory)
      : hash_table(other.hash_function(), other.key_eq(), memory) {
    max_load_ = other.max_load_;
    if (memory_ == other.memory_) {
      take(other);
    } else {
      clone(other, [](value& element) -> decltype(auto) { return Kind::passed_on(element); });
      other.clear();
    }
  }
  ~hash_table() {
    static_assert(fits<key, Allocator> && fits<value, Allocator>,
                  "ipcpp: an element of this unordered container would mean nothing to another "
                  "process: it holds a raw pointer, or may hide one; see ipcpp::shareable");
    clear();
    free_buckets();
  }
  hash_table& operator=(const hash_table& other) {
    if (this != std::addressof(other)) {
      hash_table made(other, get_allocator());
      exchange(made);
    }
    return *this;
  }
  hash_table& operator=(hash_table&& other) {
    if (this != std::addressof(other)) {
      hash_table made(std::move(other), get_allocator());
      exchange(made);
    }
    return *this;
  }
  hash_table& operator=(std::initializer_list<value> all) {
    hash_table made(hash_function(), key_eq(), get_allocator());
    made.max_load_ = max_load_;
    made.insert(all);
    exchange(made);
    return *this;
  }
  [[nodiscard]] allocator_type get_allocator() const noexcept { return Allocator(memory_); }

  // ---- elements ----
  [[nodiscard]] iterator begin() noexcept { return iterator(first()); }
  [[nodiscard]] const_iterator begin() const noexcept { return const_iterator(first()); }
  [[nodiscard]] const_iterator cbegin() const noexcept { return begin(); }
  [[nodiscard]] iterator end() noexcept { return iterator(); }
  [[nodiscard]] const_iterator end() const noexcept { return const_iterator(); }
  [[nodiscard]] const_iterator cend() const noexcept { return const_iterator(); }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] size_type size() const noexcept { return static_cast<size_type>(size_); }
  [[nodiscard]] size_type max_size() const noexcept {
    return static_cast<size_type>(std::numeric_limits<difference_type>::max()) / sizeof(node);
  }

  // ---- insertion: an iterator if equal keys may occur, else that and whether it is new ----
  auto insert(const value& element) { return emplace_value(element); }
  auto insert(value&& element) { return emplace_value(std::move(element)); }
  template <class P>
    requires(std::constructible_from<value, P> && !std::same_as<std::remove_cvref_t<P>, value> &&
             !std::same_as<std::remove_cvref_t<P>, node_type>)
  auto insert(P&& element) {
    return emplace(std::forward<P>(element));
  }
  iterator insert(const_iterator, const value& element) { return place_of(insert(element)); }
  iterator insert(const_iterator, value&& element) { return place_of(insert(std::move(element))); }
  template <class P>
    requires(std::constructible_from<value, P> && !std::same_as<std::remove_cvref_t<P>, value> &&
             !std::same_as<std::remove_cvref_t<P>, node_type>)
  iterator insert(const_iterator, P&& element) {
    return place_of(emplace(std::forward<P>(element)));
  }
  template <std::input_iterator It>
  void insert(It first, It last) {
    for (; first != last; ++first) emplace(*first);
  }
  void insert(std::initializer_list<value> all) { insert(all.begin(), all.end()); }
  template <class... Args>
  auto emplace(Args&&... args) {
    if constexpr (Kind::template names_key<Args...>) {
      return emplace_by(Kind::key_among(args...), std::forward<Args>(args)...);
    } else {
      node* const made = all_nodes::make(memory_, std::forward<Args>(args)...);
      return add_owned(made);
    }
  }
  template <class... Args>
  iterator emplace_hint(const_iterator, Args&&... args) {
    return place_of(emplace(std::forward<Args>(args)...));
  }
  auto insert(node_type&& handle) {
    if constexpr (multi) {
      if (handle.empty()) return end();
      node* const made = adopted(handle);
      return add_owned(made);
    } else {
      if (handle.empty()) return insert_return_type{end(), false, node_type()};
      const std::uint64_t hash = hash_of_key(Kind::key_of(*handle.node()->value()));
      if (links* const before = find_before(hash, Kind::key_of(*handle.node()->value())))
        return insert_return_type{iterator(next_of(before)), false, std::move(handle)};
      reserve_one_more();
      node* const made = adopted(handle);
      made->hash = hash;
      link_first(made);
      return insert_return_type{iterator(made), true, node_type()};
    }
  }
  iterator insert(const_iterator, node_type&& handle) {
    if constexpr (multi) {
      return insert(std::move(handle));
    } else {
      insert_return_type result = insert(std::move(handle));
      handle = std::move(result.node);
      return result.position;
    }
  }

  // ---- removal ----
  iterator erase(const_iterator at) noexcept {
    node* const old = at.at();
    node* const after = old->after();
    unlink(old);
    all_nodes::drop(memory_, old);
    return iterator(after);
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
    node* at = first();
    head_.next.set(nullptr);
    size_ = 0;
    for (size_type i = 0; i < bucket_count(); ++i) buckets_.target()[i].set(nullptr);
    while (at != nullptr) {
      node* const after = at->after();
      all_nodes::drop(memory_, at);
      at = after;
    }
  }
  node_type extract(const_iterator at) noexcept {
    unlink(at.at());
    return node_type(at.at(), get_allocator());
  }
  node_type extract(const key& which) { return extract_equal(which); }
  template <class Q>
    requires(looks_up<Q> && !std::convertible_to<Q &&, const_iterator>)
  node_type extract(Q&& which) {
    return extract_equal(which);
  }
  template <bool other_multi, class OtherHash, class OtherEqual>
  void merge(hash_table<Kind, other_multi, OtherHash, OtherEqual, Allocator>& other) {
    if (static_cast<const void*>(std::addressof(other)) == this) return;
    for (auto at = other.begin(); at != other.end();) {
      const auto one = at++;
      if constexpr (!multi)
        if (contains(Kind::key_of(*one))) continue;
      reserve_one_more();
      if (get_allocator() == other.get_allocator()) {
        auto handle = other.extract(one);
        node* const made = handle.release();
        made->hash = hash_of_key(Kind::key_of(*made->value()));
        link_in(made);
      } else {
        emplace(Kind::passed_on(const_cast<value&>(*one)));
        other.erase(one);
      }
    }
  }
  template <bool other_multi, class OtherHash, class OtherEqual>
  void merge(hash_table<Kind, other_multi, OtherHash, OtherEqual, Allocator>&& other) {
    merge(other);
  }

  // ---- lookup ----
  [[nodiscard]] iterator find(const key& which) { return iterator(find_node(which)); }
  [[nodiscard]] const_iterator find(const key& which) const {
    return const_iterator(find_node(which));
  }
  template <class Q>
    requires looks_up<Q>
  [[nodiscard]] iterator find(const Q& which) {
    return iterator(find_node(which));
  }
  template <class Q>
    requires looks_up<Q>
  [[nodiscard]] const_iterator find(const Q& which) const {
    return const_iterator(find_node(which));
  }
  [[nodiscard]] bool contains(const key& which) const { return find_node(which) != nullptr; }
  template <class Q>
    requires looks_up<Q>
  [[nodiscard]] bool contains(const Q& which) const {
    return find_node(which) != nullptr;
  }
  [[nodiscard]] size_type count(const key& which) const { return count_equal(which); }
  template <class Q>
    requires looks_up<Q>
  [[nodiscard]] size_type count(const Q& which) const {
    return count_equal(which);
  }
  [[nodiscard]] std::pair<iterator, iterator> equal_range(const key& which) {
    const auto [from, to] = range_of(which);
    return {iterator(from), iterator(to)};
  }
  [[nodiscard]] std::pair<const_iterator, const_iterator> equal_range(const key& which) const {
    const auto [from, to] = range_of(which);
    return {const_iterator(from), const_iterator(to)};
  }
  template <class Q>
    requires looks_up<Q>
  [[nodiscard]] std::pair<iterator, iterator> equal_range(const Q& which) {
    const auto [from, to] = range_of(which);
    return {iterator(from), iterator(to)};
  }
  template <class Q>
    requires looks_up<Q>
  [[nodiscard]] std::pair<const_iterator, const_iterator> equal_range(const Q& which) const {
    const auto [from, to] = range_of(which);
    return {const_iterator(from), const_iterator(to)};
  }
  [[nodiscard]] hasher hash_function() const { return this->first_functor(); }
  [[nodiscard]] key_equal key_eq() const { return this->second_functor(); }

  // ---- buckets ----
  [[nodiscard]] size_type bucket_count() const noexcept {
    return static_cast<size_type>(bucket_count_);
  }
  [[nodiscard]] size_type max_bucket_count() const noexcept { return size_type(1) << 59; }
  [[nodiscard]] size_type bucket(const key& which) const {
    return static_cast<size_type>(hash_of_key(which) & mask());
  }
  [[nodiscard]] size_type bucket_size(size_type i) const {
    return static_cast<size_type>(std::distance(begin(i), end(i)));
  }
  [[nodiscard]] local_iterator begin(size_type i) noexcept {
    return local_iterator(first_in(i), mask());
  }
  [[nodiscard]] const_local_iterator begin(size_type i) const noexcept {
    return const_local_iterator(first_in(i), mask());
  }
  [[nodiscard]] const_local_iterator cbegin(size_type i) const noexcept { return begin(i); }
  [[nodiscard]] local_iterator end(size_type) noexcept { return local_iterator(); }
  [[nodiscard]] const_local_iterator end(size_type) const noexcept {
    return const_local_iterator();
  }
  [[nodiscard]] const_local_iterator cend(size_type) const noexcept {
    return const_local_iterator();
  }
  [[nodiscard]] float load_factor() const noexcept {
    return bucket_count_ == 0 ? 0.0f
                              : static_cast<float>(size_) / static_cast<float>(bucket_count_);
  }
  [[nodiscard]] float max_load_factor() const noexcept { return max_load_; }
  void max_load_factor(float load) noexcept {
    if (load > 0.0f) max_load_ = load;
  }
  void rehash(size_type n) {
    const size_type least = buckets_for(size());
    if (n < least) n = least;
    if (n == 0) {
      free_buckets();
      return;
    }
    if (n > max_bucket_count()) throw_length_error("ipcpp: more than max_bucket_count()");
    n = std::bit_ceil(n);
    if (n != bucket_count()) rebuild(n);
  }
  void reserve(size_type n) { rehash(buckets_for(n)); }

  [[nodiscard]] friend bool operator==(const hash_table& a, const hash_table& b) {
    if (a.size() != b.size()) return false;
    for (node* at = a.first(); at != nullptr;) {
      const auto [from, to] = b.range_of(Kind::key_of(*at->value()));
      node* const end = a.end_of_equals(at);
      size_type mine = 0;
      for (node* one = at; one != end; one = one->after()) ++mine;
      for (node* one = from; one != to; one = one->after()) --mine;
      if (mine != 0 || from == nullptr || !same_elements(at, end, from, to)) return false;
      at = end;
    }
    return true;
  }

 protected:
  void exchange(hash_table& other) {
    if (memory_ == other.memory_) {
      functors& mine = *this;
      functors& theirs = other;
      std::swap(mine, theirs);
      hash_table between(get_allocator());
      between.take(*this);
      take(other);
      other.take(between);
    } else {
      hash_table mine(std::move(other), get_allocator());
      hash_table theirs(std::move(*this), other.get_allocator());
      exchange(mine);
      other.exchange(theirs);
    }
  }

  // A new element for the key; if there is one already (and Kind is not multi) nothing is built.
  template <class Q, class... Args>
  auto emplace_by(const Q& which, Args&&... args) {
    const std::uint64_t hash = hash_of_key(which);
    if constexpr (multi) {
      reserve_one_more();
      node* const made = all_nodes::make(memory_, std::forward<Args>(args)...);
      made->hash = hash;
      link_in(made);
      return iterator(made);
    } else {
      if (links* const before = find_before(hash, which))
        return std::pair<iterator, bool>(next_of(before), false);
      reserve_one_more();
      node* const made = all_nodes::make(memory_, std::forward<Args>(args)...);
      made->hash = hash;
      link_first(made);
      return std::pair<iterator, bool>(made, true);
    }
  }
  template <class Q>
  [[nodiscard]] node* find_node(const Q& which) const {
    links* const before = find_before(hash_of_key(which), which);
    return before == nullptr ? nullptr : next_of(before);
  }

 private:
  template <class, bool, class, class, class>
  friend class hash_table;

  hash_table(const Hash& hash, const Equal& equal, const Allocator& memory)
      : functors(hash, equal), memory_(memory) {}

  static node* next_of(const links* before) noexcept {
    return static_cast<node*>(before->next.target());
  }
  [[nodiscard]] links* head() const noexcept { return const_cast<links*>(std::addressof(head_)); }
  [[nodiscard]] node* first() const noexcept { return static_cast<node*>(head_.next.get()); }
  [[nodiscard]] std::uint64_t mask() const noexcept { return bucket_count_ - 1; }
  [[nodiscard]] bucket_link& bucket_of(std::uint64_t hash) const noexcept {
    return buckets_.target()[hash & mask()];
  }
  [[nodiscard]] node* first_in(size_type i) const noexcept {
    links* const before = buckets_.target()[i].get();
    return before == nullptr ? nullptr : next_of(before);
  }
  static iterator place_of(iterator at) noexcept { return at; }
  static iterator place_of(const std::pair<iterator, bool>& result) noexcept {
    return result.first;
  }

  template <class Q>
  [[nodiscard]] std::uint64_t hash_of_key(const Q& which) const {
    const auto hash = static_cast<std::uint64_t>(this->first_functor()(which));
    if constexpr (avalanches<Hash>) {
      return hash;
    } else {
      return hash_word(hash);
    }
  }
  template <class Q>
  [[nodiscard]] bool is_at(const node* at, std::uint64_t hash, const Q& which) const {
    if constexpr (!std::is_arithmetic_v<key> && !std::is_enum_v<key>)
      if (at->hash != hash) return false;
    return this->second_functor()(Kind::key_of(*const_cast<node*>(at)->value()), which);
  }
  // What stands before the first node with this key; null if there is none.
  template <class Q>
  [[nodiscard]] links* find_before(std::uint64_t hash, const Q& which) const {
    if (size_ == 0) return nullptr;
    links* before = bucket_of(hash).get();
    if (before == nullptr) return nullptr;
    for (node* at = next_of(before);;) {
      if (is_at(at, hash, which)) return before;
      node* const after = at->after();
      if (after == nullptr || ((after->hash ^ hash) & mask()) != 0) return nullptr;
      before = at;
      at = after;
    }
  }
  [[nodiscard]] node* end_of_equals(node* at) const {
    node* after = at->after();
    if constexpr (multi)
      while (after != nullptr && is_at(after, at->hash, Kind::key_of(*at->value())))
        after = after->after();
    return after;
  }
  template <class Q>
  [[nodiscard]] std::pair<node*, node*> range_of(const Q& which) const {
    node* const from = find_node(which);
    if (from == nullptr) return {nullptr, nullptr};
    return {from, end_of_equals(from)};
  }
  template <class Q>
  [[nodiscard]] size_type count_equal(const Q& which) const {
    const auto [from, to] = range_of(which);
    size_type n = 0;
    for (node* at = from; at != to; at = at->after()) ++n;
    return n;
  }
  template <class Q>
  size_type erase_equal(const Q& which) {
    const auto [from, to] = range_of(which);
    // `which` may be part of an element: all leave the chain first, and are dropped then.
    size_type n = 0;
    node* chain = nullptr;
    for (node* at = from; at != to;) {
      node* const after = at->after();
      unlink(at);
      at->next.set(chain);
      chain = at;
      at = after;
      ++n;
    }
    while (chain != nullptr) {
      node* const after = chain->after();
      all_nodes::drop(memory_, chain);
      chain = after;
    }
    return n;
  }
  template <class Q>
  [[nodiscard]] node_type extract_equal(const Q& which) {
    node* const found = find_node(which);
    if (found == nullptr) return node_type();
    unlink(found);
    return node_type(found, get_allocator());
  }
  // [a, a_end) and [b, b_end) are equally long and of one key.
  static bool same_elements(node* a, node* a_end, node* b, node* b_end) {
    if constexpr (!multi) {
      return *a->value() == *b->value();
    } else {
      for (node* one = a; one != a_end; one = one->after()) {
        size_type here = 0;
        for (node* other = a; other != a_end; other = other->after())
          here += *one->value() == *other->value() ? 1 : 0;
        for (node* other = b; other != b_end; other = other->after())
          here -= *one->value() == *other->value() ? 1 : 0;
        if (here != 0) return false;
      }
      return true;
    }
  }

  // ---- the chain ----
  // Between the first node with this key, or bucket, and what stands before it.
  void link_in(node* made) noexcept {
    if constexpr (multi) {
      if (links* const before = find_before(made->hash, Kind::key_of(*made->value()))) {
        made->next.lead_to(before->next.target());
        before->next.lead_to(made);
        ++size_;
        return;
      }
    }
    link_first(made);
  }
  void link_first(node* made) noexcept {
    link_to(buckets_.target(), mask(), made, made);
    ++size_;
  }
  // The nodes from `made` to `last`, all of one hash, to the front of their bucket.
  void link_to(bucket_link* buckets, std::uint64_t mask, node* made, node* last) noexcept {
    bucket_link& mine = buckets[made->hash & mask];
    if (links* const before = mine.get()) {
      last->next.lead_to(before->next.target());
      before->next.lead_to(made);
    } else {
      node* const after = first();
      last->next.set(after);
      if (after != nullptr) buckets[after->hash & mask].lead_to(last);
      head_.next.lead_to(made);
      mine.lead_to(head());
    }
  }
  void unlink(node* old) noexcept {
    bucket_link& mine = bucket_of(old->hash);
    links* before = mine.target();
    const bool first_of_bucket = before->next.target() == old;
    while (before->next.target() != old) before = before->next.target();
    node* const after = old->after();
    const bool last_of_bucket = after == nullptr || ((after->hash ^ old->hash) & mask()) != 0;
    if (last_of_bucket) {
      if (after != nullptr) bucket_of(after->hash).lead_to(before);
      if (first_of_bucket) mine.set(nullptr);
    }
    before->next.set(after);
    --size_;
  }

  // ---- buckets ----
  [[nodiscard]] size_type buckets_for(size_type n) const {
    if (n == 0) return 0;
    return static_cast<size_type>(
        std::ceil(static_cast<double>(n) / static_cast<double>(max_load_)));
  }
  void reserve_one_more() {
    if (static_cast<float>(size_ + 1) <= static_cast<float>(bucket_count_) * max_load_) return;
    constexpr size_type least = 8;
    size_type n = std::bit_ceil(buckets_for(size() + 1));
    if (n < 2 * bucket_count()) n = 2 * bucket_count();
    rebuild(n < least ? least : n);
  }
  void rebuild(size_type n) {
    typename bucket_traits::allocator_type memory(memory_);
    bucket_link* const made = std::to_address(bucket_traits::allocate(memory, n));
    for (size_type i = 0; i < n; ++i) ::new (static_cast<void*>(made + i)) bucket_link;
    node* at = first();
    head_.next.set(nullptr);
    while (at != nullptr) {
      node* last = at;  // equal keys stay in order
      node* after = last->after();
      if constexpr (multi)
        while (after != nullptr && after->hash == at->hash) {
          last = after;
          after = last->after();
        }
      link_to(made, n - 1, at, last);
      at = after;
    }
    release_buckets();
    buckets_.lead_to(made);
    bucket_count_ = n;
  }
  void release_buckets() noexcept {
    if (bucket_count_ == 0) return;
    typename bucket_traits::allocator_type memory(memory_);
    bucket_traits::deallocate(memory, typename bucket_traits::pointer(buckets_.target()),
                              bucket_count());
  }
  // Precondition: no elements.
  void free_buckets() noexcept {
    release_buckets();
    buckets_.set(nullptr);
    bucket_count_ = 0;
  }

  // Whatever `other` has, in the same order. Precondition: this is empty; the same functors.
  template <class Table, class Pass>
  void clone(Table& other, Pass pass) {
    if (other.size() == 0) return;
    rebuild(other.bucket_count());
    links* last = head();
    try {
      for (node* at = other.first(); at != nullptr; at = at->after()) {
        node* const made = all_nodes::make(memory_, pass(*at->value()));
        made->hash = at->hash;
        bucket_link& mine = bucket_of(made->hash);
        if (mine.get() == nullptr) mine.lead_to(last);
        last->next.lead_to(made);
        last = made;
        ++size_;
      }
    } catch (...) {
      clear();
      free_buckets();
      throw;
    }
  }
  // Precondition: equal allocators, this has no elements; its buckets are freed.
  void take(hash_table& other) noexcept {
    free_buckets();
    buckets_.set(other.buckets_.get());
    bucket_count_ = other.bucket_count_;
    head_.next.set(other.head_.next.get());
    size_ = other.size_;
    max_load_ = other.max_load_;
    if (node* const at = first()) bucket_of(at->hash).lead_to(head());
    other.buckets_.set(nullptr);
    other.bucket_count_ = 0;
    other.head_.next.set(nullptr);
    other.size_ = 0;
  }
  // The handle's node, or one of this memory with what that has.
  [[nodiscard]] node* adopted(node_type& handle) {
    if (handle.get_allocator() == get_allocator()) return handle.release();
    node* const made = all_nodes::make(memory_, std::move(*handle.node()->value()));
    handle = node_type();
    return made;
  }
  // A node of this memory that nobody else will drop.
  auto add_owned(node* made) {
    struct guard {
      hash_table& owner;
      node* held;
      ~guard() {
        if (held != nullptr) all_nodes::drop(owner.memory_, held);
      }
    } kept{*this, made};
    made->hash = hash_of_key(Kind::key_of(*made->value()));
    if constexpr (multi) {
      reserve_one_more();
      kept.held = nullptr;
      link_in(made);
      return iterator(made);
    } else {
      if (links* const before = find_before(made->hash, Kind::key_of(*made->value())))
        return std::pair<iterator, bool>(next_of(before), false);
      reserve_one_more();
      kept.held = nullptr;
      link_first(made);
      return std::pair<iterator, bool>(made, true);
    }
  }
  template <class Value>
  auto emplace_value(Value&& element) {
    return emplace_by(Kind::key_of(element), std::forward<Value>(element));
  }

  typename all_nodes::allocator_type memory_;
  link<bucket_link, relative> buckets_;
  std::uint64_t bucket_count_ = 0;
  links head_;
  std::uint64_t size_ = 0;
  float max_load_ = 1.0f;
  std::uint32_t unused_ = 0;
};

}  // namespace ipcpp::detail
