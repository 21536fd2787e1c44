// ipcpp::look_at_segment: pictures of segments that are sound, at work, and anything but.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "tool.hpp"

using ipcpp::look_at_segment;
using ipcpp::segment;
using ipcpp::platform::object_image;

namespace fs = std::filesystem;

namespace {

using numbers = std::vector<int, ipcpp::allocator<int>>;

std::string all_of(const std::vector<std::string>& lines) {
  std::string text;
  for (const auto& line : lines) text += line + "\n";
  return text;
}

}  // namespace

TEST(SegmentPicture, ASoundSegmentHasNoFaults) {
  const std::string name = test::unique_name();
  auto mine = segment::create(name, {.max_size = 64 << 20});
  std::vector<void*> blocks;
  for (std::size_t i = 0; i < 2000; ++i) blocks.push_back(mine.heap().allocate(i * 37 % 9000));
  for (std::size_t i = 0; i < blocks.size(); i += 2) mine.heap().deallocate(blocks[i]);
  for (int i = 0; i < 100; ++i) (void)mine.construct<int>("n" + std::to_string(i), i);
  for (int i = 0; i < 100; i += 3) EXPECT_TRUE(mine.destroy<int>("n" + std::to_string(i)));
  const auto seen = look_at_segment(object_image::open(name));
  EXPECT_TRUE(seen.faults.empty()) << all_of(seen.faults);
  EXPECT_EQ(seen.objects.size(), 66u);
  EXPECT_EQ(seen.participants.living(), 1u);
  EXPECT_FALSE(seen.heap.holder);
  EXPECT_FALSE(seen.directory_holder);
  const auto of = mine.heap().statistics();
  EXPECT_EQ(seen.heap.statistics.bytes_in_use, of.bytes_in_use);
  EXPECT_EQ(seen.heap.statistics.blocks_in_use, of.blocks_in_use);
  for (const auto& object : seen.objects) EXPECT_TRUE(object.inside) << object.name;
}

TEST(SegmentPicture, EveryBlockIsFoundWhereItIs) {
  const std::string name = test::unique_name();
  auto mine = segment::create(name, {.max_size = 64 << 20});
  std::vector<std::byte*> blocks;
  for (std::size_t i = 0; i < 500; ++i)
    blocks.push_back(static_cast<std::byte*>(mine.heap().allocate(i * 131 % 60'000 + 1)));
  // A first byte of the object, from the address of something whose place is known.
  std::uint64_t& known = mine.construct<std::uint64_t>("known", 1u);
  const auto seen = look_at_segment(object_image::open(name));
  const std::byte* const base = reinterpret_cast<const std::byte*>(&known) - seen.find("known")->at;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const auto found = seen.heap.find(static_cast<std::uint64_t>(blocks[i] - base));
    ASSERT_TRUE(found) << i;
    EXPECT_TRUE(found->in_use);
    EXPECT_EQ(base + found->at, blocks[i]);
    EXPECT_EQ(found->bytes, mine.heap().usable_size(blocks[i]));
  }
}

// Whatever stands in a segment: a picture with or without faults, no crash, no endless loop.
TEST(SegmentPicture, AnyBytesGiveAPicture) {
  const char* const variant = std::getenv("IPCPP_PLATFORM_VARIANT");
  if (variant != nullptr && *variant != 0) GTEST_SKIP() << "copies are of one file";
  const std::string name = test::unique_name();
  auto mine = segment::create(name, {.max_size = 1 << 20});
  mine.construct<numbers>("numbers").resize(5000);
  for (int i = 0; i < 20; ++i) (void)mine.construct<int>("n" + std::to_string(i), i);
  const fs::path folder(std::getenv("IPCPP_DIRECTORY"));
  const auto whole = look_at_segment(object_image::open(name));
  std::ifstream from(folder / ("ipcpp." + name), std::ios::binary);
  const std::string sound{std::istreambuf_iterator<char>(from), {}};
  ASSERT_GT(sound.size(), 100'000u);
  const fs::path path = folder / ("damaged-" + name);
  std::mt19937_64 random(4711);
  // Where something is written at all, damage tells.
  std::vector<std::size_t> written;
  for (std::size_t at = 0; at + 8 <= sound.size(); at += 8)
    if (!std::equal(sound.begin() + static_cast<std::ptrdiff_t>(at),
                    sound.begin() + static_cast<std::ptrdiff_t>(at + 8), "\0\0\0\0\0\0\0\0"))
      written.push_back(at);
  std::size_t found = 0;
  const int rounds = test::prove_in_full() ? 20'000 : 400;
  for (int round = 0; round < rounds; ++round) {
    std::string damaged = sound;
    for (std::uint64_t n = 1 + random() % 4; n > 0; --n) {
      const std::size_t at = round % 4 == 0 ? random() % (whole.heap.pages_at / 8) * 8
                                            : written[random() % written.size()];
      std::uint64_t word = random();
      if (round % 3 == 0) word >>= random() % 64;
      std::copy_n(reinterpret_cast<const char*>(&word), 8,
                  damaged.begin() + static_cast<std::ptrdiff_t>(at));
    }
    if (round % 10 == 0) damaged.resize(random() % damaged.size());
    std::ofstream(path, std::ios::binary) << damaged;
    const auto seen = look_at_segment(object_image::open_file(path.string()));
    found += seen.faults.empty() ? 0 : 1;
  }
  fs::remove(path);
  EXPECT_GT(found, static_cast<std::size_t>(rounds) / 4) << "most of it is values of users";
}

TEST(SegmentPicture, ACopyKeepsItsObjectsAndNobodyLivesInIt) {
  const char* const variant = std::getenv("IPCPP_PLATFORM_VARIANT");
  if (variant != nullptr && *variant != 0) GTEST_SKIP() << "copies are of one file";
  const std::string name = test::unique_name();
  auto mine = segment::create(name, {.max_size = 1 << 20});
  (void)mine.construct<int>("n", 5);
  const fs::path folder(std::getenv("IPCPP_DIRECTORY"));
  const fs::path path = folder / ("copy-" + name);
  fs::copy_file(folder / ("ipcpp." + name), path);
  const object_image image = object_image::open_file(path.string());
  const auto seen = look_at_segment(image);
  fs::remove(path);
  EXPECT_TRUE(seen.faults.empty()) << all_of(seen.faults);
  ASSERT_NE(seen.find("n"), nullptr);
  EXPECT_EQ(image.get<int>(seen.find("n")->at), 5);
  EXPECT_TRUE(image.facts().stale);
  EXPECT_EQ(seen.participants.living(), 0u);
}

// Who dies while splitting or joining runs of pages leaves words that the next one mends: no damage. With nobody at
// it the same words are.
TEST(SegmentPicture, WhatADeadHolderOfTheRunLockLeavesIsNoDamage) {
  const char* const variant = std::getenv("IPCPP_PLATFORM_VARIANT");
  if (variant != nullptr && *variant != 0) GTEST_SKIP() << "copies are of one file";
  const std::string name = test::unique_name();
  auto mine = segment::create(name, {.max_size = 8 << 20});
  mine.heap().deallocate(mine.heap().allocate(500'000));
  const auto whole = look_at_segment(object_image::open(name));
  const auto run = std::ranges::find_if(whole.heap.runs, [](const ipcpp::heap_run& r) {
    return r.kind == ipcpp::run_kind::free && r.pages > 1;
  });
  ASSERT_NE(run, whole.heap.runs.end());
  const auto fields = ipcpp::fields_of(whole.heap);
  const auto lock = std::ranges::find(fields, "heap.run_lock", &ipcpp::layout_field::name);
  ASSERT_NE(lock, fields.end());
  EXPECT_EQ(whole.heap.run_lock & 0xffff, 0u) << "free";

  const fs::path folder(std::getenv("IPCPP_DIRECTORY"));
  const fs::path path = folder / ("torn-" + name);
  fs::copy_file(folder / ("ipcpp." + name), path);
  const auto write = [&](std::uint64_t at, std::uint64_t word) {
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(static_cast<std::streamoff>(at));
    file.write(reinterpret_cast<const char*>(&word), 8);
  };
  write(whole.heap.words_at + 8 * (run->page + run->pages - 1), 0);
  const auto unheld = look_at_segment(object_image::open_file(path.string()));
  EXPECT_NE(all_of(unheld.faults).find("does not lead back"), std::string::npos)
      << all_of(unheld.faults);
  write(lock->at, std::uint64_t{whole.participants.processes.at(0).id.generation} << 32 | 1);
  const auto held = look_at_segment(object_image::open_file(path.string()));
  EXPECT_TRUE(held.heap.holder);
  EXPECT_TRUE(held.faults.empty()) << all_of(held.faults);
  const test::outcome said = test::tool({"check", path.string()});
  EXPECT_EQ(said.status, 0) << said.output;
  EXPECT_NE(said.output.find("the next who does mends it"), std::string::npos) << said.output;
  fs::remove(path);
}
