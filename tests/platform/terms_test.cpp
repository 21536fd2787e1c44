#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>

#include "objects.hpp"

import ipcpp.platform;

namespace platform = ipcpp::platform;
using namespace ipcpp::literals;

namespace {

platform::object_prologue good() {
  return platform::make_prologue(platform::fresh_object_id(), 1_MiB, platform::growth::one_object,
                                 0);
}

std::string refusal(const platform::object_prologue& p,
                    std::size_t bytes = sizeof(platform::object_prologue)) {
  try {
    platform::check_prologue(p, bytes, "shared object 'x'");
  } catch (const ipcpp::error& e) {
    return e.what();
  }
  return "";
}

}  // namespace

TEST(Names, OnlyPlainOnesOfReasonableLengthAreTaken) {
  for (const char* name : {"a", "shop", "A.b_c-9", "0"})
    EXPECT_NO_THROW(platform::check_name(name)) << name;
  EXPECT_NO_THROW(platform::check_name(std::string(128, 'x')));
  using namespace std::string_view_literals;
  for (const std::string_view name : {""sv, "."sv, ".."sv, ".hidden"sv, "a/b"sv, "/a"sv, "../a"sv,
                                      "a b"sv, "a\\b"sv, "a\0b"sv, "\xc3\xa4"sv, "a\n"sv})
    EXPECT_ERROR(platform::check_name(name), invalid_argument);
  EXPECT_ERROR(platform::check_name(std::string(129, 'x')), invalid_argument);
}

TEST(Names, ARefusalSaysWhichRuleWasBroken) {
  std::string message;
  ERROR_OF(platform::check_name("a/b"), message);
  EXPECT_EQ(message,
            "name 'a/b': expected 1 to 128 letters, digits, '.', '_' or '-', the first no '.', "
            "found character 47; choose "
            "another name: invalid argument");
  ERROR_OF(platform::check_name(std::string(1000, 'x')), message);
  EXPECT_NE(message.find("found 1000 characters"), std::string::npos) << message;
  ERROR_OF(platform::check_name("\x1b[31m"), message);
  EXPECT_EQ(message.find('\x1b'), std::string::npos)
      << "a name must not reach the terminal unfiltered";
}

TEST(ObjectId, EachIsDifferentAndPrintsAs26Characters) {
  std::set<std::string> seen;
  for (int i = 0; i < 100; ++i) {
    const std::string text = platform::fresh_object_id().text();
    EXPECT_EQ(text.size(), 26u);
    EXPECT_EQ(text.find_first_not_of("abcdefghijklmnopqrstuvwxyz234567"), std::string::npos);
    seen.insert(text);
  }
  EXPECT_EQ(seen.size(), 100u);
  EXPECT_EQ((platform::object_id{0, 33}.text()), "aaaaaaaaaaaaaaaaaaaaaaaabb");
  EXPECT_EQ((platform::object_id{1, 0}.text()), "aaaaaaaaaaaaaqaaaaaaaaaaaa");
}

TEST(Prologue, ItIsTheSameBytesOnEveryMachineOfAKind) {
  const auto p = platform::make_prologue({0x1111, 0x2222}, 64_KiB, platform::growth::one_object, 0);
  const auto* bytes = reinterpret_cast<const unsigned char*>(&p);
  EXPECT_EQ(std::string_view(reinterpret_cast<const char*>(bytes), 8), "ipcppobj");
  EXPECT_EQ(bytes[8], 1);     // layout version
  EXPECT_EQ(bytes[12], 8);    // bytes per word
  EXPECT_EQ(bytes[13], 1);    // little endian
  EXPECT_EQ(bytes[14], 128);  // line stride
  EXPECT_EQ(bytes[16], 0x11);
  EXPECT_EQ(bytes[24], 0x22);
  EXPECT_EQ(bytes[34], 1);  // capacity 0x10000
  EXPECT_EQ(bytes[48], 1);  // one object
}

TEST(Prologue, AGoodOneIsAccepted) {
  EXPECT_EQ(refusal(good()), "");
}

TEST(Prologue, WhatDiffersIsNamed) {
  auto p = good();
  p.layout_version = 7;
  EXPECT_EQ(refusal(p),
            "shared object 'x': expected layout version 1, found 7; build all programs with the "
            "same ipcpp for the same kind "
            "of machine: wrong layout");
  p = good();
  p.word_bytes = 4;
  EXPECT_NE(refusal(p).find("bytes per word 8, found 4"), std::string::npos) << refusal(p);
  p = good();
  p.line_stride = 64;
  EXPECT_NE(refusal(p).find("line stride 128, found 64"), std::string::npos) << refusal(p);
  p = good();
  p.magic = 0x69706370706f626a;
  p.endianness = 2;
  EXPECT_NE(refusal(p).find("endianness 1, found 2"), std::string::npos) << refusal(p);
}

TEST(Prologue, DamageIsNamed) {
  auto p = good();
  p.magic = 0;
  EXPECT_NE(refusal(p).find("expected an object of ipcpp, found something else"), std::string::npos)
      << refusal(p);
  EXPECT_NE(refusal(good(), 100).find("expected at least 256 bytes, found 100"), std::string::npos);
  p = good();
  for (const std::uint64_t capacity : {std::uint64_t{0}, std::uint64_t{100}, 64_KiB + 4096,
                                       std::uint64_t{1} << 47, std::uint64_t{1} << 63}) {
    p.capacity_bytes = capacity;
    EXPECT_NE(refusal(p).find("capacity"), std::string::npos) << capacity;
  }
  p = good();
  p.how = static_cast<platform::growth>(9);
  EXPECT_NE(refusal(p).find("way of growing"), std::string::npos) << refusal(p);
  p = good();
  p.first_step_bytes = 4096;
  EXPECT_NE(refusal(p).find("first step"), std::string::npos) << refusal(p);
}

TEST(Prologue, RandomDamageIsRefusedOrHarmless) {
  std::uint64_t seed = 42;
  const auto random = [&] {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    return seed ^= seed << 17;
  };
  int refused = 0;
  for (int i = 0; i < 20000; ++i) {
    auto p = good();
    auto* bytes = reinterpret_cast<unsigned char*>(&p);
    for (std::uint64_t n = 1 + random() % 4; n > 0; --n)
      bytes[random() % 52] = static_cast<unsigned char>(random());
    if (!refusal(p).empty()) {
      ++refused;
      continue;
    }
    EXPECT_GE(p.capacity_bytes, sizeof p);  // what is accepted can be worked with
    EXPECT_LE(p.capacity_bytes, platform::largest_capacity);
    EXPECT_EQ(p.capacity_bytes % platform::capacity_unit, 0u);
  }
  EXPECT_GT(refused, 10000);
}

TEST(BaseAlignment, ItIsThePowerOfTwoThatTheCapacityCallsFor) {
  EXPECT_EQ(platform::base_alignment(1), 4_KiB);
  EXPECT_EQ(platform::base_alignment(64_KiB), 64_KiB);
  EXPECT_EQ(platform::base_alignment(100_KiB), 64_KiB);
  EXPECT_EQ(platform::base_alignment(1_TiB), 1_GiB);
}
