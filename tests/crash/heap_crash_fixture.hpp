// What the heap's crash tests have in common. Include as heap_frames.hpp, which it includes.
#pragma once

#include "roles.hpp"
#include "single_step.hpp"

// clang-format off
#include "heap_frames.hpp"  // last: it imports
// clang-format on

// A thread of this process with slabs of its own, some blocks in use and some free.
class owner_thread {
 public:
  explicit owner_thread(crash::heap_frames& frames) : frames_(&frames) {}
  [[nodiscard]] bool there() const { return thread_ != nullptr; }
  void begin() {
    thread_ = std::make_unique<crash::companion>(*frames_, 3);
    thread_->does([](crash::worker& w) {
      w.free_all(0, 20);
      for (unsigned i = 0; i < 6; ++i) w.allocate(w.mine(i), i % 2 == 0 ? 100 : 200);
      w.free(w.mine(1));
      w.free(w.mine(2));
    });
  }
  // It frees what it has of its first `blocks`, and allocates the others.
  void works(unsigned blocks) {
    thread_->does([blocks](crash::worker& w) {
      for (unsigned i = 0; i < blocks; ++i) {
        if (w.has(w.mine(i)))
          w.free(w.mine(i));
        else
          w.allocate(w.mine(i), i % 2 == 0 ? 100 : 200);
      }
    });
  }
  void end() { thread_.reset(); }

 private:
  crash::heap_frames* frames_;
  std::unique_ptr<crash::companion> thread_;
};

struct CrashHeap : testing::Test {
  // In full: which instructions of the heap were a stop in all of these tests together.
  static void SetUpTestSuite() {
    struct report : testing::Environment {
      void TearDown() override { crash::stops::print_all(); }
    };
    static bool asked = false;
    if (test::prove_in_full() && !asked) testing::AddGlobalTestEnvironment(new report);
    asked = true;
  }

  crash::one_processor here;
  std::chrono::steady_clock::time_point began = std::chrono::steady_clock::now();

  void SetUp() override {
    if (const std::string reason = crash::why_not(); !reason.empty()) GTEST_SKIP() << reason;
  }
  void say(const char* what, const crash::heap_frames& frames) const {
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
    std::printf(
        "%s: %zu states looked at of %zu instructions; all memory taken %zu times, the run lock "
        "taken over %zu times; %.1f s, %.0f us a state\n",
        what, frames.states, frames.instructions, frames.exhausted, frames.taken_over, took.count(),
        took.count() * 1e6 / static_cast<double>(frames.states + 1));
    frames.where.print(what);
  }
  // Functions that were inlined everywhere are looked at in other builds.
  static void expect_stops_in(const crash::heap_frames& frames,
                              std::initializer_list<const char*> functions) {
    for (const char* const name : functions)
      EXPECT_NE(frames.where.in(name), 0) << "never stopped in " << name;
  }
};
