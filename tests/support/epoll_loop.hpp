// A program's event loop over epoll that runs receiving coroutines (ipcpp.queue:awaitable). Include it
// last among includes; imports follow it.
#pragma once

#include <stdexcept>
#include <sys/epoll.h>
#include <unistd.h>

#include "coroutine_task.hpp"

import ipcpp;

namespace test {

class epoll_loop {
 public:
  epoll_loop() : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {}
  epoll_loop(const epoll_loop&) = delete;
  epoll_loop& operator=(const epoll_loop&) = delete;
  ~epoll_loop() { ::close(epoll_); }

  void start(ipcpp::async_operation& operation) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = &operation;
    if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, operation.native_handle(), &event) != 0)
      throw std::runtime_error("epoll_ctl");
    ++pending_;
  }
  void run() {
    while (pending_ > 0) {
      epoll_event event{};
      if (::epoll_wait(epoll_, &event, 1, 10'000) != 1) throw std::runtime_error("nothing came");
      auto& operation = *static_cast<ipcpp::async_operation*>(event.data.ptr);
      if (!operation.try_complete()) continue;
      ::epoll_ctl(epoll_, EPOLL_CTL_DEL, operation.native_handle(), nullptr);
      --pending_;
      operation.resume();
    }
  }

 private:
  int epoll_;
  int pending_ = 0;
};

}  // namespace test
