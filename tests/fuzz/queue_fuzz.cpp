// libFuzzer: damages a queue's memory between its operations. What must not happen: a crash, an access
// outside the queue, an operation that does not end (-timeout). Errors are answers.
//
// Input: the first byte chooses the queue (modulo 8), its form and its end; then steps, each one byte: below 96 damage, |
// place (2 bytes) | value (0 to 8 bytes, by the step) |, else an operation of that queue.
//
//   cmake --preset linux-clang-debug -B build/fuzz -DIPCPP_FUZZERS=ON
//     -DIPCPP_SANITIZE=address,undefined,fuzzer-no-link
//   cmake --build build/fuzz --target queue_fuzz
//   build/fuzz/queue_fuzz -max_total_time=600 -timeout=10 -max_len=512 tests/fuzz/queue_corpus
//
// The corpus is what was found and is mended: a head that said more endpoints and bytes than its block
// has, which whoever destroyed, attached or lent believed; a slot of no state that was ready to be read
// but not read, so that a timed receive did not end. replay.cpp tries it in every build.
//
// The block lies between canaries: the sanitizer knows nothing of what is inside a mapping. In the
// end every endpoint leaves the damaged queue, before or after it is destroyed.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

import ipcpp;
import ipcpp.platform;

using namespace std::chrono_literals;

namespace {

struct item {
  std::uint64_t number;
  std::uint64_t more[4];
};

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "queue_fuzz: %s\n", what);
  std::abort();
}

class input {
 public:
  input(const std::uint8_t* data, std::size_t size) : at_(data), left_(size) {}
  bool empty() const { return left_ == 0; }
  std::uint8_t byte() {
    if (left_ == 0) return 0;
    --left_;
    return *at_++;
  }
  std::uint64_t number(unsigned bytes) {
    std::uint64_t n = 0;
    for (unsigned i = 0; i < bytes; ++i) n |= std::uint64_t{byte()} << i * 8;
    return n;
  }

 private:
  const std::uint8_t* at_;
  std::size_t left_;
};

constexpr std::size_t canary_bytes = 1024;
constexpr unsigned char canary_value = 0xa5;

struct stage {
  ipcpp::segment segment = ipcpp::segment::anonymous(
      {.max_size = 1 << 20, .participants = {.processes = 4, .handles = 32}});
  std::vector<unsigned char*> canaries;
  std::span<std::byte> block;

  void add_canary() {
    auto* const made = static_cast<unsigned char*>(segment.heap().allocate(canary_bytes));
    std::memset(made, canary_value, canary_bytes);
    canaries.push_back(made);
  }
  // A queue object is an allocator and an offset to its block.
  void watch(void* object) {
    auto* const link = static_cast<ipcpp::offset_ptr<std::byte>*>(
        static_cast<void*>(static_cast<std::byte*>(object) + 8));
    block = {link->get(), segment.heap().usable_size(link->get())};
    add_canary();
  }
  void check() const {
    for (const unsigned char* const canary : canaries)
      for (std::size_t i = 0; i < canary_bytes; ++i)
        if (canary[i] != canary_value) fail("wrote out of the queue");
  }
  void require_inside(const std::byte* at, std::size_t size) const {
    if (at < block.data() || size > block.size() ||
        static_cast<std::size_t>(at - block.data()) > block.size() - size)
      fail("led out of the queue");
  }
  void damage(std::uint8_t how, input& from) {
    const std::size_t words = block.size() / 8;
    const auto place = static_cast<std::size_t>(from.number(2)) % words;
    std::uint64_t word = 0;
    std::memcpy(&word, block.data() + place * 8, 8);
    switch (how % 8) {
      case 0:
        word = from.number(8);
        break;
      case 1:
        word = from.byte();
        break;
      case 2:
        word ^= std::uint64_t{1} << from.byte() % 64;
        break;
      case 3:
        word += from.byte();
        break;
      case 4:
        word -= from.byte();
        break;
      case 5:
        word = ~std::uint64_t{0};
        break;
      case 6:
        word = (word & ~std::uint64_t{0xffff}) | from.number(2);
        break;
      default: {  // what stands elsewhere
        const auto other = static_cast<std::size_t>(from.number(2)) % words;
        std::memcpy(&word, block.data() + other * 8, 8);
      }
    }
    std::memcpy(block.data() + place * 8, &word, 8);
  }
};

template <class Use>
void attempt(Use&& use) {
  try {
    use();
  } catch (const ipcpp::error& e) {
    if (std::string_view(e.what()).empty()) fail("an error that says nothing");
  } catch (const std::bad_alloc&) {
  }
}

template <class Endpoint>
void look(Endpoint& of) {
  const auto source = of.wait_source();
  if (source.tend != nullptr) source.tend(source.object);
  (void)source.ready(source.object);
}

// One queue with its endpoints, and what can be done to it. Operations are chosen by number.
struct player {
  virtual ~player() = default;
  virtual void play(std::uint8_t which, stage& on) = 0;
  virtual void destroy(stage& on) = 0;
};

// spsc_queue, mpmc_queue, mpsc_queue.
template <class Queue>
struct ring_player final : player {
  template <class... Args>
  ring_player(stage& on, const Args&... args)
      : queue(on.segment.construct<Queue>("queue", std::size_t{4}, args...)) {
    on.watch(&queue);
    in.emplace(queue.sender());
    out.emplace(queue.receiver());
  }
  void play(std::uint8_t which, stage&) override {
    std::vector<item> few(3);
    switch (which % 16) {
      case 0:
      case 1:
        (void)in->try_send({which, {}});
        break;
      case 2:
      case 3:
        (void)out->try_receive();
        break;
      case 4:
        (void)in->try_send_batch(few);
        break;
      case 5:
        (void)out->try_receive_batch(few);
        break;
      case 6:
        look(*in);
        break;
      case 7:
        look(*out);
        break;
      case 8:
        for (int i = 0; i < 1100; ++i) (void)out->try_receive();
        break;
      case 9:
        (void)queue.statistics();
        (void)queue.size();
        break;
      case 10:
        queue.close();
        break;
      case 11:
        queue.reopen();
        break;
      case 12:
        in.emplace(queue.sender());
        break;
      case 13:
        out.emplace(queue.receiver());
        break;
      case 14:
        (void)in->send_for({which, {}}, 1us);
        (void)out->receive_for(1us);
        break;
      default:
        (void)out->native_handle();
        (void)in->native_handle();
    }
  }
  void destroy(stage& on) override { (void)on.segment.destroy<Queue>("queue"); }
  Queue& queue;
  std::optional<typename Queue::sender_type> in;
  std::optional<typename Queue::receiver_type> out;
};

struct latest_player final : player {
  using queue_type = ipcpp::latest<item>;
  explicit latest_player(stage& on)
      : queue(on.segment.construct<queue_type>("queue", item{},
                                               ipcpp::queue_limits{.endpoints = 3})) {
    on.watch(&queue);
    out.emplace(queue.reader());
  }
  void play(std::uint8_t which, stage&) override {
    switch (which % 10) {
      case 0:
      case 1:
        queue.store({which, {}});
        break;
      case 2:
        (void)out->try_receive();
        break;
      case 3:
        (void)queue.try_load();
        break;
      case 4:
        (void)queue.load();
        break;
      case 5:
        look(*out);
        break;
      case 6:
        queue.close();
        break;
      case 7:
        queue.reopen();
        break;
      case 8:
        out.emplace(queue.reader());
        break;
      default:
        (void)out->receive_for(1us);
        (void)queue.closed();
    }
  }
  void destroy(stage& on) override { (void)on.segment.destroy<queue_type>("queue"); }
  queue_type& queue;
  std::optional<ipcpp::latest_reader<item>> out;
};

struct mail_player final : player {
  mail_player(stage& on, ipcpp::users how)
      : queue(on.segment.construct<ipcpp::message_queue>(
            "queue", ipcpp::message_queue_options{.capacity = 2048,
                                                  .priorities = 2,
                                                  .senders = how,
                                                  .receivers = how,
                                                  .endpoints = 3})) {
    on.watch(&queue);
    in.emplace(queue.sender());
    out.emplace(queue.receiver());
  }
  void play(std::uint8_t which, stage& on) override {
    const std::uint32_t priority = which >> 4 & 1;
    const std::size_t bytes = std::size_t{which} * 3;
    switch (which % 16) {
      case 0:
      case 1: {
        auto letter = in->try_claim(bytes, priority);
        if (!letter) break;
        on.require_inside(letter.data(), letter.size());
        std::memset(letter.data(), which, letter.size());
        letter.commit();
        break;
      }
      case 2:
      case 3: {
        auto letter = out->try_receive();
        if (letter) read(*letter, on);
        break;
      }
      case 4: {
        auto letter = in->try_claim(bytes, priority);
        if (letter) claimed.push_back(std::move(letter));
        break;
      }
      case 5:
        if (!claimed.empty()) {
          claimed.front().commit(bytes);
          claimed.erase(claimed.begin());
        }
        break;
      case 6: {
        auto letter = out->try_receive();
        if (letter) held.push_back(std::move(*letter));
        break;
      }
      case 7:
        if (!held.empty()) held.erase(held.begin());
        break;
      case 8:
        for (int i = 0; i < 1100; ++i) {
          auto letter = out->try_receive();
          if (letter) read(*letter, on);
        }
        break;
      case 9:
        (void)queue.size();
        (void)queue.statistics();
        break;
      case 10:
        if (priority != 0)
          queue.close();
        else
          queue.reopen();
        break;
      case 11:
        look(*in);
        look(*out);
        break;
      case 12:
        claimed.clear();
        in.emplace(queue.sender());
        break;
      case 13:
        held.clear();
        out.emplace(queue.receiver());
        break;
      case 14:
        for (int i = 0; i < 70; ++i) (void)in->try_send(std::vector<std::byte>(bytes), priority);
        break;
      default:
        (void)in->send_for(std::vector<std::byte>(bytes), 1us, priority);
        if (auto letter = out->receive_for(1us)) read(*letter, on);
    }
  }
  static void read(const ipcpp::incoming_letter& letter, const stage& on) {
    on.require_inside(letter.data(), letter.size());
  }
  void destroy(stage& on) override { (void)on.segment.destroy<ipcpp::message_queue>("queue"); }
  ipcpp::message_queue& queue;
  std::optional<ipcpp::message_sender> in;
  std::optional<ipcpp::message_receiver> out;
  std::vector<ipcpp::outgoing_letter> claimed;
  std::vector<ipcpp::incoming_letter> held;
};

struct broadcast_player final : player {
  using queue_type = ipcpp::broadcast_queue<item>;
  broadcast_player(stage& on, ipcpp::overflow policy)
      : queue(on.segment.construct<queue_type>(
            "queue",
            ipcpp::broadcast_queue_options{.capacity = 4, .overflow = policy, .endpoints = 4})) {
    on.watch(&queue);
    in.emplace(queue.publisher());
    out.emplace(queue.subscriber());
  }
  void play(std::uint8_t which, stage&) override {
    std::vector<item> few(3);
    switch (which % 13) {
      case 0:
      case 1:
        (void)in->try_publish({which, {}});
        break;
      case 2:
      case 3:
        (void)out->try_receive();
        break;
      case 4:
        (void)in->try_publish_batch(few);
        break;
      case 5:
        (void)out->try_receive_batch(few);
        break;
      case 6:
        look(*in);
        look(*out);
        break;
      case 7:
        for (int i = 0; i < 1100; ++i) (void)out->try_receive();
        break;
      case 8:
        (void)queue.statistics();
        break;
      case 9:
        if (which % 2 != 0)
          queue.close();
        else
          queue.reopen();
        break;
      case 10:
        in.emplace(queue.publisher());
        break;
      case 11:
        out.emplace(queue.subscriber());
        break;
      default:
        (void)out->receive_for(1us);
    }
  }
  void destroy(stage& on) override { (void)on.segment.destroy<queue_type>("queue"); }
  queue_type& queue;
  std::optional<queue_type::publisher_type> in;
  std::optional<queue_type::subscriber_type> out;
};

struct loan_player final : player {
  explicit loan_player(stage& on)
      : queue(on.segment.construct<ipcpp::loan_queue>(
            "queue", ipcpp::loan_queue_options{.chunk_bytes = 100,
                                               .chunks = 5,
                                               .capacity = 4,
                                               .overflow = ipcpp::overflow::drop_oldest,
                                               .endpoints = 3})) {
    on.watch(&queue);
    in.emplace(queue.publisher());
    out.emplace(queue.subscriber());
  }
  void play(std::uint8_t which, stage& on) override {
    const std::size_t bytes = which % 101;
    switch (which % 13) {
      case 0:
      case 1: {
        auto loan = in->try_loan(bytes);
        if (!loan) break;
        on.require_inside(loan.data(), bytes);
        std::memset(loan.data(), which, bytes);
        (void)loan.try_publish();
        break;
      }
      case 2:
      case 3: {
        auto loan = out->try_receive();
        if (loan) on.require_inside(loan.data(), loan.size());
        break;
      }
      case 4: {
        auto loan = in->try_loan(bytes);
        if (loan) lent.push_back(std::move(loan));
        break;
      }
      case 5:
        if (!lent.empty()) {
          (void)lent.front().try_publish();
          lent.erase(lent.begin());
        }
        break;
      case 6: {
        auto loan = out->try_receive();
        if (loan) held.push_back(std::move(loan));
        break;
      }
      case 7:
        if (!held.empty()) held.erase(held.begin());
        break;
      case 8:
        look(*in);
        look(*out);
        (void)queue.statistics();
        break;
      case 9:
        if (which % 2 != 0)
          queue.close();
        else
          queue.reopen();
        break;
      case 10:
        lent.clear();
        in.emplace(queue.publisher());
        break;
      case 11:
        held.clear();
        out.emplace(queue.subscriber());
        break;
      default:
        for (int i = 0; i < 1100; ++i) (void)out->try_receive();
        (void)out->receive_for(1us);
    }
  }
  void destroy(stage& on) override { (void)on.segment.destroy<ipcpp::loan_queue>("queue"); }
  ipcpp::loan_queue& queue;
  std::optional<ipcpp::loan_publisher> in;
  std::optional<ipcpp::loan_subscriber> out;
  std::vector<ipcpp::outgoing_loan> lent;
  std::vector<ipcpp::received_loan> held;
};

struct call_player final : player {
  using queue_type = ipcpp::call_queue<item, item>;
  explicit call_player(stage& on)
      : queue(on.segment.construct<queue_type>(
            "queue", ipcpp::call_queue_options{.capacity = 3, .endpoints = 3})) {
    on.watch(&queue);
    client.emplace(queue.client());
    server.emplace(queue.server());
  }
  void play(std::uint8_t which, stage&) override {
    switch (which % 11) {
      case 0:
      case 1: {
        auto call = client->try_start({which, {}});
        under_way.push_back(std::move(call));
        break;
      }
      case 2:
      case 3: {
        auto request = server->try_receive();
        if (request) (void)request.reply(request.request());
        break;
      }
      case 4:
        for (auto& call : under_way) (void)call.try_get();
        break;
      case 5:
        if (!under_way.empty()) under_way.erase(under_way.begin());
        break;
      case 6:
        look(*client);
        look(*server);
        (void)queue.statistics();
        break;
      case 7:
        if (which % 2 != 0)
          queue.close();
        else
          queue.reopen();
        break;
      case 8:
        under_way.clear();
        client.emplace(queue.client());
        break;
      case 9:
        server.emplace(queue.server());
        break;
      default:
        for (int i = 0; i < 1100; ++i) (void)server->try_receive();
        (void)client->call_for({which, {}}, 1us);
    }
  }
  void destroy(stage& on) override { (void)on.segment.destroy<queue_type>("queue"); }
  queue_type& queue;
  std::optional<queue_type::client_type> client;
  std::optional<queue_type::server_type> server;
  std::vector<ipcpp::pending_call<item>> under_way;
};

std::unique_ptr<player> make(std::uint8_t which, stage& on) {
  switch (which % 8) {
    case 0:
      return std::make_unique<ring_player<ipcpp::spsc_queue<item>>>(on);
    case 1:
      return std::make_unique<ring_player<ipcpp::mpmc_queue<item>>>(
          on, ipcpp::queue_limits{.endpoints = 4});
    case 2:
      return std::make_unique<ring_player<ipcpp::mpsc_queue<item>>>(
          on, ipcpp::mpsc_limits{.senders = 3});
    case 3:
      return std::make_unique<latest_player>(on);
    case 4:
      return std::make_unique<mail_player>(on,
                                           which % 16 < 8 ? ipcpp::users::many : ipcpp::users::one);
    case 5: {
      constexpr ipcpp::overflow policies[] = {ipcpp::overflow::drop_oldest, ipcpp::overflow::fail,
                                              ipcpp::overflow::block, ipcpp::overflow::drop_newest};
      return std::make_unique<broadcast_player>(on, policies[which / 8 % 4]);
    }
    case 6:
      return std::make_unique<loan_player>(on);
    default:
      return std::make_unique<call_player>(on);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  input from(data, size);
  stage on;
  on.add_canary();
  const std::uint8_t first = from.byte();
  std::unique_ptr<player> who = make(first, on);
  for (int steps = 0; steps < 200 && !from.empty(); ++steps) {
    const std::uint8_t step = from.byte();
    if (step < 96)
      on.damage(step, from);
    else
      attempt([&] { who->play(step, on); });
  }
  on.check();
  if (first >= 128) attempt([&] { who->destroy(on); });
  who.reset();
  on.check();
  return 0;
}
