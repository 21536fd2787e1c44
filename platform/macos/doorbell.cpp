// Bodies of doorbell on macOS: a notification of notify(3), and a timer, in one kqueue.
//
// A notification's name is the notification server's: it goes with those who registered for it,
// however their processes end, so nothing is ever left in a directory. Anybody on the machine can
// ring: that costs a look. A forked child inherits neither the registration nor the kqueue; its copy
// is nobody's bell.
//
// Crash story. A ringer that dies before notify_post has not rung: the timer makes the bell readable
// within one slice of the last answer.
module;

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <new>
#include <string>
#include <fcntl.h>
#include <notify.h>
#include <sys/event.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

module ipcpp.platform;

namespace ipcpp::platform {

namespace {

std::string name_of_bell(const object_id& of, std::uint32_t number) {
  return "ipcpp." + of.text() + ".bell." + std::to_string(number);
}

struct kevent event_of(std::uintptr_t what, std::int16_t filter, std::uint16_t flags,
                       std::intptr_t data) noexcept {
  struct kevent made{};
  made.ident = what;
  made.filter = filter;
  made.flags = flags;
  made.data = data;
  return made;
}

}  // namespace

doorbell doorbell::make(const object_id& of, std::uint32_t number) {
  doorbell made;
  made.incarnation_ = incarnation();
  const std::uint32_t status = ::notify_register_file_descriptor(name_of_bell(of, number).c_str(),
                                                                 &made.rung_, 0, &made.token_);
  if (status != NOTIFY_STATUS_OK)
    throw error(errc::system_failure, "doorbell", "a registration with the notification server",
                "status " + std::to_string(status) + " of notify(3)", "", static_cast<int>(status));
  made.registered_ = true;
  // Read until it is empty, so it must not block.
  if (::fcntl(made.rung_, F_SETFL, O_NONBLOCK) != 0 ||
      ::fcntl(made.rung_, F_SETFD, FD_CLOEXEC) != 0)
    throw system_error_of("doorbell", "set up the notification's descriptor", errno);
  made.both_ = ::kqueue();
  if (made.both_ < 0 || ::fcntl(made.both_, F_SETFD, FD_CLOEXEC) != 0)
    throw system_error_of("doorbell", "kqueue", errno);
  // The timer counts milliseconds.
  const std::array<struct kevent, 2> wanted{
      event_of(static_cast<std::uintptr_t>(made.rung_), EVFILT_READ, EV_ADD, 0),
      event_of(1, EVFILT_TIMER, EV_ADD, static_cast<std::intptr_t>(wait_slice.count()))};
  if (::kevent(made.both_, wanted.data(), static_cast<int>(wanted.size()), nullptr, 0, nullptr) !=
      0)
    throw system_error_of("doorbell", "kevent", errno);
  return made;
}

doorbell::~doorbell() {
  if (incarnation_ != incarnation()) return;  // moved from, or those numbers are not ours
  if (both_ >= 0) ::close(both_);
  if (registered_) ::notify_cancel(token_);  // closes its descriptor
}

void doorbell::answer() noexcept {
  std::array<char, 64> tokens;
  while (::read(rung_, tokens.data(), tokens.size()) > 0) {
  }
  // Asking resets the timer's event.
  std::array<struct kevent, 2> events;
  const timespec at_once{0, 0};
  (void)::kevent(both_, nullptr, 0, events.data(), static_cast<int>(events.size()), &at_once);
}

void doorbell::ring(const object_id& of, std::uint32_t number) noexcept {
  try {
    // That nobody is registered is no failure; any other is made good by the timer.
    (void)::notify_post(name_of_bell(of, number).c_str());
  } catch (const std::bad_alloc&) {  // the timer will do
  }
}

}  // namespace ipcpp::platform
