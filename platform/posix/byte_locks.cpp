// Bodies of ipcpp.platform:posix: descriptors and byte locks.
//
// Only locks of the open-file-description kind are used: a traditional POSIX lock falls when any
// descriptor of the file is closed anywhere in the process. F_OFD_GETLK asks without taking, so two
// who ask at once cannot mistake each other for the owner.
module;

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

module ipcpp.platform;

namespace ipcpp::platform::posix {

namespace {

struct flock range(std::int64_t byte, short type) noexcept {
  struct flock lock{};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(byte);
  lock.l_len = 1;
  return lock;
}

}  // namespace

file_handle::~file_handle() {
  if (const int mine = release(); mine >= 0) ::close(mine);
}

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

int try_lock(int descriptor, std::int64_t byte, lock_kind kind) noexcept {
  struct flock lock = range(byte, kind == lock_kind::shared ? F_RDLCK : F_WRLCK);
  for (;;) {
    if (::fcntl(descriptor, F_OFD_SETLK, &lock) == 0) return 0;
    if (errno == EACCES) return EAGAIN;
    if (errno != EINTR) return errno;
  }
}

void unlock(int descriptor, std::int64_t byte) noexcept {
  struct flock lock = range(byte, F_UNLCK);
  (void)::fcntl(descriptor, F_OFD_SETLK, &lock);
}

int find_lock(int descriptor, std::int64_t byte) noexcept {
  struct flock lock = range(byte, F_WRLCK);
  if (::fcntl(descriptor, F_OFD_GETLK, &lock) != 0) return errno;
  // The kernel may answer "nobody" without taking its own lock; the fence stands in for it.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return lock.l_type == F_UNLCK ? ENOENT : 0;
}

bool same_file(int a, int b) noexcept {
  struct stat one{};
  struct stat two{};
  return ::fstat(a, &one) == 0 && ::fstat(b, &two) == 0 && one.st_dev == two.st_dev &&
         one.st_ino == two.st_ino;
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

}  // namespace ipcpp::platform::posix
