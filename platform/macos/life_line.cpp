// Proof of life: an exclusive lock on byte i of the record, held by a description that a descriptor
// and a fileport refer to (why two: see :os_macos).
//
// Taking, and what others see if the process dies after each step:
//   1 open a fresh description, closed by exec and in children from its first instant    nothing
//   2 make a fileport of it      nothing; the kernel drops both references of a dead process
//   3 lock the byte              held, until both references are gone
// Letting go unlocks first, so that others see it at once, however long the references live.
module;

#include <cerrno>
#include <cstdint>
#include <new>
#include <string>
#include <string_view>
#include <fcntl.h>
#include <mach/mach.h>
#include <sys/fileport.h>
#include <unistd.h>

module ipcpp.platform;

// Known since macOS 14; older headers lack them.
#if !defined(O_CLOFORK)
#define O_CLOFORK 0x08000000
#endif
#if !defined(FD_CLOFORK)
#define FD_CLOFORK 2
#endif

namespace ipcpp::platform {

life_hold::~life_hold() {
  // A forked child inherited neither reference; those numbers mean something else there.
  if (!*this) return;
  // Somebody may have closed the descriptor: the fileport knows the description still. An fd made
  // from it, or the number itself if it is still ours, unlocks.
  posix::file_handle again(::fileport_makefd(port_));
  if (again) {
    posix::unlock(again.get(), posix::life_byte(slot_));
    if (posix::same_file(again.get(), descriptor_)) ::close(descriptor_);
  } else {
    // No descriptor to be had, so ours is one of those in use: nobody closes in such need.
    posix::unlock(descriptor_, posix::life_byte(slot_));
    ::close(descriptor_);
  }
  (void)::mach_port_deallocate(mach_task_self(), port_);
}

life_line life_line::of(const mapping& place) {
  return life_line(place.object().again());
}

life_hold life_line::take(std::uint32_t slot) {
  if (slot >= max_lives)
    throw error(errc::invalid_argument, object_.describe(),
                "a life below " + std::to_string(max_lives), std::to_string(slot), "");
  if (object_.mode() == access::read_only)
    throw error(errc::access_denied, object_.describe(), "an opening that may write to take a life",
                "a read-only one", "open it with access::read_write");
  const auto refuse = [&](std::string_view attempted, int code) {
    // EAGAIN: the kernel has no port to spare.
    if (code == ENOMEM || code == ENOLCK || code == EAGAIN) throw std::bad_alloc();
    if (code == EMFILE || code == ENFILE)
      throw error(errc::limit_reached, object_.describe(),
                  "a free file descriptor to " + std::string(attempted), system_message(code),
                  "raise the limit on open files (ulimit -n)", code);
    throw system_error_of(object_.describe(), attempted, code);
  };
  const int anchor = object_.checked(false);
  if (anchor < 0) refuse("find its own descriptor, which somebody closed,", EBADF);
  // The hidden name of a record stays as long as anybody uses it, and we do.
  const std::string path = posix::hidden_path(object_.id());
  posix::file_handle description(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_CLOFORK | O_NOFOLLOW));
  if (!description) refuse("open it once more", errno);
  if (!posix::same_file(description.get(), anchor)) refuse("find its record again", ESTALE);
  const int flags = ::fcntl(description.get(), F_GETFD);
  if (flags < 0) refuse("ask for a descriptor's flags", errno);
  if ((flags & FD_CLOFORK) == 0)
    throw error(errc::not_supported, object_.describe(), "descriptors that no child inherits",
                "a kernel without O_CLOFORK", "use macOS 14 or newer");
  fileport_t port = FILEPORT_NULL;
  if (::fileport_makeport(description.get(), &port) != 0) refuse("make a fileport of it", errno);
  const int refused =
      posix::try_lock(description.get(), posix::life_byte(slot), posix::lock_kind::exclusive);
  if (refused != 0) {
    (void)::mach_port_deallocate(mach_task_self(), port);
    if (refused == EAGAIN) return {};
    refuse("lock a byte", refused);
  }
  life_hold hold;
  hold.held_ = true;
  hold.descriptor_ = description.release();
  hold.port_ = port;
  hold.slot_ = slot;
  hold.incarnation_ = incarnation();
  return hold;
}

life life_line::probe(std::uint32_t slot, const process_identity&) const noexcept {
  // Whatever keeps us from asking the kernel, nobody is buried on a guess.
  const int anchor = object_.checked(false);
  if (anchor < 0) return life::alive;
  return posix::find_lock(anchor, posix::life_byte(slot)) == ENOENT ? life::dead : life::alive;
}

}  // namespace ipcpp::platform
