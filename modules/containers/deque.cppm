// ipcpp.containers:deque - std::deque's interface over memory that processes share.
//
// Representation: 40 bytes, the same from every compiler, a table of links to blocks of the same
// number of elements, a power of two, and the blocks:
//
//   | memory | table | blocks in the table | first, in elements | size |
//
//   table -> | null | block | block | block | null |
//                     ..xx    xxxx    xx..            first = block size + 2
//
// Iterators are made of raw addresses (element, its block's end, the block's place in the table), so
// walking reads the table once per block. No two positions have the same element address: the one
// entry without block at which an iterator may stand is end()'s.
//
// Invariants: blocks of elements are there; a spare one may be on either side. The table has one
// entry more than blocks, always null, so that end() has a place.
//
// Failure model: std::bad_alloc, std::length_error, std::out_of_range; the strong guarantee at both
// ends, the basic one in the middle.
module;

#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

export module ipcpp.containers:deque;

import ipcpp.platform;
import ipcpp.malloc;
import :checks;
import :links;
import :sequence_support;

namespace ipcpp {

namespace detail {

// As many elements as fit into 1 KiB, and a power of two: 1 for large ones.
template <class T>
[[nodiscard]] consteval std::size_t deque_block_size() {
  std::size_t n = 1;
  while (2 * n * sizeof(T) <= 1024) n *= 2;
  return n;
}

template <class T, bool relative, bool constant>
class deque_iterator {
  using entry = link<T, relative>;

 public:
  using iterator_category = std::random_access_iterator_tag;
  using value_type = T;
  using difference_type = std::ptrdiff_t;
  using pointer = std::conditional_t<constant, const T*, T*>;
  using reference = std::conditional_t<constant, const T&, T&>;

  deque_iterator() noexcept = default;
  // The element `offset` of the block of this entry.
  deque_iterator(const entry* at, std::size_t offset) noexcept : entry_(at) {
    T* const block = at == nullptr ? nullptr : at->get();
    if (block == nullptr) return;
    block_end_ = block + size;
    element_ = block + offset;
  }
  template <bool from>
    requires(constant && !from)
  deque_iterator(const deque_iterator<T, relative, from>& other) noexcept
      : entry_(other.place()), block_end_(other.block_end()), element_(other.element()) {}

  [[nodiscard]] reference operator*() const noexcept { return *element_; }
  [[nodiscard]] pointer operator->() const noexcept { return element_; }
  [[nodiscard]] reference operator[](difference_type n) const noexcept { return *(*this + n); }
  deque_iterator& operator++() noexcept {
    if (++element_ == block_end_) *this = deque_iterator(entry_ + 1, 0);
    return *this;
  }
  deque_iterator& operator--() noexcept {
    if (element_ == block()) {
      *this = deque_iterator(entry_ - 1, size - 1);
    } else {
      --element_;
    }
    return *this;
  }
  deque_iterator operator++(int) noexcept {
    const deque_iterator before = *this;
    ++*this;
    return before;
  }
  deque_iterator operator--(int) noexcept {
    const deque_iterator before = *this;
    --*this;
    return before;
  }
  deque_iterator& operator+=(difference_type n) noexcept {
    constexpr auto signed_size = static_cast<difference_type>(size);
    const difference_type offset = (element_ - block()) + n;
    if (offset >= 0 && offset < signed_size) {
      element_ += n;
    } else {
      const difference_type blocks =
          offset >= 0 ? offset / signed_size : -((signed_size - 1 - offset) / signed_size);
      *this =
          deque_iterator(entry_ + blocks, static_cast<std::size_t>(offset - blocks * signed_size));
    }
    return *this;
  }
  deque_iterator& operator-=(difference_type n) noexcept { return *this += -n; }
  [[nodiscard]] friend deque_iterator operator+(deque_iterator at, difference_type n) noexcept {
    return at += n;
  }
  [[nodiscard]] friend deque_iterator operator+(difference_type n, deque_iterator at) noexcept {
    return at += n;
  }
  [[nodiscard]] friend deque_iterator operator-(deque_iterator at, difference_type n) noexcept {
    return at -= n;
  }
  [[nodiscard]] friend difference_type operator-(const deque_iterator& a,
                                                 const deque_iterator& b) noexcept {
    return (a.entry_ - b.entry_) * static_cast<difference_type>(size) + (a.element_ - a.block()) -
           (b.element_ - b.block());
  }
  [[nodiscard]] bool operator==(const deque_iterator& other) const noexcept {
    return element_ == other.element_;
  }
  [[nodiscard]] std::strong_ordering operator<=>(const deque_iterator& other) const noexcept {
    return *this - other <=> 0;
  }

  [[nodiscard]] const entry* place() const noexcept { return entry_; }
  [[nodiscard]] T* block_end() const noexcept { return block_end_; }
  [[nodiscard]] T* element() const noexcept { return element_; }

 private:
  static constexpr std::size_t size = deque_block_size<T>();

  [[nodiscard]] T* block() const noexcept {
    return block_end_ == nullptr ? nullptr : block_end_ - size;
  }

  const entry* entry_ = nullptr;
  T* block_end_ = nullptr;  // nullptr: no block here
  T* element_ = nullptr;
};

}  // namespace detail

export template <class T, class Allocator = allocator<T>>
class deque {
  static_assert(std::is_object_v<T> && !std::is_const_v<T> && !std::is_volatile_v<T>);
  static constexpr bool relative = detail::is_relative<Allocator>;
  using entry = detail::link<T, relative>;
  using traits = std::allocator_traits<Allocator>;
  using table_traits = typename traits::template rebind_traits<entry>;
  [[nodiscard]] static constexpr std::uint64_t block_size() {
    return detail::deque_block_size<T>();
  }

 public:
  using value_type = T;
  using allocator_type = Allocator;
  using size_type = std::size_t;
  using difference_type = std::ptrdiff_t;
  using reference = T&;
  using const_reference = const T&;
  using pointer = T*;
  using const_pointer = const T*;
  using iterator = detail::deque_iterator<T, relative, false>;
  using const_iterator = detail::deque_iterator<T, relative, true>;
  using reverse_iterator = std::reverse_iterator<iterator>;
  using const_reverse_iterator = std::reverse_iterator<const_iterator>;

  // ---- construction ----
  deque() noexcept(noexcept(Allocator())) = default;
  explicit deque(const Allocator& memory) noexcept : allocator_(memory) {}
  explicit deque(size_type n, const Allocator& memory = Allocator()) : deque(memory) { resize(n); }
  deque(size_type n, const T& value, const Allocator& memory = Allocator()) : deque(memory) {
    for (; n > 0; --n) push_back(value);
  }
  template <std::input_iterator It>
  deque(It first, It last, const Allocator& memory = Allocator()) : deque(memory) {
    for (; first != last; ++first) emplace_back(*first);
  }
  deque(std::initializer_list<T> all, const Allocator& memory = Allocator())
      : deque(all.begin(), all.end(), memory) {}
  deque(const deque& other)
      : deque(other.begin(), other.end(),
              traits::select_on_container_copy_construction(other.allocator_)) {}
  deque(const deque& other, const std::type_identity_t<Allocator>& memory)
      : deque(other.begin(), other.end(), memory) {}
  deque(deque&& other) noexcept : deque(other.allocator_) { take(other); }
  deque(deque&& other, const std::type_identity_t<Allocator>& memory) : deque(memory) {
    if (allocator_ == other.allocator_) {
      take(other);
    } else {
      for (T& element : other) push_back(std::move(element));
    }
  }
  ~deque() {
    static_assert(detail::fits<T, Allocator>,
                  "ipcpp::deque: an element of this type would mean nothing to another process: it "
                  "holds a raw pointer, or may hide one; see ipcpp::shareable");
    clear();
    free_all();
  }
  deque& operator=(const deque& other) {
    if (this != std::addressof(other)) assign(other.begin(), other.end());
    return *this;
  }
  deque& operator=(deque&& other) {
    if (this == std::addressof(other)) return *this;
    if (allocator_ == other.allocator_) {
      clear();
      free_all();
      take(other);
    } else {
      assign(std::move_iterator(other.begin()), std::move_iterator(other.end()));
    }
    return *this;
  }
  deque& operator=(std::initializer_list<T> all) {
    assign(all.begin(), all.end());
    return *this;
  }
  template <std::input_iterator It>
  void assign(It first, It last) {
    iterator at = begin();
    for (; at != end() && first != last; ++at, ++first) *at = *first;
    erase(at, end());
    for (; first != last; ++first) emplace_back(*first);
  }
  void assign(size_type n, const T& value) {
    iterator at = begin();
    for (; at != end() && n != 0; ++at, --n) *at = value;
    erase(at, end());
    for (; n > 0; --n) push_back(value);
  }
  void assign(std::initializer_list<T> all) { assign(all.begin(), all.end()); }
  [[nodiscard]] allocator_type get_allocator() const noexcept { return allocator_; }

  // ---- elements ----
  // Precondition: there is such an element.
  [[nodiscard]] reference operator[](size_type i) noexcept { return *address(i); }
  [[nodiscard]] const_reference operator[](size_type i) const noexcept { return *address(i); }
  [[nodiscard]] reference at(size_type i) {
    if (i >= size()) detail::throw_out_of_range("ipcpp::deque::at");
    return *address(i);
  }
  [[nodiscard]] const_reference at(size_type i) const {
    if (i >= size()) detail::throw_out_of_range("ipcpp::deque::at");
    return *address(i);
  }
  [[nodiscard]] reference front() noexcept { return *address(0); }
  [[nodiscard]] const_reference front() const noexcept { return *address(0); }
  [[nodiscard]] reference back() noexcept { return *address(size() - 1); }
  [[nodiscard]] const_reference back() const noexcept { return *address(size() - 1); }
  [[nodiscard]] iterator begin() noexcept { return at_place<iterator>(first_); }
  [[nodiscard]] const_iterator begin() const noexcept { return at_place<const_iterator>(first_); }
  [[nodiscard]] const_iterator cbegin() const noexcept { return begin(); }
  [[nodiscard]] iterator end() noexcept { return at_place<iterator>(first_ + size_); }
  [[nodiscard]] const_iterator end() const noexcept {
    return at_place<const_iterator>(first_ + size_);
  }
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
    return static_cast<size_type>(std::numeric_limits<difference_type>::max()) / sizeof(T);
  }

  // ---- at the ends ----
  void push_back(const T& value) { emplace_back(value); }
  void push_back(T&& value) { emplace_back(std::move(value)); }
  void push_front(const T& value) { emplace_front(value); }
  void push_front(T&& value) { emplace_front(std::move(value)); }
  template <class... Args>
  reference emplace_back(Args&&... args) {
    std::uint64_t place = first_ + size_;
    if (!is_there(place)) place = make_room_behind();
    T* const at = block_at(place) + place % block_size();
    traits::construct(allocator_, at, std::forward<Args>(args)...);
    ++size_;
    return *at;
  }
  template <class... Args>
  reference emplace_front(Args&&... args) {
    if (first_ == 0 || !is_there(first_ - 1)) make_room_before();
    const std::uint64_t place = first_ - 1;
    T* const at = block_at(place) + place % block_size();
    traits::construct(allocator_, at, std::forward<Args>(args)...);
    first_ = place;
    ++size_;
    return *at;
  }
  void pop_back() noexcept {
    traits::destroy(allocator_, address(size() - 1));
    --size_;
    // One spare block is kept, the one after it goes.
    const std::uint64_t next = (first_ + size_) / block_size() + 1;
    if ((first_ + size_) % block_size() == 0 && next < blocks_) free_block(next);
  }
  void pop_front() noexcept {
    traits::destroy(allocator_, address(0));
    ++first_;
    --size_;
    if (first_ % block_size() == 0 && first_ / block_size() >= 2)
      free_block(first_ / block_size() - 2);
  }
  void clear() noexcept {
    while (!empty()) {  // block by block, from the last
      const std::uint64_t last = first_ + size_ - 1;
      const std::uint64_t block = last / block_size();
      const std::uint64_t begin = block * block_size() > first_ ? block * block_size() : first_;
      T* const elements = block_at(last);
      for (std::uint64_t place = last + 1; place > begin; --place)
        traits::destroy(allocator_, elements + (place - 1) % block_size());
      size_ = begin - first_;
      if (block + 1 < blocks_) free_block(block + 1);
    }
  }
  void resize(size_type n) {
    resize_with(n, [&] { emplace_back(); });
  }
  void resize(size_type n, const T& value) {
    resize_with(n, [&] { push_back(value); });
  }
  // Blocks and table entries without elements go.
  void shrink_to_fit() {
    if (empty()) {
      free_all();
      return;
    }
    for (std::uint64_t i = 0; i < blocks_; ++i)
      if (i < first_ / block_size() || i > (first_ + size_ - 1) / block_size()) free_block(i);
    const std::uint64_t used = (first_ + size_ - 1) / block_size() - first_ / block_size() + 1;
    if (used < blocks_) new_table(used, 0);
  }

  // ---- in the middle ----
  template <class... Args>
  iterator emplace(const_iterator at, Args&&... args) {
    const auto i = static_cast<size_type>(at - cbegin());
    if (i < size() / 2) {
      emplace_front(std::forward<Args>(args)...);
      rotate(0, 1, i + 1);
    } else {
      emplace_back(std::forward<Args>(args)...);
      rotate(i, size() - 1, size());
    }
    return begin() + static_cast<difference_type>(i);
  }
  iterator insert(const_iterator at, const T& value) { return emplace(at, value); }
  iterator insert(const_iterator at, T&& value) { return emplace(at, std::move(value)); }
  iterator insert(const_iterator at, size_type n, const T& value) {
    const auto i = static_cast<size_type>(at - cbegin());
    return insert_with(i, [&] {
      for (; n > 0; --n) push_back(value);
    });
  }
  template <std::input_iterator It>
  iterator insert(const_iterator at, It first, It last) {
    const auto i = static_cast<size_type>(at - cbegin());
    return insert_with(i, [&] {
      for (; first != last; ++first) emplace_back(*first);
    });
  }
  iterator insert(const_iterator at, std::initializer_list<T> all) {
    return insert(at, all.begin(), all.end());
  }
  iterator erase(const_iterator at) { return erase(at, at + 1); }
  iterator erase(const_iterator first, const_iterator last) {
    const auto i = static_cast<size_type>(first - cbegin());
    const auto n = static_cast<size_type>(last - first);
    if (n == 0) return begin() + static_cast<difference_type>(i);
    if (i < size() - i - n) {
      for (size_type k = i; k > 0; --k) (*this)[k - 1 + n] = std::move((*this)[k - 1]);
      for (size_type k = 0; k < n; ++k) pop_front();
    } else {
      for (size_type k = i; k + n < size(); ++k) (*this)[k] = std::move((*this)[k + n]);
      for (size_type k = 0; k < n; ++k) pop_back();
    }
    return begin() + static_cast<difference_type>(i);
  }

  // Between different memories it moves the elements, and may throw std::bad_alloc.
  void swap(deque& other) {
    if (allocator_ == other.allocator_) {
      deque between(allocator_);
      between.take(*this);
      take(other);
      other.take(between);
    } else {
      deque mine(std::move(other), allocator_);
      deque theirs(std::move(*this), other.allocator_);
      swap(mine);
      other.swap(theirs);
    }
  }
  friend void swap(deque& a, deque& b) { a.swap(b); }
  [[nodiscard]] friend bool operator==(const deque& a, const deque& b) {
    return a.size() == b.size() && detail::equal_ranges(a.begin(), a.end(), b.begin());
  }
  [[nodiscard]] friend auto operator<=>(const deque& a, const deque& b)
    requires requires(const T& t) { t < t; }
  {
    return detail::compare_ranges<T>(a.begin(), a.end(), b.begin(), b.end());
  }

 private:
  [[nodiscard]] T* block_at(std::uint64_t place) const noexcept {
    return table_.target()[place / block_size()].target();
  }
  [[nodiscard]] T* address(size_type i) const noexcept {
    const std::uint64_t place = first_ + i;
    return block_at(place) + place % block_size();
  }
  template <class It>
  [[nodiscard]] It at_place(std::uint64_t place) const noexcept {
    if (blocks_ == 0) return It();
    return It(table_.target() + place / block_size(),
              static_cast<std::size_t>(place % block_size()));
  }
  [[nodiscard]] bool is_there(std::uint64_t place) const noexcept {
    return place / block_size() < blocks_ && table_.target()[place / block_size()].get() != nullptr;
  }

  // Room for one more at the end; returns its place.
  std::uint64_t make_room_behind() {
    if ((first_ + size_) / block_size() >= blocks_) make_entries(false);
    const std::uint64_t place = first_ + size_;
    add_block(place / block_size());
    return place;
  }
  void make_room_before() {
    if (first_ < block_size()) make_entries(true);
    if (first_ % block_size() == 0) add_block(first_ / block_size() - 1);
  }
  // An entry without block on that side: by moving the others, if half the table is free.
  void make_entries(bool before) {
    const std::uint64_t used =
        size_ == 0 ? 0 : (first_ + size_ - 1) / block_size() - first_ / block_size() + 1;
    std::uint64_t n = used < blocks_ / 2 ? blocks_ : 2 * blocks_;
    if (n < 4) n = 4;
    const std::uint64_t spare = n - used;
    new_table(n, before ? spare - spare / 2 : spare / 2);
  }
  // Of n entries, of which `before` lie before the first block with elements. Spare blocks go.
  void new_table(std::uint64_t n, std::uint64_t before) {
    typename table_traits::allocator_type memory(allocator_);
    if (n > max_size() / sizeof(entry))
      detail::throw_length_error("ipcpp::deque: more than max_size()");
    entry* const made =
        std::to_address(table_traits::allocate(memory, static_cast<size_type>(n + 1)));
    for (std::uint64_t i = 0; i <= n; ++i) ::new (static_cast<void*>(made + i)) entry;
    const std::uint64_t first_block = first_ / block_size();
    std::uint64_t used = 0;
    for (std::uint64_t i = 0; i < blocks_; ++i) {
      const bool has_elements =
          size_ != 0 && i >= first_block && i <= (first_ + size_ - 1) / block_size();
      if (has_elements) {
        made[before + used++].set(table_.target()[i].get());
      } else {
        free_block(i);
      }
    }
    release_table();
    table_.lead_to(made);
    blocks_ = n;
    first_ = before * block_size() + (size_ == 0 ? 0 : first_ % block_size());
  }
  void add_block(std::uint64_t i) {
    if (table_.target()[i].get() == nullptr)
      table_.target()[i].lead_to(
          std::to_address(traits::allocate(allocator_, static_cast<size_type>(block_size()))));
  }
  void free_block(std::uint64_t i) noexcept {
    T* const block = table_.target()[i].get();
    if (block == nullptr) return;
    table_.target()[i].set(nullptr);
    traits::deallocate(allocator_, typename traits::pointer(block),
                       static_cast<size_type>(block_size()));
  }
  void release_table() noexcept {
    if (blocks_ == 0) return;
    typename table_traits::allocator_type memory(allocator_);
    table_traits::deallocate(memory, typename table_traits::pointer(table_.target()),
                             static_cast<size_type>(blocks_ + 1));
  }
  // Precondition: no elements.
  void free_all() noexcept {
    for (std::uint64_t i = 0; i < blocks_; ++i) free_block(i);
    release_table();
    table_.set(nullptr);
    blocks_ = 0;
    first_ = 0;
  }
  // Precondition: equal allocators, this has no elements; what blocks it has are freed.
  void take(deque& other) noexcept {
    free_all();
    table_.set(other.table_.get());
    blocks_ = std::exchange(other.blocks_, 0);
    first_ = std::exchange(other.first_, 0);
    size_ = std::exchange(other.size_, 0);
    other.table_.set(nullptr);
  }

  template <class Add>
  void resize_with(size_type n, Add add) {
    const size_type before = size();
    try {
      while (size() < n) add();
    } catch (...) {
      while (size() > before) pop_back();
      throw;
    }
    while (size() > n) pop_back();
  }
  // What `add` adds at the end goes to i.
  template <class Add>
  iterator insert_with(size_type i, Add add) {
    const size_type before = size();
    try {
      add();
    } catch (...) {
      while (size() > before) pop_back();
      throw;
    }
    rotate(i, before, size());
    return begin() + static_cast<difference_type>(i);
  }
  // [middle, last) comes before [first, middle).
  void rotate(size_type first, size_type middle, size_type last) {
    if (first == middle || middle == last) return;
    if (last - middle == 1) {
      T moved(std::move((*this)[middle]));
      for (size_type i = middle; i > first; --i) (*this)[i] = std::move((*this)[i - 1]);
      (*this)[first] = std::move(moved);
    } else if (middle - first == 1) {
      T moved(std::move((*this)[first]));
      for (size_type i = first; i + 1 < last; ++i) (*this)[i] = std::move((*this)[i + 1]);
      (*this)[last - 1] = std::move(moved);
    } else {
      reverse(first, middle);
      reverse(middle, last);
      reverse(first, last);
    }
  }
  void reverse(size_type first, size_type last) {
    using std::swap;
    for (; first + 1 < last; ++first, --last) swap((*this)[first], (*this)[last - 1]);
  }

  Allocator allocator_;
  detail::link<entry, relative> table_;
  std::uint64_t blocks_ = 0;
  std::uint64_t first_ = 0;
  std::uint64_t size_ = 0;
};
static_assert(sizeof(deque<int>) == 40 && alignof(deque<int>) == 8);

export template <class It, class Allocator = allocator<std::iter_value_t<It>>>
deque(It, It, Allocator = Allocator()) -> deque<std::iter_value_t<It>, Allocator>;

export template <class T, class Allocator, class Predicate>
std::size_t erase_if(deque<T, Allocator>& from, Predicate predicate) {
  auto kept = from.begin();
  for (auto at = from.begin(); at != from.end(); ++at) {
    if (predicate(*at)) continue;
    if (kept != at) *kept = std::move(*at);
    ++kept;
  }
  const auto erased = static_cast<std::size_t>(from.end() - kept);
  from.erase(kept, from.end());
  return erased;
}
export template <class T, class Allocator, class U>
std::size_t erase(deque<T, Allocator>& from, const U& value) {
  return erase_if(from, [&](const T& element) { return element == value; });
}

}  // namespace ipcpp
