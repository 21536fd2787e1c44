// Which process this is, and which others are: as kern.proc.pid tells, which answers for other users'
// processes too.
module;

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <sys/proc.h>
#include <sys/sysctl.h>
#include <unistd.h>

module ipcpp.platform;

namespace ipcpp::platform {

namespace {

struct process_state {
  bool known = false;  // the system answered
  bool exists = false;
  bool ended = false;
  std::uint64_t start_time = 0;  // microseconds since 1970, as the clock stood then
};

process_state read_state(int pid) noexcept {
  int path[4] = {CTL_KERN, KERN_PROC, KERN_PROC_PID, pid};
  kinfo_proc info{};
  std::size_t bytes = sizeof info;
  process_state found;
  if (::sysctl(path, 4, &info, &bytes, nullptr, 0) != 0) return found;
  found.known = true;
  found.exists = bytes >= sizeof info && info.kp_proc.p_pid == pid;
  found.ended = info.kp_proc.p_stat == SZOMB;  // only when its last thread is gone
  found.start_time = static_cast<std::uint64_t>(info.kp_proc.p_starttime.tv_sec) * 1'000'000 +
                     static_cast<std::uint64_t>(info.kp_proc.p_starttime.tv_usec);
  return found;
}

}  // namespace

process_identity current_process() noexcept {
  const int pid = ::getpid();
  return {static_cast<std::uint64_t>(pid), read_state(pid).start_time, 0};
}

bool same_process_lives(const process_identity& identity) noexcept {
  if (identity.pid == 0 || identity.pid_namespace != 0 ||
      identity.pid > std::uint64_t{std::numeric_limits<int>::max()})
    return true;  // not ours to see
  const auto pid = static_cast<int>(identity.pid);
  const process_state found = read_state(pid);
  // A sandbox may forbid the question; whether there is any such process at all, it tells.
  if (!found.known) return ::kill(pid, 0) == 0 || errno != ESRCH;
  if (!found.exists || found.ended) return false;
  return identity.start_time == 0 || found.start_time == identity.start_time;
}

}  // namespace ipcpp::platform
