// What everybody in the crash laboratory shares, and what is always true of it, whoever dies:
//
//   mail      a sender's message reaches one receiver. Whoever dies takes along at most the one that he
//             had sent and not yet noted, or received and not yet noted
//   words     an increment of a count happens or does not: the sum is what the counters have noted, and
//             at most one more for each who was killed
//   bank      money moves between accounts and is never made or lost. A banker that dies halfway leaves
//             a note from which the next one undoes it (synchronized, owner_died, repair)
//   statement the newest total of the bank, never torn (latest)
//   heap      blocks come and go. Those of the dead are freed (allocate_tracked), the heap stays whole
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace lab {

inline constexpr std::array<std::string_view, 6> kinds{"sender", "receiver", "counter",
                                                       "banker", "churner",  "reader"};
inline constexpr std::size_t most_users = 1024;  // ever, the dead among them
inline constexpr std::size_t accounts = 16;
inline constexpr std::int64_t money = 1000 * accounts;

// What a user says about itself; only it writes here.
struct seat {
  std::uint64_t turns;   // grows as long as it gets on
  std::uint64_t done;    // noted after it happened
  std::uint64_t faults;  // what it saw and must never see
  std::uint64_t unused[13];
};

struct board {
  std::uint64_t over;
  std::uint64_t unused[15];
  std::array<seat, most_users> seats;
};

inline std::atomic_ref<std::uint64_t> at(std::uint64_t& word) {
  return std::atomic_ref(word);
}
// Only this process writes the word: no exchange is needed.
inline void add_one(std::uint64_t& word) {
  at(word).store(at(word).load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

struct letter {
  std::uint64_t from;
  std::uint64_t number;
  std::uint64_t check;  // of the others
};

// Changed with its lock held. The note is written first, so that whoever finds it standing can undo.
struct bank {
  std::array<std::int64_t, accounts> account;
  std::uint64_t moving;  // 1: the two accounts below held so much before
  std::uint64_t from;
  std::uint64_t to;
  std::int64_t from_before;
  std::int64_t to_before;
};

struct statement {
  std::uint64_t number;
  std::int64_t total;
};

// The users: own processes. See users.cpp.
int work(const std::string& segment, std::string_view kind, std::size_t seat);

// Undoes what a dead banker left half done.
void mend(bank& of) noexcept;
std::int64_t total_of(const bank& of) noexcept;

}  // namespace lab
