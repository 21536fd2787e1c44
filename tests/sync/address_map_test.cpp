#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <thread>
#include <vector>

import ipcpp.sync;

using ipcpp::address_map;

TEST(AddressMap, AnAddressIsFoundExactlyWithinItsRange) {
  address_map& map = address_map::of_this_process();
  std::vector<char> room(300);
  ipcpp::mapped_place one;
  ipcpp::mapped_place two;
  ASSERT_TRUE(map.enter(room.data(), 100, &one));
  ASSERT_TRUE(map.enter(room.data() + 100, 100, &two));
  EXPECT_EQ(map.find(room.data()), &one);
  EXPECT_EQ(map.find(room.data() + 99), &one);
  EXPECT_EQ(map.find(room.data() + 100), &two);
  EXPECT_EQ(map.find(room.data() + 200), nullptr);
  map.remove(room.data());
  EXPECT_EQ(map.find(room.data()), nullptr);
  EXPECT_EQ(map.find(room.data() + 150), &two);
  map.remove(room.data() + 100);
}

TEST(AddressMap, OverlapsAndEmptyRangesAreRefused) {
  address_map& map = address_map::of_this_process();
  std::vector<char> room(300);
  ipcpp::mapped_place owner;
  ASSERT_TRUE(map.enter(room.data() + 100, 100, &owner));
  EXPECT_FALSE(map.enter(room.data() + 199, 1, &owner));
  EXPECT_FALSE(map.enter(room.data(), 101, &owner));
  EXPECT_FALSE(map.enter(room.data(), 300, &owner));
  EXPECT_FALSE(map.enter(room.data(), 0, &owner));
  EXPECT_FALSE(map.enter(nullptr, 10, &owner));
  EXPECT_FALSE(map.enter(room.data(), ~std::size_t{0}, &owner));
  EXPECT_TRUE(map.enter(room.data(), 100, &owner));
  map.remove(room.data());
  map.remove(room.data() + 100);
}

TEST(AddressMap, PlacesAreReusedAndTheMapCanBeFull) {
  address_map& map = address_map::of_this_process();
  std::vector<char> room(2 * address_map::capacity);
  ipcpp::mapped_place owner;
  for (int round = 0; round < 2; ++round) {
    std::size_t entered = 0;
    while (entered < 2 * address_map::capacity && map.enter(room.data() + entered, 1, &owner))
      ++entered;
    EXPECT_EQ(entered, address_map::capacity);
    for (std::size_t i = 0; i < entered; ++i) map.remove(room.data() + i);
  }
}

TEST(AddressMap, LookingUpGoesOnWhileOthersEnterAndRemove) {
  address_map& map = address_map::of_this_process();
  std::vector<char> room(1000);
  ipcpp::mapped_place fixed;
  ipcpp::mapped_place moving;
  ASSERT_TRUE(map.enter(room.data(), 10, &fixed));
  std::atomic<bool> stop{false};
  std::thread mover([&] {
    while (!stop) {
      EXPECT_TRUE(map.enter(room.data() + 500, 10, &moving));
      map.remove(room.data() + 500);
    }
  });
  for (int i = 0; i < 100'000; ++i) {
    ASSERT_EQ(map.find(room.data() + 5), &fixed);
    ASSERT_EQ(map.find(room.data() + 50), nullptr);
  }
  stop = true;
  mover.join();
  map.remove(room.data());
}
