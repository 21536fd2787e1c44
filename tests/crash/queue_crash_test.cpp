// Senders and receivers killed at every instruction of sending, receiving, repairing, attaching and
// detaching, at several fill levels; then repairers killed after a first victim. After each kill
// nothing is lost, torn, blocked, or delivered twice without a flag, and while the victim stands still
// nothing is taken from it.
#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "queue_crash_fixture.hpp"
#include "roles.hpp"

import ipcpp;

using crash::letter;
using crash::write_letter;

namespace {

constexpr std::size_t capacity = 4;
constexpr std::size_t fills[] = {0, 1, 3, 4};

// What a victim does with a queue, and how many letters it can have in hand when it dies.
template <class Queue>
struct act {
  std::string name;
  std::uint64_t may_take = 0;
  std::function<void(crash::queue_stage<Queue>&)> before;
  std::function<void(crash::queue_stage<Queue>&)> operation;
};

template <class Queue>
struct acts {
  using stage = crash::queue_stage<Queue>;
  // In the victim's own process, so plain members will do.
  std::shared_ptr<std::optional<typename Queue::sender_type>> in =
      std::make_shared<std::optional<typename Queue::sender_type>>();
  std::shared_ptr<std::optional<typename Queue::receiver_type>> out =
      std::make_shared<std::optional<typename Queue::receiver_type>>();

  act<Queue> send(std::uint64_t first, int count) {
    return {"send", 0, [in = in](stage& on) { in->emplace((*on).sender()); },
            [in = in, first, count](stage& on) {
              for (int i = 0; i < count; ++i)
                if (const std::uint64_t number = first + static_cast<std::uint64_t>(i);
                    (*in)->try_send(write_letter(number)))
                  on.notes().has_sent(number);
            }};
  }
  act<Queue> send_batch(std::uint64_t first) {
    return {"send a batch", 0, [in = in](stage& on) { in->emplace((*on).sender()); },
            [in = in, first](stage& on) {
              const std::array<letter, 3> three{write_letter(first), write_letter(first + 1),
                                                write_letter(first + 2)};
              const std::size_t sent = (*in)->try_send_batch(three);
              for (std::uint64_t i = 0; i < sent; ++i) on.notes().has_sent(first + i);
            }};
  }
  act<Queue> receive(int count) {
    return {"receive", 1, [out = out](stage& on) { out->emplace((*on).receiver()); },
            [out = out, count](stage& on) {
              for (int i = 0; i < count; ++i)
                if (const auto got = (*out)->try_receive()) on.notes().has_taken(got->number);
            }};
  }
  act<Queue> receive_batch() {
    return {"receive a batch", 3, [out = out](stage& on) { out->emplace((*on).receiver()); },
            [out = out](stage& on) {
              std::array<letter, 3> three;
              const auto got = (*out)->try_receive_batch(three);
              for (std::size_t i = 0; i < got.count; ++i) on.notes().has_taken(three[i].number);
            }};
  }
  // Looks after the dead, then takes what there is.
  act<Queue> repair() {
    return {"repair", 1, [out = out](stage& on) { out->emplace((*on).receiver()); },
            [out = out](stage& on) {
              const auto source = (*out)->wait_source();
              for (int i = 0; i < 3; ++i) {
                if (source.tend != nullptr) source.tend(source.object);
                if (const auto got = (*out)->try_receive()) on.notes().has_taken(got->number);
              }
            }};
  }
  // The process takes part before it is stepped through: joining participants has a test of its own,
  // and looks at all who died before.
  act<Queue> attach_sender() {
    return {"attach and detach a sender", 0, [](stage& on) { (void)(*on).receiver(); },
            [](stage& on) { (void)(*on).sender(); }};
  }
  act<Queue> attach_receiver() {
    return {"attach and detach a receiver", 0, [](stage& on) { (void)(*on).sender(); },
            [](stage& on) { (void)(*on).receiver(); }};
  }
  act<Queue> close() {
    return {"close and reopen", 0, [](stage& on) { (void)(*on).size(); },
            [](stage& on) {
              (*on).close();
              (*on).reopen();
            }};
  }
};

template <class Queue>
crash::scene scene_of(crash::queue_stage<Queue>& on, const act<Queue>& what, std::string where,
                      std::function<void()> prepare) {
  return {.name = std::string(ipcpp::detail::name_of(Queue::sender_type::kind)) + ": " + what.name +
                  ", " + where,
          .prepare = std::move(prepare),
          .operation = [&on, what] { what.operation(on); },
          .before = [&on, what] { what.before(on); },
          .check =
              [&on, what](bool finished) {
                if (!finished) on.may_lose(what.may_take);
                if ((*on).closed()) (*on).reopen();
                on.check();
              },
          .watched = [&on] { return on.watched(); }};
}

template <class Queue>
void kill_one(crash::queue_stage<Queue>& on, const act<Queue>& what, bool others_may_receive) {
  for (const std::size_t fill : fills) {
    auto s = scene_of(on, what, "fill " + std::to_string(fill), [&on, fill] { on.begin(fill); });
    if (others_may_receive)
      s.while_stopped = [&on] {
        if ((*on).closed()) return;
        // The victim is alive: nothing is taken from it, and nobody waits for it for ever.
        auto out = (*on).receiver();
        const auto source = out.wait_source();
        source.tend(source.object);
        const std::size_t before = on.met().size();
        on.take(out, 1100);
        for (std::size_t i = before; i < on.met().size(); ++i)
          EXPECT_FALSE(on.met()[i].again) << "robbed";
      };
    crash::kill_everywhere(s);
    if (testing::Test::HasFailure()) return;
  }
}

// A first victim dies at each of its events; then the second one at each of its own.
template <class Queue>
std::size_t kill_pairs(crash::queue_stage<Queue>& on, const act<Queue>& first,
                       const act<Queue>& second, std::size_t fill) {
  const auto before = scene_of(on, first, "first", [&] { on.begin(fill); });
  const auto after = scene_of(on, second, "fill " + std::to_string(fill), [] {});
  return crash::kill_pairs(before, after, [&](bool finished) {
    if (!finished) on.may_lose(first.may_take);
  });
}

struct CrashQueue : testing::Test {
  void SetUp() override {
    if (const std::string reason = crash::why_not(); !reason.empty()) GTEST_SKIP() << reason;
  }
};

using mpmc = ipcpp::mpmc_queue<letter>;
using spsc = ipcpp::spsc_queue<letter>;
using mpsc = ipcpp::mpsc_queue<letter>;

}  // namespace

TEST_F(CrashQueue, MpmcSendersAndReceiversKilledAtEveryInstruction) {
  crash::queue_stage<mpmc> on(capacity);
  acts<mpmc> a;
  kill_one(on, a.send(777, 1), true);
  kill_one(on, a.send_batch(777), true);
  kill_one(on, a.receive(1), true);
  kill_one(on, a.receive_batch(), true);
}

TEST_F(CrashQueue, MpmcAttachDetachAndCloseKilledAtEveryInstruction) {
  crash::queue_stage<mpmc> on(capacity);
  acts<mpmc> a;
  kill_one(on, a.attach_sender(), false);
  kill_one(on, a.attach_receiver(), false);
  kill_one(on, a.close(), false);
}

TEST_F(CrashQueue, MpmcRepairersKilledAtEveryInstruction) {
  crash::queue_stage<mpmc> on(capacity);
  acts<mpmc> a;
  acts<mpmc> b;
  const bool full = test::prove_in_full();
  for (const std::size_t fill :
       full ? std::vector<std::size_t>{0, 1, 3, 4} : std::vector<std::size_t>{1}) {
    kill_pairs(on, a.receive(1), b.repair(), fill);
    if (!HasFailure()) kill_pairs(on, a.send(777, 1), b.repair(), fill);
    if (HasFailure() || !full) continue;
    kill_pairs(on, a.receive(1), b.send(888, 1), fill);
    kill_pairs(on, a.send(777, 1), b.send(888, 1), fill);
    kill_pairs(on, a.send(777, 1), b.receive(1), fill);
    kill_pairs(on, a.receive(1), b.receive(1), fill);
    kill_pairs(on, a.receive(1), b.attach_sender(), fill);
    kill_pairs(on, a.receive(1), b.attach_receiver(), fill);
  }
}

TEST_F(CrashQueue, SpscSendersAndReceiversKilledAtEveryInstruction) {
  crash::queue_stage<spsc> on(capacity);
  acts<spsc> a;
  kill_one(on, a.send(777, 2), false);
  kill_one(on, a.send_batch(777), false);
  kill_one(on, a.receive(2), false);
  kill_one(on, a.receive_batch(), false);
  kill_one(on, a.attach_sender(), false);
  kill_one(on, a.attach_receiver(), false);
  kill_one(on, a.close(), false);
}

TEST_F(CrashQueue, SpscPairsKilledAtEveryInstruction) {
  crash::queue_stage<spsc> on(capacity);
  acts<spsc> a;
  acts<spsc> b;
  for (const std::size_t fill :
       test::prove_in_full() ? std::vector<std::size_t>{0, 1, 3, 4} : std::vector<std::size_t>{1}) {
    kill_pairs(on, a.send(777, 1), b.send(888, 1), fill);
    if (!HasFailure()) kill_pairs(on, a.receive(1), b.receive(1), fill);
    if (!HasFailure()) kill_pairs(on, a.receive_batch(), b.receive(1), fill);
    if (!HasFailure()) kill_pairs(on, a.send(777, 1), b.receive(1), fill);
  }
}

TEST_F(CrashQueue, MpscSendersAndReceiversKilledAtEveryInstruction) {
  crash::queue_stage<mpsc> on(capacity);
  acts<mpsc> a;
  kill_one(on, a.send(777, 2), false);
  kill_one(on, a.receive(2), false);
  kill_one(on, a.receive_batch(), false);
  kill_one(on, a.attach_sender(), false);
  kill_one(on, a.attach_receiver(), false);
}

TEST_F(CrashQueue, MpscPairsKilledAtEveryInstruction) {
  crash::queue_stage<mpsc> on(capacity);
  acts<mpsc> a;
  acts<mpsc> b;
  for (const std::size_t fill :
       test::prove_in_full() ? std::vector<std::size_t>{0, 1, 3, 4} : std::vector<std::size_t>{1}) {
    kill_pairs(on, a.send(777, 1), b.send(888, 1), fill);
    if (!HasFailure()) kill_pairs(on, a.receive(1), b.receive(1), fill);
    if (!HasFailure()) kill_pairs(on, a.receive_batch(), b.receive(1), fill);
    if (!HasFailure()) kill_pairs(on, a.send(777, 1), b.receive(1), fill);
  }
}
