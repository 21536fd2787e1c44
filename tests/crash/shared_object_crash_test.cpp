// Objects and names under death at every instruction: whoever is killed while creating, publishing,
// growing or removing, a name leads to a complete object or to none, the name stays usable, and
// nothing is left in the directory.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "posix_process.hpp"
#include "roles.hpp"
#include "single_step.hpp"

import ipcpp.platform;

namespace platform = ipcpp::platform;
using namespace ipcpp::literals;
using platform::mapping;
using platform::shared_object;

namespace {

constexpr const char* name = "crash";

std::vector<std::string> files() {
  std::vector<std::string> found;
  DIR* const listing = ::opendir(std::getenv("IPCPP_DIRECTORY"));
  while (const dirent* entry = ::readdir(listing))
    if (std::string(entry->d_name) != "." && std::string(entry->d_name) != "..")
      found.emplace_back(entry->d_name);
  ::closedir(listing);
  return found;
}

void expect_clean_directory() {
  // Creating sweeps what the dead left.
  {
    const shared_object sweeper = shared_object::create({.capacity_bytes = 64_KiB});
  }
  std::string left;
  for (const auto& file : files()) left += " " + file;
  EXPECT_EQ(left, "");
}

void expect_complete(const mapping& place) {
  EXPECT_STREQ(reinterpret_cast<const char*>(place.base() + 1000), "complete");
}

// The name leads to a complete object or to none; then it can be used again and nothing is left.
void expect_sound() {
  try {
    expect_complete(mapping::map(shared_object::open(name)));
  } catch (const ipcpp::error& e) {
    EXPECT_EQ(e.kind(), ipcpp::errc::not_found) << e.what();
  }
  shared_object::remove(name);
  {
    shared_object successor = shared_object::create({.capacity_bytes = 64_KiB});
    EXPECT_NO_THROW(successor.publish(name));
    EXPECT_TRUE(shared_object::remove(name));
  }
  expect_clean_directory();
}

void create_and_publish() {
  mapping place = mapping::map(shared_object::create({.capacity_bytes = 1_MiB}));
  std::strcpy(reinterpret_cast<char*>(place.base() + 1000), "complete");
  shared_object object = place.object().again();
  object.publish(name);
}

struct CrashSharedObject : testing::Test {
  void SetUp() override {
    if (const std::string reason = crash::why_not(); !reason.empty()) GTEST_SKIP() << reason;
  }
  crash::scene scene(std::string what, std::function<void()> operation) {
    return {.name = std::move(what),
            .prepare = [] {},
            .operation = std::move(operation),
            // Nothing is watched: files are changed by system calls alone.
            .check = [](bool) { expect_sound(); },
            .watched = {}};
  }
};

}  // namespace

TEST_F(CrashSharedObject, KilledAtEveryInstructionOfCreatingAndPublishing) {
  auto s = scene("create and publish", create_and_publish);
  s.while_stopped = [] {
    // A creator that stands still keeps nobody from creating something else.
    const shared_object other = shared_object::create({.capacity_bytes = 64_KiB});
    try {
      expect_complete(mapping::map(shared_object::open(name)));
    } catch (const ipcpp::error& e) {
      EXPECT_EQ(e.kind(), ipcpp::errc::not_found) << e.what();
    }
  };
  crash::kill_everywhere(s);
}

TEST_F(CrashSharedObject, KilledAtEveryInstructionOfRemoving) {
  auto s = scene("remove", [] {
    if (!shared_object::remove(name)) ::_exit(3);
  });
  s.prepare = create_and_publish;
  crash::kill_everywhere(s);
}

TEST_F(CrashSharedObject, KilledAtEveryInstructionOfRemovingTheUnused) {
  auto s = scene("remove if unused", [] {
    if (!shared_object::remove_if_unused(name)) ::_exit(3);
  });
  s.prepare = create_and_publish;
  crash::kill_everywhere(s);
}

TEST_F(CrashSharedObject, KilledAtEveryInstructionOfOpeningAndClosing) {
  auto s =
      scene("open, map, close", [] { expect_complete(mapping::map(shared_object::open(name))); });
  s.prepare = create_and_publish;
  s.check = [](bool) {
    expect_complete(mapping::map(shared_object::open(name)));
    EXPECT_TRUE(shared_object::remove_if_unused(name)) << "a killed user still counts";
    expect_clean_directory();
  };
  crash::kill_everywhere(s);
}

TEST_F(CrashSharedObject, KilledAtEveryInstructionOfGrowing) {
  std::optional<mapping> place;
  auto s = scene("grow", [&] {
    if (!place->commit(60_KiB, 200_KiB)) ::_exit(3);
    std::memset(place->base() + 60_KiB, 1, 200_KiB);
  });
  s.prepare = [&] {
    place.reset();
    place.emplace(mapping::map(shared_object::create({.capacity_bytes = 1_MiB})));
  };
  s.while_stopped = [&] {
    // The others grow over and beyond it.
    EXPECT_TRUE(place->commit(128_KiB, 512_KiB));
    place->base()[600_KiB] = std::byte{7};
  };
  s.check = [&](bool) {
    EXPECT_TRUE(place->commit(60_KiB, 600_KiB));
    std::memset(place->base() + 60_KiB, 2, 500_KiB);
    EXPECT_EQ(place->base()[600_KiB], std::byte{7});
    place.reset();
    expect_clean_directory();
  };
  // memset's own instructions change nothing that matters here.
  s.operation = [&] {
    if (!place->commit(60_KiB, 200_KiB)) ::_exit(3);
  };
  crash::kill_everywhere(s);
}
