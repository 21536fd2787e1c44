// Other libraries, where their headers are installed: Boost.Interprocess between processes;
// boost::lockfree and atomic_queue between threads, which is all they promise.
#include <cstdlib>
#include <string>
#include <unistd.h>

#include "subject.hpp"

#if __has_include(<boost/interprocess/ipc/message_queue.hpp>)
#include <boost/interprocess/ipc/message_queue.hpp>
#define HAS_BOOST_MQ 1
#endif
#if __has_include(<boost/lockfree/spsc_queue.hpp>)
#include <boost/lockfree/queue.hpp>
#include <boost/lockfree/spsc_queue.hpp>
#define HAS_BOOST_LOCKFREE 1
#endif
#if __has_include(<atomic_queue/atomic_queue.h>)
#include <atomic_queue/atomic_queue.h>
#define HAS_ATOMIC_QUEUE 1
#endif

namespace bench {

namespace {

// Two queues between threads, by two functions that try.
template <class Queue, class Message, class Push, class Pop>
subject between_threads(std::string name, std::size_t bytes, std::shared_ptr<Queue> there,
                        std::shared_ptr<Queue> back, Push push, Pop pop) {
  subject s;
  s.name = std::move(name);
  s.bytes = bytes;
  s.threads = true;
  s.ping = [=](std::uint64_t n) {
    Message l{};
    for (std::uint64_t i = 0; i < n; ++i) {
      while (!push(*there, l)) relax();
      while (!pop(*back, l)) {
      }
    }
  };
  s.pong = [=](std::uint64_t n) {
    Message l{};
    for (std::uint64_t i = 0; i < n; ++i) {
      while (!pop(*there, l)) {
      }
      while (!push(*back, l)) relax();
    }
  };
  s.push = [=](std::uint64_t n) {
    Message l{};
    for (std::uint64_t i = 0; i < n; ++i)
      while (!push(*there, l)) relax();
  };
  s.pull = [=](std::uint64_t n) {
    Message l{};
    for (std::uint64_t i = 0; i < n; ++i)
      while (!pop(*there, l)) {
      }
  };
  return s;
}

#if defined(HAS_BOOST_MQ)
template <std::size_t bytes>
subject boost_message_queue() {
  namespace bip = boost::interprocess;
  struct pair {
    std::string names[2];
    std::unique_ptr<bip::message_queue> there;
    std::unique_ptr<bip::message_queue> back;
    pid_t owner = ::getpid();
    ~pair() {
      if (::getpid() != owner) return;
      for (const std::string& name : names) bip::message_queue::remove(name.c_str());
    }
  };
  auto both = std::make_shared<pair>();
  for (int i = 0; i < 2; ++i)
    both->names[i] = "ipcpp.bench." + std::to_string(::getpid()) + "." + std::to_string(bytes) +
                     "." + std::to_string(i);
  both->there =
      std::make_unique<bip::message_queue>(bip::create_only, both->names[0].c_str(), 1024, bytes);
  both->back =
      std::make_unique<bip::message_queue>(bip::create_only, both->names[1].c_str(), 1024, bytes);
  // Both parties have it mapped by now: the names can go, whatever happens to us.
  for (const std::string& name : both->names) bip::message_queue::remove(name.c_str());
  const auto take = [](bip::message_queue& from) {
    char text[bytes];
    bip::message_queue::size_type got = 0;
    unsigned priority = 0;
    from.receive(text, bytes, got, priority);
  };
  subject s;
  s.name = "Boost message_queue, " + std::to_string(bytes) + " B";
  s.bytes = bytes;
  s.blocking = true;
  s.ping = [=](std::uint64_t n) {
    char text[bytes] = {};
    for (std::uint64_t i = 0; i < n; ++i) {
      both->there->send(text, bytes, 0);
      take(*both->back);
    }
  };
  s.pong = [=](std::uint64_t n) {
    char text[bytes] = {};
    for (std::uint64_t i = 0; i < n; ++i) {
      take(*both->there);
      both->back->send(text, bytes, 0);
    }
  };
  s.push = [=](std::uint64_t n) {
    char text[bytes] = {};
    for (std::uint64_t i = 0; i < n; ++i) both->there->send(text, bytes, 0);
  };
  s.pull = [=](std::uint64_t n) {
    for (std::uint64_t i = 0; i < n; ++i) take(*both->there);
  };
  return s;
}
#endif

}  // namespace

void add_peer_subjects(std::vector<subject>& to) {
#if defined(HAS_BOOST_MQ)
  to.push_back(boost_message_queue<48>());
  to.push_back(boost_message_queue<1024>());
  to.push_back(boost_message_queue<4096>());
#endif
#if defined(HAS_BOOST_LOCKFREE)
  {
    using queue = boost::lockfree::spsc_queue<letter<48>, boost::lockfree::capacity<1024>>;
    to.push_back(between_threads<queue, letter<48>>(
        "boost::lockfree::spsc_queue, 48 B, threads", 48, std::make_shared<queue>(),
        std::make_shared<queue>(), [](queue& q, const letter<48>& l) { return q.push(l); },
        [](queue& q, letter<48>& l) { return q.pop(l); }));
  }
  {
    using queue = boost::lockfree::queue<letter<48>, boost::lockfree::capacity<1024>>;
    to.push_back(between_threads<queue, letter<48>>(
        "boost::lockfree::queue, 48 B, threads", 48, std::make_shared<queue>(),
        std::make_shared<queue>(), [](queue& q, const letter<48>& l) { return q.bounded_push(l); },
        [](queue& q, letter<48>& l) { return q.pop(l); }));
  }
#endif
#if defined(HAS_ATOMIC_QUEUE)
  {
    using queue = atomic_queue::AtomicQueue<std::uint64_t, 1024>;
    struct number {
      std::uint64_t value = 1;
    };
    to.push_back(between_threads<queue, number>(
        "atomic_queue, 8 B, threads", 8, std::make_shared<queue>(), std::make_shared<queue>(),
        [](queue& q, const number& l) { return q.try_push(l.value); },
        [](queue& q, number& l) { return q.try_pop(l.value); }));
  }
#endif
  (void)to;
}

void add_peer_crowds(std::vector<crowd>& to) {
#if defined(HAS_BOOST_MQ)
  {
    namespace bip = boost::interprocess;
    const std::string name = "ipcpp.bench." + std::to_string(::getpid()) + ".crowd";
    auto queue = std::make_shared<bip::message_queue>(bip::create_only, name.c_str(), 1024, 48);
    bip::message_queue::remove(name.c_str());
    to.push_back({"Boost message_queue, 48 B", false, 64,
                  [queue](std::uint64_t n) {
                    char text[48] = {};
                    for (std::uint64_t i = 0; i < n; ++i) queue->send(text, sizeof text, 0);
                  },
                  [queue](std::uint64_t n) {
                    char text[48];
                    bip::message_queue::size_type got = 0;
                    unsigned priority = 0;
                    for (std::uint64_t i = 0; i < n; ++i)
                      queue->receive(text, sizeof text, got, priority);
                  }});
  }
#endif
  const auto add = [&](std::string name, auto queue, auto push, auto pop) {
    to.push_back({std::move(name), true, 64,
                  [=](std::uint64_t n) {
                    for (std::uint64_t i = 0; i < n; ++i) until([&] { return push(*queue); });
                  },
                  [=](std::uint64_t n) {
                    for (std::uint64_t i = 0; i < n; ++i) until([&] { return pop(*queue); });
                  }});
  };
#if defined(HAS_BOOST_LOCKFREE)
  {
    using queue = boost::lockfree::queue<letter<48>, boost::lockfree::capacity<1024>>;
    add(
        "boost::lockfree::queue, 48 B, threads", std::make_shared<queue>(),
        [](queue& q) { return q.bounded_push(letter<48>{}); },
        [](queue& q) {
          letter<48> l{};
          return q.pop(l);
        });
  }
#endif
#if defined(HAS_ATOMIC_QUEUE)
  {
    using queue = atomic_queue::AtomicQueue<std::uint64_t, 1024>;
    add(
        "atomic_queue, 8 B, threads", std::make_shared<queue>(),
        [](queue& q) { return q.try_push(1); },
        [](queue& q) {
          std::uint64_t l = 0;
          return q.try_pop(l);
        });
  }
#endif
  (void)add;
}

}  // namespace bench
