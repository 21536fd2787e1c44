// What is measured, and with whom.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace map_bench {

struct workload {
  std::string name;
  bool texts = false;  // keys: words instead of numbers
  std::size_t keys = 0;
  unsigned updates = 0;  // of 100 operations; the rest are finds
};

// xorshift64*: cheap beside what is measured.
class random_numbers {
 public:
  explicit random_numbers(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15U | 1) {}
  std::uint64_t next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 0x2545f4914f6cdd1dU;
  }

 private:
  std::uint64_t state_;
};

// The keys of a workload, scattered; words are 2 to 21 letters long.
struct key_table {
  std::vector<std::uint64_t> numbers;
  std::vector<std::string> texts;

  explicit key_table(const workload& w) {
    random_numbers dice(42);
    for (std::size_t i = 0; i < w.keys; ++i) {
      numbers.push_back(dice.next());
      std::string word(2 + dice.next() % 8 + (dice.next() % 8 == 0 ? 12 : 0), 'a');
      for (char& c : word) c = static_cast<char>('a' + dice.next() % 26);
      texts.push_back(word + std::to_string(i % 10));
    }
  }
};

class contestant {
 public:
  virtual ~contestant() = default;
  // Fills the map with the keys, all of them counted 0.
  virtual void prepare(const workload& w, const key_table& keys) = 0;
  // That many operations; what they read, so that they are not left out.
  virtual std::uint64_t work(const workload& w, const key_table& keys, std::uint64_t seed,
                             std::uint64_t operations) = 0;
  virtual void clear() = 0;
};

// find(key) -> count, update(key): count + 1.
template <class Key, class Find, class Update>
std::uint64_t operate(const workload& w, const std::vector<Key>& keys, std::uint64_t seed,
                      std::uint64_t operations, Find&& find, Update&& update) {
  random_numbers dice(seed);
  std::uint64_t sum = 0;
  for (std::uint64_t i = 0; i < operations; ++i) {
    const std::uint64_t drawn = dice.next();
    const Key& key = keys[(drawn >> 32) * keys.size() >> 32];
    if ((drawn & 0xffff) * 100 >> 16 < w.updates)
      update(key);
    else
      sum += find(key);
  }
  return sum;
}

std::unique_ptr<contestant> make_ipcpp();
std::unique_ptr<contestant> make_private();       // std::unordered_map, no lock
std::unique_ptr<contestant> make_shared_std();    // the same, pinned, under a pthread mutex
std::unique_ptr<contestant> make_shared_boost();  // Boost.Interprocess map under its mutex

}  // namespace map_bench
