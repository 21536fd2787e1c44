// Bodies of mapping on Linux and macOS: one reservation, its private page, and growth in either way.
//
// Crash story of growing. One object: fallocate grants page by page; what a process granted before
// it died is committed memory nobody knows of yet, and granting it again is harmless. Several
// objects: a step is created empty, given its one size, then filled like the above; whoever finds
// it empty gives it the same size, since a step's size follows from its number alone. Nothing is
// ever published here: the upper layer's own limit says what is usable.
module;

#include <atomic>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <sys/mman.h>
#include <sys/stat.h>

module ipcpp.platform;

namespace ipcpp::platform {

namespace {

struct extent {
  std::uint64_t begin;
  std::uint64_t end;
};

// Step 0 is [0, first), step k >= 1 is [first * 2^(k-1), first * 2^k), cut off at the capacity.
std::uint32_t step_of(std::uint64_t offset, std::uint64_t first) noexcept {
  return static_cast<std::uint32_t>(std::bit_width(offset / first));
}

extent extent_of(std::uint32_t step, std::uint64_t first, std::uint64_t capacity) noexcept {
  const std::uint64_t begin = step == 0 ? 0 : first << (step - 1);
  const std::uint64_t end = first << step;
  return {begin, end < capacity ? end : capacity};
}

std::size_t area_bytes() noexcept {
  return page_bytes() < private_area_bytes ? private_area_bytes : page_bytes();
}

std::byte* align_up(std::byte* p, std::size_t alignment) noexcept {
  const auto address = reinterpret_cast<std::uintptr_t>(p);
  return p + ((alignment - address % alignment) % alignment);
}

bool is_refusal(int code) noexcept {
  return code == ENOSPC || code == ENOMEM || code == EDQUOT || code == EFBIG;
}

[[noreturn]] void no_room(const std::string& object, std::size_t bytes, std::string_view found,
                          int code) {
  throw error(errc::no_address_space, object, std::to_string(bytes) + " bytes of address space",
              found, "create it with a smaller capacity, or raise the limit (ulimit -v)", code);
}

// Reserves area_bytes() + capacity with the base aligned; returns the base.
std::byte* reserve(const std::string& object, std::size_t capacity, void* at) {
  const std::size_t area = area_bytes();
  const std::size_t alignment = base_alignment(capacity);
  constexpr int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
#if defined(MAP_FIXED_NOREPLACE)
  constexpr int exactly = MAP_FIXED_NOREPLACE;
#else
  constexpr int exactly = 0;  // a free address that is wished for is the one that is given
#endif
  if (at != nullptr) {
    // Whoever opens a damaged object may wish for any address: no pointer is moved before it is known to be sound.
    const auto address = reinterpret_cast<std::uintptr_t>(at);
    if (address % alignment != 0 || address < area)
      throw error(errc::invalid_argument, object,
                  "an address aligned to " + std::to_string(alignment), "one that is not",
                  "take the address another process got");
    auto* const base = static_cast<std::byte*>(at);
    void* const got = ::mmap(base - area, capacity + area, PROT_NONE, flags | exactly, -1, 0);
    if (got == MAP_FAILED)
      no_room(object, capacity, "the address taken or refused: " + system_message(errno), errno);
    if (got != base - area) {  // kernels before 4.17 take the address as a hint
      ::munmap(got, capacity + area);
      no_room(object, capacity, "the address taken", EEXIST);
    }
    return base;
  }
  const std::size_t bytes = capacity + area + alignment;
  void* const got = ::mmap(nullptr, bytes, PROT_NONE, flags, -1, 0);
  if (got == MAP_FAILED) no_room(object, capacity, system_message(errno), errno);
  auto* const start = static_cast<std::byte*>(got);
  std::byte* const base = align_up(start + area, alignment);
  const auto before = static_cast<std::size_t>(base - area - start);
  if (before > 0) ::munmap(start, before);
  if (const std::size_t after = bytes - before - area - capacity; after > 0)
    ::munmap(base + capacity, after);
  return base;
}

}  // namespace

mapping mapping::map(shared_object object, void* at) {
  const std::string name = object.describe();
  const std::size_t capacity = object.capacity();
  const std::size_t area = area_bytes();
  const int descriptor = object.checked(true);
  if (descriptor < 0)
    throw system_error_of(name, "find its own descriptor, which somebody closed,", EBADF);
  std::byte* const base = reserve(name, capacity, at);
  mapping made(std::move(object), base);  // unmaps whatever happens
  if (::mmap(base - area, area, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
             0) == MAP_FAILED)
    throw std::bad_alloc();
  if (const int refused = posix::wipe_in_children(base - area, area); refused != 0) {
    if (refused == ENOMEM) throw std::bad_alloc();
    throw error(errc::not_supported, name, "pages that a forked child does not inherit",
                system_message(refused), "use Linux 4.14 or newer", refused);
  }
  const object_prologue& prologue = made.object_.stored_.prologue;
  const std::size_t first =
      made.grows_by_mappings() ? extent_of(0, prologue.first_step_bytes, capacity).end : capacity;
  const int protection =
      made.object_.mode() == access::read_write ? PROT_READ | PROT_WRITE : PROT_READ;
  if (::mmap(base, first, protection, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, descriptor, 0) ==
      MAP_FAILED) {
    if (errno == ENOMEM) no_room(name, capacity, system_message(errno), errno);
    throw system_error_of(name, "map it", errno);
  }
  // A core dump would otherwise write the whole capacity of an unnamed object, and keep its owner
  // alive meanwhile.
  posix::keep_out_of_core_dumps(base, capacity);
  return made;
}

mapping::mapping(mapping&& other) noexcept
    : object_(std::move(other.object_)),
      base_(std::exchange(other.base_, nullptr)),
      mapped_steps_(other.mapped_steps_) {}

mapping& mapping::operator=(mapping&& other) noexcept {
  std::swap(object_, other.object_);
  std::swap(base_, other.base_);
  std::swap(mapped_steps_, other.mapped_steps_);
  return *this;
}

mapping::~mapping() {
  if (base_ == nullptr) return;
  posix::forget_wiped(base_ - area_bytes());
  ::munmap(base_ - area_bytes(), area_bytes() + capacity());
}

bool mapping::grows_by_mappings() const noexcept {
  return object_.stored_.prologue.how == growth::several_objects;
}

void mapping::check_range(std::size_t offset, std::size_t bytes, std::string_view verb) const {
  if (offset > capacity() || bytes > capacity() - offset)
    throw error(
        errc::invalid_argument, object_.describe(),
        "a range within its capacity of " + std::to_string(capacity()) + " to " + std::string(verb),
        std::to_string(bytes) + " bytes at " + std::to_string(offset), "");
  if (object_.mode() == access::read_only)
    throw error(errc::access_denied, object_.describe(),
                "a mapping that may write to " + std::string(verb), "a read-only one",
                "open it with access::read_write");
}

int mapping::map_step(std::uint32_t step, bool create) noexcept {
  // Relaxed: the bit only saves repeating the call; mapping a step twice at its one place changes
  // nothing.
  const std::atomic_ref mapped(mapped_steps_);
  const std::uint64_t bit = std::uint64_t{1} << step;
  if ((mapped.load(std::memory_order_relaxed) & bit) != 0) return 0;
  const extent where = extent_of(step, object_.stored_.prologue.first_step_bytes, capacity());
  struct stat facts{};
  if (::fstat(object_.native_handle(), &facts) != 0) return errno;
  const posix::file_handle file = posix::store_open_step(
      object_.id(), step, where.end - where.begin, object_.mode(), create, facts.st_mode & 0777);
  if (!file) return errno;
  const int protection = object_.mode() == access::read_write ? PROT_READ | PROT_WRITE : PROT_READ;
  if (::mmap(base_ + where.begin, where.end - where.begin, protection,
             MAP_SHARED | MAP_FIXED | MAP_NORESERVE, file.get(), 0) == MAP_FAILED)
    return errno;
  posix::keep_out_of_core_dumps(base_ + where.begin, where.end - where.begin);
  mapped.fetch_or(bit, std::memory_order_relaxed);
  return 0;
}

bool mapping::commit(std::size_t offset, std::size_t bytes) {
  check_range(offset, bytes, "commit");
  const std::size_t page = page_bytes();
  const std::uint64_t begin = offset / page * page;
  const std::uint64_t end = (offset + bytes + page - 1) / page * page;
  if (bytes == 0) return true;
  int refused = 0;
  if (!grows_by_mappings()) {
    const int descriptor = object_.checked(true);
    refused = descriptor < 0 ? EBADF : posix::allocate_range(descriptor, begin, end - begin);
  } else {
    const std::uint64_t first = object_.stored_.prologue.first_step_bytes;
    // The steps below come into being as well, empty as they are, so that adopt finds each one it
    // looks for.
    for (std::uint32_t step = 0; step < step_of(begin, first) && refused == 0; ++step)
      refused = map_step(step, true);
    for (std::uint64_t at = begin; at < end && refused == 0;) {
      const std::uint32_t step = step_of(at, first);
      const extent where = extent_of(step, first, capacity());
      const std::uint64_t upto = end < where.end ? end : where.end;
      refused = map_step(step, true);
      if (refused != 0) break;
      if (step == 0) {
        const int descriptor = object_.checked(true);
        refused = descriptor < 0 ? EBADF : posix::allocate_range(descriptor, at, upto - at);
      } else {
        const posix::file_handle file = posix::store_open_step(
            object_.id(), step, where.end - where.begin, access::read_write, false, 0);
        refused = file ? posix::allocate_range(file.get(), at - where.begin, upto - at) : errno;
      }
      at = upto;
    }
  }
  if (refused == 0) return true;
  if (is_refusal(refused)) return false;
  throw system_error_of(object_.describe(), "grow it", refused);
}

std::size_t mapping::release(std::size_t offset, std::size_t bytes) {
  check_range(offset, bytes, "release");
  const std::size_t page = page_bytes();
  std::uint64_t begin = (offset + page - 1) / page * page;
  const std::uint64_t end = (offset + bytes) / page * page;
  if (begin == 0) begin = page;  // the prologue stays
  std::size_t given_back = 0;
  const std::uint64_t first = object_.stored_.prologue.first_step_bytes;
  for (std::uint64_t at = begin; at < end;) {
    const std::uint32_t step = grows_by_mappings() ? step_of(at, first) : 0;
    const extent where =
        grows_by_mappings() ? extent_of(step, first, capacity()) : extent{0, capacity()};
    const std::uint64_t upto = end < where.end ? end : where.end;
    posix::file_handle file;
    int descriptor = -1;
    if (step == 0) {
      descriptor = object_.checked(true);
    } else {
      file = posix::store_open_step(object_.id(), step, where.end - where.begin, access::read_write,
                                    false, 0);
      descriptor = file.get();
    }
    given_back += posix::give_back_range(descriptor, at - where.begin, upto - at);
    at = upto;
  }
  return given_back;
}

bool mapping::adopt(std::size_t end) noexcept {
  if (end > capacity()) return false;
  if (!grows_by_mappings() || end == 0) return true;
  const std::uint32_t last = step_of(end - 1, object_.stored_.prologue.first_step_bytes);
  for (std::uint32_t step = 0; step <= last; ++step)
    if (map_step(step, false) != 0) return false;
  return true;
}

bool mapping::prefer_huge_pages() noexcept {
  return posix::advise_huge_pages(base_, capacity());
}

std::size_t mapping::backed_bytes() const noexcept {
  struct stat facts{};
  if (grows_by_mappings() || ::fstat(object_.native_handle(), &facts) != 0) return capacity();
  const auto bytes = static_cast<std::size_t>(facts.st_size);
  return bytes < capacity() ? bytes : capacity();
}

}  // namespace ipcpp::platform
