// ipcpp.malloc:memory_source - where a heap gets its memory.
//
// A source is one linear range that grows at its end, as with sbrk; it outlives its heap. The
// minimum is append only:
//
//   base()          the range's first byte, aligned to 16 at least; never changes
//   capacity()      the range's full length in bytes, committed or not
//   extend(bytes)   commits `bytes` more at the end; returns how many, 0 if it refuses. Never throws.
//
// Optional members make more of it: sparse metadata and trimming, and one source used by several
// processes:
//
//   commit(offset, bytes)    bool: commits a range anywhere below capacity(); idempotent
//   release(offset, bytes)   size_t: gives committed memory back; how many bytes went
//   adopt(end)               bool: makes what others committed below `end` accessible here; false if
//                            nobody can have committed that much
//
// object_source is a source over a mapped shared object, with all of them.
module;

#include <concepts>
#include <cstddef>
#include <new>

export module ipcpp.malloc:memory_source;

import ipcpp.platform;

namespace ipcpp {

export template <class Source>
concept memory_source = requires(Source& source, const Source& constant, std::size_t bytes) {
  { constant.base() } noexcept -> std::same_as<void*>;
  { constant.capacity() } noexcept -> std::convertible_to<std::size_t>;
  { source.extend(bytes) } noexcept -> std::convertible_to<std::size_t>;
};

export template <class Source>
concept sparse_memory_source = memory_source<Source> && requires(Source& source, std::size_t n) {
  { source.commit(n, n) } noexcept -> std::convertible_to<bool>;
  { source.release(n, n) } noexcept -> std::convertible_to<std::size_t>;
};

export template <class Source>
concept shared_memory_source = memory_source<Source> && requires(Source& source, std::size_t n) {
  { source.adopt(n) } noexcept -> std::convertible_to<bool>;
};

// The mapped object's bytes from `first` on. Does not own the mapping, which must stay where it is
// meanwhile.
export class object_source {
 public:
  inline explicit object_source(platform::mapping& place,
                                std::size_t first = platform::first_usable_byte) noexcept
      : place_(&place), first_(first), end_(first) {}

  [[nodiscard]] inline platform::mapping& place() const noexcept { return *place_; }
  [[nodiscard]] inline void* base() const noexcept { return place_->base() + first_; }
  [[nodiscard]] inline std::size_t capacity() const noexcept { return place_->capacity() - first_; }

  // `end_` is this process's own idea of the end; several processes agree by commit and adopt
  // instead.
  inline std::size_t extend(std::size_t bytes) noexcept {
    if (!commit(end_ - first_, bytes)) return 0;
    end_ += bytes;
    return bytes;
  }
  [[nodiscard]] inline bool commit(std::size_t offset, std::size_t bytes) noexcept {
    if (offset > capacity() || bytes > capacity() - offset) return false;
    try {
      return place_->commit(first_ + offset, bytes);
    } catch (const error&) {
    } catch (const std::bad_alloc&) {
    }
    return false;
  }
  inline std::size_t release(std::size_t offset, std::size_t bytes) noexcept {
    if (offset > capacity() || bytes > capacity() - offset) return 0;
    try {
      return place_->release(first_ + offset, bytes);
    } catch (const error&) {
    } catch (const std::bad_alloc&) {
    }
    return 0;
  }
  [[nodiscard]] inline bool adopt(std::size_t end) noexcept {
    return end <= capacity() && first_ + end <= place_->backed_bytes() &&
           place_->adopt(first_ + end);
  }

 private:
  platform::mapping* place_;
  std::size_t first_;
  std::size_t end_;
};
static_assert(memory_source<object_source> && sparse_memory_source<object_source> &&
              shared_memory_source<object_source>);

}  // namespace ipcpp
