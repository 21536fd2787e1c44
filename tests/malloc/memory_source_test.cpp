#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>

import ipcpp;
import ipcpp.platform;

namespace platform = ipcpp::platform;
using namespace ipcpp::literals;

namespace {

struct minimal {
  void* base() const noexcept { return nullptr; }
  std::size_t capacity() const noexcept { return 0; }
  std::size_t extend(std::size_t) noexcept { return 0; }
};
struct may_throw {
  void* base() const noexcept { return nullptr; }
  std::size_t capacity() const noexcept { return 0; }
  std::size_t extend(std::size_t) { return 0; }
};

}  // namespace

TEST(MemorySource, TheMinimumIsAppendOnlyAndDoesNotThrow) {
  static_assert(ipcpp::memory_source<minimal> && !ipcpp::sparse_memory_source<minimal>);
  static_assert(!ipcpp::memory_source<may_throw> && !ipcpp::memory_source<int>);
}

TEST(ObjectSource, ItExtendsAtItsEndUpToTheCapacity) {
  platform::mapping place =
      platform::mapping::map(platform::shared_object::create({.capacity_bytes = 1_MiB}));
  ipcpp::object_source source(place, 4096);
  EXPECT_EQ(source.base(), place.base() + 4096);
  EXPECT_EQ(source.capacity(), 1_MiB - 4096);
  EXPECT_EQ(source.extend(100'000), 100'000u);
  std::memset(source.base(), 1, 100'000);
  EXPECT_EQ(source.extend(2_MiB), 0u);
  EXPECT_EQ(source.extend(1_MiB - 4096 - 100'000), 1_MiB - 4096 - 100'000);
  std::memset(source.base(), 2, source.capacity());
  EXPECT_EQ(source.extend(1), 0u);
}

TEST(ObjectSource, AnywhereBelowTheCapacityCanBeCommittedReleasedAndAdopted) {
  platform::mapping place =
      platform::mapping::map(platform::shared_object::create({.capacity_bytes = 16_MiB}));
  ipcpp::object_source source(place, 4096);
  ASSERT_TRUE(source.commit(8_MiB, 64_KiB));
  std::memset(static_cast<std::byte*>(source.base()) + 8_MiB, 1, 64_KiB);
  EXPECT_FALSE(source.commit(16_MiB, 1));
  EXPECT_FALSE(source.commit(~std::size_t{0}, 1));
  EXPECT_EQ(source.release(17_MiB, 1), 0u);
  EXPECT_LE(source.release(8_MiB, 64_KiB), 64_KiB);
  platform::mapping other = platform::mapping::map(place.object().again());
  ipcpp::object_source theirs(other, 4096);
  EXPECT_TRUE(theirs.adopt(8_MiB + 64_KiB));
  EXPECT_FALSE(theirs.adopt(17_MiB));
}
