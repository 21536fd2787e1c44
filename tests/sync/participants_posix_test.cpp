// Participants and what processes do on POSIX systems: fork, raw clone, exec, stop, close
// everything, reuse a pid.
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <new>
#include <string>
#include <thread>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "posix_process.hpp"
#include "roles.hpp"

import ipcpp.platform;
import ipcpp.sync;

namespace platform = ipcpp::platform;
using namespace ipcpp::literals;
using ipcpp::handle_id;
using ipcpp::participant_id;
using ipcpp::participants;
using ipcpp::vitality;
using platform::mapping;
using platform::shared_object;

namespace {

struct table_in_memory {
  mapping place = mapping::map(shared_object::create({.capacity_bytes = 64_KiB}));
  participants table = make(place);

  static participants make(mapping& place) {
    if (!place.commit(0, 64_KiB)) throw std::bad_alloc();
    return participants::create(place, 1024, {.processes = 8, .handles = 16});
  }
};

// A forked process that joins, reports who it is, and runs `then`.
struct member {
  pid_t pid = -1;
  participant_id id;

  template <class F>
  member(participants& table, F then) {
    int pipe[2];
    if (::pipe(pipe) != 0) throw std::bad_alloc();
    pid = ::fork();
    if (pid == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      const participant_id me = table.self();
      (void)!::write(pipe[1], &me, sizeof me);
      then();
      ::_exit(0);
    }
    (void)!::read(pipe[0], &id, sizeof id);
    ::close(pipe[0]);
    ::close(pipe[1]);
  }
  explicit member(participants& table)
      : member(table, [] {
          for (;;) ::pause();
        }) {}
  ~member() { end(); }
  void end() {
    if (pid <= 0) return;
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    pid = -1;
  }
};

}  // namespace

TEST(ParticipantsProcesses, AForkedChildIsNobodyAndJoinsAnewAtItsFirstUse) {
  table_in_memory shared;
  const participant_id parent = shared.table.self();
  const handle_id parents = shared.table.acquire_handle(1);
  const int status = test::in_forked_child([&] {
    if (shared.table.joined()) return 1;
    if (shared.table.probe(parent) != vitality::alive) return 2;
    shared.table.release_handle(parents);  // not its own: nothing happens
    if (!shared.table.owner_of(parents)) return 3;
    shared.table.leave();  // it never joined
    if (shared.table.probe(parent) != vitality::alive) return 4;
    const participant_id me = shared.table.self();
    if (me == parent || me.slot == parent.slot) return 5;
    const handle_id mine = shared.table.acquire_handle(1);
    if (shared.table.owner_of(mine) != me || shared.table.owner_of(parents) != parent) return 6;
    shared.table.leave();
    return shared.table.probe(parent) == vitality::alive && shared.table.size() == 1 ? 0 : 7;
  });
  EXPECT_EQ(status, 0);
  EXPECT_EQ(shared.table.self(), parent);
  EXPECT_EQ(shared.table.probe(parents), vitality::alive);
}

TEST(ParticipantsProcesses, ParentAndChildAreToldApartInDeath) {
  table_in_memory shared;
  const participant_id me = shared.table.self();
  member child(shared.table);
  EXPECT_EQ(shared.table.probe(child.id), vitality::alive);
  child.end();
  EXPECT_EQ(shared.table.probe(child.id), vitality::dead);
  EXPECT_EQ(shared.table.probe(me), vitality::alive);
  EXPECT_EQ(shared.table.bury_dead(), 1u);
  EXPECT_EQ(shared.table.probe(me), vitality::alive);
}

TEST(ParticipantsProcesses, AChildThatOutlivesItsParentKeepsOnlyItself) {
  table_in_memory shared;
  int pipe[2];
  ASSERT_EQ(::pipe(pipe), 0);
  struct said {
    participant_id parent, child;
    pid_t pid;
  } heard{};
  const pid_t parent = ::fork();
  if (parent == 0) {
    const participant_id me = shared.table.self();
    if (::fork() == 0) {
      const said all{me, shared.table.self(), ::getpid()};
      (void)!::write(pipe[1], &all, sizeof all);
      for (;;) ::pause();
    }
    for (;;) ::pause();
  }
  ASSERT_EQ(::read(pipe[0], &heard, sizeof heard), static_cast<ssize_t>(sizeof heard));
  ::kill(parent, SIGKILL);
  ::waitpid(parent, nullptr, 0);
  EXPECT_EQ(shared.table.probe(heard.parent), vitality::dead);
  EXPECT_EQ(shared.table.probe(heard.child), vitality::alive);
  EXPECT_EQ(shared.table.bury_dead(), 1u);
  EXPECT_EQ(shared.table.probe(heard.child), vitality::alive);
  ::kill(heard.pid, SIGKILL);
  while (shared.table.probe(heard.child) == vitality::alive) std::this_thread::yield();
  EXPECT_EQ(shared.table.bury_dead(), 1u);
  ::close(pipe[0]);
  ::close(pipe[1]);
}

TEST(ParticipantsProcesses, ARawClonedChildIsNobody) {
  table_in_memory shared;
  const participant_id parent = shared.table.self();
  const auto child =
      static_cast<pid_t>(::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr));
  if (child == 0)
    ::_exit(shared.table.joined() || shared.table.probe(parent) != vitality::alive ? 1 : 0);
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(shared.table.probe(parent), vitality::alive);
}

TEST(ParticipantsProcesses, WhoExecsHasDiedAsAParticipant) {
  table_in_memory shared;
  member other(shared.table, [] { ::execlp("sleep", "sleep", "1000", nullptr); });
  while (shared.table.probe(other.id) == vitality::alive) std::this_thread::yield();
  EXPECT_EQ(::kill(other.pid, 0), 0) << "the pid lives on";
  EXPECT_EQ(shared.table.bury_dead(), 1u);
}

TEST(ParticipantsProcesses, TheStoppedAreAliveAndGoOn) {
  table_in_memory shared;
  std::atomic_ref<std::uint64_t> counter(
      *reinterpret_cast<std::uint64_t*>(shared.place.base() + 512));
  member other(shared.table, [&] {
    const handle_id handle = shared.table.acquire_handle(1);
    for (;;)
      if (shared.table.probe(handle) == vitality::alive) counter.fetch_add(1);
  });
  while (counter.load() == 0) std::this_thread::yield();
  ::kill(other.pid, SIGSTOP);
  int status = 0;
  ::waitpid(other.pid, &status, WUNTRACED);
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(shared.table.probe(other.id), vitality::alive);
    EXPECT_EQ(shared.table.bury_dead(), 0u);
    EXPECT_FALSE(shared.table.bury(other.id));
  }
  const std::uint64_t before = counter.load();
  ::kill(other.pid, SIGCONT);
  while (counter.load() == before) std::this_thread::yield();
  EXPECT_EQ(shared.table.probe(other.id), vitality::alive);
}

TEST(ParticipantsProcesses, ADaemonThatClosedEverythingIsAlive) {
  table_in_memory shared;
  int pipe[2];
  ASSERT_EQ(::pipe(pipe), 0);
  member other(shared.table, [&] {
    ::dup2(pipe[1], 2);
    ::syscall(SYS_close_range, 3u, ~0u, 0u);
    (void)!::write(2, "x", 1);
    for (;;) ::pause();
  });
  char byte = 0;
  ASSERT_EQ(::read(pipe[0], &byte, 1), 1);
  EXPECT_EQ(shared.table.probe(other.id), vitality::alive);
  EXPECT_EQ(shared.table.bury_dead(), 0u);
  other.end();
  EXPECT_EQ(shared.table.probe(other.id), vitality::dead);
  ::close(pipe[0]);
  ::close(pipe[1]);
}

TEST(ParticipantsProcesses, ForkingWhileAnotherThreadJoinsLeavesTheChildUsable) {
  table_in_memory shared;
  std::atomic<bool> stop{false};
  std::thread joiner([&] {
    while (!stop) {
      (void)shared.table.self();
      shared.table.leave();
    }
  });
  bool usable = true;
  for (int i = 0; i < 100 && usable; ++i) {
    const int status = test::in_forked_child([&] {
      ::alarm(20);  // a lock inherited locked would hang here
      const participant_id me = shared.table.self();
      const bool alive = shared.table.probe(me) == vitality::alive;
      shared.table.leave();
      return alive ? 0 : 1;
    });
    EXPECT_EQ(status, 0);
    usable = status == 0;
  }
  stop = true;
  joiner.join();
}

TEST(ParticipantsProcesses, AReusedPidIsNotTheDeadOneComeBack) {
  SKIP_UNLESS_ROOT("to make a pid namespace and choose pids in it");
  table_in_memory shared;
  constexpr int not_permitted = 77;
  const int status = test::in_forked_child([&] {
    if (::unshare(CLONE_NEWPID) != 0) return not_permitted;
    return test::in_forked_child([&] {  // pid 1 of the new namespace
      if (!test::enter_mount_namespace("/proc") ||
          ::mount("proc", "/proc", "proc", 0, nullptr) != 0)
        return not_permitted;
      const auto choose_next = [](pid_t pid) {
        std::ofstream("/proc/sys/kernel/ns_last_pid") << pid - 1;
      };
      choose_next(50);
      member first(shared.table);
      const pid_t pid = first.pid;
      const participant_id dead = first.id;
      first.end();
      choose_next(pid);
      member second(shared.table);
      if (second.pid != pid) return not_permitted;
      if (shared.table.probe(dead) != vitality::dead) return 1;
      if (shared.table.probe(second.id) != vitality::alive) return 2;
      if (shared.table.bury_dead() != 1) return 3;
      if (shared.table.probe(dead) != vitality::left) return 4;
      return shared.table.probe(second.id) == vitality::alive ? 0 : 5;
    });
  });
  if (status == not_permitted) GTEST_SKIP() << "pid namespaces cannot be made here";
  EXPECT_EQ(status, 0);
}

TEST(ParticipantsProcesses, ARecycledSlotNeverDiesInItsPredecessorsPlace) {
  table_in_memory shared;
  participant_id before{};
  for (int i = 0; i < 20; ++i) {
    member now(shared.table);
    if (before) {
      EXPECT_EQ(now.id.slot, before.slot);
      EXPECT_EQ(shared.table.probe(before), vitality::left);
      EXPECT_FALSE(shared.table.bury(before)) << "an old id buried its successor";
    }
    EXPECT_EQ(shared.table.probe(now.id), vitality::alive);
    before = now.id;
    now.end();
    EXPECT_EQ(shared.table.probe(before), vitality::dead);
    EXPECT_TRUE(shared.table.bury(before));
  }
}

TEST(ParticipantsProcesses, ProcessesThatClaimAtOnceNeverShareASlot) {
  table_in_memory shared;
  for (int round = 0; round < 20; ++round) {
    int pipe[2];
    ASSERT_EQ(::pipe(pipe), 0);
    pid_t pids[6];
    for (pid_t& pid : pids) {
      pid = ::fork();
      if (pid == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        const participant_id me = shared.table.self();
        (void)!::write(pipe[1], &me, sizeof me);
        for (;;) ::pause();
      }
    }
    std::uint32_t seen = 0;
    for (int i = 0; i < 6; ++i) {
      participant_id who;
      ASSERT_EQ(::read(pipe[0], &who, sizeof who), static_cast<ssize_t>(sizeof who));
      EXPECT_EQ(seen & (1u << who.slot), 0u);
      seen |= 1u << who.slot;
    }
    for (const pid_t pid : pids) {
      ::kill(pid, SIGKILL);
      ::waitpid(pid, nullptr, 0);
    }
    ::close(pipe[0]);
    ::close(pipe[1]);
    EXPECT_EQ(shared.table.bury_dead(), 6u);
    EXPECT_EQ(shared.table.size(), 0u);
  }
}
