// ipcpp::concurrent_map in an anonymous segment.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "contestants.hpp"

import ipcpp;

using namespace ipcpp::literals;

namespace map_bench {

namespace {

using numbers = ipcpp::concurrent_map<std::uint64_t, std::uint64_t>;
using texts = ipcpp::concurrent_map<ipcpp::string, std::uint64_t>;

class ours : public contestant {
 public:
  void prepare(const workload& w, const key_table& keys) override {
    segment_.emplace(ipcpp::segment::anonymous({.max_size = 1_GiB}));
    numbers_ = &segment_->construct<numbers>("numbers");
    texts_ = &segment_->construct<texts>("texts");
    if (w.texts)
      for (const std::string& key : keys.texts)
        texts_->insert(std::string_view(key), std::uint64_t{0});
    else
      for (const std::uint64_t key : keys.numbers) numbers_->insert(key, std::uint64_t{0});
  }
  std::uint64_t work(const workload& w, const key_table& keys, std::uint64_t seed,
                     std::uint64_t operations) override {
    const auto increment = [](std::uint64_t& n) { ++n; };
    if (w.texts)
      return operate(
          w, keys.texts, seed, operations,
          [&](const std::string& key) { return texts_->find(std::string_view(key)).value_or(0); },
          [&](const std::string& key) { texts_->update(std::string_view(key), increment); });
    return operate(
        w, keys.numbers, seed, operations,
        [&](std::uint64_t key) { return numbers_->find(key).value_or(0); },
        [&](std::uint64_t key) { numbers_->update(key, increment); });
  }
  void clear() override { segment_.reset(); }

 private:
  std::optional<ipcpp::segment> segment_;
  numbers* numbers_ = nullptr;
  texts* texts_ = nullptr;
};

}  // namespace

std::unique_ptr<contestant> make_ipcpp() {
  return std::make_unique<ours>();
}

}  // namespace map_bench
