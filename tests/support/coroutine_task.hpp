// The smallest coroutine type: begins at once, is waited for by nobody, frees itself at its end. An
// exception ends the test program.
#pragma once

#include <coroutine>
#include <exception>

namespace test {

struct task {
  struct promise_type {
    task get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
};

}  // namespace test
