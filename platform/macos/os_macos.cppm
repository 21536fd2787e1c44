// ipcpp.platform:os_macos - the platform contract on macOS 14 or newer. What every member promises is
// said once, in :contract. Written from Apple's sources and documents; never run by us.
//
// How it is met here (shared_object, mapping and parking_slot are declared in :posix_objects):
//   shared_object   a record file in /var/tmp (or IPCPP_DIRECTORY) that has the names and the locks,
//                   and memory from shm_open under a name of 30 characters made of the id; see :posix.
//                   Such memory gets its size once, cannot be read or written but through a mapping,
//                   and is gone after a reboot, which the record may survive.
//   commit          the memory of each growth step is an object of its own, whose pages come from
//                   swap: macOS refuses no page of it later. adopt() maps the missing steps.
//   release         gives nothing back: pages that others map cannot be discarded
//   parking_slot    os_sync_wait_on_address, shared (14.4 or newer), else __ulock_wait2
//   doorbell        a notification of notify(3), whose names are the system's and go with their
//                   processes, and a timer, in one kqueue
//   life_hold       an open-file-description lock whose description is referred to twice:
//                   by a descriptor    closed with the last thread of the process, at exec, by stray
//                                      close() calls; not inherited (O_CLOFORK)
//                   by a fileport      a Mach send right: gone with the process and at exec, perhaps
//                                      before its last thread; out of reach of close(), not inherited
//                   The lock falls with the second of the two: not before the last thread is gone,
//                   and not by a stray close().
//   heavy fence     none: there is no membarrier
//   incarnation     a number made anew when the pid is not the one it was made for, or a fork handler
//                   says so. fork_private_pages are replaced in the child by the same handler, since
//                   no page of macOS wipes itself. A child made by a bare system call, which no
//                   library function makes, would have its parent's.
module;

#include <cstdint>
#include <utility>

export module ipcpp.platform:os_macos;

import :posix;
import :posix_objects;
import :terms;

namespace ipcpp::platform {

export class doorbell {
 public:
  using native_handle_type = int;  // of a kqueue, which a kqueue, poll and select can wait for

  [[nodiscard]] static doorbell make(const object_id& of, std::uint32_t number);
  static void ring(const object_id& of, std::uint32_t number) noexcept;

  inline doorbell(doorbell&& other) noexcept { *this = std::move(other); }
  inline doorbell& operator=(doorbell&& other) noexcept {
    std::swap(registered_, other.registered_);
    std::swap(token_, other.token_);
    std::swap(rung_, other.rung_);
    std::swap(both_, other.both_);
    std::swap(incarnation_, other.incarnation_);
    return *this;
  }
  ~doorbell();

  [[nodiscard]] inline native_handle_type native_handle() const noexcept { return both_; }
  void answer() noexcept;

 private:
  doorbell() noexcept = default;
  bool registered_ = false;
  int token_ = 0;
  int rung_ = -1;  // belongs to the token
  int both_ = -1;
  std::uint64_t incarnation_ = 0;
};

export class life_hold {
 public:
  life_hold() noexcept = default;
  inline life_hold(life_hold&& other) noexcept { *this = std::move(other); }
  inline life_hold& operator=(life_hold&& other) noexcept {
    std::swap(held_, other.held_);
    std::swap(descriptor_, other.descriptor_);
    std::swap(port_, other.port_);
    std::swap(slot_, other.slot_);
    std::swap(incarnation_, other.incarnation_);
    return *this;
  }
  ~life_hold();

  // In a forked child: false, the parent's proof is not its own.
  inline explicit operator bool() const noexcept { return held_ && incarnation_ == incarnation(); }

 private:
  friend class life_line;
  bool held_ = false;
  int descriptor_ = -1;
  std::uint32_t port_ = 0;  // a fileport_t
  std::uint32_t slot_ = 0;
  std::uint64_t incarnation_ = 0;
};

export class life_line {
 public:
  [[nodiscard]] static life_line of(const mapping& place);

  [[nodiscard]] life_hold take(std::uint32_t slot);
  [[nodiscard]] life probe(std::uint32_t slot, const process_identity& recorded) const noexcept;

 private:
  inline explicit life_line(shared_object object) noexcept : object_(std::move(object)) {}
  shared_object object_;
};

}  // namespace ipcpp::platform
