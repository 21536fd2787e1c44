#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

import ipcpp;

namespace {

enum class color : std::uint8_t { red };
struct point {
  double x, y;
};
struct shape {
  char name[256];
  point corners[4];
  color fill;
  std::array<std::uint32_t, 3> ids;
};
struct with_pointer {
  int a;
  int* hidden;
};
struct nested_pointer {
  point p;
  with_pointer w;
};
struct with_reference {
  int& r;
};
struct empty {};
struct closed {
  explicit closed(int n) : n_(n) {}
  int n() const { return n_; }

 private:
  int n_;
};
struct vouched {
  vouched() {}
  vouched(const vouched&) {}
  void* opaque;
};
struct with_vouched {
  vouched v;
};
// Fields that have no {}, but a default member initialiser; they cannot be copied either.
struct with_locks {
  char name[16];
  ipcpp::latch filled{1};
  ipcpp::counting_semaphore<4> permits{0};
  std::uint32_t count = 3;
};
struct with_locks_and_pointer {
  ipcpp::latch filled{1};
  int* hidden = nullptr;
};
struct our_allocator {
  static constexpr bool is_ipcpp_shareable = true;
};
struct aware {
  using allocator_type = our_allocator;
  aware() {}
  aware(const aware&) {}
  ~aware() {}
};
struct holds_aware {
  aware a;
  int n;
};
union either {
  int i;
  int* p;
};
struct many {
  int a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x;
};
struct too_many {
  many m;
  int a, b, c, d, e, f, g, h, i, j, k, l, m2, n, o, p, q, r, s, t, u, v, w, x;
};

}  // namespace

template <>
inline constexpr bool ipcpp::vouched_shareable<vouched> = true;

TEST(Shareable, PlainValuesAndAggregatesOfThemAre) {
  static_assert(ipcpp::shareable<int> && ipcpp::shareable<const double> && ipcpp::shareable<color>);
  static_assert(ipcpp::shareable<point> && ipcpp::shareable<shape> && ipcpp::shareable<empty>);
  static_assert(ipcpp::shareable<int[3][4]> && ipcpp::shareable<std::byte> &&
                ipcpp::shareable<many>);
}

TEST(Shareable, PointersAreNotHoweverDeepTheyHide) {
  static_assert(!ipcpp::shareable<int*> && !ipcpp::shareable<int&> &&
                !ipcpp::shareable<void (*)()>);
  static_assert(!ipcpp::shareable<int point::*> && !ipcpp::shareable<std::nullptr_t>);
  static_assert(!ipcpp::shareable<with_pointer> && !ipcpp::shareable<nested_pointer>);
  static_assert(!ipcpp::shareable<with_reference> && !ipcpp::shareable<std::array<int*, 2>>);
  static_assert(!ipcpp::shareable<std::pair<int, int*>> && !ipcpp::shareable<either>);
}

TEST(Shareable, StandardTypesThatHoldPointersAreNot) {
  static_assert(!ipcpp::shareable<std::string> && !ipcpp::shareable<std::vector<int>>);
  static_assert(!ipcpp::shareable<std::unique_ptr<int>> &&
                !ipcpp::shareable<std::function<void()>>);
  static_assert(!ipcpp::shareable<std::string_view> && !ipcpp::shareable<std::span<int>>);
  static_assert(!ipcpp::shareable<std::reference_wrapper<int>> &&
                !ipcpp::shareable<std::vector<int>::iterator>);
}

TEST(Shareable, StandardTypesThatHoldValuesAre) {
  static_assert(ipcpp::shareable<std::pair<const int, double>> &&
                ipcpp::shareable<std::tuple<int, point>>);
  static_assert(ipcpp::shareable<std::chrono::nanoseconds> && ipcpp::shareable<std::optional<int>>);
}

TEST(Shareable, OursOursByAllocatorAndVouchedForAre) {
  static_assert(ipcpp::shareable<ipcpp::offset_ptr<int>> && ipcpp::shareable<aware>);
  static_assert(ipcpp::shareable<holds_aware> && ipcpp::shareable<vouched> &&
                ipcpp::shareable<with_vouched>);
  static_assert(ipcpp::shareable<closed>);
}

TEST(Shareable, FieldsThatNeedTheirInitialisersAreCountedToo) {
  EXPECT_TRUE(ipcpp::shareable<with_locks>);
  EXPECT_FALSE(ipcpp::shareable<with_locks_and_pointer>);
}
TEST(Shareable, AnAggregateWithMoreFieldsThanCanBeCountedIsNot) {
  static_assert(!ipcpp::shareable<too_many>);
}

TEST(Message, ItIsAShareableThatCanBeCopiedAsBytes) {
  static_assert(ipcpp::message<shape> && ipcpp::message<int>);
  static_assert(!ipcpp::message<with_pointer> && !ipcpp::message<holds_aware> &&
                !ipcpp::message<ipcpp::offset_ptr<int>>);
}

TEST(SizeLiterals, TheyCountInPowersOf1024) {
  using namespace ipcpp::literals;
  static_assert(4_KiB == 4096 && 1_MiB == 1024 * 1_KiB && 1_GiB == 1024 * 1_MiB &&
                1_TiB == 1024 * 1_GiB);
}
