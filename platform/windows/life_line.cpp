// Proof of life: the existence of an event to which nobody but its holder ever has a handle.
//
// Taking, and what others see if the process dies after each step:
//   1 ask whether life i's event exists    nothing; if it does, somebody holds the life
//   2 make it                              held, until the kernel has closed the handle: after the
//                                          last thread of this process, whatever ends it
// Two who take at once may both get to 2: one makes the event, the other finds it, and has a handle
// to it for the moment until it closes it again. Should the maker die in this moment, it is taken
// for alive a moment longer.
//
// Who asks has no handle: the question is put with a key that does not fit (see windows::exists).
// So those who ask cannot mistake each other for the holder, however many they are, and nobody's
// `recorded` identity is needed to tell them apart.
module;

#include <atomic>
#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <utility>

#define NOMINMAX 1
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

module ipcpp.platform;

namespace ipcpp::platform {

namespace {

windows::kernel_name event_of(std::uint64_t key, std::uint32_t life) noexcept {
  return windows::kernel_name(key, "life", life);
}

}  // namespace

life_line life_line::of(const mapping& place) {
  const shared_object& object = place.object();
  return life_line(object.id_.low, object.mode_, object.security_, object.describe());
}

life_hold life_line::take(std::uint32_t slot) {
  if (slot >= max_lives)
    throw error(errc::invalid_argument, object_, "a life below " + std::to_string(max_lives),
                std::to_string(slot), "");
  if (mode_ == access::read_only)
    throw error(errc::access_denied, object_, "an opening that may write to take a life",
                "a read-only one", "open it with access::read_write");
  const windows::kernel_name name = event_of(key_, slot);
  life_hold hold;
  if (windows::exists(name)) return hold;
  bool found = false;
  hold.event_ = windows::make_event(name, security_, &found);
  if (!hold.event_) {
    const DWORD code = ::GetLastError();
    if (code == ERROR_ACCESS_DENIED) return hold;  // another user has been faster
    windows::refuse(object_, "make an event", code);
  }
  if (found) hold.event_ = {};
  return hold;
}

life life_line::probe(std::uint32_t slot, const process_identity&) const noexcept {
  if (windows::exists(event_of(key_, slot))) return life::alive;
  // The kernel's own locks have put us after the holder's end; the fence says so to the compiler.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return life::dead;
}

}  // namespace ipcpp::platform
