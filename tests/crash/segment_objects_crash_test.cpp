// Named objects under death at every instruction of making, destroying, taking over and recovering.
// After each kill: the object is whole or not there, its name can be had again, and no memory is
// lost: the heap has exactly the blocks in use it had before.
#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>
#include <sys/wait.h>
#include <unistd.h>

#include "posix_process.hpp"
#include "single_step.hpp"

import ipcpp;

using ipcpp::segment;
using namespace ipcpp::literals;

namespace {

using numbers = std::vector<std::uint32_t, ipcpp::allocator<std::uint32_t>>;

// Allocates small and large blocks while it is made, and gives some back.
struct thing {
  using allocator_type = ipcpp::allocator<std::byte>;
  static constexpr bool is_ipcpp_shareable = true;

  thing(std::uint32_t n, const allocator_type& from) : first(from), second(from), third(from) {
    for (std::uint32_t i = 0; i < n; ++i) first.push_back(i);  // grows: allocates and frees
    second.reserve(10'000);  // a large block; to fill it would be 10,000 places to die, all alike
    second.assign(n, 7);
    third.assign(n, 9);
  }
  bool whole(std::uint32_t n) const {
    return first.size() == n && first[n - 1] == n - 1 && second.size() == n &&
           second.capacity() >= 10'000 && second[n - 1] == 7 && third.size() == n;
  }
  numbers first;
  numbers second;
  numbers third;
};

constexpr std::uint32_t n = 12;

struct dies {
  using allocator_type = ipcpp::allocator<std::byte>;
  static constexpr bool is_ipcpp_shareable = true;
  explicit dies(const allocator_type& from) : held(n, from) { ::_exit(9); }
  thing held;
};

struct CrashSegmentObjects : testing::Test {
  std::optional<segment> now;
  std::size_t before = 0;
  const std::byte* committed_end = nullptr;

  void SetUp() override {
    if (const std::string reason = crash::why_not(); !reason.empty()) GTEST_SKIP() << reason;
  }
  void make_segment(int names = 1) {
    now.reset();
    now.emplace(segment::anonymous({.max_size = 256_KiB, .participants = {8, 16}}));
    // All of the memory there can be is committed now: what is not there cannot be watched.
    for (std::size_t most = 256_KiB; most > 64_KiB; most -= 4_KiB)
      if (void* const all = now->heap().try_allocate(most); all != nullptr) {
        committed_end = static_cast<const std::byte*>(all) + most;
        now->heap().deallocate(all);
        break;
      }
    for (int i = 0; i < names; ++i) (void)now->construct<int>("stays " + std::to_string(i), i);
    before = in_use();
  }
  std::size_t in_use() const { return now->heap().statistics().bytes_in_use; }
  std::span<const std::byte> bytes() const {
    const auto* const first = reinterpret_cast<const std::byte*>(now->heap().header()) - 512;
    return {first, committed_end};
  }
  // Somebody who dies in the constructor of "x", after so many allocations of it.
  void leave_a_dead_maker() {
    ASSERT_EQ(test::in_forked_child([&] {
                (void)now->construct<dies>("x");
                return 0;
              }),
              9);
  }
  crash::scene scene(std::string name, std::function<void()> operation) {
    return {.name = std::move(name),
            .prepare = [this] { make_segment(); },
            .operation = std::move(operation),
            .while_stopped =
                [this] {
                  // Looking waits for nobody, and sees whole objects only.
                  EXPECT_EQ(*now->find<int>("stays 0"), 0);
                  if (const thing* t = now->find<thing>("x"); t != nullptr) {
                    EXPECT_TRUE(t->whole(n));
                  }
                },
            .check = {},
            .watched = [this] { return bytes(); }};
  }
  void expect_all_well() {
    (void)now->recover();
    const auto report = now->heap().check();
    EXPECT_TRUE(report) << report.message();
    EXPECT_EQ(*now->find<int>("stays 0"), 0);
  }
  // "x" is whole or not there; nothing is lost; it can be made again.
  void expect_whole_or_nothing() {
    expect_all_well();
    if (const thing* t = now->find<thing>("x"); t != nullptr) {
      EXPECT_TRUE(t->whole(n));
      EXPECT_TRUE(now->destroy<thing>("x"));
    }
    EXPECT_EQ(in_use(), before) << "memory of the dead was lost";
    EXPECT_TRUE(now->find_or_construct<thing>("x", n).whole(n));
    EXPECT_TRUE(now->destroy<thing>("x"));
    EXPECT_EQ(in_use(), before);
  }
};

}  // namespace

TEST_F(CrashSegmentObjects, KilledAtEveryInstructionOfMakingAnObject) {
  auto s = scene("construct", [this] { (void)now->construct<thing>("x", n); });
  s.check = [this](bool finished) {
    if (finished) {
      EXPECT_NE(now->find<thing>("x"), nullptr);
    }
    expect_whole_or_nothing();
  };
  const crash::report r = crash::kill_everywhere(s);
  EXPECT_GE(r.events, 100u);
}

TEST_F(CrashSegmentObjects, KilledAtEveryInstructionOfMakingOneThatNeedsMoreSlots) {
  auto s = scene("construct the 17th", [this] { (void)now->construct<int>("x", 5); });
  s.prepare = [this] { make_segment(16); };
  s.while_stopped = [this] { EXPECT_EQ(*now->find<int>("stays 15"), 15); };
  s.check = [this](bool finished) {
    expect_all_well();
    const int* const x = now->find<int>("x");
    if (finished) {
      EXPECT_NE(x, nullptr);
    }
    if (x != nullptr) {
      EXPECT_EQ(*x, 5);
      EXPECT_TRUE(now->destroy<int>("x"));
    }
    for (int i = 16; i < 48; ++i)
      EXPECT_EQ(now->construct<int>("stays " + std::to_string(i), i), i);
    for (int i = 0; i < 48; ++i) EXPECT_TRUE(now->destroy<int>("stays " + std::to_string(i)));
  };
  crash::kill_everywhere(s);
}

TEST_F(CrashSegmentObjects, KilledAtEveryInstructionOfTakingOverFromADeadMaker) {
  auto s = scene("find_or_construct after a death",
                 [this] { (void)now->find_or_construct<thing>("x", n); });
  s.prepare = [this] {
    make_segment();
    leave_a_dead_maker();
  };
  s.check = [this](bool) { expect_whole_or_nothing(); };
  crash::kill_everywhere(s);
}

TEST_F(CrashSegmentObjects, KilledAtEveryInstructionOfRecovering) {
  auto s = scene("recover", [this] { (void)now->recover(); });
  s.prepare = [this] {
    make_segment();
    leave_a_dead_maker();
  };
  s.check = [this](bool) { expect_whole_or_nothing(); };
  crash::kill_everywhere(s);
}

TEST_F(CrashSegmentObjects, KilledAtEveryInstructionOfDestroyingAnObject) {
  auto s = scene("destroy", [this] {
    if (!now->destroy<std::uint64_t>("y")) ::_exit(3);
  });
  s.prepare = [this] {
    make_segment();
    (void)now->construct<std::uint64_t>("y", 77u);
  };
  s.while_stopped = [this] {
    if (const auto* y = now->find<std::uint64_t>("y"); y != nullptr) {
      EXPECT_EQ(*y, 77u);
    }
  };
  s.check = [this](bool finished) {
    expect_all_well();
    const auto* const y = now->find<std::uint64_t>("y");
    if (finished) {
      EXPECT_EQ(y, nullptr);
    }
    if (y != nullptr) {
      EXPECT_EQ(*y, 77u);
      EXPECT_TRUE(now->destroy<std::uint64_t>("y"));
    }
    EXPECT_EQ(in_use(), before);
    EXPECT_EQ(now->construct<int>("y", 1), 1);
  };
  crash::kill_everywhere(s);
}

TEST_F(CrashSegmentObjects, KilledAtEveryInstructionOfADestructorThatFrees) {
  std::size_t with_object = 0;
  auto s = scene("destroy with containers", [this] { (void)now->destroy<thing>("x"); });
  s.prepare = [&] {
    make_segment();
    (void)now->construct<thing>("x", n);
    with_object = in_use();
  };
  s.check = [&](bool finished) {
    expect_all_well();
    const thing* const x = now->find<thing>("x");
    if (finished) {
      EXPECT_EQ(x, nullptr);
      EXPECT_EQ(in_use(), before);
    }
    if (x != nullptr) {
      EXPECT_TRUE(x->whole(n));
      EXPECT_TRUE(now->destroy<thing>("x"));
      EXPECT_EQ(in_use(), before);
    }
    // What the destructor had not come to stays allocated, and no more than that.
    EXPECT_LE(in_use(), with_object - sizeof(thing));
    EXPECT_TRUE(now->find_or_construct<thing>("x", n).whole(n));
  };
  crash::kill_everywhere(s);
}
