// Bodies of ipcpp.platform:posix: descriptors and byte locks.
//
// Only locks of the open-file-description kind are used: a traditional POSIX lock falls when any
// descriptor of the file is closed anywhere in the process. F_OFD_GETLK asks without taking, so two
// who ask at once cannot mistake each other for the owner.
module;

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <fcntl.h>
#include <unistd.h>

module ipcpp.platform;

// macOS has had them since 10.11, its public headers since 14.
#if defined(__APPLE__) && !defined(F_OFD_SETLK)
#define F_OFD_SETLK 90
#define F_OFD_GETLK 92
#endif

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
  file_facts one;
  file_facts two;
  return facts_of(a, one) && facts_of(b, two) && one == two;
}

}  // namespace ipcpp::platform::posix
