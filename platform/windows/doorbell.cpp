// Bodies of doorbell on Windows: a named event, which goes with its last handle.
//
// A ring that is lost with a killed ringer is not made good here: wait with a timeout of 100 ms.
module;

#include <cstdint>
#include <new>
#include <utility>

#define NOMINMAX 1
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

module ipcpp.platform;

namespace ipcpp::platform {

doorbell doorbell::make(const object_id& of, std::uint32_t number) {
  doorbell made;
  made.event_ = windows::make_event(windows::kernel_name(of.low, "bell", number),
                                    windows::security_for(audience::owner), nullptr)
                    .release();
  if (made.event_ == nullptr)
    throw system_error_of("doorbell", "CreateEvent", static_cast<int>(::GetLastError()));
  return made;
}

doorbell::~doorbell() {
  const windows::handle closes_it(event_);
}

void doorbell::answer() noexcept {
  ::ResetEvent(event_);
}

void doorbell::ring(const object_id& of, std::uint32_t number) noexcept {
  const windows::handle event(
      ::OpenEventW(EVENT_MODIFY_STATE, FALSE, windows::kernel_name(of.low, "bell", number).text()));
  if (event.get() != nullptr) ::SetEvent(event.get());
}

}  // namespace ipcpp::platform
