// Growth where the system says no: full file systems, resource limits, locked memory, signals all
// the time.
#include <gtest/gtest.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "objects.hpp"
#include "posix_process.hpp"
#include "roles.hpp"

import ipcpp.platform;

namespace platform = ipcpp::platform;
using namespace ipcpp::literals;
using platform::mapping;
using platform::shared_object;

namespace {

// In a mount namespace of its own: a tmpfs of `bytes` as the directory of names.
bool enter_small_tmpfs(std::size_t bytes) {
  const std::string path = std::getenv("IPCPP_DIRECTORY");
  if (!test::enter_mount_namespace("/dev/shm")) return false;
  return ::mount("small", path.c_str(), "tmpfs", 0,
                 ("mode=0700,size=" + std::to_string(bytes)).c_str()) == 0;
}

constexpr int not_permitted = 77;

}  // namespace

TEST(MappingLimits, AFullFileSystemIsARefusalAndNeverASigbus) {
  const int status = test::in_forked_child([] {
    if (!enter_small_tmpfs(4_MiB)) return not_permitted;
    mapping place = mapping::map(shared_object::create({.capacity_bytes = 1_GiB}));
    std::size_t end = 4096;
    while (place.commit(end, 64_KiB)) end += 64_KiB;
    if (end < 3_MiB || end > 4_MiB) return 1;
    std::memset(place.base() + 4096, 1, end - 4096);  // what was granted is there
    if (place.commit(512_MiB, 64_KiB) || place.commit(0, 8_MiB)) return 2;
    for (std::size_t at = 4096; at < end; ++at)
      if (place.base()[at] != std::byte{1}) return 3;
    // A smaller wish may still be granted, and so may the same one once something was given back.
    if (place.release(1_MiB, 1_MiB) != 1_MiB) return 4;
    if (!place.commit(end, 512_KiB)) return 5;
    std::memset(place.base() + end, 2, 512_KiB);
    return 0;
  });
  if (status == not_permitted) GTEST_SKIP() << "needs the right to mount";
  EXPECT_EQ(status, 0);
}

TEST(MappingLimits, NoRoomForTheFirstPageIsBadAlloc) {
  const int status = test::in_forked_child([] {
    if (!enter_small_tmpfs(1_MiB)) return not_permitted;
    mapping place = mapping::map(shared_object::create({.capacity_bytes = 1_GiB}));
    std::size_t end = 4096;
    while (place.commit(end, 4096)) end += 4096;
    try {
      (void)shared_object::create({.capacity_bytes = 1_GiB});
      return 1;
    } catch (const std::bad_alloc&) {
      return 0;
    }
  });
  if (status == not_permitted) GTEST_SKIP() << "needs the right to mount";
  EXPECT_EQ(status, 0);
}

TEST(MappingLimits, AFileSizeLimitIsARefusalAndNoSignal) {
  EXPECT_EQ(test::in_forked_child([] {
              mapping place = mapping::map(shared_object::create({.capacity_bytes = 1_GiB}));
              const rlimit limit{1_MiB, 1_MiB};
              if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 1;
              if (!place.commit(0, 1_MiB)) return 2;
              return place.commit(16_MiB, 8_MiB) ? 3 : 0;
            }),
            0);
}

TEST(MappingLimits, ALimitedAddressSpaceIsANamedErrorForWhoeverCannotReserve) {
  if (test::sanitized) GTEST_SKIP() << "sanitizers need the address space for themselves";
  const std::string name = test::unique_name();
  shared_object object = shared_object::create({.capacity_bytes = 64_GiB});
  object.publish(name);
  const int status = test::in_forked_child([&] {
    const rlimit limit{4_GiB, 4_GiB};
    if (::setrlimit(RLIMIT_AS, &limit) != 0) return 1;
    std::string message;
    if (ERROR_OF(mapping::map(shared_object::open(name)), message) !=
        static_cast<int>(ipcpp::errc::no_address_space))
      return 2;
    if (message.find("'" + name + "'") == message.npos ||
        message.find("68719476736 bytes") == message.npos ||
        message.find("ulimit -v") == message.npos)
      return 3;
    // Smaller ones still work.
    const mapping small = mapping::map(shared_object::create({.capacity_bytes = 64_MiB}));
    return 0;
  });
  EXPECT_EQ(status, 0);
  shared_object::remove(name);
}

TEST(MappingLimits, LockedMemoryDoesNotFillTheReservation) {
  SKIP_UNLESS_ROOT("to lock memory without limit");
  if (test::sanitized) GTEST_SKIP() << "mlockall would populate the sanitizer's shadow";
  EXPECT_EQ(test::in_forked_child([] {
              if (::mlockall(MCL_CURRENT | MCL_FUTURE) != 0) return 1;
              mapping place = mapping::map(shared_object::create({.capacity_bytes = 1_TiB}));
              if (!place.commit(0, 64_KiB)) return 2;
              struct stat facts{};
              if (::fstat(place.object().native_handle(), &facts) != 0) return 3;
              return static_cast<std::size_t>(facts.st_blocks) * 512 > 1_MiB ? 4 : 0;
            }),
            0);
}

TEST(MappingLimits, ATimerThatFiresAllTheTimeDoesNotStopGrowth) {
  EXPECT_EQ(test::in_forked_child([] {
              struct sigaction action{};
              action.sa_handler = [](int) {};
              ::sigaction(SIGALRM, &action, nullptr);
              const itimerval often{{0, 500}, {0, 500}};
              ::setitimer(ITIMER_REAL, &often, nullptr);
              mapping place = mapping::map(shared_object::create({.capacity_bytes = 256_MiB}));
              return place.commit(0, 128_MiB) ? 0 : 1;
            }),
            0);
}
