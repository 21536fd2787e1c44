// ipcpp.queue:call_table - requests and their answers: the core of call_queue, without knowledge of
// what they are.
//
// Representation: the own line counts requests; the ring is a table of calls, each
//
//   | word 8 B | request ... (to 128) | done 8 B | answer ... (to 128) |
//   word   63       32 31    20 19    8 7   0
//          |  turn    | server | client | phase |      turn grows with each use of the place
//   done   turn << 1 | 1: the answer of that turn is here (a hint; word is the truth)
//
//   idle --client--> preparing --client--> sent --server--> accepted --server--> answered --client--> idle
//                                            |                  |  \--server--> refused --client--> idle
//                                            v client cancels   v client cancels, or is dead
//                                           idle             cancelled --server--> idle
//
// Each arrow is one CAS of word, which names turn, client and server (endpoint slots + 1): whoever
// slept, or was cancelled, fails. An answer moves one line to the server and one to the client.
//
// Crash story. Client dead in preparing, sent, answered, refused: the place is idle for whoever needs
// one; in accepted: cancelled, the server's answer is dropped. Server dead in accepted: its client finds
// out when its slice is over, and is told server_died; the server may or may not have acted. In
// cancelled: idle. A server dead between answered and `done`: the client finds answered after a slice.
// A request whose client died before a server took it may still be taken by a server that was quicker
// than whoever cleans up; its answer goes nowhere.
//
// Race story. word: release by who writes the request or the answer, acquire by who takes it. done:
// release by the server, acquire by the client: the answer is complete. requests: a hint for servers,
// that there is something to look for; where it is lost (client killed) the slice's look finds it.
module;

#include <atomic>
#include <cstddef>
#include <cstdint>

export module ipcpp.queue:call_table;

import ipcpp.platform;
import ipcpp.sync;
import :endpoint;

namespace ipcpp::detail {

enum class call_phase : std::uint8_t {
  idle = 0,
  preparing = 1,
  sent = 2,
  accepted = 3,
  answered = 4,
  refused = 5,
  cancelled = 6,
};

struct call_word {
  std::uint64_t bits = 0;

  static constexpr call_word of(std::uint32_t turn, std::uint32_t client, std::uint32_t server,
                                call_phase phase) noexcept {
    return {std::uint64_t{turn} << 32 | std::uint64_t{server & 0xfff} << 20 |
            std::uint64_t{client & 0xfff} << 8 | static_cast<std::uint64_t>(phase)};
  }
  constexpr std::uint32_t turn() const noexcept { return static_cast<std::uint32_t>(bits >> 32); }
  constexpr std::uint32_t client() const noexcept {
    return static_cast<std::uint32_t>(bits >> 8) & 0xfff;
  }
  constexpr std::uint32_t server() const noexcept {
    return static_cast<std::uint32_t>(bits >> 20) & 0xfff;
  }
  constexpr call_phase phase() const noexcept { return static_cast<call_phase>(bits & 0xff); }
  constexpr call_word with(call_phase phase) const noexcept {
    return of(turn(), client(), server(), phase);
  }
};

enum class call_outcome : std::uint8_t { pending, answered, refused, server_died, gone };

class call_table {
 public:
  call_table() noexcept = default;
  inline call_table(std::uint64_t* requests, std::byte* calls, std::uint32_t count,
                    std::uint32_t answer_at, std::uint32_t stride) noexcept
      : requests_(requests), calls_(calls), count_(count), answer_at_(answer_at), stride_(stride) {}

  inline std::uint32_t count() const noexcept { return count_; }
  inline std::byte* request(std::uint32_t call) const noexcept { return at(call) + 64; }
  inline std::byte* answer(std::uint32_t call) const noexcept { return at(call) + answer_at_ + 64; }

  // ---- clients: `owner` is slot + 1 ----

  // A place to write a request to. false: all are in use by the living.
  bool try_prepare(const queue_view& queue, std::uint32_t owner, std::uint32_t& next,
                   std::uint32_t& call, call_word& mine) noexcept;
  inline void send(std::uint32_t call, call_word& mine) noexcept {
    mine = mine.with(call_phase::sent);
    word(call).store(mine.bits, std::memory_order_release);  // pairs with try_accept
    std::atomic_ref(*requests_).fetch_add(1, std::memory_order_release);
  }
  // Has the answer come? One load of the answer's line.
  inline bool is_done(std::uint32_t call, call_word mine) const noexcept {
    return done(call).load(std::memory_order_acquire) == (std::uint64_t{mine.turn()} << 1 | 1);
  }
  // The long way: looks at the word, and with `ask` at whether the server lives.
  call_outcome outcome(const queue_view& queue, std::uint32_t call, call_word mine,
                       bool ask) noexcept;
  // After answered or refused was read. Lets the place go.
  void finish(std::uint32_t call, call_word mine) noexcept;
  // Gives up a request that no server has taken. false: one has, or had.
  bool take_back(std::uint32_t call, call_word mine) noexcept;
  // Gives up, whatever state it is in.
  void cancel(std::uint32_t call, call_word mine) noexcept;

  // ---- servers ----

  // A request that nobody has taken yet. `seen`, `next`: the caller's memory.
  bool try_accept(std::uint32_t owner, std::uint64_t& seen, std::uint32_t& next,
                  std::uint32_t& call, call_word& mine) noexcept;
  inline bool any_sent(std::uint64_t seen) const noexcept {
    return std::atomic_ref(*requests_).load(std::memory_order_acquire) != seen;
  }
  // Is there a request that nobody has taken? `seen` as for try_accept.
  bool some_sent(std::uint64_t& seen) const noexcept;
  // Is nothing more to come? What a dead client was writing does not come.
  bool drained(const queue_view& queue) noexcept;
  // false: it was cancelled, the answer goes nowhere.
  bool reply(std::uint32_t call, call_word mine, call_phase how) noexcept;

  // ---- looking after the dead ----

  // All that endpoint `slot`, which is gone, had under way.
  void retire(const queue_view& queue, std::uint32_t slot, std::uint64_t control) noexcept;
  std::uint32_t in_use() const noexcept;
  inline std::uint64_t requests() const noexcept {
    return std::atomic_ref(*requests_).load(std::memory_order_relaxed);  // a number
  }

 private:
  inline std::byte* at(std::uint32_t call) const noexcept {
    return calls_ + std::size_t{call} * stride_;
  }
  inline std::atomic_ref<std::uint64_t> word(std::uint32_t call) const noexcept {
    return std::atomic_ref<std::uint64_t>(*reinterpret_cast<std::uint64_t*>(at(call)));
  }
  inline std::atomic_ref<std::uint64_t> done(std::uint32_t call) const noexcept {
    return std::atomic_ref<std::uint64_t>(*reinterpret_cast<std::uint64_t*>(at(call) + answer_at_));
  }
  static bool is_gone(const queue_view& queue, std::uint32_t owner) noexcept;
  // What a word becomes when its client or server is gone; the same word if nothing does.
  static call_word settled(call_word word, bool client_gone, bool server_gone) noexcept;

  std::uint64_t* requests_ = nullptr;
  std::byte* calls_ = nullptr;
  std::uint32_t count_ = 0;
  std::uint32_t answer_at_ = 0;
  std::uint32_t stride_ = 0;
};

}  // namespace ipcpp::detail
