// Participants under death at every instruction of joining, leaving, probing, burying and of
// acquiring and releasing handles. After each kill: nobody living is taken for dead, the dead is,
// it can be buried, every slot and handle comes back, and what its handles stood for is repaired
// exactly.
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "posix_process.hpp"
#include "roles.hpp"
#include "single_step.hpp"

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

constexpr std::size_t table_at = 1024;
constexpr ipcpp::participant_limits limits{.processes = 4, .handles = 6};

// One shared table with a living bystander and, if asked for, somebody dead in it. A handle's word
// 0 names the one bit of `resources` that it owns; whoever repairs it gives the bit back.
class stage {
 public:
  stage() : place_(mapping::map(shared_object::create({.capacity_bytes = 64_KiB}))) {
    if (!place_.commit(0, 64_KiB)) throw std::bad_alloc();
    table_.emplace(participants::create(place_, table_at, limits));
    table_->set_repair(repair, this);
    bystander_ = start_member(1, living_);
  }
  stage(const stage&) = delete;
  stage& operator=(const stage&) = delete;
  ~stage() { end(bystander_); }

  participants& table() { return *table_; }
  // What somebody else sees, who asks the kernel about this process, too.
  vitality observe(participant_id who) const {
    const mapping elsewhere = mapping::map(place_.object().again());
    return participants::attach(elsewhere, table_at).probe(who);
  }
  participant_id living() const { return living_; }
  std::span<const std::byte> bytes() const {
    return {place_.base() + 512, 512 + participants::bytes_needed(limits)};
  }
  std::atomic_ref<std::uint64_t> resources() const {
    return std::atomic_ref(*reinterpret_cast<std::uint64_t*>(place_.base() + 512));
  }

  // Takes resource `bit` by a new handle: first says so in the handle, then takes the bit.
  handle_id take_resource(unsigned bit) {
    const handle_id handle = table_->acquire_handle(3);
    std::atomic_ref(table_->words_of(handle)->word[0]).store(bit + 1);
    resources().fetch_or(std::uint64_t{1} << bit);
    return handle;
  }
  void give_resource_back(handle_id handle) {
    const auto word = std::atomic_ref(table_->words_of(handle)->word[0]);
    resources().fetch_and(~(std::uint64_t{1} << (word.load() - 1)));
    word.store(0);
    table_->release_handle(handle);
  }

  // Somebody who died with a handle and resource `bit`, and lies unburied.
  participant_id leave_a_dead_one(unsigned bit) {
    participant_id who;
    end(start_member(bit, who));
    return who;
  }

  // What must hold whatever the victim was doing.
  void expect_sound(std::uint64_t resources_of_the_living = 1u << 1) {
    EXPECT_EQ(table_->probe(living_), vitality::alive);
    table_->for_each([&](const ipcpp::participant_info& info) {
      EXPECT_EQ(info.state, info.id == living_ ? vitality::alive : vitality::dead);
    });
    table_->bury_dead();
    EXPECT_EQ(table_->size(), 1u);
    EXPECT_EQ(table_->probe(living_), vitality::alive);
    EXPECT_EQ(resources().load(), resources_of_the_living)
        << "a resource of the dead was lost, or one of the living taken";
    // Every handle and every slot can be had again.
    for (std::uint32_t i = 1; i < limits.handles; ++i)
      EXPECT_NO_THROW((void)table_->acquire_handle(9));
    table_->leave();
    platform::life_line line = platform::life_line::of(place_);
    for (std::uint32_t slot = 0; slot < limits.processes; ++slot)
      EXPECT_EQ(static_cast<bool>(line.take(slot)), slot != living_.slot) << slot;
  }

 private:
  static void repair(void* context, const ipcpp::remains& of) noexcept {
    auto& self = *static_cast<stage*>(context);
    if (of.words == nullptr) return;
    const std::uint64_t bit = std::atomic_ref(of.words->word[0]).load();
    if (bit >= 1 && bit <= 64) self.resources().fetch_and(~(std::uint64_t{1} << (bit - 1)));
  }

  // A process that joins, takes a resource and stays.
  pid_t start_member(unsigned bit, participant_id& who) {
    int pipe[2];
    if (::pipe(pipe) != 0) throw std::runtime_error("pipe");
    const pid_t pid = ::fork();
    if (pid == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      const participant_id me = table_->self();
      (void)take_resource(bit);
      (void)!::write(pipe[1], &me, sizeof me);
      for (;;) ::pause();
    }
    if (::read(pipe[0], &who, sizeof who) != sizeof who)
      throw std::runtime_error("a member did not come up");
    ::close(pipe[0]);
    ::close(pipe[1]);
    return pid;
  }
  static void end(pid_t pid) {
    ::kill(pid, SIGKILL);
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
  }

  mapping place_;
  std::optional<participants> table_;
  pid_t bystander_ = -1;
  participant_id living_;
};

struct CrashParticipants : testing::Test {
  std::unique_ptr<stage> now;

  void SetUp() override {
    if (const std::string reason = crash::why_not(); !reason.empty()) GTEST_SKIP() << reason;
  }
  crash::scene scene(std::string name, std::function<void()> operation) {
    return {.name = std::move(name),
            .prepare = [this] { now = std::make_unique<stage>(); },
            .operation = std::move(operation),
            .while_stopped =
                [this] {
                  // Stopped is alive: nobody gets buried while the victim stands still, and the
                  // others go on.
                  EXPECT_EQ(now->table().probe(now->living()), vitality::alive);
                },
            .check = [this](bool) { now->expect_sound(); },
            .watched = [this] { return now->bytes(); }};
  }
};

}  // namespace

TEST_F(CrashParticipants, KilledAtEveryInstructionOfJoining) {
  auto s = scene("join", [this] { (void)now->table().self(); });
  s.while_stopped = [this] {
    // Whoever is only just joining must not be buried: stopped is alive.
    EXPECT_EQ(now->table().bury_dead(), 0u);
    const handle_id handle = now->table().acquire_handle(2);  // survivors join and work meanwhile
    now->table().release_handle(handle);
    now->table().leave();
  };
  s.check = [this](bool finished) {
    EXPECT_EQ(now->table().size(), finished ? 2u : now->table().size());
    now->expect_sound();
  };
  const crash::report r = crash::kill_everywhere(s);
  EXPECT_GE(r.events, 10u);
}

TEST_F(CrashParticipants, KilledAtEveryInstructionOfJoiningAFullTableOfDead) {
  auto s = scene("join over the dead", [this] { (void)now->table().self(); });
  s.prepare = [this] {
    now = std::make_unique<stage>();
    for (unsigned bit = 10; bit < 13; ++bit) now->leave_a_dead_one(bit);
  };
  crash::kill_everywhere(s);
}

TEST_F(CrashParticipants, KilledAtEveryInstructionOfLeaving) {
  auto s = scene("join, take a handle, leave with it", [this] {
    (void)now->table().self();
    (void)now->take_resource(5);
    now->table().leave();
  });
  // Somebody joins while the leaver stands still, perhaps between its slot and its life, and must be
  // alive for the others when the leaver is gone.
  participant_id joined;
  s.while_stopped = [this, &joined] { joined = now->table().self(); };
  s.check = [this, &joined](bool) {
    EXPECT_EQ(now->observe(joined), vitality::alive);
    now->table().leave();
    now->expect_sound();
  };
  const crash::report r = crash::kill_everywhere(s);
  EXPECT_GE(r.events, 20u);
}

TEST_F(CrashParticipants, KilledAtEveryInstructionOfTakingAndGivingBackHandles) {
  auto s = scene("take two handles, give one back", [this] {
    const handle_id one = now->take_resource(20);
    (void)now->take_resource(21);
    now->give_resource_back(one);
  });
  crash::kill_everywhere(s);
}

TEST_F(CrashParticipants, KilledAtEveryInstructionOfTakingAHandleThatSomebodyDeadLeft) {
  auto s = scene("take a handle that somebody dead left", [this] { (void)now->take_resource(33); });
  constexpr std::uint64_t reowned = std::uint64_t{1} << 32;
  s.prepare = [this] {
    now = std::make_unique<stage>();
    // Buried, and its resource belongs to somebody else since: what stands in its handle must mean
    // nothing any more.
    now->leave_a_dead_one(32);
    now->table().bury_dead();
    now->resources().fetch_or(reowned);
  };
  s.check = [this](bool) { now->expect_sound(reowned | 1u << 1); };
  crash::kill_everywhere(s);
}

TEST_F(CrashParticipants, KilledAtEveryInstructionOfProbing) {
  participant_id dead;
  auto s = scene("probe the living and the dead", [this, &dead] {
    if (now->table().probe(now->living()) != vitality::alive) ::_exit(3);
    if (now->table().probe(dead) != vitality::dead) ::_exit(4);
  });
  s.prepare = [this, &dead] {
    now = std::make_unique<stage>();
    dead = now->leave_a_dead_one(30);
  };
  s.while_stopped = [this, &dead] {
    // A prober that stands still, or dies, is in nobody's way.
    EXPECT_EQ(now->table().probe(now->living()), vitality::alive);
    EXPECT_EQ(now->table().probe(dead), vitality::dead);
  };
  crash::kill_everywhere(s);
}

TEST_F(CrashParticipants, KilledAtEveryInstructionOfBurying) {
  participant_id dead;
  auto s = scene("bury", [this, &dead] {
    if (!now->table().bury(dead)) ::_exit(3);
  });
  s.prepare = [this, &dead] {
    now = std::make_unique<stage>();
    dead = now->leave_a_dead_one(40);
  };
  s.while_stopped = [this, &dead] {
    EXPECT_NE(now->table().probe(dead), vitality::left) << "left before it was buried";
  };
  s.check = [this, &dead](bool finished) {
    EXPECT_EQ(now->table().probe(dead), finished ? vitality::left : now->table().probe(dead));
    now->expect_sound();
  };
  // The undertaker's last steps come after the slot is free.
  s.while_stopped = [this] { EXPECT_EQ(now->table().probe(now->living()), vitality::alive); };
  const crash::report r = crash::kill_everywhere(s);
  EXPECT_GE(r.events, 8u);
}

TEST_F(CrashParticipants, KilledAtEveryInstructionOfBuryingWhatAnUndertakerLeftHalfDone) {
  auto s = scene("bury after an undertaker died at it", [this] { (void)now->table().bury_dead(); });
  s.prepare = [this] {
    now = std::make_unique<stage>();
    now->leave_a_dead_one(50);
    // An undertaker that dies in the middle of the repair.
    const pid_t pid = ::fork();
    if (pid == 0) {
      now->table().set_repair([](void*, const ipcpp::remains&) noexcept { ::raise(SIGKILL); },
                              nullptr);
      now->table().bury_dead();
      ::_exit(1);
    }
    int status = 0;
    ::waitpid(pid, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status));
  };
  crash::kill_everywhere(s);
}
