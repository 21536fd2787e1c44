// Proof of life: an exclusive lock on byte i of the anchor, held by a description that only a VMA
// refers to.
//
// Taking, and what others see if the process dies after each step:
//   1 open a fresh description       nothing
//   2 map one page of it, PROT_NONE, MADV_DONTFORK       nothing
//   3 lock the byte                  held; the kernel drops it with the last reference
//   4 close the descriptor           held; now only the VMA refers to the description, until munmap,
//                                    exec or the end of the last thread
// Between 1 and 4 a child made by another thread would inherit the descriptor, and with it the lock.
// fork() is kept out by a handler; a raw clone() in that moment is not (such a child keeps the byte
// until it execs or ends).
module;

#include <cerrno>
#include <cstdint>
#include <new>
#include <string>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

module ipcpp.platform;

namespace ipcpp::platform {

namespace {

pthread_mutex_t taking = PTHREAD_MUTEX_INITIALIZER;

// Registered before main, once: a child forked while it was being registered could do it again.
const bool fork_is_kept_out =
    ::pthread_atfork([] { ::pthread_mutex_lock(&taking); }, [] { ::pthread_mutex_unlock(&taking); },
                     [] { ::pthread_mutex_unlock(&taking); }) == 0;

class taking_guard {
 public:
  taking_guard() { ::pthread_mutex_lock(&taking); }
  taking_guard(const taking_guard&) = delete;
  taking_guard& operator=(const taking_guard&) = delete;
  ~taking_guard() { ::pthread_mutex_unlock(&taking); }
};

}  // namespace

life_hold::~life_hold() {
  // A forked child did not inherit the VMA; something else may lie there by now.
  if (*this) ::munmap(page_, page_bytes());
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
  const auto refuse = [&](std::string_view attempted) {
    if (errno == ENOMEM || errno == ENOLCK) throw std::bad_alloc();
    throw system_error_of(object_.describe(), attempted, errno);
  };
  const int anchor = object_.checked(false);
  if (anchor < 0) {
    errno = EBADF;
    refuse("find its own descriptor, which somebody closed,");
  }
  if (!fork_is_kept_out) throw std::bad_alloc();
  life_hold hold;
  hold.incarnation_ = incarnation();
  const taking_guard guard;
  const posix::file_handle description = posix::reopen(
      anchor, access::read_write, object_.name_.empty() ? "" : posix::public_path(object_.name_));
  if (!description) refuse("open it once more");
  void* const page = ::mmap(nullptr, page_bytes(), PROT_NONE, MAP_SHARED, description.get(), 0);
  if (page == MAP_FAILED) refuse("map one page");
  hold.page_ = page;
  if (::madvise(page, page_bytes(), MADV_DONTFORK) != 0) refuse("keep a page from children");
  const int refused =
      posix::try_lock(description.get(), posix::life_byte(slot), posix::lock_kind::exclusive);
  if (refused == EAGAIN) return {};
  if (refused != 0) {
    errno = refused;
    refuse("lock a byte");
  }
  return hold;
}

life life_line::probe(std::uint32_t slot, const process_identity&) const noexcept {
  // Whatever keeps us from asking the kernel, nobody is buried on a guess.
  const int anchor = object_.checked(false);
  if (anchor < 0) return life::alive;
  return posix::find_lock(anchor, posix::life_byte(slot)) == ENOENT ? life::dead : life::alive;
}

}  // namespace ipcpp::platform
