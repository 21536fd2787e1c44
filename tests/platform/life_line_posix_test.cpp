// What liveness gets wrong easily: stopped and forked processes, raw clones, exec, closed
// descriptors, pid namespaces, reused pids, leaders that exit before their threads.
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <string>
#include <thread>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "objects.hpp"
#include "posix_process.hpp"
#include "roles.hpp"

import ipcpp.platform;

namespace platform = ipcpp::platform;
using namespace ipcpp::literals;
using platform::life;
using platform::life_hold;
using platform::life_line;
using platform::mapping;
using platform::shared_object;

namespace {

struct published {
  std::string name = test::unique_name();
  mapping place = mapping::map(shared_object::create({.capacity_bytes = 64_KiB}));
  life_line line = life_line::of(place);
  published() {
    shared_object object = place.object().again();
    object.publish(name);
  }
  ~published() { shared_object::remove(name); }
  life probe(std::uint32_t slot) const { return line.probe(slot, {}); }
};

pid_t raw_clone() {
  return static_cast<pid_t>(::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr));
}

}  // namespace

// Takes life 1 and says so; then does what its test asks for, one word at a time.
ROLE(protean) {
  const mapping place = mapping::map(shared_object::open(args[0]));
  life_line line = life_line::of(place);
  const life_hold hold = line.take(1);
  test::say(hold ? "took" : "refused");
  for (std::string word; test::hear(word);) {
    if (word == "fork" || word == "clone") {
      const pid_t child = word == "fork" ? ::fork() : raw_clone();
      if (child == 0) {
        for (;;) ::pause();
      }
      test::say(std::to_string(child));
    } else if (word == "exec") {
      ::execlp("sleep", "sleep", "1000", nullptr);
    } else if (word == "close descriptors") {
      ::syscall(SYS_close_range, 3u, ~0u, 0u);
      test::say("done");
    } else if (word == "leader exits") {
      std::thread([] {
        test::say("going on");
        for (;;) ::pause();
      }).detach();
      ::syscall(SYS_exit, 0);  // this thread only, and without unwinding its stack
    }
  }
  return 0;
}

// Forks while another thread asks for the incarnation for the first time ever.
ROLE(first_use) {
  std::atomic<bool> go{false};
  std::thread sibling([&] {
    while (!go) {
    }
    (void)platform::incarnation();
  });
  go = true;
  for (int i = std::stoi(args[0]); i > 0; --i) std::atomic_signal_fence(std::memory_order_seq_cst);
  int pipe[2];
  if (::pipe(pipe) != 0) return 1;
  const pid_t child = ::fork();
  if (child == 0) {
    const std::uint64_t own = platform::incarnation();
    (void)!::write(pipe[1], &own, sizeof own);
    ::_exit(0);
  }
  std::uint64_t childs = 0;
  (void)!::read(pipe[0], &childs, sizeof childs);
  ::waitpid(child, nullptr, 0);
  sibling.join();
  test::say(childs != 0 && childs != platform::incarnation() ? "different" : "the same");
  return 0;
}

TEST(LifeLineProcesses, AChildForkedDuringTheVeryFirstUseHasAnIncarnationOfItsOwn) {
  for (int delay = 0; delay < 150; ++delay) {
    test::child process("first_use", {std::to_string(delay * 100)});
    ASSERT_EQ(process.hear(), "different") << delay;
  }
}

TEST(LifeLineProcesses, AStoppedProcessIsAlive) {
  published object;
  test::child other("protean", {object.name});
  ASSERT_EQ(other.hear(), "took");
  const auto pid = static_cast<pid_t>(other.pid());
  ::kill(pid, SIGSTOP);
  int status = 0;
  ::waitpid(pid, &status, WUNTRACED);
  ASSERT_TRUE(WIFSTOPPED(status));
  EXPECT_EQ(object.probe(1), life::alive);
  EXPECT_FALSE(object.line.take(1));
  other.kill();
  EXPECT_EQ(object.probe(1), life::dead);
}

TEST(LifeLineProcesses, AChildForkedOrClonedKeepsNoDeadParentAlive) {
  for (const char* how : {"fork", "clone"}) {
    published object;
    test::child other("protean", {object.name});
    ASSERT_EQ(other.hear(), "took");
    other.say(how);
    const pid_t orphan = std::stoi(other.hear());
    EXPECT_EQ(object.probe(1), life::alive);
    other.kill();
    EXPECT_EQ(object.probe(1), life::dead) << how;
    EXPECT_TRUE(object.line.take(1)) << how;
    EXPECT_EQ(::kill(orphan, SIGKILL), 0) << "the child was still there";
  }
}

TEST(LifeLineProcesses, AChildsDeathDoesNotKillItsParent) {
  published object;
  test::child other("protean", {object.name});
  ASSERT_EQ(other.hear(), "took");
  for (const char* how : {"fork", "clone"}) {
    other.say(how);
    ::kill(std::stoi(other.hear()), SIGKILL);
    EXPECT_EQ(object.probe(1), life::alive) << how;
  }
}

TEST(LifeLineProcesses, AForkedChildIsNotItsParentAndJudgesItRight) {
  published object;
  life_hold hold = object.line.take(1);
  ASSERT_TRUE(hold);
  const std::uint64_t parents = platform::incarnation();
  const int status = test::in_forked_child([&] {
    if (hold) return 1;                            // the parent's proof is not the child's
    if (object.probe(1) != life::alive) return 2;  // the parent lives
    if (object.line.take(1)) return 3;             // and its life is taken
    {
      const life_hold dropped = std::move(hold);
    }  // letting go of it does nothing
    if (object.probe(1) != life::alive) return 4;
    if (platform::incarnation() == parents) return 5;
    const life_hold mine = object.line.take(2);
    if (!mine || object.probe(2) != life::alive) return 6;
    return test::in_forked_child([&] { return object.probe(2) == life::alive && !mine ? 0 : 7; });
  });
  EXPECT_EQ(status, 0);
  EXPECT_EQ(object.probe(1), life::alive);
  EXPECT_EQ(object.probe(2), life::dead);
  EXPECT_EQ(platform::incarnation(), parents);
}

TEST(LifeLineProcesses, ARawClonedChildHasAnIncarnationOfItsOwn) {
  const std::uint64_t parents = platform::incarnation();
  const pid_t child = raw_clone();
  if (child == 0) ::_exit(platform::incarnation() == parents ? 1 : 0);
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST(LifeLineProcesses, WhoExecsIsDeadAlthoughItsPidLives) {
  published object;
  test::child other("protean", {object.name});
  ASSERT_EQ(other.hear(), "took");
  other.say("exec");
  while (object.probe(1) == life::alive) std::this_thread::yield();
  EXPECT_EQ(::kill(static_cast<pid_t>(other.pid()), 0), 0);
  EXPECT_TRUE(object.line.take(1));
}

TEST(LifeLineProcesses, ClosingEveryDescriptorKillsNobody) {
  published object;
  test::child other("protean", {object.name});
  ASSERT_EQ(other.hear(), "took");
  other.say("close descriptors");
  ASSERT_EQ(other.hear(), "done");
  EXPECT_EQ(object.probe(1), life::alive);
  EXPECT_FALSE(object.line.take(1));
  other.kill();
  EXPECT_EQ(object.probe(1), life::dead);
}

TEST(LifeLineProcesses, WhoClosedItsDescriptorsStillKnowsTheLivingFromTheDead) {
  published object;
  test::child other("protean", {object.name});
  ASSERT_EQ(other.hear(), "took");
  const int status = test::in_forked_child([&] {
    const mapping named = mapping::map(shared_object::open(object.name));
    life_line line = life_line::of(named);
    ::syscall(SYS_close_range, 3u, ~0u, 0u);
    if (line.probe(1, {}) != life::alive || line.probe(2, {}) != life::dead) return 1;
    const life_hold hold = line.take(2);
    return hold && line.probe(2, {}) == life::alive ? 0 : 2;
  });
  EXPECT_EQ(status, 0);
}

TEST(LifeLineProcesses, AProcessWhoseLeaderExitedLivesAsLongAsItsThreads) {
  published object;
  test::child other("protean", {object.name});
  ASSERT_EQ(other.hear(), "took");
  other.say("leader exits");
  ASSERT_EQ(other.hear(), "going on");
  EXPECT_EQ(object.probe(1), life::alive);
  EXPECT_TRUE(
      platform::same_process_lives({other.pid(), 0, platform::current_process().pid_namespace}));
  other.kill();
  EXPECT_EQ(object.probe(1), life::dead);
}

TEST(LifeLineProcesses, WhateverPidIsRecordedTheKernelsLockDecides) {
  published object;
  const platform::process_identity me = platform::current_process();
  EXPECT_EQ(object.line.probe(1, me), life::dead)
      << "a reused pid: it lives, but nobody holds the life";
  test::child other("protean", {object.name});
  ASSERT_EQ(other.hear(), "took");
  EXPECT_EQ(object.line.probe(1, {1, 1, me.pid_namespace}), life::alive);
  EXPECT_EQ(object.line.probe(1, {~std::uint64_t{0} >> 33, 1, me.pid_namespace}), life::alive);
}

TEST(LifeLineProcesses, PidNamespacesMakeNoDifference) {
  SKIP_UNLESS_ROOT("to make pid namespaces");
  published object;
  // Both are pid 1 of a namespace of their own. The first lives; the second is killed.
  struct resident {
    pid_t outer = -1;  // waits in our namespace for
    pid_t inner = -1;  // who is pid 1 in the new one
    bool took = false;
  };
  const auto start = [&](std::uint32_t slot) {
    resident who;
    int pids[2];
    int answers[2];
    if (::pipe(pids) != 0 || ::pipe(answers) != 0) return who;
    who.outer = ::fork();
    if (who.outer == 0) {
      if (::unshare(CLONE_NEWPID) != 0) ::_exit(1);
      const pid_t inner = ::fork();
      if (inner == 0) {
        const life_hold hold = object.line.take(slot);
        const bool took = hold && ::getpid() == 1;
        (void)!::write(answers[1], &took, sizeof took);
        for (;;) ::pause();
      }
      (void)!::write(pids[1], &inner, sizeof inner);
      ::waitpid(inner, nullptr, 0);
      ::_exit(0);
    }
    ::close(pids[1]);
    ::close(answers[1]);
    if (::read(pids[0], &who.inner, sizeof who.inner) != sizeof who.inner ||
        ::read(answers[0], &who.took, sizeof who.took) != sizeof who.took)
      who.took = false;
    ::close(pids[0]);
    ::close(answers[0]);
    return who;
  };
  const resident living = start(1);
  const resident victim = start(2);
  const bool ready = living.took && victim.took;
  if (ready) {
    EXPECT_EQ(object.probe(1), life::alive);
    EXPECT_EQ(object.probe(2), life::alive);
    ::kill(victim.inner, SIGKILL);
    ::waitpid(victim.outer, nullptr, 0);  // it ends when the victim is gone
    EXPECT_EQ(object.probe(2), life::dead);
    EXPECT_EQ(object.probe(1), life::alive)
        << "pid 1 of the other namespace was taken for the dead one";
  }
  for (const resident& who : {living, victim})
    for (const pid_t pid : {who.inner, who.outer})
      if (pid > 0) ::kill(pid, SIGKILL);
  if (!ready) ::waitpid(victim.outer, nullptr, 0);
  ::waitpid(living.outer, nullptr, 0);
  if (!ready) GTEST_SKIP() << "pid namespaces cannot be made here";
}

TEST(LifeLineProcesses, ForkingWhileAnotherThreadTakesLivesNeverHandsThemDown) {
  published object;
  std::atomic<bool> stop{false};
  std::thread taker([&] {
    while (!stop) {
      const life_hold hold = object.line.take(4);
      EXPECT_TRUE(hold);
    }
  });
  for (int i = 0; i < 100; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::usleep(1000);
      ::_exit(0);
    }
    ::waitpid(child, nullptr, 0);
  }
  stop = true;
  taker.join();
}
