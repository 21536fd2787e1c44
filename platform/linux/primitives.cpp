// What Linux does in its own way below the store and the mappings: see the end of :posix.
module;

#include <atomic>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <string>
#include <string_view>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

module ipcpp.platform;

namespace ipcpp::platform::posix {

variant active_variant() noexcept {
#ifdef IPCPP_PLATFORM_VARIANTS
  // Not a function-local static: its guard could be inherited locked by a forked child. Relaxed:
  // everybody finds the same.
  static constinit std::atomic<unsigned> known{0};
  unsigned bits = known.load(std::memory_order_relaxed);
  if (bits == 0) {
    const char* text = ::secure_getenv("IPCPP_PLATFORM_VARIANT");
    const std::string_view list = text == nullptr ? "" : text;
    bits = 1 | (list.find("several_objects") != list.npos ? 2u : 0u) |
           (list.find("registry_names") != list.npos ? 4u : 0u);
    known.store(bits, std::memory_order_relaxed);
  }
  return {(bits & 2) != 0, (bits & 4) != 0};
#else
  return {};
#endif
}

const char* trusted_environment(const char* name) noexcept {
  return ::secure_getenv(name);
}

std::string default_directory() {
  return "/dev/shm";
}

std::size_t generous_capacity() noexcept {
  // A sixty-fourth of the address space leaves room for many heaps; the stack lies at its upper end.
  int on_the_stack = 0;
  const auto bits = std::bit_width(reinterpret_cast<std::uintptr_t>(&on_the_stack));
  const std::size_t bytes = std::size_t{1} << (bits - 6);
  return bytes < 1_TiB ? bytes : 1_TiB;
}

bool facts_of(int descriptor, file_facts& into) noexcept {
  struct stat facts{};
  if (::fstat(descriptor, &facts) != 0) return false;
  into = {facts.st_dev, facts.st_ino};
  return true;
}

file_handle reopen(int descriptor, access mode, const std::string& path) noexcept {
  const int flags = (mode == access::read_write ? O_RDWR : O_RDONLY) | O_CLOEXEC;
  char by_number[32] = "/proc/self/fd/";
  char* end = by_number + 14;
  char digits[12];
  int count = 0;
  for (int n = descriptor; count == 0 || n > 0; n /= 10)
    digits[count++] = static_cast<char>('0' + n % 10);
  while (count > 0) *end++ = digits[--count];
  *end = 0;
  if (file_handle again(::open(by_number, flags)); again) return again;
  if (!path.empty()) {
    file_handle again(::open(path.c_str(), flags | O_NOFOLLOW));
    if (again && same_file(again.get(), descriptor)) return again;
  }
  return {};
}

file_handle reopen_memory(int descriptor, access mode, object_id id) noexcept {
  try {
    return reopen(descriptor, mode, directory() + memory_name(id, 0));
  } catch (const std::bad_alloc&) {
    errno = ENOMEM;
    return {};
  }
}

bool files_can_be_objects() noexcept {
  return true;
}

file_handle open_unnamed_file(const std::string& directory) noexcept {
  file_handle file(::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  // What kernels and file systems without O_TMPFILE make of its bits.
  if (!file && (errno == EISDIR || errno == EINVAL)) errno = EOPNOTSUPP;
  return file;
}

int name_unnamed_file(int descriptor, const std::string& path) noexcept {
  if (::linkat(descriptor, "", AT_FDCWD, path.c_str(), AT_EMPTY_PATH) == 0) return 0;
  if (errno == EEXIST) return EEXIST;
  // The above needs a capability, the following /proc.
  try {
    const std::string self = "/proc/self/fd/" + std::to_string(descriptor);
    return ::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, path.c_str(), AT_SYMLINK_FOLLOW) == 0 ? 0
                                                                                            : errno;
  } catch (const std::bad_alloc&) {
    return ENOMEM;
  }
}

file_handle open_memory(object_id id, std::uint32_t step, int flags,
                        unsigned permissions) noexcept {
  try {
    const std::string path = directory() + memory_name(id, step);
    return file_handle(::open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW, permissions));
  } catch (const std::bad_alloc&) {
    errno = ENOMEM;
    return {};
  }
}

int remove_memory(object_id id, std::uint32_t step) noexcept {
  try {
    return ::unlink((directory() + memory_name(id, step)).c_str()) == 0 ? 0 : errno;
  } catch (const std::bad_alloc&) {
    return ENOMEM;
  }
}

int give_size(int descriptor, std::uint64_t bytes, unsigned permissions) noexcept {
  if (exceeds_file_limit(bytes)) return EFBIG;
  if (::fchmod(descriptor, static_cast<mode_t>(permissions)) != 0) return errno;
  return ::ftruncate(descriptor, static_cast<off_t>(bytes)) == 0 ? 0 : errno;
}

int allocate_range(int descriptor, std::uint64_t offset, std::uint64_t bytes) noexcept {
  if (exceeds_file_limit(offset + bytes)) return EFBIG;
  // Small steps: older kernels undo an interrupted fallocate, and a timer could interrupt a large
  // one for ever.
  constexpr std::uint64_t step = 4_MiB;
  for (const std::uint64_t end = offset + bytes; offset < end;) {
    const std::uint64_t n = end - offset < step ? end - offset : step;
    if (::fallocate(descriptor, 0, static_cast<off_t>(offset), static_cast<off_t>(n)) == 0) {
      offset += n;
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

std::uint64_t give_back_range(int descriptor, std::uint64_t offset, std::uint64_t bytes) noexcept {
  int done = -1;
  do {
    done = ::fallocate(descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                       static_cast<off_t>(offset), static_cast<off_t>(bytes));
  } while (done != 0 && errno == EINTR);
  return done == 0 ? bytes : 0;
}

int wipe_in_children(void* pages, std::size_t bytes) noexcept {
  return ::madvise(pages, bytes, MADV_WIPEONFORK) == 0 ? 0 : errno;
}

void forget_wiped(void*) noexcept {}  // the mark goes with the mapping

void keep_out_of_core_dumps(void* start, std::size_t bytes) noexcept {
  (void)::madvise(start, bytes, MADV_DONTDUMP);
}

bool advise_huge_pages(void* start, std::size_t bytes) noexcept {
  return ::madvise(start, bytes, MADV_HUGEPAGE) == 0;
}

}  // namespace ipcpp::platform::posix
