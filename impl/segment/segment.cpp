// Bodies of ipcpp.segment.
module;

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

module ipcpp.segment;

import ipcpp.platform;
import ipcpp.malloc;

namespace ipcpp {

// On this process's own memory and never moved. The order matters: each uses the one before.
struct segment::state {
  explicit state(const segment_options& options)
      : place(platform::mapping::map(
            platform::shared_object::create({.capacity_bytes = options.max_size}))),
        source(place),
        memory(ipcpp::heap::create(source, {.pinned = options.pinned})) {}

  platform::mapping place;
  object_source source;
  ipcpp::heap memory;
};

segment::segment(std::unique_ptr<state> made) noexcept : state_(std::move(made)) {}
segment::segment(segment&& other) noexcept = default;
segment& segment::operator=(segment&& other) noexcept = default;
segment::~segment() = default;

segment segment::anonymous(const segment_options& options) {
  return segment(std::make_unique<state>(options));
}

ipcpp::heap& segment::heap() const noexcept {
  return state_->memory;
}

bool segment::contains(const void* address) const noexcept {
  const auto at = reinterpret_cast<std::uintptr_t>(address);
  const auto first = reinterpret_cast<std::uintptr_t>(state_->place.base());
  return at >= first && at - first < state_->place.capacity();
}

}  // namespace ipcpp
