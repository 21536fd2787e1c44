// Boost.Interprocess: its map in managed shared memory, under its mutex.
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <unistd.h>

#include <boost/interprocess/allocators/allocator.hpp>
#include <boost/interprocess/containers/map.hpp>
#include <boost/interprocess/containers/string.hpp>
#include <boost/interprocess/managed_shared_memory.hpp>
#include <boost/interprocess/sync/interprocess_mutex.hpp>
#include <boost/interprocess/sync/scoped_lock.hpp>

#include "contestants.hpp"

namespace bi = boost::interprocess;

namespace map_bench {

namespace {

using manager = bi::managed_shared_memory::segment_manager;
template <class T>
using in_it = bi::allocator<T, manager>;
using text = bi::basic_string<char, std::char_traits<char>, in_it<char>>;
struct text_less {
  using is_transparent = void;
  template <class A, class B>
  bool operator()(const A& a, const B& b) const {
    return std::string_view(a.data(), a.size()) < std::string_view(b.data(), b.size());
  }
};
using numbers = bi::map<std::uint64_t, std::uint64_t, std::less<std::uint64_t>,
                        in_it<std::pair<const std::uint64_t, std::uint64_t>>>;
using texts = bi::map<text, std::uint64_t, text_less, in_it<std::pair<const text, std::uint64_t>>>;

class boosts : public contestant {
 public:
  boosts() : name_("map-benchmark-boost-" + std::to_string(::getpid())) {}
  ~boosts() override { clear(); }

  void prepare(const workload& w, const key_table& keys) override {
    bi::shared_memory_object::remove(name_.c_str());
    memory_.emplace(bi::create_only, name_.c_str(), std::size_t{256} << 20);
    bi::shared_memory_object::remove(name_.c_str());  // its children inherit it
    mutex_ = memory_->construct<bi::interprocess_mutex>("mutex")();
    numbers_ = memory_->construct<numbers>("numbers")(memory_->get_segment_manager());
    texts_ = memory_->construct<texts>("texts")(memory_->get_segment_manager());
    if (w.texts)
      for (const std::string& key : keys.texts)
        texts_->emplace(text(key.data(), key.size(), memory_->get_segment_manager()), 0u);
    else
      for (const std::uint64_t key : keys.numbers) numbers_->emplace(key, 0u);
  }
  std::uint64_t work(const workload& w, const key_table& keys, std::uint64_t seed,
                     std::uint64_t operations) override {
    if (w.texts) return operate_on(*texts_, w, keys.texts, seed, operations);
    return operate_on(*numbers_, w, keys.numbers, seed, operations);
  }
  void clear() override { memory_.reset(); }

 private:
  template <class Map, class Keys>
  std::uint64_t operate_on(Map& map, const workload& w, const Keys& keys, std::uint64_t seed,
                           std::uint64_t operations) {
    return operate(
        w, keys, seed, operations,
        [&](const auto& key) {
          const bi::scoped_lock<bi::interprocess_mutex> lock(*mutex_);
          const auto at = map.find(key);
          return at == map.end() ? std::uint64_t{0} : at->second;
        },
        [&](const auto& key) {
          const bi::scoped_lock<bi::interprocess_mutex> lock(*mutex_);
          ++map.find(key)->second;
        });
  }

  std::string name_;
  std::optional<bi::managed_shared_memory> memory_;
  bi::interprocess_mutex* mutex_ = nullptr;
  numbers* numbers_ = nullptr;
  texts* texts_ = nullptr;
};

}  // namespace

std::unique_ptr<contestant> make_shared_boost() {
  return std::make_unique<boosts>();
}

}  // namespace map_bench
