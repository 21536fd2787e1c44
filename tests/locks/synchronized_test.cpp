// synchronized<T>: exclusion, exceptions, values that allocate, what a death leaves.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "objects.hpp"

#include "heaps.hpp"

import ipcpp.sync;

using namespace ipcpp::literals;

namespace {

using numbers = std::vector<int, ipcpp::allocator<int>>;
struct shelf {
  int number = 7;
  numbers lots;
};
struct point {
  int x = 1;
  int y = 2;
};

template <class T, class... Args>
T& built(object_heap& in, Args&&... args) {
  T* const at = static_cast<T*>(in.heap.allocate(sizeof(T)));
  ipcpp::allocator<std::byte>(in.heap).construct(at, std::forward<Args>(args)...);
  return *at;
}

}  // namespace

TEST(Synchronized, GivesTheValueAndReturnsWhatTheFunctionReturns) {
  ipcpp::synchronized<point> p(3, 4);
  EXPECT_EQ(p.with([](point& v) { return ++v.x + v.y; }), 8);
  EXPECT_EQ(p.with_shared([](const point& v) { return v.x; }), 4);
  p.with([](point& v) { v = {}; });
  EXPECT_EQ(p.with_shared([](const point& v) { return v.x; }), 1);
  static_assert(std::is_same_v<decltype(p.with([](point& v) -> int& { return v.x; })), int>);
}

TEST(Synchronized, AnExceptionLeavesItFreeAndTheValueAsItIs) {
  ipcpp::synchronized<int> n(1);
  EXPECT_THROW(n.with([](int& v) {
    v = 5;
    throw std::runtime_error("x");
  }),
               std::runtime_error);
  std::thread([&] { EXPECT_EQ(n.with([](int& v) { return v; }), 5); }).join();
}

TEST(Synchronized, WhatIsInsideUsesTheHeapItLiesIn) {
  object_heap in(4_MiB);
  auto& lots = built<ipcpp::synchronized<numbers>>(in, 100u, 5);
  lots.with([&](numbers& v) {
    EXPECT_EQ(v.size(), 100u);
    EXPECT_TRUE(in.heap.contains(v.data()));
  });
  auto& one = built<ipcpp::synchronized<shelf>>(in);
  one.with([&](shelf& s) {
    s.lots.assign(1000, 1);
    EXPECT_EQ(s.number, 7);
    EXPECT_TRUE(in.heap.contains(s.lots.data()));
  });
  const auto used = in.heap.statistics().blocks_in_use;
  one.reset(shelf{.number = 8, .lots = numbers(10, 2)});
  one.with([&](shelf& s) {
    EXPECT_EQ(s.number, 8);
    EXPECT_EQ(s.lots.size(), 10u);
    EXPECT_TRUE(in.heap.contains(s.lots.data()));
  });
  EXPECT_EQ(in.heap.statistics().blocks_in_use, used) << "the old value's memory went back";
  std::destroy_at(&one);
  std::destroy_at(&lots);
}

TEST(Synchronized, AfterADeathItSaysSoUntilItIsRepairedOrReset) {
  object_heap in(4_MiB);
  auto& lots = built<ipcpp::synchronized<numbers>>(in, 3u, 5);
  const auto die_inside = [&] {
    // A thread cannot die in a lambda without an exception; its holding the lock to its end is the same.
    // The lock comes first in it.
    std::thread([&] { reinterpret_cast<ipcpp::shared_mutex&>(lots).lock(); }).join();
  };
  die_inside();
  EXPECT_ERROR(lots.with([](numbers&) {}), owner_died);
  EXPECT_ERROR(lots.with_shared([](const numbers&) {}), owner_died);
  EXPECT_THROW(lots.repair([](numbers&) { throw std::runtime_error("x"); }), std::runtime_error);
  EXPECT_ERROR(lots.with([](numbers&) {}), owner_died);
  EXPECT_EQ(lots.repair([](numbers& v) { return v.size(); }), 3u);
  lots.with([](numbers& v) { v.push_back(1); });
  die_inside();
  lots.reset(2u, 9);
  EXPECT_FALSE(lots.owner_died());
  lots.with([&](numbers& v) {
    EXPECT_EQ(v.size(), 2u);
    EXPECT_TRUE(in.heap.contains(v.data()));
  });
}
