// Bodies of ipcpp.queue:wait_set.
module;

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

module ipcpp.queue;

import ipcpp.platform;
import ipcpp.sync;

namespace ipcpp {

void wait_set::add(const detail::wait_source& source, std::uint64_t tag) {
  for (std::size_t i = 0; i < sources_.size(); ++i)
    if (sources_[i].object == source.object) {
      tags_[i] = tag;
      return;
    }
  tags_.reserve(tags_.size() + 1);
  sources_.push_back(source);
  tags_.push_back(tag);
}

bool wait_set::remove(void* endpoint) noexcept {
  for (std::size_t i = 0; i < sources_.size(); ++i)
    if (sources_[i].object == endpoint) {
      sources_.erase(sources_.begin() + static_cast<std::ptrdiff_t>(i));
      tags_.erase(tags_.begin() + static_cast<std::ptrdiff_t>(i));
      return true;
    }
  return false;
}

std::optional<std::uint64_t> wait_set::wait_until(std::chrono::steady_clock::time_point deadline) {
  const std::optional<std::size_t> ready = detail::wait_for_one(sources_, deadline);
  if (!ready) return std::nullopt;
  const std::uint64_t tag = tags_[*ready];
  // Its turn is over: behind all others.
  const auto next = static_cast<std::ptrdiff_t>(*ready) + 1;
  std::rotate(sources_.begin(), sources_.begin() + next, sources_.end());
  std::rotate(tags_.begin(), tags_.begin() + next, tags_.end());
  return tag;
}

}  // namespace ipcpp
