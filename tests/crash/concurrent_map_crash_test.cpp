// concurrent_map under death at every instruction of each operation. After each kill the survivor finds
// each entry as it was before or as it is after the operation, uses the map at once, also the stripe
// whose lock the victim held, and has every block of memory back: what is in use is the entries and the
// map itself. The same when whoever mends what a first victim left is the second victim.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "posix_process.hpp"
#include "roles.hpp"
#include "single_step.hpp"

// clang-format off
#include "../concurrent_map/map_in_heap.hpp"  // last: it imports
// clang-format on

using namespace ipcpp::literals;

namespace {

using numbers = ipcpp::concurrent_map<std::uint64_t, std::uint64_t>;
using texts = ipcpp::concurrent_map<ipcpp::string, ipcpp::string>;

// What a map holds, and how many blocks of memory that takes.
using contents = std::map<std::string, std::string>;

contents contents_of(const numbers& map) {
  contents all;
  map.for_each([&](std::uint64_t k, std::uint64_t v) {
    EXPECT_TRUE(all.emplace(std::to_string(k), std::to_string(v)).second) << "twice: " << k;
  });
  for (const auto& [k, v] : all)
    EXPECT_EQ(map.find(std::stoull(k)), std::optional<std::uint64_t>(std::stoull(v)));
  return all;
}
contents contents_of(const texts& map) {
  contents all;
  map.for_each([&](std::string_view k, std::string_view v) {
    EXPECT_TRUE(all.emplace(k, v).second) << "twice: " << k;
  });
  for (const auto& [k, v] : all) {
    const auto found = map.find(k);
    EXPECT_TRUE(found && std::string_view(*found) == v) << k;
  }
  return all;
}
std::size_t blocks_of(const numbers&, const contents& all) {
  return all.size();
}
std::size_t blocks_of(const texts&, const contents& all) {
  std::size_t n = 0;
  for (const auto& [k, v] : all) n += 1 + (k.size() > 30) + (v.size() > 30);
  return n;
}

// Keys whose nodes lie in one stripe.
std::vector<std::uint64_t> keys_of_one_stripe(std::size_t n) {
  std::vector<std::uint64_t> keys;
  for (std::uint64_t k = 0; keys.size() < n; ++k)
    if (ipcpp::hash<std::uint64_t>{}(k) * 0x9e3779b97f4a7c15U >> 58 == 13) keys.push_back(k);
  return keys;
}

template <class Map>
class stage {
 public:
  stage() : heap_(512_KiB), blocks_before_(blocks()), map_(std::in_place, heap_.heap) {
    // All of it accessible, to be compared byte by byte.
    if (!heap_.place.commit(0, heap_.place.capacity())) throw std::bad_alloc();
  }
  Map& map() { return **map_; }
  std::span<const std::byte> bytes() { return {heap_.place.base(), heap_.place.capacity()}; }
  void prepared() {
    (void)map().contains(key());
    overhead_ = blocks() - blocks_of(map(), contents_of(map()));
  }
  // Not in the map, in the stripe that the tests use.
  auto key() const {
    if constexpr (std::is_same_v<Map, numbers>)
      return keys_of_one_stripe(400).back();
    else
      return std::string("a key that only the survivor uses, too long for a small buffer");
  }

  void check(const contents& before, const contents& after, bool finished,
             std::size_t more_overhead) {
    const contents found = contents_of(map());
    EXPECT_TRUE(found == after || (!finished && found == before))
        << found.size() << " entries, before " << before.size() << ", after " << after.size();
    // Takes over the lock that the dead one may have held.
    if constexpr (std::is_same_v<Map, numbers>) {
      for (const std::uint64_t k : keys_of_one_stripe(2)) map().update(k, [](std::uint64_t&) {});
      EXPECT_TRUE(map().insert(key(), 1u));
    } else {
      EXPECT_TRUE(map().insert(key(), "a value of the survivor, which is long enough as well"));
    }
    EXPECT_TRUE(map().erase(key()));
    heap_.heap.recover();
    map().recover();
    EXPECT_TRUE(fine(heap_.heap));
    const contents now = contents_of(map());
    EXPECT_EQ(map().size(), now.size());
    const std::size_t overhead = blocks() - blocks_of(map(), now);
    EXPECT_GE(overhead, overhead_);
    EXPECT_LE(overhead, overhead_ + more_overhead) << "blocks were lost";
    map_.reset();
    EXPECT_EQ(blocks(), blocks_before_);
  }

 private:
  std::size_t blocks() const { return heap_.heap.statistics().blocks_in_use; }

  object_heap heap_;
  std::size_t blocks_before_;
  std::optional<map_in<Map>> map_;
  std::size_t overhead_ = 0;
};

template <class Map>
struct play {
  std::string name;
  std::function<void(Map&)> set_up = [](Map&) {};
  std::function<void(Map&)> before = [](Map& map) { (void)map.size(); };
  std::function<void(Map&)> operation;
  std::size_t more_overhead = 2;  // directory blocks that the operation and the survivor may add
  std::size_t most = 60;          // kills, unless it is done in full
};

template <class Map>
class theatre {
 public:
  explicit theatre(play<Map> plays) : play_(std::move(plays)) {
    reset();
    before_ = contents_of(now_->map());
    play_.operation(now_->map());
    after_ = contents_of(now_->map());
  }
  void reset() {
    now_.reset();
    now_ = std::make_unique<stage<Map>>();
    play_.set_up(now_->map());
    now_->prepared();
  }
  crash::scene scene() {
    return {
        .name = play_.name,
        .prepare = [this] { reset(); },
        .operation = [this] { play_.operation(now_->map()); },
        .before = [this] { play_.before(now_->map()); },
        .check =
            [this](bool finished) { now_->check(before_, after_, finished, play_.more_overhead); },
        .watched = [this] { return now_->bytes(); },
        .most = play_.most};
  }
  crash::report perform() { return crash::kill_everywhere(scene()); }

  // Somebody is killed in this play's operation, and somebody else in what he does afterwards.
  void perform_then(const std::string& what, std::function<void(Map&)> afterwards,
                    std::size_t sample) {
    const std::vector<crash::place_to_die> places = crash::places_of(scene());
    const std::size_t step =
        test::prove_in_full() ? 1 : std::max<std::size_t>(places.size() / sample, 1);
    const crash::scene first = scene();
    for (std::size_t i = 0; i < places.size() && !testing::Test::HasFailure(); i += step) {
      crash::scene second = scene();
      second.name = play_.name + ", killed at place " + std::to_string(i) + ", then " + what;
      second.before = [&] {
        (void)now_->map().contains(now_->key());
        (void)crash::kill_at(first, places[i]);
      };
      second.operation = [&] { afterwards(now_->map()); };
      second.most = 8;
      second.check = [this](bool) { now_->check(before_, after_, false, play_.more_overhead); };
      crash::kill_everywhere(second);
    }
  }

 private:
  play<Map> play_;
  std::unique_ptr<stage<Map>> now_;
  contents before_;
  contents after_;
};

const std::string long_text(60, 'x');
const std::string long_key = "a key that is longer than any small buffer, number ";

void fill(texts& map) {
  map.insert("short", "short");
  map.insert(long_key + "1", long_text);
}
void fill(numbers& map) {
  for (const std::uint64_t k : keys_of_one_stripe(2)) map.insert(k, k);
}
// Attached, with a slab of each size at hand, so that the stepped operation is itself alone.
void warm_up(numbers& map) {
  map.insert(1'000'000u, 1u);
  map.erase(1'000'000u);
}
void warm_up(texts& map) {
  map.insert(long_key + "warm", long_text);
  map.erase(long_key + "warm");
}

template <class Map>
play<Map> warm(std::string name, std::function<void(Map&)> operation) {
  return {.name = std::move(name),
          .set_up = [](Map& map) { fill(map); },
          .before = [](Map& map) { warm_up(map); },
          .operation = std::move(operation),
          .most = std::is_same_v<Map, texts> ? std::size_t{20} : std::size_t{60}};
}

struct CrashConcurrentMap : testing::Test {
  void SetUp() override {
    if (const std::string reason = crash::why_not(); !reason.empty()) GTEST_SKIP() << reason;
  }
};

}  // namespace

TEST_F(CrashConcurrentMap, AProcessesFirstUse) {
  theatre<numbers> t({.name = "first use, insert",
                      .set_up = [](numbers& map) { fill(map); },
                      .operation = [](numbers& map) { map.insert(keys_of_one_stripe(3)[2], 5u); }});
  t.perform();
}

TEST_F(CrashConcurrentMap, InsertOfANumber) {
  const std::uint64_t k = keys_of_one_stripe(3)[2];
  theatre<numbers>(warm<numbers>("insert", [k](numbers& map) { map.insert(k, 5u); })).perform();
}

TEST_F(CrashConcurrentMap, UpdateOfANumber) {
  const std::uint64_t k = keys_of_one_stripe(1)[0];
  theatre<numbers>(warm<numbers>("update", [k](numbers& map) {
    map.update(k, [](std::uint64_t& v) { v += 3; });
  })).perform();
  theatre<numbers>(warm<numbers>("update from nothing", [](numbers& map) {
    map.update(777u, [](std::uint64_t& v) { v += 3; });
  })).perform();
}

TEST_F(CrashConcurrentMap, AssignOfANumber) {
  const std::uint64_t k = keys_of_one_stripe(1)[0];
  theatre<numbers>(warm<numbers>("assign", [k](numbers& map) { map.assign(k, 9u); })).perform();
}

TEST_F(CrashConcurrentMap, EraseOfANumber) {
  const std::uint64_t k = keys_of_one_stripe(1)[0];
  theatre<numbers>(warm<numbers>("erase", [k](numbers& map) { map.erase(k); })).perform();
}

TEST_F(CrashConcurrentMap, InsertOfTexts) {
  theatre<texts>(warm<texts>("insert of texts", [](texts& map) {
    map.insert(long_key + "2", long_text);
  })).perform();
}

TEST_F(CrashConcurrentMap, UpdateOfATextMakesANewNode) {
  theatre<texts>(warm<texts>("update of a text", [](texts& map) {
    map.update(long_key + "1", [](ipcpp::string& s) { s += "more"; });
  })).perform();
}

TEST_F(CrashConcurrentMap, AssignAndEraseOfTexts) {
  theatre<texts>(warm<texts>("assign of a text", [](texts& map) {
    map.assign("short", long_text);
  })).perform();
  theatre<texts>(warm<texts>("erase of texts", [](texts& map) {
    map.erase(long_key + "1");
  })).perform();
}

TEST_F(CrashConcurrentMap, Growth) {
  theatre<numbers> t({.name = "insert that grows the map",
                      .set_up =
                          [](numbers& map) {
                            for (const std::uint64_t k : keys_of_one_stripe(1)) map.insert(k, k);
                          },
                      .before = [](numbers& map) { (void)map.find(3u); },
                      .operation =
                          [](numbers& map) {
                            for (const std::uint64_t k : keys_of_one_stripe(5)) map.insert(k, k);
                          },
                      .more_overhead = 3});
  // Several inserts: what was there in between is neither before nor after.
  crash::scene s = t.scene();
  s.check = [&, check = s.check](bool finished) {
    if (finished) return check(true);
  };
  crash::kill_everywhere(s);
}

TEST_F(CrashConcurrentMap, Reclaiming) {
  const std::vector<std::uint64_t> keys = keys_of_one_stripe(33);
  theatre<numbers>({.name = "erase that frees what was erased before",
                    .set_up =
                        [keys](numbers& map) {
                          for (const std::uint64_t k : keys) map.insert(k, k);
                          for (std::size_t i = 0; i < 31; ++i) map.erase(keys[i]);
                        },
                    .before = [](numbers& map) { warm_up(map); },
                    .operation = [keys](numbers& map) { map.erase(keys[31]); }})
      .perform();
  theatre<texts>({.name = "recover, freeing texts",
                  .set_up =
                      [](texts& map) {
                        fill(map);
                        for (int i = 0; i < 3; ++i) {
                          map.insert(long_key + "gone" + std::to_string(i), long_text);
                          map.erase(long_key + "gone" + std::to_string(i));
                        }
                      },
                  .before = [](texts& map) { warm_up(map); },
                  .operation = [](texts& map) { map.recover(); }})
      .perform();
}

TEST_F(CrashConcurrentMap, WhoMendsIsKilledToo) {
  theatre<texts>(warm<texts>("insert of texts", [](texts& map) {
    map.insert(long_key + "2", long_text);
  })).perform_then("recovery", [](texts& map) { map.recover(); }, 5);
  theatre<texts>(warm<texts>("update of a text", [](texts& map) {
    map.update(long_key + "1", [](ipcpp::string& s) { s += "more"; });
  })).perform_then("recovery", [](texts& map) { map.recover(); }, 5);
  theatre<texts>(warm<texts>("erase of texts", [](texts& map) {
    map.erase(long_key + "1");
  })).perform_then("recovery", [](texts& map) { map.recover(); }, 5);
}
