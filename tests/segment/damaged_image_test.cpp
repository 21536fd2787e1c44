// Images of a segment with bytes that are wrong: every look at them ends in an error or in a segment
// that can be used. A child looks, so that a crash is one failed test and names the damage.
#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <sys/mman.h>
#include <unistd.h>

#include "posix_process.hpp"
#include "roles.hpp"
// clang-format off
#include "image.hpp"
// clang-format on

namespace {

// What the child is at, for the message when it crashes.
struct shared_note {
  char damage[200];
  image::outcome outcome;
};

struct SegmentDamage : testing::Test {
  std::string path = std::string(std::getenv("IPCPP_DIRECTORY")) + "/" + test::unique_name() + ".i";
  std::string good = image::make(path);
  shared_note* note = static_cast<shared_note*>(::mmap(
      nullptr, sizeof(shared_note), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  ~SegmentDamage() override {
    ::munmap(note, sizeof(shared_note));
    ::unlink(path.c_str());
  }
  // body(spoil) calls spoil(image, text) any number of times.
  void in_child(
      const std::function<void(const std::function<void(const std::string&, const std::string&)>&)>&
          body) {
    const int status = test::in_forked_child([&] {
      body([&](const std::string& bytes, const std::string& damage) {
        std::snprintf(note->damage, sizeof note->damage, "%s", damage.c_str());
        image::write(path, bytes);
        ::alarm(20);  // a look that never ends is as bad as a crash
        image::look_at(path, note->outcome);
        ::alarm(0);
      });
      return 0;
    });
    EXPECT_EQ(status, 0) << "crashed at: " << note->damage;
    std::printf("%d images could be used, %d were refused\n", note->outcome.opened,
                note->outcome.refused);
  }
};

}  // namespace

TEST_F(SegmentDamage, AnImageWithoutAnyIsASegment) {
  in_child([&](auto& spoil) { spoil(good, "none"); });
  EXPECT_EQ(note->outcome.opened, 1);
}

TEST_F(SegmentDamage, AnyLengthIsRefusedOrUsable) {
  in_child([&](auto& spoil) {
    for (std::size_t n = 0; n < good.size(); n += n < 1024 ? 37 : 4096 - 512)
      spoil(good.substr(0, n), "cut off at " + std::to_string(n));
  });
}

TEST_F(SegmentDamage, AnyWordOfTheHeadersIsRefusedOrUsable) {
  in_child([&](auto& spoil) {
    for (std::size_t at = 0; at < 1024; at += 8)
      for (const std::uint64_t value :
           {std::uint64_t{0}, ~std::uint64_t{0}, std::uint64_t{1} << 40, std::uint64_t{8}}) {
        std::string bytes = good;
        std::memcpy(bytes.data() + at, &value, sizeof value);
        spoil(bytes, "word at " + std::to_string(at) + " = " + std::to_string(value));
      }
  });
}

TEST_F(SegmentDamage, RandomDamageIsRefusedOrUsable) {
  const int rounds = test::prove_in_full() ? 20'000 : 600;
  in_child([&](auto& spoil) {
    std::mt19937_64 random(4711);
    // Most of the image is users' data and free pages; the damage goes where the tables are.
    for (int round = 0; round < rounds; ++round) {
      std::string bytes = good;
      std::string text = "round " + std::to_string(round) + ":";
      const int words = 1 + static_cast<int>(random() % 4);
      for (int i = 0; i < words; ++i) {
        const std::size_t range = random() % 2 == 0 ? 16'384 : bytes.size();
        const std::size_t at = random() % (range / 8 - 1) * 8;
        std::uint64_t value = 0;
        std::memcpy(&value, bytes.data() + at, 8);
        switch (random() % 4) {
          case 0:
            value ^= std::uint64_t{1} << random() % 64;
            break;
          case 1:
            value = random();
            break;
          case 2:
            value += random() % 512 - 256;
            break;
          default:
            value = random() % 2 == 0 ? 0 : ~std::uint64_t{0};
        }
        std::memcpy(bytes.data() + at, &value, 8);
        text += " word at " + std::to_string(at) + " = " + std::to_string(value);
      }
      spoil(bytes, text);
    }
  });
}
