// std::unordered_map: in private memory without any lock; and in a pinned segment under a process-shared
// pthread mutex, which is what one builds by hand today.
#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <pthread.h>

#include "contestants.hpp"

import ipcpp;

using namespace ipcpp::literals;

namespace map_bench {

namespace {

class in_private : public contestant {
 public:
  void prepare(const workload& w, const key_table& keys) override {
    if (w.texts)
      for (const std::string& key : keys.texts) texts_.emplace(key, 0);
    else
      for (const std::uint64_t key : keys.numbers) numbers_.emplace(key, 0);
  }
  std::uint64_t work(const workload& w, const key_table& keys, std::uint64_t seed,
                     std::uint64_t operations) override {
    if (w.texts) return operate_on(texts_, w, keys.texts, seed, operations);
    return operate_on(numbers_, w, keys.numbers, seed, operations);
  }
  void clear() override {
    texts_ = {};
    numbers_ = {};
  }

 private:
  template <class Map, class Keys>
  static std::uint64_t operate_on(Map& map, const workload& w, const Keys& keys, std::uint64_t seed,
                                  std::uint64_t operations) {
    return operate(
        w, keys, seed, operations,
        [&](const auto& key) {
          const auto at = map.find(key);
          return at == map.end() ? 0 : at->second;
        },
        [&](const auto& key) { ++map[key]; });
  }

  std::unordered_map<std::string, std::uint64_t> texts_;
  std::unordered_map<std::uint64_t, std::uint64_t> numbers_;
};

template <class T>
using pinned = ipcpp::pinned_allocator<T>;
using pinned_text = std::basic_string<char, std::char_traits<char>, pinned<char>>;
struct text_hash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const {
    return std::hash<std::string_view>{}(text);
  }
};

class under_a_mutex : public contestant {
 public:
  void prepare(const workload& w, const key_table& keys) override {
    segment_.emplace(ipcpp::segment::anonymous({.max_size = 1_GiB, .pinned = true}));
    auto& heap = segment_->heap();
    shared_ = new (heap.allocate(sizeof(all))) all(heap);
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&shared_->mutex, &attributes);
    if (w.texts)
      for (const std::string& key : keys.texts)
        shared_->texts.emplace(pinned_text(key.data(), key.size(), pinned<char>(heap)), 0);
    else
      for (const std::uint64_t key : keys.numbers) shared_->numbers.emplace(key, 0);
  }
  std::uint64_t work(const workload& w, const key_table& keys, std::uint64_t seed,
                     std::uint64_t operations) override {
    if (w.texts)
      return operate_on(shared_->texts, w, keys.texts, seed, operations,
                        [](const std::string& key) { return std::string_view(key); });
    return operate_on(shared_->numbers, w, keys.numbers, seed, operations,
                      [](std::uint64_t key) { return key; });
  }
  void clear() override { segment_.reset(); }

 private:
  template <class Map, class Keys, class Form>
  std::uint64_t operate_on(Map& map, const workload& w, const Keys& keys, std::uint64_t seed,
                           std::uint64_t operations, Form form) {
    pthread_mutex_t* const mutex = &shared_->mutex;
    return operate(
        w, keys, seed, operations,
        [&](const auto& key) {
          pthread_mutex_lock(mutex);
          const auto at = map.find(form(key));
          const std::uint64_t found = at == map.end() ? 0 : at->second;
          pthread_mutex_unlock(mutex);
          return found;
        },
        [&](const auto& key) {
          pthread_mutex_lock(mutex);
          ++map.find(form(key))->second;  // they are all there
          pthread_mutex_unlock(mutex);
        });
  }

  struct all {
    pthread_mutex_t mutex;
    std::unordered_map<pinned_text, std::uint64_t, text_hash, std::equal_to<>,
                       pinned<std::pair<const pinned_text, std::uint64_t>>>
        texts;
    std::unordered_map<std::uint64_t, std::uint64_t, std::hash<std::uint64_t>, std::equal_to<>,
                       pinned<std::pair<const std::uint64_t, std::uint64_t>>>
        numbers;
    explicit all(ipcpp::heap& heap)
        : texts(pinned<std::pair<const pinned_text, std::uint64_t>>(heap)),
          numbers(pinned<std::pair<const std::uint64_t, std::uint64_t>>(heap)) {}
  };
  std::optional<ipcpp::segment> segment_;
  all* shared_ = nullptr;
};

}  // namespace

std::unique_ptr<contestant> make_private() {
  return std::make_unique<in_private>();
}
std::unique_ptr<contestant> make_shared_std() {
  return std::make_unique<under_a_mutex>();
}

}  // namespace map_bench
