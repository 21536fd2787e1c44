// Which process this is, and which others are.
module;

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

module ipcpp.platform;

namespace ipcpp::platform {

namespace {

// The incarnation lives in a page that the kernel wipes in every child, whoever makes it and however:
// no fork handler is asked. last_incarnation is ordinary memory, so a child goes on counting from its
// parent's number; it is raised before a number is used, so that a child forked in between cannot use
// the same. Nothing here is a function-local static: their guards can be inherited locked.
constinit std::atomic<std::uint64_t*> incarnation_word{nullptr};
constinit std::atomic<std::uint64_t> last_incarnation{0};

// nullptr where no page can be had.
std::uint64_t* make_incarnation_word() noexcept {
  const std::size_t bytes = page_bytes();
  void* const page =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return nullptr;
  if (::madvise(page, bytes, MADV_WIPEONFORK) != 0) {
    ::munmap(page, bytes);
    return nullptr;
  }
  std::uint64_t* known = nullptr;
  // Release, acquire: whoever uses the page sees it made.
  if (incarnation_word.compare_exchange_strong(known, static_cast<std::uint64_t*>(page),
                                               std::memory_order_acq_rel))
    return static_cast<std::uint64_t*>(page);
  ::munmap(page, bytes);
  return known;
}

// Fields of /proc/<pid>/stat that follow the command name, which may itself hold spaces and
// parentheses.
struct process_state {
  bool exists = false;
  char state = 0;
  std::uint64_t threads = 0;
  std::uint64_t start_time = 0;
};

process_state read_state(std::uint64_t pid) noexcept {
  process_state found;
  char path[40] = "/proc/";
  char* end = path + 6;
  char digits[24];
  int count = 0;
  for (std::uint64_t n = pid; count == 0 || n > 0; n /= 10)
    digits[count++] = static_cast<char>('0' + n % 10);
  while (count > 0) *end++ = digits[--count];
  std::memcpy(end, "/stat", 6);
  const posix::file_handle file(::open(path, O_RDONLY | O_CLOEXEC));
  char text[1024];
  const ssize_t bytes = file ? ::read(file.get(), text, sizeof text - 1) : -1;
  if (bytes <= 0) return found;
  text[bytes] = 0;
  const char* at = std::strrchr(text, ')');
  if (at == nullptr) return found;
  int field = 2;
  for (at = at + 1; *at != 0 && field < 22; ++at) {
    if (*at != ' ') continue;
    ++field;
    if (field == 3) found.state = at[1];
    std::uint64_t value = 0;
    for (const char* digit = at + 1; *digit >= '0' && *digit <= '9'; ++digit)
      value = value * 10 + static_cast<std::uint64_t>(*digit - '0');
    if (field == 20) found.threads = value;
    if (field == 22) found.start_time = value;
  }
  found.exists = field >= 22;
  return found;
}

std::uint64_t own_pid_namespace() noexcept {
  struct stat facts{};
  return ::stat("/proc/self/ns/pid", &facts) == 0 ? facts.st_ino : 0;
}

}  // namespace

std::uint64_t incarnation() noexcept {
  std::uint64_t* place = incarnation_word.load(std::memory_order_acquire);  // make_incarnation_word
  if (place == nullptr) place = make_incarnation_word();
  if (place == nullptr) return static_cast<std::uint64_t>(::getpid());
  // Relaxed: only threads of one process meet here, and the number orders nothing else.
  const std::atomic_ref<std::uint64_t> word(*place);
  std::uint64_t now = word.load(std::memory_order_relaxed);
  if (now != 0) return now;
  // The pid tells apart a parent and a child that both come here for the first time after the fork.
  const std::uint64_t next = (last_incarnation.fetch_add(1, std::memory_order_relaxed) + 1) << 32 |
                             static_cast<std::uint32_t>(::getpid());
  return word.compare_exchange_strong(now, next, std::memory_order_relaxed) ? next : now;
}

process_identity current_process() noexcept {
  const auto pid = static_cast<std::uint64_t>(::getpid());
  return {pid, read_state(pid).start_time, own_pid_namespace()};
}

bool same_process_lives(const process_identity& identity) noexcept {
  if (identity.pid == 0 || identity.pid_namespace != own_pid_namespace())
    return true;  // not ours to see
  const process_state found = read_state(identity.pid);
  if (!found.exists)
    return ::access("/proc/self/stat", R_OK) != 0;  // without /proc nothing can be seen
  // A leader that has exited stays a zombie while other threads go on.
  const bool gone = (found.state == 'Z' || found.state == 'X') && found.threads <= 1;
  return !gone && (identity.start_time == 0 || found.start_time == identity.start_time);
}

}  // namespace ipcpp::platform
