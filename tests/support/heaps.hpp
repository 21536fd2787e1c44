// Heaps for tests. Include it last: it imports ipcpp and ipcpp.platform, and includes come before
// imports.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <new>

import ipcpp;
import ipcpp.platform;

// A heap in an unnamed shared object of its own.
struct object_heap {
  explicit object_heap(std::size_t capacity_bytes, ipcpp::heap_options options = {})
      : place(ipcpp::platform::mapping::map(
            ipcpp::platform::shared_object::create({.capacity_bytes = capacity_bytes}))),
        source(place),
        heap(ipcpp::heap::create(source, with_throwing_misuse(options))) {}

  static ipcpp::heap_options with_throwing_misuse(ipcpp::heap_options options) {
    options.on_misuse = ipcpp::misuse::throws;
    return options;
  }

  ipcpp::platform::mapping place;
  ipcpp::object_source source;
  ipcpp::heap heap;
};

// A heap in a window of private memory that is handed out up to a budget.
struct budgeted_source {
  explicit budgeted_source(std::size_t window_bytes, std::size_t budget_bytes)
      : window(new(std::align_val_t{4096}) std::byte[window_bytes]),
        window_size(window_bytes),
        budget(budget_bytes) {}
  budgeted_source(const budgeted_source&) = delete;
  budgeted_source& operator=(const budgeted_source&) = delete;
  ~budgeted_source() { ::operator delete[](window, std::align_val_t{4096}); }

  void* base() const noexcept { return window; }
  std::size_t capacity() const noexcept { return window_size; }
  std::size_t extend(std::size_t bytes) noexcept {
    if (given + bytes > budget) return 0;
    given += bytes;
    return bytes;
  }

  std::byte* window;
  std::size_t window_size;
  std::size_t budget;
  std::size_t given = 0;
};

inline bool fine(const ipcpp::heap& heap) {
  const auto report = heap.check();
  EXPECT_TRUE(report) << report.message();
  return static_cast<bool>(report);
}
