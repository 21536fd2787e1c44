// ipcpp.containers:string_storage - the bytes of a string, and how they grow.
//
// Representation: 32 bytes, the same from every compiler and for every allocator of 8 bytes
// (pictured for char, 23 of which need no block; 11 of 2 bytes and 5 of 4 bytes do so):
//
//   0         8                                             31
//   | memory  | characters, terminator ............. | left |   left = 23 - size, so it is the
//   | memory  | distance | size            | capacity     1 |   terminator of 23 characters
//
// The highest bit of the last byte tells which. `distance` leads from this object's own address to
// the characters, so a string means the same wherever its segment is mapped.
//
// Invariants: characters()[size()] is 0. A block holds capacity + 1 characters, a multiple of 16
// bytes.
// Failure model: whatever may throw does so before anything has changed.
module;

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <type_traits>

export module ipcpp.containers:string_storage;

import ipcpp.platform;
import ipcpp.malloc;
import :checks;

namespace ipcpp::detail {

template <class Char, class Allocator>
class string_storage {
  static_assert(std::is_trivially_copyable_v<Char> &&
                (sizeof(Char) == 1 || sizeof(Char) == 2 || sizeof(Char) == 4));
  using traits = std::allocator_traits<Allocator>;
  static constexpr std::uint64_t long_flag = std::uint64_t{1} << 63;

 public:
  static constexpr std::size_t short_capacity = 24 / sizeof(Char) - 1;
  static constexpr std::size_t max_size =
      static_cast<std::size_t>(std::numeric_limits<std::ptrdiff_t>::max()) / sizeof(Char) - 16;

  string_storage() noexcept(noexcept(Allocator())) { become_empty(); }
  explicit string_storage(const Allocator& allocator) noexcept : allocator_(allocator) {
    become_empty();
  }
  // With n characters from elsewhere.
  string_storage(const Char* text, std::size_t n, const Allocator& allocator)
      : allocator_(allocator) {
    begin_with(text, n);
  }
  string_storage(const string_storage& other, const Allocator& allocator) : allocator_(allocator) {
    if (other.is_long()) {
      begin_with(other.characters(), other.size());
    } else {
      copy_short(other);
    }
  }
  string_storage(const string_storage&) = delete;
  string_storage& operator=(const string_storage&) = delete;
  ~string_storage() { release(); }

  [[nodiscard]] Allocator& allocator() noexcept { return allocator_; }
  [[nodiscard]] const Allocator& allocator() const noexcept { return allocator_; }

  [[nodiscard]] bool is_long() const noexcept { return (long_.capacity & long_flag) != 0; }
  [[nodiscard]] Char* characters() noexcept { return is_long() ? block() : short_; }
  [[nodiscard]] const Char* characters() const noexcept { return is_long() ? block() : short_; }
  [[nodiscard]] std::size_t size() const noexcept {
    return is_long() ? static_cast<std::size_t>(long_.size)
                     : short_capacity - static_cast<std::size_t>(short_[short_capacity]);
  }
  [[nodiscard]] std::size_t capacity() const noexcept {
    return is_long() ? static_cast<std::size_t>(long_.capacity & ~long_flag) : short_capacity;
  }

  // Precondition: n <= capacity(). Writes the terminator.
  void set_size(std::size_t n) noexcept {
    if (is_long()) {
      long_.size = n;
      block()[n] = Char();
    } else {
      short_[n] = Char();
      short_[short_capacity] = static_cast<Char>(short_capacity - n);
    }
  }

  // A block that is not part of the string yet: for at least n characters, and for twice what there
  // is now if that is more than n and `generous`.
  struct fresh {
    Char* characters;
    std::size_t capacity;
  };
  [[nodiscard]] fresh allocate(std::size_t n, bool generous) {
    if (n > max_size) throw_length_error("ipcpp::basic_string: longer than max_size()");
    std::size_t wanted = n;
    if (generous && 2 * capacity() > wanted) wanted = 2 * capacity();
    return allocate_for(wanted < max_size ? wanted : max_size);
  }
  // The block becomes the string's, with the size it says; what was before is freed.
  void adopt(const fresh& made, std::size_t size) noexcept {
    release();
    become_long(made.characters, size, made.capacity);
    made.characters[size] = Char();
  }
  // Room for n characters, of which the present ones are kept.
  void reserve(std::size_t n, bool generous) {
    if (n <= capacity()) return;
    const fresh made = allocate(n, generous);
    const std::size_t now = size();
    std::memcpy(static_cast<void*>(made.characters), characters(), now * sizeof(Char));
    adopt(made, now);
  }
  void shrink() {
    if (!is_long()) return;
    const std::size_t now = size();
    Char* const old = block();
    const std::size_t old_units = capacity() + 1;
    if (now <= short_capacity) {
      become_empty();
      std::memcpy(static_cast<void*>(short_), old, now * sizeof(Char));
      set_size(now);
      deallocate(old, old_units);
    } else if (now + 16 / sizeof(Char) < old_units) {
      const fresh made = allocate(now, false);
      std::memcpy(static_cast<void*>(made.characters), old, now * sizeof(Char));
      adopt(made, now);
    }
  }

  // Takes over what `other` has and leaves it empty. Precondition: equal allocators, this is empty
  // and short.
  void take(string_storage& other) noexcept {
    if (other.is_long()) {
      become_long(other.block(), other.size(), other.capacity());
    } else {
      copy_short(other);
    }
    other.become_empty();
  }
  // Precondition: equal allocators.
  void swap(string_storage& other) noexcept {
    string_storage between(allocator_);
    between.take(*this);
    take(other);
    other.take(between);
  }
  // Frees the block.
  void reset() noexcept {
    release();
    become_empty();
  }
  // The same bytes, if there is no block. Precondition: neither has one.
  void copy_short(const string_storage& other) noexcept { long_ = other.long_; }

 private:
  // Precondition: nothing is there yet but the allocator.
  void begin_with(const Char* text, std::size_t n) {
    if (n <= short_capacity) {
      become_empty();
      if (n != 0) std::memcpy(static_cast<void*>(short_), text, n * sizeof(Char));
      short_[short_capacity] = static_cast<Char>(short_capacity - n);
    } else {
      const fresh made = allocate_for(n);
      std::memcpy(static_cast<void*>(made.characters), text, n * sizeof(Char));
      made.characters[n] = Char();
      become_long(made.characters, n, made.capacity);
    }
  }
  [[nodiscard]] fresh allocate_for(std::size_t n) {
    if (n > max_size) throw_length_error("ipcpp::basic_string: longer than max_size()");
    constexpr std::size_t step = 16 / sizeof(Char);
    const std::size_t units = (n + step) / step * step;  // one more for the terminator
    return {std::to_address(traits::allocate(allocator_, units)), units - 1};
  }

  struct long_form {
    std::int64_t distance;
    std::uint64_t size;
    std::uint64_t capacity;
  };

  [[nodiscard]] Char* block() const noexcept {
    return reinterpret_cast<Char*>(reinterpret_cast<std::uintptr_t>(this) +
                                   static_cast<std::uintptr_t>(long_.distance));
  }
  void become_empty() noexcept {
    long_ = {};
    short_[short_capacity] = static_cast<Char>(short_capacity);
  }
  void become_long(Char* block, std::size_t size, std::size_t capacity) noexcept {
    long_.distance = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(block) -
                                               reinterpret_cast<std::uintptr_t>(this));
    long_.size = size;
    long_.capacity = capacity | long_flag;
  }
  void release() noexcept {
    if (is_long()) deallocate(block(), capacity() + 1);
  }
  void deallocate(Char* block, std::size_t units) noexcept {
    using pointer = typename traits::pointer;
    traits::deallocate(allocator_, pointer(block), units);
  }

  Allocator allocator_;
  union {
    long_form long_;
    Char short_[24 / sizeof(Char)];
  };
};

static_assert(sizeof(string_storage<char, allocator<char>>) == 32 &&
              alignof(string_storage<char, allocator<char>>) == 8);
static_assert(sizeof(string_storage<char32_t, allocator<char32_t>>) == 32);

}  // namespace ipcpp::detail
