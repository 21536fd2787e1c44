// message_queue under death at every instruction of attaching, claiming, committing, withdrawing,
// receiving, releasing, leaving and mending, at several fill levels. After each kill: whatever was
// committed arrives once, whole and in order; what a dead receiver held comes again, flagged; nobody
// is blocked, and the whole ring can be used again.
#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>
#include <unistd.h>

#include "posix_process.hpp"
#include "single_step.hpp"

import ipcpp;
import ipcpp.platform;

using ipcpp::message_queue;
using ipcpp::message_queue_options;
using ipcpp::receive_status;
using namespace ipcpp::literals;

namespace {

constexpr std::size_t ring_bytes = 1024;  // 16 granules, 15 of them usable

// Says how far the victim came, in memory that the queue does not know.
struct diary {
  std::atomic<bool> sent[4]{};              // pairs: by place_in_diary of the letter
  std::atomic<bool> taken[4]{};             // before it was released
  std::atomic<std::uint32_t> received{0};   // letters whose receive has returned
  std::atomic<std::uint32_t> releasing{0};  // letters whose release has begun
};

// 100, 101: sent before; 1, 2: by victims.
std::size_t place_in_diary(std::uint32_t number) {
  return number >= 100 ? number - 100 : number + 1;
}
std::vector<std::byte> letter_of(std::uint32_t number, std::size_t size) {
  std::vector<std::byte> made(size, static_cast<std::byte>(number * 7 + 1));
  std::memcpy(made.data(), &number, sizeof number);
  return made;
}
std::optional<std::uint32_t> number_in(std::span<const std::byte> bytes) {
  if (bytes.size() < 4) return std::nullopt;
  std::uint32_t number = 0;
  std::memcpy(&number, bytes.data(), sizeof number);
  for (const std::byte b : bytes.subspan(4))
    if (b != static_cast<std::byte>(number * 7 + 1)) return std::nullopt;
  return number;
}

struct stage {
  ipcpp::segment segment = ipcpp::segment::anonymous({.max_size = 1_MiB});
  message_queue* mail = nullptr;
  diary* notes = nullptr;
  std::optional<ipcpp::message_sender> out;
  std::optional<ipcpp::message_receiver> in;
  std::vector<std::uint32_t> committed;  // before the victim, in order

  explicit stage(message_queue_options options = {.capacity = ring_bytes, .endpoints = 8}) {
    mail = &segment.construct<message_queue>("mail", options);
    notes = new (segment.heap().allocate(sizeof(diary))) diary;
  }
  std::span<const std::byte> bytes() const {
    const auto* const link = reinterpret_cast<const ipcpp::offset_ptr<std::byte>*>(
        reinterpret_cast<const std::byte*>(mail) + 8);
    std::uint64_t size = 0;
    std::memcpy(&size, link->get() + 16, sizeof size);
    return {link->get(), static_cast<std::size_t>(size)};
  }
  // Leaves the ring at `granules` from where it began, empty.
  void turn(std::size_t granules) {
    auto s = mail->sender();
    auto r = mail->receiver();
    for (std::size_t i = 0; i < granules; ++i) {
      ASSERT_TRUE(s.try_send(letter_of(0, 40)));
      ASSERT_TRUE(r.try_receive());
    }
  }
  void fill(std::uint32_t letters, std::size_t size) {
    auto s = mail->sender();
    for (std::uint32_t i = 0; i < letters; ++i) {
      ASSERT_TRUE(s.try_send(letter_of(100 + i, size)));
      committed.push_back(100 + i);
    }
  }
  struct got {
    std::uint32_t number;
    bool again;
  };
  // All there is, by a new receiver that looks as long as one that waits two slices.
  std::vector<got> drain() {
    std::vector<got> all;
    auto r = mail->receiver();
    for (int looks = 0; looks < 3300;) {
      auto letter = r.try_receive();
      if (!letter) {
        ++looks;
        continue;
      }
      const auto number = number_in(*letter);
      EXPECT_TRUE(number) << "torn";
      all.push_back({number.value_or(0), letter.redelivered()});
    }
    return all;
  }
  // Three laps with nobody in the way.
  void use_again() {
    auto s = mail->sender();
    auto r = mail->receiver();
    for (std::uint32_t lap = 0; lap < 3; ++lap) {
      std::uint32_t sent = 0;
      while (s.try_send(letter_of(1000 + sent, 40))) ++sent;
      EXPECT_EQ(sent, ring_bytes / 64 - 1) << "some of the ring is lost";
      for (std::uint32_t i = 0; i < sent; ++i) {
        auto letter = r.try_receive();
        ASSERT_TRUE(letter) << "blocked";
        EXPECT_EQ(number_in(*letter), 1000 + i);
      }
      EXPECT_TRUE(s.try_send(letter_of(5, 300)));
      EXPECT_TRUE(r.try_receive());
    }
    EXPECT_EQ(mail->statistics().bytes_in_use, 0u);
  }
};

struct CrashMail : testing::Test {
  std::unique_ptr<stage> now;

  void SetUp() override {
    if (const std::string reason = crash::why_not(); !reason.empty()) GTEST_SKIP() << reason;
  }
  crash::scene scene(std::string name, std::function<void()> prepare,
                     std::function<void()> operation, std::function<void(bool)> check) {
    return {.name = std::move(name),
            .prepare = std::move(prepare),
            .operation = std::move(operation),
            .while_stopped = [] {},
            .check = std::move(check),
            .watched = [this] { return now->bytes(); }};
  }

  // What the survivors get when the victim was sending `by_victim`, in order.
  void expect_sent(bool finished, const std::vector<std::uint32_t>& by_victim,
                   const std::vector<std::uint32_t>& by_others = {}) {
    std::vector<std::uint32_t> seen;
    for (const stage::got& g : now->drain()) {
      EXPECT_FALSE(g.again) << "nobody had it before";
      seen.push_back(g.number);
    }
    const auto part = [&](const std::vector<std::uint32_t>& of) {
      std::vector<std::uint32_t> found;
      for (const std::uint32_t n : seen)
        for (const std::uint32_t m : of)
          if (n == m) found.push_back(n);
      return found;
    };
    EXPECT_EQ(part(now->committed), now->committed) << "a committed letter was lost or doubled";
    EXPECT_EQ(part(by_others), by_others) << "a survivor's letter was lost or doubled";
    const auto victims = part(by_victim);
    ASSERT_LE(victims.size(), by_victim.size()) << "doubled";
    for (std::size_t i = 0; i < victims.size(); ++i) EXPECT_EQ(victims[i], by_victim[i]);
    if (finished) EXPECT_EQ(victims, by_victim);
    EXPECT_EQ(seen.size(), now->committed.size() + by_others.size() + victims.size()) << "phantom";
    now->use_again();
  }
  // What they get when the victim was receiving.
  void expect_received(bool finished, std::uint32_t taken_by_victim) {
    std::vector<std::uint32_t> fresh;
    std::vector<std::uint32_t> again;
    for (const stage::got& g : now->drain()) (g.again ? again : fresh).push_back(g.number);
    const std::uint32_t received = now->notes->received;
    const std::uint32_t releasing = now->notes->releasing;
    for (std::uint32_t i = 0; i < now->committed.size(); ++i) {
      const auto times = [&](const std::vector<std::uint32_t>& in) {
        std::size_t n = 0;
        for (const std::uint32_t m : in) n += m == now->committed[i];
        return n;
      };
      const std::size_t delivered = times(fresh) + times(again);
      EXPECT_LE(delivered, 1u) << "doubled";
      if (delivered == 0) EXPECT_LT(i, releasing) << "lost: letter " << i;
      if (times(fresh) == 1) EXPECT_GE(i, received) << "unflagged duplicate: letter " << i;
      if (i >= taken_by_victim)
        EXPECT_EQ(times(fresh), 1u) << "the victim had nothing to do with it";
    }
    if (finished) EXPECT_EQ(fresh.size(), now->committed.size() - taken_by_victim);
    now->use_again();
  }
};

}  // namespace

TEST_F(CrashMail, KilledAtEveryInstructionOfSending) {
  std::size_t events = 0;
  for (const std::size_t turned : {std::size_t{0}, std::size_t{13}}) {
    for (const std::uint32_t filled : {0u, 3u, 12u}) {
      auto s = scene(
          "send two, the ring turned by " + std::to_string(turned) + ", " + std::to_string(filled) +
              " in it",
          [&, turned, filled] {
            now = std::make_unique<stage>();
            now->turn(turned);
            now->fill(filled, 40);
          },
          [&] {
            auto out = now->mail->sender();
            (void)out.try_send(letter_of(1, 40));
            (void)out.try_send(letter_of(2, 100));
          },
          [&](bool finished) { expect_sent(finished && filled < 12, {1, 2}); });
      if (filled == 3) {
        // Others go on while it stands still: nobody is blocked by a sender but behind its claim.
        s.while_stopped = [this] {
          auto out = now->mail->sender();
          EXPECT_TRUE(out.try_send(letter_of(50, 40)));
          auto in = now->mail->receiver();
          for (const std::uint32_t expected : now->committed) {
            auto letter = in.try_receive();
            ASSERT_TRUE(letter) << "blocked by a stopped sender";
            EXPECT_EQ(number_in(*letter), expected);
          }
          now->committed.clear();
        };
        s.check = [&](bool finished) { expect_sent(finished, {1, 2}, {50}); };
      }
      events += crash::kill_everywhere(s).events;
    }
  }
  EXPECT_GE(events, 100u);
}

TEST_F(CrashMail, KilledAtEveryInstructionOfASingleSendersAndReceiversWork) {
  const message_queue_options single{.capacity = ring_bytes,
                                     .senders = ipcpp::users::one,
                                     .receivers = ipcpp::users::one,
                                     .endpoints = 2};
  auto sending = scene(
      "a single sender",
      [&] {
        now = std::make_unique<stage>(single);
        now->turn(13);
        now->fill(2, 40);
      },
      [&] {
        auto out = now->mail->sender();
        out.send(letter_of(1, 40));
        out.send(letter_of(2, 100));
      },
      [&](bool finished) { expect_sent(finished, {1, 2}); });
  crash::kill_everywhere(sending);
  auto receiving = scene(
      "a single receiver",
      [&] {
        now = std::make_unique<stage>(single);
        now->turn(13);
        now->fill(3, 100);
      },
      [&] {
        auto in = now->mail->receiver();
        for (std::uint32_t i = 0; i < 2; ++i) {
          auto letter = in.try_receive();
          now->notes->received = i + 1;
          now->notes->releasing = i + 1;
        }
      },
      [&](bool finished) { expect_received(finished, 2); });
  crash::kill_everywhere(receiving);
}

TEST_F(CrashMail, KilledAtEveryInstructionOfClaimingAndWithdrawing) {
  auto s = scene(
      "claim two, withdraw the first, leave the other to its destructor",
      [&] {
        now = std::make_unique<stage>();
        now->turn(10);
        now->fill(2, 40);
      },
      [&] {
        auto out = now->mail->sender();
        auto first = out.claim(40);
        auto second = out.claim(200);
        first.withdraw();
      },
      [&](bool) { expect_sent(false, {}); });
  crash::kill_everywhere(s);
}

TEST_F(CrashMail, KilledAtEveryInstructionOfReceivingAndReleasing) {
  for (const bool in_order : {true, false}) {
    auto s = scene(
        in_order ? "receive two, release in order" : "receive two, release the second first",
        [&] {
          now = std::make_unique<stage>();
          now->turn(12);
          now->fill(3, 100);
        },
        [&, in_order] {
          auto in = now->mail->receiver();
          auto first = in.try_receive();
          now->notes->received = 1;
          auto second = in.try_receive();
          now->notes->received = 2;
          now->notes->releasing = 2;
          if (in_order) first->release();
          second->release();
          if (!in_order) first->release();
        },
        [&](bool finished) { expect_received(finished, 2); });
    crash::kill_everywhere(s);
  }
}

TEST_F(CrashMail, KilledAtEveryInstructionOfLeavingWithLettersInHand) {
  auto s = scene(
      "receive one, leave without releasing it",
      [&] {
        now = std::make_unique<stage>();
        now->fill(2, 100);
      },
      [&] {
        auto in = now->mail->receiver();
        alignas(ipcpp::received_letter) std::byte kept[sizeof(ipcpp::received_letter)];
        new (kept) ipcpp::received_letter(in.try_receive());
        now->notes->received = 1;
      },
      [&](bool) { expect_received(false, 1); });
  crash::kill_everywhere(s);
}

TEST_F(CrashMail, KilledAtEveryInstructionOfMendingWhatOthersLeft) {
  // Dead ones in the way of the victim: one holds the first letter, one claimed and never committed.
  auto s = scene(
      "receive over the dead",
      [&] {
        now = std::make_unique<stage>();
        now->turn(11);
        now->fill(1, 40);
        EXPECT_EQ(test::in_forked_child([&]() -> int {
                    auto in = now->mail->receiver();
                    auto letter = in.try_receive();
                    ::_exit(letter ? 0 : 1);
                  }),
                  0);
        EXPECT_EQ(test::in_forked_child([&]() -> int {
                    auto out = now->mail->sender();
                    auto claimed = out.claim(150);
                    ::_exit(0);
                  }),
                  0);
        auto out = now->mail->sender();
        ASSERT_TRUE(out.try_send(letter_of(101, 40)));
        now->committed.push_back(101);
      },
      [&] {
        auto in = now->mail->receiver();
        const auto source = in.wait_source();
        for (int looks = 0; looks < 2; ++looks) {
          source.tend(source.object);  // as after a slice: looks after the dead
          if (in.try_receive()) break;
        }
      },
      [&](bool) {
        // The victim may have had both.
        std::size_t n = 0;
        for (const stage::got& g : now->drain()) {
          EXPECT_TRUE(g.number == 100 || g.number == 101);
          EXPECT_TRUE(g.number != 100 || g.again) << "an unflagged duplicate";
          ++n;
        }
        EXPECT_LE(n, 2u);
        now->use_again();
      });
  crash::kill_everywhere(s);
}

TEST_F(CrashMail, KilledAtEveryInstructionOfTakingADeadOnesEndpoint) {
  const message_queue_options narrow{.capacity = ring_bytes, .endpoints = 1};
  auto s = scene(
      "attach where the dead hold every endpoint",
      [&] {
        now = std::make_unique<stage>(narrow);
        EXPECT_EQ(test::in_forked_child([&]() -> int {
                    auto out = now->mail->sender();
                    out.send(letter_of(100, 40));
                    auto claimed = out.claim(150);
                    ::_exit(0);
                  }),
                  0);
        now->committed.push_back(100);
      },
      [&] {
        auto out = now->mail->sender();
        (void)out.try_send(letter_of(1, 40));
      },
      [&](bool finished) {
        // One endpoint: first a receiver, then a sender, one after the other.
        std::vector<std::uint32_t> seen;
        for (const stage::got& g : now->drain()) seen.push_back(g.number);
        ASSERT_GE(seen.size(), 1u);
        EXPECT_EQ(seen[0], 100u);
        EXPECT_LE(seen.size(), 2u);
        if (finished) EXPECT_EQ(seen.size(), 2u);
      });
  crash::kill_everywhere(s);
}

TEST_F(CrashMail, PairsKilledAtEveryInstruction) {
  // Endpoints are attached before the walk begins, in the victim's own memory.
  std::optional<ipcpp::message_sender> out;
  std::optional<ipcpp::message_receiver> in;
  const auto prepare = [&] {
    now = std::make_unique<stage>();
    now->turn(12);
    now->fill(2, 40);
  };
  const auto check = [&](bool) {
    std::size_t times[4] = {};
    for (const stage::got& g : now->drain()) {
      const std::size_t at = place_in_diary(g.number);
      ASSERT_LT(at, 4u);
      EXPECT_EQ(++times[at], 1u) << "twice";
      if (now->notes->taken[at]) EXPECT_TRUE(g.again) << "an unflagged duplicate of " << g.number;
    }
    for (std::size_t at = 0; at < 4; ++at)
      if (at < 2 || now->notes->sent[at])
        EXPECT_TRUE(times[at] == 1 || now->notes->taken[at]) << at;
    now->use_again();
  };
  const auto sends = [&](std::uint32_t number) {
    auto s = scene(
        "send", prepare,
        [&, number] {
          if (out->try_send(letter_of(number, number == 1 ? 100 : 40)))
            now->notes->sent[place_in_diary(number)] = true;
        },
        check);
    s.before = [&] { out.emplace(now->mail->sender()); };
    return s;
  };
  const auto receives = [&](bool mends) {
    auto s = scene(
        mends ? "receive and mend" : "receive", prepare,
        [&, mends] {
          const auto source = in->wait_source();
          for (int look = 0; look < (mends ? 3 : 1); ++look) {
            if (mends) source.tend(source.object);  // as after a slice: looks after the dead
            if (auto letter = in->try_receive())
              now->notes->taken[place_in_diary(number_in(*letter).value_or(100))] = true;
          }
        },
        check);
    s.before = [&] { in.emplace(now->mail->receiver()); };
    return s;
  };
  std::size_t kills = 0;
  for (const auto& first : {sends(1), receives(false)})
    for (auto second : {sends(2), receives(false), receives(true)}) {
      second.most = 8;
      kills += crash::kill_pairs(first, second);
      if (HasFailure()) return;
    }
  std::printf("message_queue: %zu pairs\n", kills);
}
