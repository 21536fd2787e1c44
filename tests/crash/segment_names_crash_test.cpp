// Segments with names under death at every instruction of creating, opening and leaving. After each
// kill the name can be used at once, leads to a whole segment or to none, and goes with its last
// user; no file is left.
#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <unistd.h>

#include "posix_process.hpp"
#include "roles.hpp"
#include "single_step.hpp"

import ipcpp;

using ipcpp::segment;
using namespace ipcpp::literals;

namespace {

constexpr std::size_t size = 256_KiB;

std::size_t files() {
  const char* const directory = std::getenv("IPCPP_DIRECTORY");
  std::size_t n = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) n += entry.exists();
  return n;
}

struct CrashSegmentNames : testing::Test {
  std::string name;
  std::size_t files_before = 0;
  std::optional<test::child> user;

  void SetUp() override {
    if (const std::string reason = crash::why_not(); !reason.empty()) GTEST_SKIP() << reason;
  }
  crash::scene scene(std::string title, std::function<void()> operation) {
    return {.name = std::move(title),
            .prepare =
                [this] {
                  name = test::unique_name();
                  files_before = files();
                },
            .operation = std::move(operation),
            .while_stopped = [] {},
            .check = [this](bool) { expect_usable(); },
            .watched = {}};
  }
  // Anybody can have a segment of that name at once, and it goes with its last user.
  void expect_usable() {
    const auto start = std::chrono::steady_clock::now();
    {
      auto one = segment::open_or_create(name, {.max_size = size});
      EXPECT_EQ(one.find_or_construct<int>("n", 42), 42);
      const auto other = segment::open(name);
      EXPECT_EQ(*other.find<int>("n"), 42);
      EXPECT_TRUE(one.heap().check());
      EXPECT_EQ(one.attached_processes(), 1u);
    }
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
    expect_gone();
  }
  void expect_gone() {
    EXPECT_FALSE(segment::remove(name)) << "its last user is gone, the name is not";
    // Steps and hidden names of the dead go with the next creation.
    {
      const auto sweeps = segment::anonymous({.max_size = size});
    }
    EXPECT_EQ(files(), files_before) << "files are left";
  }
  void leave_a_dead_user() {
    EXPECT_EQ(test::in_forked_child([this] {
                auto mine = segment::open_or_create(name, {.max_size = size});
                (void)mine.find_or_construct<int>("n", 41);
                ::_exit(7);
                return 0;
              }),
              7);
  }
};

}  // namespace

TEST_F(CrashSegmentNames, KilledAtEveryInstructionOfCreating) {
  const auto s = scene("create", [this] { (void)segment::create(name, {.max_size = size}); });
  const crash::report r = crash::kill_everywhere(s);
  EXPECT_GE(r.events, 10u);
}

TEST_F(CrashSegmentNames, KilledAtEveryInstructionOfOpenOrCreateAndMakingAnObject) {
  const auto s = scene("open_or_create, find_or_construct", [this] {
    auto mine = segment::open_or_create(name, {.max_size = size});
    (void)mine.find_or_construct<int>("n", 42);
  });
  crash::kill_everywhere(s);
}

TEST_F(CrashSegmentNames, KilledAtEveryInstructionOfOpeningWhatALivingProcessUses) {
  auto s = scene("open", [this] {
    auto mine = segment::open(name);
    if (*mine.find<int>("n") != 42) ::_exit(3);
  });
  s.prepare = [this] {
    name = test::unique_name();
    files_before = files();
    // Another process's, as the victim is a child of this one and would share the mapping.
    user.reset();
    user.emplace("segment_user", test::arguments{name});
    EXPECT_EQ(user->hear(), "made");
  };
  s.check = [this](bool) {
    {
      auto one = segment::open(name);
      EXPECT_EQ(*one.find<int>("n"), 42);
      EXPECT_EQ(one.attached_processes(), 2u);
      EXPECT_TRUE(one.heap().check());
    }
    user->wait();
    expect_gone();
  };
  crash::kill_everywhere(s);
}

TEST_F(CrashSegmentNames, KilledAtEveryInstructionOfLookingAtWhatADeadOneLeft) {
  auto s = scene("open_or_create after a death",
                 [this] { (void)segment::open_or_create(name, {.max_size = size}); });
  s.prepare = [this] {
    name = test::unique_name();
    files_before = files();
    leave_a_dead_user();
  };
  crash::kill_everywhere(s);
}

ROLE(segment_user) {
  auto mine = segment::create(args.at(0), {.max_size = size});
  (void)mine.construct<int>("n", 42);
  test::say("made");
  for (std::string line; test::hear(line);) test::say(line);
  return 0;
}
