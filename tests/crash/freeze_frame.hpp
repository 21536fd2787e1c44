// A process whose one working thread is moved on instruction by instruction, and a map of where it
// was stopped. What is looked at between two instructions is the caller's business: unlike
// single_step.hpp nobody is killed, so one run of the victim shows all of its states, one after the
// other (a frozen frame each), and what others would find if it died there is tried on a copy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <vector>
#include <sched.h>
#include <sys/types.h>

namespace crash {

// Keeps us and the processes we fork on one processor: a step is then a switch.
class one_processor {
 public:
  one_processor();
  one_processor(const one_processor&) = delete;
  one_processor& operator=(const one_processor&) = delete;
  ~one_processor();

 private:
  cpu_set_t before_{};
};

class puppet {
 public:
  // `body` runs in a thread of a forked child, and stands still before its first instruction. The
  // child stays when its thread has ended. It dies with us.
  explicit puppet(const std::function<void()>& body);
  puppet(const puppet&) = delete;
  puppet& operator=(const puppet&) = delete;
  ~puppet() { kill(); }

  // One instruction on. false: the thread has ended.
  bool step();
  // On to its next stand_still(). false: the thread has ended.
  bool run();
  // On to that instruction. false: the thread stood still or ended before.
  bool run_to(std::uint64_t address);
  // By the puppet itself: stands still until it is moved on.
  static void stand_still();

  [[nodiscard]] std::uint64_t address() const;
  [[nodiscard]] bool alive() const { return pid_ > 0; }
  void kill();  // and waits until it is gone

 private:
  bool wait();

  pid_t pid_ = -1;
  pid_t thread_ = -1;
  bool over_ = false;
  bool stood_still_ = false;
};

// The addresses of this executable at which puppets were stopped, by function.
class stops {
 public:
  stops();
  [[nodiscard]] bool within(std::uint64_t address) const {
    return address >= first_ && address - first_ < hit_.size();
  }
  void at(std::uint64_t address);  // counts one, if it is within the executable
  // The heap's function there, and how far in it; for messages.
  [[nodiscard]] std::string name_of(std::uint64_t address) const;

  // Where the heap's functions of that name begin.
  [[nodiscard]] std::vector<std::uint64_t> entries(std::string_view function) const;
  [[nodiscard]] bool inside(std::uint64_t address, std::string_view function) const;
  [[nodiscard]] bool inside(std::uint64_t address,
                            std::initializer_list<std::string_view> functions) const;
  // Which of the heap's functions that is; 0: none of them.
  [[nodiscard]] unsigned function_at(std::uint64_t address) const {
    return within(address) ? which_[address - first_] : 0;
  }
  [[nodiscard]] std::size_t count() const { return count_; }
  [[nodiscard]] std::size_t addresses() const;
  // Distinct addresses within ipcpp::detail's functions of that name, and lambdas in them; -1: there
  // is no such function (it was inlined everywhere).
  [[nodiscard]] long in(std::string_view function) const;
  // One line: how many stops, at how many addresses.
  void print(const std::string& title) const;
  // Of all `stops` of this process together: for each function of the heap at how many of its
  // instructions somebody was stopped and, if objdump is there, of how many, and which lines of
  // the source have instructions that were never a stop.
  static void print_all();

 private:
  struct function {
    std::string name;
    std::uint64_t begin;
    std::uint64_t end;
    bool local;  // a lambda in it
  };
  struct totals {
    std::vector<std::uint8_t> hit;
    std::size_t count = 0;
  };
  [[nodiscard]] static totals& of_all();
  [[nodiscard]] std::size_t distinct(std::uint64_t begin, std::uint64_t end) const;

  std::uint64_t load_ = 0;  // where the executable's address 0 lies
  std::uint64_t first_ = 0;
  std::vector<std::uint8_t> hit_;
  std::vector<function> functions_;
  std::vector<std::uint16_t> which_;  // of functions_, + 1, by address
  std::size_t count_ = 0;
};

// Ends the test program, saying `what`, if it is not destroyed within so many seconds.
class deadline {
 public:
  deadline(const char* what, unsigned seconds);
  deadline(const deadline&) = delete;
  deadline& operator=(const deadline&) = delete;
  ~deadline();
};

}  // namespace crash
