// A queue whose users are killed: what the victims did, what the survivors find, and what must hold.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>
#include <unistd.h>

#include "peek.hpp"
#include "single_step.hpp"

import ipcpp;

namespace crash {

// Torn if check or any of the rest does not fit the number.
struct letter {
  std::uint64_t number;
  std::uint64_t rest[4];
};
inline letter write_letter(std::uint64_t number) {
  letter l{number, {}};
  for (std::uint64_t i = 0; i < 4; ++i) l.rest[i] = number * 0x9e3779b97f4a7c15 + i;
  return l;
}
inline bool is_whole(const letter& l) {
  for (std::uint64_t i = 0; i < 4; ++i)
    if (l.rest[i] != l.number * 0x9e3779b97f4a7c15 + i) return false;
  return true;
}

// In the segment: what victims know to have done.
struct ledger {
  std::atomic<std::uint64_t> sent_count;
  std::atomic<std::uint64_t> sent[16];
  std::atomic<std::uint64_t> taken_count;
  std::atomic<std::uint64_t> taken[16];

  void has_sent(std::uint64_t number) {
    sent[sent_count.load()] = number;
    sent_count.fetch_add(1);
  }
  void has_taken(std::uint64_t number) {
    taken[taken_count.load()] = number;
    taken_count.fetch_add(1);
  }
};

struct delivery {
  std::uint64_t number;
  bool again;
};

template <class Queue>
class queue_stage {
 public:
  explicit queue_stage(std::size_t capacity) : capacity_(capacity) {
    notes_ = static_cast<ledger*>(segment_.heap().allocate(sizeof(ledger)));
  }

  // A new queue that has been through some laps and holds `fill` letters numbered from 100.
  void begin(std::size_t fill) {
    queue_.reset();
    if constexpr (requires { Queue(capacity_, ipcpp::queue_limits{}, nowhere); }) {
      queue_.emplace(segment_, capacity_, ipcpp::queue_limits{.endpoints = 6});
    } else if constexpr (requires { Queue(capacity_, ipcpp::mpsc_limits{}, nowhere); }) {
      queue_.emplace(segment_, capacity_, ipcpp::mpsc_limits{.senders = 4});
    } else {
      queue_.emplace(segment_, capacity_);
    }
    std::construct_at(notes_);
    auto in = (**queue_).sender();
    auto out = (**queue_).receiver();
    for (std::uint64_t i = 0; i < 3; ++i) {
      if (!in.try_send(write_letter(i)) || !out.try_receive()) throw std::runtime_error("laps");
    }
    filled_ = fill;
    may_be_lost_ = 0;
    met_.clear();
    for (std::uint64_t i = 0; i < fill; ++i)
      if (!in.try_send(write_letter(100 + i))) throw std::runtime_error("fill");
  }
  Queue& operator*() { return **queue_; }
  ledger& notes() { return *notes_; }
  std::span<const std::byte> watched() { return test::block_of(**queue_); }
  std::uint64_t capacity() { return (**queue_).capacity(); }

  // Before the survivors look: how many letters victims were about to take when they died.
  void may_lose(std::uint64_t letters) { may_be_lost_ += letters; }

  // Survivors may take while victims live.
  template <class Receiver>
  void take(Receiver& from, int looks) {
    for (int idle = 0; idle < looks;) {
      const auto got = from.try_receive();
      if (!got) {
        ++idle;
        continue;
      }
      idle = 0;
      EXPECT_TRUE(is_whole(*got)) << "torn";
      met_.push_back({got->number, got.redelivered()});
    }
  }
  const std::vector<delivery>& met() const { return met_; }

  // All victims are dead. Drains, compares with what they knew, and uses the queue for some laps.
  void check() {
    {
      auto out = (**queue_).receiver();
      take(out, 1100);
      const auto again = out.wait_source();
      if (again.tend != nullptr) again.tend(again.object);
      take(out, 2);
    }
    std::vector<std::uint64_t> numbers;
    std::uint64_t last_unflagged = 0;
    for (const delivery& d : met_) {
      for (const std::uint64_t other : numbers) EXPECT_NE(d.number, other) << "delivered twice";
      numbers.push_back(d.number);
      EXPECT_GE(d.number, 100u) << "a letter of an earlier lap";
      if (!d.again && d.number < 700) {
        EXPECT_GT(d.number, last_unflagged) << "out of order";
        last_unflagged = d.number;
      }
    }
    const auto met = [&](std::uint64_t number) {
      for (const delivery& d : met_)
        if (d.number == number) return &d;
      return static_cast<const delivery*>(nullptr);
    };
    const auto taken = [&](std::uint64_t number) {
      for (std::uint64_t i = 0; i < notes_->taken_count; ++i)
        if (notes_->taken[i] == number) return true;
      return false;
    };
    std::uint64_t lost = 0;
    const auto account_for = [&](std::uint64_t number) {
      const delivery* const d = met(number);
      if (d == nullptr && !taken(number)) ++lost;
      if (d != nullptr && taken(number)) EXPECT_TRUE(d->again) << "a duplicate without a flag";
    };
    for (std::uint64_t i = 0; i < filled_; ++i) account_for(100 + i);
    for (std::uint64_t i = 0; i < notes_->sent_count; ++i) account_for(notes_->sent[i]);
    EXPECT_LE(lost, may_be_lost_) << "lost";
    use_for_some_laps();
  }

  void use_for_some_laps() {
    auto in = (**queue_).sender();
    auto out = (**queue_).receiver();
    for (std::uint64_t lap = 0; lap < 3; ++lap) {
      for (std::uint64_t i = 0; i < capacity(); ++i)
        ASSERT_TRUE(in.try_send(write_letter(5000 + i))) << "blocked: no room for letter " << i;
      EXPECT_FALSE(in.try_send(write_letter(1))) << "overfull";
      for (std::uint64_t i = 0; i < capacity(); ++i) {
        const auto got = out.try_receive();
        ASSERT_TRUE(got) << "blocked: no letter " << i;
        EXPECT_EQ(got->number, 5000 + i);
        EXPECT_FALSE(got.redelivered());
      }
      EXPECT_FALSE(out.try_receive());
    }
  }

 private:
  static inline const ipcpp::allocator<std::byte> nowhere{};
  ipcpp::segment segment_ = ipcpp::segment::anonymous({.max_size = 1 << 22});
  std::size_t capacity_;
  std::optional<test::object_in<Queue>> queue_;
  ledger* notes_ = nullptr;
  std::uint64_t filled_ = 0;
  std::uint64_t may_be_lost_ = 0;
  std::vector<delivery> met_;
};

}  // namespace crash
