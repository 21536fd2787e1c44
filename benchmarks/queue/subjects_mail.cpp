// Our queues for messages of any size, for many readers, and for questions: message_queue,
// broadcast_queue, loan_queue, call_queue.
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "subject.hpp"

import ipcpp;

namespace bench {

namespace {

using ipcpp::message_queue;
using ipcpp::message_queue_options;
using note = letter<48>;
using feed_type = ipcpp::broadcast_queue<note>;
using calls_type = ipcpp::call_queue<note, note>;

ipcpp::segment& segment() {
  static ipcpp::segment only = ipcpp::segment::anonymous({.max_size = std::size_t{1} << 30});
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

message_queue& make_mail(std::size_t capacity, ipcpp::users how) {
  return make<message_queue>(
      message_queue_options{.capacity = capacity, .senders = how, .receivers = how});
}

// Written in place by the sender, read in place by the receiver.
subject mail(std::size_t bytes, ipcpp::users how, bool blocking) {
  auto& there = make_mail(1 << 18, how);
  auto& back = make_mail(1 << 18, how);
  struct party {
    std::optional<ipcpp::message_sender> out;
    std::optional<ipcpp::message_receiver> in;
    std::uint64_t sum = 0;
  };
  const auto attach = [](party& who, message_queue& to, message_queue& from) {
    if (who.out) return;
    who.out.emplace(to.sender());
    who.in.emplace(from.receiver());
  };
  const auto put = [=](party& who) {
    auto place = blocking ? who.out->claim(bytes) : who.out->try_claim(bytes);
    if (!place) return false;
    std::memset(place.data(), 1, bytes);
    place.commit();
    return true;
  };
  const auto take = [=](party& who) {
    if (blocking) {
      who.sum += static_cast<std::uint64_t>((*who.in->receive()).data()[0]);
      return;
    }
    for (;;) {
      auto got = who.in->try_receive();
      if (!got) continue;
      who.sum += static_cast<std::uint64_t>(got->data()[0]);
      return;
    }
  };
  auto first = std::make_shared<party>();
  auto second = std::make_shared<party>();
  subject s;
  s.name = std::string("message_queue, ") + (how == ipcpp::users::many ? "many, " : "") +
           std::to_string(bytes) + " B" + (blocking ? ", blocking" : "");
  s.bytes = bytes;
  s.blocking = blocking;
  s.ping = [=, &there, &back](std::uint64_t n) {
    attach(*first, there, back);
    for (std::uint64_t i = 0; i < n; ++i) {
      while (!put(*first)) relax();
      take(*first);
    }
  };
  s.pong = [=, &there, &back](std::uint64_t n) {
    attach(*second, back, there);
    for (std::uint64_t i = 0; i < n; ++i) {
      take(*second);
      while (!put(*second)) relax();
    }
  };
  s.push = [=, &there, &back](std::uint64_t n) {
    attach(*first, there, back);
    for (std::uint64_t i = 0; i < n; ++i)
      while (!put(*first)) relax();
  };
  s.pull = [=, &there, &back](std::uint64_t n) {
    attach(*second, back, there);
    for (std::uint64_t i = 0; i < n; ++i) take(*second);
  };
  return s;
}

// Subscribers see what comes after they subscribed, so a new second party says when it has.
struct muster {
  std::atomic<std::uint64_t> subscribed{0};
  std::uint64_t expected = 0;  // the first party's
};
std::shared_ptr<muster> make_muster() {
  return {new (shared_bytes(sizeof(muster))) muster, [](muster*) {}};
}
void await(muster& m) {
  while (m.subscribed.load(std::memory_order_acquire) != m.expected) relax();
}

// There and back through two queues with publishers and subscribers.
template <class Queue, class Put, class Take>
subject published(std::string name, std::size_t bytes, Queue& there, Queue& back, Put put,
                  Take take) {
  struct party {
    std::optional<typename Queue::publisher_type> out;
    std::optional<typename Queue::subscriber_type> in;
  };
  auto first = std::make_shared<party>();
  auto second = std::make_shared<party>();
  auto m = make_muster();
  const auto attach_first = [=, &there, &back] {
    if (first->out) return;
    first->in.emplace(back.subscriber());
    first->out.emplace(there.publisher());
  };
  const auto attach_second = [=, &there, &back] {
    if (second->out) return;
    second->in.emplace(there.subscriber());
    second->out.emplace(back.publisher());
    m->subscribed.fetch_add(1, std::memory_order_release);
  };
  subject s;
  s.name = std::move(name);
  s.bytes = bytes;
  s.begin = [=] {
    attach_first();
    ++m->expected;
  };
  s.ping = [=](std::uint64_t n) {
    await(*m);
    for (std::uint64_t i = 0; i < n; ++i) {
      put(*first->out);
      take(*first->in);
    }
  };
  s.pong = [=](std::uint64_t n) {
    attach_second();
    for (std::uint64_t i = 0; i < n; ++i) {
      take(*second->in);
      put(*second->out);
    }
  };
  s.push = [=](std::uint64_t n) {
    await(*m);
    for (std::uint64_t i = 0; i < n; ++i) put(*first->out);
  };
  s.pull = [=](std::uint64_t n) {
    attach_second();
    for (std::uint64_t i = 0; i < n; ++i) take(*second->in);
  };
  return s;
}

subject broadcast() {
  auto& there = make<feed_type>(std::size_t{1024});
  auto& back = make<feed_type>(std::size_t{1024});
  return published(
      "broadcast_queue, 48 B", 48, there, back,
      [](ipcpp::broadcast_publisher<note>& out) {
        while (!out.try_publish({})) relax();
      },
      [](ipcpp::broadcast_subscriber<note>& in) {
        while (!in.try_receive()) {
        }
      });
}

subject loan(std::string name, std::size_t bytes) {
  const auto make_frames = [] {
    return &make<ipcpp::loan_queue>(ipcpp::loan_queue_options{
        .chunk_bytes = std::size_t{4} << 20, .chunks = 12, .capacity = 8});
  };
  // Of all 4 MiB the first and the last byte are written and read: what there is to it beside the
  // handing on is the program's.
  return published(
      std::move(name), bytes, *make_frames(), *make_frames(),
      [bytes](ipcpp::loan_publisher& out) {
        for (;;) {
          auto frame = out.try_loan(bytes);
          if (!frame) continue;
          frame.data()[0] = std::byte{1};
          frame.data()[bytes - 1] = std::byte{1};
          while (!frame.try_publish()) relax();
          return;
        }
      },
      [bytes](ipcpp::loan_subscriber& in) {
        for (;;) {
          auto frame = in.try_receive();
          if (!frame) continue;
          if (frame.data()[0] != std::byte{1} || frame.data()[bytes - 1] != std::byte{1})
            std::abort();
          return;
        }
      });
}

subject call() {
  auto& calls = make<calls_type>(8u);
  auto client = std::make_shared<std::optional<ipcpp::call_client<note, note>>>();
  auto server = std::make_shared<std::optional<ipcpp::call_server<note, note>>>();
  subject s;
  s.name = "call_queue, 48 B";
  s.bytes = 48;
  s.ping = [=, &calls](std::uint64_t n) {
    if (!*client) client->emplace(calls.client());
    for (std::uint64_t i = 0; i < n; ++i) {
      auto under_way = (*client)->start({});
      while (under_way.try_get().status() == ipcpp::call_status::pending) {
      }
    }
  };
  s.pong = [=, &calls](std::uint64_t n) {
    if (!*server) server->emplace(calls.server());
    for (std::uint64_t i = 0; i < n;) {
      auto request = (*server)->try_receive();
      if (!request) continue;
      (void)request.reply(request.request());
      ++i;
    }
  };
  return s;
}

}  // namespace

void add_mail_subjects(std::vector<subject>& to) {
  for (const std::size_t bytes : {8, 48, 64, 256, 1024, 4096})
    to.push_back(mail(bytes, ipcpp::users::one, false));
  to.push_back(mail(48, ipcpp::users::many, false));
  to.push_back(mail(48, ipcpp::users::one, true));
  to.push_back(broadcast());
  to.push_back(call());
}

std::pair<subject, subject> loans() {
  return {loan("loan_queue, 64 B", 64), loan("loan_queue, 4 MiB", std::size_t{4} << 20)};
}

std::vector<copy_case> copy_cases() {
  std::vector<copy_case> all;
  auto& there = make_mail(std::size_t{32} << 20, ipcpp::users::one);
  auto out = std::make_shared<std::optional<ipcpp::message_sender>>();
  auto in = std::make_shared<std::optional<ipcpp::message_receiver>>();
  auto* const done =
      new (shared_bytes(sizeof(std::atomic<std::uint64_t>))) std::atomic<std::uint64_t>(0);
  for (const std::size_t bytes : {std::size_t{64} << 10, std::size_t{256} << 10,
                                  std::size_t{1} << 20, std::size_t{4} << 20}) {
    auto from = std::make_shared<std::vector<std::byte>>(bytes);
    auto middle = std::make_shared<std::vector<std::byte>>(bytes);
    auto to = std::make_shared<std::vector<std::byte>>(bytes);
    copy_case one{bytes, {}, {}};
    one.through.name = "copied in and out, " + std::to_string(bytes >> 10) + " KiB";
    one.through.bytes = bytes;
    one.through.push = [=, &there](std::uint64_t n) {
      if (!*out) out->emplace(there.sender());
      const std::uint64_t end = done->load() + n;
      for (std::uint64_t i = 0; i < n; ++i)
        while (!(*out)->try_send(*from)) relax();
      while (done->load(std::memory_order_acquire) != end) relax();
    };
    one.through.pull = [=, &there](std::uint64_t n) {
      if (!*in) in->emplace(there.receiver());
      for (std::uint64_t i = 0; i < n;) {
        auto got = (*in)->try_receive();
        if (!got) continue;
        std::memcpy(to->data(), got->data(), bytes);
        (*got).release();
        done->fetch_add(1, std::memory_order_release);
        ++i;
      }
    };
    one.two_copies = [=](std::uint64_t n) {
      for (std::uint64_t i = 0; i < n; ++i) {
        std::memcpy(middle->data(), from->data(), bytes);
        asm volatile("" ::"r"(middle->data()) : "memory");
        std::memcpy(to->data(), middle->data(), bytes);
        asm volatile("" ::"r"(to->data()) : "memory");
      }
    };
    all.push_back(std::move(one));
  }
  return all;
}

void add_mail_loners(std::vector<loner>& to) {
  {
    auto& mail = make_mail(65536, ipcpp::users::one);
    struct ends {
      ipcpp::message_sender out;
      ipcpp::message_receiver in;
    };
    auto both = std::make_shared<ends>(ends{mail.sender(), mail.receiver()});
    to.push_back({"message_queue, 48 B", [both](std::uint64_t n) {
                    for (std::uint64_t i = 0; i < n; ++i) {
                      auto place = both->out.try_claim(48);
                      std::memset(place.data(), 1, 48);
                      place.commit();
                      if (!both->in.try_receive()) std::abort();
                    }
                  }});
  }
  {
    auto& feed = make<feed_type>(std::size_t{64});
    struct ends {
      ipcpp::broadcast_publisher<note> out;
      ipcpp::broadcast_subscriber<note> in;
    };
    auto both = std::make_shared<ends>(ends{feed.publisher(), feed.subscriber()});
    to.push_back({"broadcast_queue, 48 B, one subscriber", [both](std::uint64_t n) {
                    for (std::uint64_t i = 0; i < n; ++i)
                      if (!both->out.try_publish({}) || !both->in.try_receive()) std::abort();
                  }});
  }
  // Handing on a chunk: whatever its size and however many read it, but each reader's own share.
  const auto add_loan = [&](std::string name, std::size_t bytes, int readers) {
    auto& frames = make<ipcpp::loan_queue>(
        ipcpp::loan_queue_options{.chunk_bytes = bytes, .chunks = 12, .capacity = 8});
    struct ends {
      ipcpp::loan_publisher out;
      std::vector<ipcpp::loan_subscriber> in;
    };
    auto all = std::make_shared<ends>(ends{frames.publisher(), {}});
    for (int i = 0; i < readers; ++i) all->in.push_back(frames.subscriber());
    to.push_back({std::move(name), [all, bytes](std::uint64_t n) {
                    for (std::uint64_t i = 0; i < n; ++i) {
                      auto frame = all->out.try_loan(bytes);
                      frame.data()[0] = std::byte{1};
                      if (!frame.try_publish()) std::abort();
                      for (auto& in : all->in)
                        if (!in.try_receive()) std::abort();
                    }
                  }});
  };
  add_loan("loan_queue, 64 B, one subscriber", 64, 1);
  add_loan("loan_queue, 4 MiB, one subscriber", std::size_t{4} << 20, 1);
  add_loan("loan_queue, 64 B, 20 subscribers", 64, 20);
}

}  // namespace bench
