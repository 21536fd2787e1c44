// How many instructions a fast path takes, counted by callgrind: the worker runs under
//
//   valgrind --tool=callgrind --collect-atstart=no malloc_worker_NAME --count WHAT --capacity 1073741824
//
// WHAT: allocate, free, remote_free (of a block of another, living thread), nothing. The operation is
// done 16 times between two switches of callgrind's counter, 256 times over, after a warm-up; what
// `nothing` counts is the loop and the switch, for the driver to subtract. 64 bytes each.
#pragma once

#include <array>
#include <atomic>
#include <stdexcept>
#include <thread>

#include "control.hpp"
#include "run_plan.hpp"
#include "workloads.hpp"

#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#else
#define CALLGRIND_TOGGLE_COLLECT
#endif

namespace malloc_bench {

inline constexpr unsigned counted_rounds = 256;
inline constexpr unsigned counted_operations = 16;

template <class Backend>
int count_instructions(Backend& backend, const std::string& what) {
  using block_list = std::array<void*, counted_operations>;
  auto session = backend.enter();
  block_list blocks{};
  const auto allocate = [](auto& by, block_list& list) {
    for (void*& block : list) touch(block = by.allocate(64));
  };
  const auto free = [](auto& by, block_list& list) {
    for (void* block : list) by.deallocate(block);
  };

  // Another thread, which allocates when asked.
  std::atomic<int> asked{0};  // 1: allocate, 2: stop
  block_list theirs{};
  std::thread other([&] {
    auto session_of_other = backend.enter();
    for (;;) {
      wait_until([&] { return asked.load() != 0; });
      if (asked.load() == 2) return;
      allocate(session_of_other, theirs);
      asked = 0;
    }
  });

  for (unsigned round = 0; round < 2 * counted_rounds; ++round) {
    const bool counting = round >= counted_rounds;
    const auto toggle = [&] {
      if (counting) CALLGRIND_TOGGLE_COLLECT;
    };
    if (what == "allocate") {
      toggle();
      allocate(session, blocks);
      toggle();
      free(session, blocks);
    } else if (what == "free") {
      allocate(session, blocks);
      toggle();
      free(session, blocks);
      toggle();
    } else if (what == "remote_free") {
      asked = 1;
      wait_until([&] { return asked.load() == 0; });
      blocks = theirs;
      toggle();
      free(session, blocks);
      toggle();
    } else if (what == "nothing") {
      toggle();
      for (void*& block : blocks) touch(&block);
      toggle();
    } else {
      throw std::invalid_argument("cannot count " + what);
    }
  }
  asked = 2;
  other.join();
  return 0;
}

}  // namespace malloc_bench
