// Queues for tests. Include it last among includes; imports follow it.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "objects.hpp"

import ipcpp;

namespace test {

struct tick {
  std::uint64_t sequence;
  double price;
};

// A T in the segment, as segment.construct makes it, without a name.
template <class T>
class object_in {
 public:
  template <class... Args>
  explicit object_in(ipcpp::segment& segment, Args&&... args) : heap_(segment.heap()) {
    at_ = static_cast<T*>(heap_.allocate(sizeof(T), alignof(T) > 16 ? alignof(T) : 16));
    std::uninitialized_construct_using_allocator(at_, ipcpp::allocator<std::byte>(heap_),
                                                 std::forward<Args>(args)...);
  }
  object_in(const object_in&) = delete;
  object_in& operator=(const object_in&) = delete;
  ~object_in() { destroy(); }
  void destroy() {
    if (at_ == nullptr) return;
    std::destroy_at(at_);
    heap_.deallocate(at_);
    at_ = nullptr;
  }
  T& operator*() const { return *at_; }
  T* operator->() const { return at_; }

 private:
  ipcpp::heap& heap_;
  T* at_;
};

}  // namespace test
