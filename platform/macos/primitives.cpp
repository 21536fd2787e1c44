// What macOS does in its own way below the store and the mappings: see the end of :posix.
//
// Facts this stands on, from the sources of its kernel (xnu-11417; bsd/kern/posix_shm.c): a name of
// shm_open has at most 31 characters with the slash, lies in no directory and cannot be listed. The
// mode given is the mode it has, whatever the umask. The first ftruncate that succeeds decides the
// size for ever; while another one is under way, and for most failures, the answer is EINVAL. fstat
// tells size, owner and mode, but neither device nor inode nor kind. Nothing reads or writes it but
// mappings, which may not reach beyond its end. Descriptors are close-on-exec from the start.
module;

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <string>
#include <fcntl.h>
#include <libproc.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

module ipcpp.platform;

namespace ipcpp::platform::posix {

variant active_variant() noexcept {
  return {.several_objects = true, .registry_names = true};
}

const char* trusted_environment(const char* name) noexcept {
  return ::issetugid() != 0 ? nullptr : std::getenv(name);
}

// Unlike /tmp and the user's own temporary folder it is not cleared of what was not touched for some
// days. Programs in a sandbox cannot write there: they set IPCPP_DIRECTORY to a folder of their group.
std::string default_directory() {
  return "/var/tmp";
}

// Processes have 47 bits of address space, and reserving is free.
std::size_t generous_capacity() noexcept {
  return 1_TiB;
}

bool facts_of(int descriptor, file_facts& into) noexcept {
  struct stat facts{};
  if (::fstat(descriptor, &facts) != 0) return false;
  if ((facts.st_mode & S_IFMT) != 0) {
    into = {static_cast<std::uint64_t>(facts.st_dev), static_cast<std::uint64_t>(facts.st_ino)};
    return true;
  }
  // Memory: its name tells, for it is made of the object's id.
  pshm_fdinfo info{};
  if (::proc_pidfdinfo(::getpid(), descriptor, PROC_PIDFDPSHMINFO, &info, sizeof info) !=
      static_cast<int>(sizeof info))
    return false;
  std::uint64_t sum = 0xcbf29ce484222325;  // FNV-1a
  for (const char c : info.pshminfo.pshm_name) {
    if (c == 0) break;
    sum = (sum ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  }
  into = {~std::uint64_t{0}, sum};  // no device has that number
  return true;
}

namespace {

// `found` if it leads where `descriptor` does; empty and errno otherwise.
file_handle if_same(file_handle found, int descriptor) noexcept {
  if (!found || same_file(found.get(), descriptor)) return found;
  errno = ESTALE;
  return {};
}

}  // namespace

// /dev/fd would only duplicate the description.
file_handle reopen(int descriptor, access mode, const std::string& path) noexcept {
  if (path.empty()) {
    errno = ENOENT;
    return {};
  }
  const int flags = mode == access::read_write ? O_RDWR : O_RDONLY;
  return if_same(file_handle(::open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW)), descriptor);
}

file_handle reopen_memory(int descriptor, access mode, object_id id) noexcept {
  return if_same(open_memory(id, 0, mode == access::read_write ? O_RDWR : O_RDONLY, 0), descriptor);
}

// Whether a mapping that reaches beyond its file's end follows the file's growth, no document of
// Apple's says.
bool files_can_be_objects() noexcept {
  return false;
}

file_handle open_unnamed_file(const std::string&) noexcept {
  errno = EOPNOTSUPP;
  return {};
}

int name_unnamed_file(int, const std::string&) noexcept {
  return EOPNOTSUPP;
}

file_handle open_memory(object_id id, std::uint32_t step, int flags,
                        unsigned permissions) noexcept {
  try {
    const std::string name = memory_name(id, step);
    for (;;) {
      file_handle memory(::shm_open(name.c_str(), flags & (O_ACCMODE | O_CREAT | O_EXCL),
                                    static_cast<int>(permissions)));
      if (memory || errno != EINTR) return memory;
    }
  } catch (const std::bad_alloc&) {
    errno = ENOMEM;
    return {};
  }
}

int remove_memory(object_id id, std::uint32_t step) noexcept {
  try {
    return ::shm_unlink(memory_name(id, step).c_str()) == 0 ? 0 : errno;
  } catch (const std::bad_alloc&) {
    return ENOMEM;
  }
}

int give_size(int descriptor, std::uint64_t bytes, unsigned) noexcept {
  // A tenth of a second: another process's ftruncate is one system call, which no signal cuts short.
  for (int attempt = 0; attempt < 1000; ++attempt) {
    if (::ftruncate(descriptor, static_cast<off_t>(bytes)) == 0) return 0;
    if (errno == EINTR) continue;
    if (errno != EINVAL) return errno;
    struct stat facts{};
    if (::fstat(descriptor, &facts) != 0) return errno;
    if (facts.st_size != 0) return static_cast<std::uint64_t>(facts.st_size) == bytes ? 0 : EBADMSG;
    const timespec pause{0, 100'000};
    ::nanosleep(&pause, nullptr);
  }
  return ENOMEM;
}

// All of it was promised with the size. Its pages come from memory, compressed memory and swap; with
// all three full macOS stops or ends programs, but raises no SIGBUS.
int allocate_range(int, std::uint64_t, std::uint64_t) noexcept {
  return 0;
}

std::uint64_t give_back_range(int, std::uint64_t, std::uint64_t) noexcept {
  return 0;
}

// Core dumps are off unless somebody turns them on, and there is no such advice.
void keep_out_of_core_dumps(void*, std::size_t) noexcept {}

bool advise_huge_pages(void*, std::size_t) noexcept {
  return false;
}

}  // namespace ipcpp::platform::posix
