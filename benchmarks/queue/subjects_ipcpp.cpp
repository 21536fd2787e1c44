// Our own queues.
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "subject.hpp"

import ipcpp;

namespace bench {

namespace {

ipcpp::segment& segment() {
  static ipcpp::segment only = ipcpp::segment::anonymous({.max_size = 64 << 20});
  return only;
}

std::string next_name() {
  static int number = 0;
  return "queue " + std::to_string(++number);
}
template <class Queue, class... Args>
Queue& make(Args&&... args) {
  return segment().construct<Queue>(next_name(), std::forward<Args>(args)...);
}

// There and back through two queues; polling or blocking. Endpoints are attached in their party.
template <class Queue>
subject of(std::string name, bool blocking) {
  using letter = typename Queue::value_type;
  constexpr std::size_t capacity = 1024;
  auto& there = make<Queue>(capacity);
  auto& back = make<Queue>(capacity);
  struct party {
    std::optional<typename Queue::sender_type> in;
    std::optional<typename Queue::receiver_type> out;
  };
  subject s;
  s.name = std::move(name);
  s.bytes = sizeof(letter);
  s.blocking = blocking;
  const auto take = [blocking](party& of) {
    if (blocking) {
      if (!of.out->receive()) std::abort();
    } else {
      while (!of.out->try_receive()) {
      }
    }
  };
  auto first = std::make_shared<party>();
  auto second = std::make_shared<party>();
  const auto attach = [](party& who, Queue& to, Queue& from) {
    if (who.in) return;
    who.in.emplace(to.sender());
    who.out.emplace(from.receiver());
  };
  s.ping = [=, &there, &back](std::uint64_t n) {
    attach(*first, there, back);
    letter l{};
    for (std::uint64_t i = 0; i < n; ++i) {
      l.number = i;
      first->in->send(l);
      take(*first);
    }
  };
  s.pong = [=, &there, &back](std::uint64_t n) {
    attach(*second, back, there);
    letter l{};
    for (std::uint64_t i = 0; i < n; ++i) {
      take(*second);
      l.number = i;
      second->in->send(l);
    }
  };
  s.push = [=, &there, &back](std::uint64_t n) {
    attach(*first, there, back);
    letter l{};
    for (std::uint64_t i = 0; i < n; ++i) {
      l.number = i;
      if (blocking) {
        first->in->send(l);
      } else {
        while (!first->in->try_send(l)) relax();
      }
    }
  };
  s.pull = [=, &there, &back](std::uint64_t n) {
    attach(*second, back, there);
    for (std::uint64_t i = 0; i < n; ++i) take(*second);
  };
  return s;
}

// Vyukov's queue as it is without a crash protocol, in the same slots.
class plain_mpmc {
 public:
  static constexpr std::uint64_t capacity = 1024;
  struct alignas(64) slot {
    std::atomic<std::uint64_t> sequence;
    letter<48> message;
  };
  plain_mpmc() {
    for (std::uint64_t i = 0; i < capacity; ++i) slots_[i].sequence = i;
  }
  bool push(const letter<48>& m) {
    std::uint64_t t = tail_.load(std::memory_order_relaxed);
    for (;;) {
      slot& s = slots_[t % capacity];
      const std::uint64_t q = s.sequence.load(std::memory_order_acquire);
      if (q == t) {
        if (tail_.compare_exchange_weak(t, t + 1, std::memory_order_relaxed)) {
          s.message = m;
          s.sequence.store(t + 1, std::memory_order_release);
          return true;
        }
      } else if (q < t) {
        return false;
      } else {
        t = tail_.load(std::memory_order_relaxed);
      }
    }
  }
  bool pop(letter<48>& m) {
    std::uint64_t h = head_.load(std::memory_order_relaxed);
    for (;;) {
      slot& s = slots_[h % capacity];
      const std::uint64_t q = s.sequence.load(std::memory_order_acquire);
      if (q == h + 1) {
        if (head_.compare_exchange_weak(h, h + 1, std::memory_order_relaxed)) {
          m = s.message;
          s.sequence.store(h + capacity, std::memory_order_release);
          return true;
        }
      } else if (q < h + 1) {
        return false;
      } else {
        h = head_.load(std::memory_order_relaxed);
      }
    }
  }

 private:
  alignas(128) std::atomic<std::uint64_t> tail_{0};
  alignas(128) std::atomic<std::uint64_t> head_{0};
  slot slots_[capacity];
};

subject plain() {
  auto* const there = new (shared_bytes(sizeof(plain_mpmc))) plain_mpmc;
  auto* const back = new (shared_bytes(sizeof(plain_mpmc))) plain_mpmc;
  subject s;
  s.name = "mpmc without crash protocol, 48 B";
  s.bytes = 48;
  s.ping = [=](std::uint64_t n) {
    letter<48> l{};
    for (std::uint64_t i = 0; i < n; ++i) {
      (void)there->push(l);
      while (!back->pop(l)) {
      }
    }
  };
  s.pong = [=](std::uint64_t n) {
    letter<48> l{};
    for (std::uint64_t i = 0; i < n; ++i) {
      while (!there->pop(l)) {
      }
      (void)back->push(l);
    }
  };
  s.push = [=](std::uint64_t n) {
    letter<48> l{};
    for (std::uint64_t i = 0; i < n; ++i)
      while (!there->push(l)) relax();
  };
  s.pull = [=](std::uint64_t n) {
    letter<48> l{};
    for (std::uint64_t i = 0; i < n; ++i)
      while (!there->pop(l)) {
      }
  };
  return s;
}

template <class Queue>
loner alone(std::string name) {
  auto& queue = make<Queue>(64);
  struct ends {
    typename Queue::sender_type in;
    typename Queue::receiver_type out;
  };
  auto both = std::make_shared<ends>(ends{queue.sender(), queue.receiver()});
  return {std::move(name), [both](std::uint64_t n) {
            typename Queue::value_type l{};
            std::uint64_t sum = 0;
            for (std::uint64_t i = 0; i < n; ++i) {
              l.number = i;
              if (!both->in.try_send(l)) std::abort();
              sum += both->out.try_receive()->number;
            }
            if (sum != n * (n - 1) / 2) std::abort();
          }};
}

}  // namespace

void add_ipcpp_subjects(std::vector<subject>& to) {
  to.push_back(of<ipcpp::spsc_queue<letter<8>>>("spsc_queue, 8 B", false));
  to.push_back(of<ipcpp::spsc_queue<letter<48>>>("spsc_queue, 48 B", false));
  to.push_back(of<ipcpp::spsc_queue<letter<64>>>("spsc_queue, 64 B", false));
  to.push_back(of<ipcpp::spsc_queue<letter<256>>>("spsc_queue, 256 B", false));
  to.push_back(of<ipcpp::spsc_queue<letter<1024>>>("spsc_queue, 1024 B", false));
  to.push_back(of<ipcpp::mpsc_queue<letter<48>>>("mpsc_queue, 48 B", false));
  to.push_back(of<ipcpp::mpmc_queue<letter<48>>>("mpmc_queue, 48 B", false));
  to.push_back(plain());
  to.push_back(of<ipcpp::spsc_queue<letter<48>>>("spsc_queue, 48 B, blocking", true));
  to.push_back(of<ipcpp::mpmc_queue<letter<48>>>("mpmc_queue, 48 B, blocking", true));
}

void add_ipcpp_crowds(std::vector<crowd>& to) {
  const auto add = [&](std::string name, auto& queue, std::size_t most_receivers) {
    to.push_back({std::move(name), false, most_receivers,
                  [&queue](std::uint64_t n) {
                    auto in = queue.sender();
                    letter<48> l{};
                    for (std::uint64_t i = 0; i < n; ++i)
                      until([&] { return static_cast<bool>(in.try_send(l)); });
                  },
                  [&queue](std::uint64_t n) {
                    auto out = queue.receiver();
                    for (std::uint64_t i = 0; i < n; ++i)
                      until([&] { return static_cast<bool>(out.try_receive()); });
                  }});
  };
  add("mpmc_queue, 48 B", make<ipcpp::mpmc_queue<letter<48>>>(std::size_t{1024}), 64);
  add("mpsc_queue, 48 B", make<ipcpp::mpsc_queue<letter<48>>>(std::size_t{1024}), 1);
  auto* const plain_one = new (shared_bytes(sizeof(plain_mpmc))) plain_mpmc;
  to.push_back({"mpmc without crash protocol, 48 B", false, 64,
                [plain_one](std::uint64_t n) {
                  letter<48> l{};
                  for (std::uint64_t i = 0; i < n; ++i) until([&] { return plain_one->push(l); });
                },
                [plain_one](std::uint64_t n) {
                  letter<48> l{};
                  for (std::uint64_t i = 0; i < n; ++i) until([&] { return plain_one->pop(l); });
                }});
}

std::vector<loner> loners() {
  std::vector<loner> all;
  all.push_back(alone<ipcpp::spsc_queue<letter<8>>>("spsc_queue, 8 B"));
  all.push_back(alone<ipcpp::spsc_queue<letter<48>>>("spsc_queue, 48 B"));
  all.push_back(alone<ipcpp::mpmc_queue<letter<48>>>("mpmc_queue, 48 B"));
  all.push_back(alone<ipcpp::mpsc_queue<letter<48>>>("mpsc_queue, 48 B"));
  add_mail_loners(all);
  auto plain_one = std::make_shared<plain_mpmc>();
  all.push_back({"mpmc without crash protocol, 48 B", [plain_one](std::uint64_t n) {
                   letter<48> l{};
                   std::uint64_t sum = 0;
                   for (std::uint64_t i = 0; i < n; ++i) {
                     l.number = i;
                     if (!plain_one->push(l) || !plain_one->pop(l)) std::abort();
                     sum += l.number;
                   }
                   if (sum != n * (n - 1) / 2) std::abort();
                 }});
  return all;
}

}  // namespace bench
