// Bodies of ipcpp.segment: making segments, opening them, and how they go.
//
// Making, and what the others see if the process dies after each step:
//   1 the object, its header, its heap, its directory     nothing; the system frees it
//   2 this process joins                                  the same
//   3 its name (platform: one step)                       a whole segment, whose one user is dead
module;

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <utility>

module ipcpp.segment;

import ipcpp.platform;
import ipcpp.sync;
import ipcpp.malloc;
import :directory;
import :state;

namespace ipcpp {

using namespace detail;

namespace {

constinit fork_safe_lock known_lock;
constinit segment_state* known = nullptr;

[[nodiscard]] platform::audience audience_of(permissions who) noexcept {
  return who == permissions::group ? platform::audience::group : platform::audience::owner;
}

void remember(segment_state* state) noexcept {
  state->next = known;
  known = state;
}

void forget(segment_state* state) noexcept {
  for (segment_state** at = &known; *at != nullptr; at = &(*at)->next)
    if (*at == state) {
      *at = state->next;
      return;
    }
}

[[nodiscard]] std::unique_ptr<segment_state> make_state(const segment_options& options) {
  const platform::audience who = audience_of(options.permissions);
  auto state = std::make_unique<segment_state>(platform::mapping::map(
      platform::shared_object::create({.capacity_bytes = options.max_size, .who = who})));
  state->who = who;
  state->memory.emplace(ipcpp::heap::create(
      state->source, {.participants = options.participants, .pinned = options.pinned}));
  auto* const header = ::new (static_cast<void*>(&state->header())) segment_header{};
  header->version = segment_version;
  header->lifetime = static_cast<std::uint32_t>(options.lifetime);
  header->pinned_at = options.pinned ? reinterpret_cast<std::uintptr_t>(state->place.base()) : 0;
  header->permissions = static_cast<std::uint8_t>(options.permissions);
  header->directory_at = directory::make(state->place, *state->memory);
  header->magic = segment_magic;
  state->names = directory(state->place, &*state->memory, header->directory_at, state->describe());
  return state;
}

// The header as it is now. Throws damaged, wrong_layout.
[[nodiscard]] segment_header checked_header(const platform::mapping& place,
                                            const std::string& name) {
  segment_header found;
  if (place.backed_bytes() < heap_source_at)
    throw error(errc::damaged, name, "a segment", "an object that was truncated",
                "remove it and make a new one");
  std::memcpy(static_cast<void*>(&found), place.base() + segment_header_at, sizeof found);
  if (found.magic != segment_magic)
    throw error(errc::damaged, name, "a segment", "a shared object without a segment's header",
                "open it with what made it, or remove it");
  if (found.version != segment_version)
    throw error(errc::wrong_layout, name, "segment layout " + std::to_string(segment_version),
                std::to_string(found.version), "build all programs with the same ipcpp");
  return found;
}

// An opened object as a segment of this process; the lock is held.
[[nodiscard]] segment_state* attach(platform::shared_object object, platform::audience who) {
  const platform::access mode = object.mode();
  for (segment_state* s = known; s != nullptr; s = s->next)
    if (s->place.object().id() == object.id() && s->place.object().mode() == mode) {
      ++s->references;
      return s;
    }
  const std::string name = "segment '" + object.name() + "'";
  platform::mapping place = platform::mapping::map(object.again());
  segment_header header = checked_header(place, name);
  if (header.pinned_at != 0 && header.pinned_at != reinterpret_cast<std::uintptr_t>(place.base())) {
    platform::mapping elsewhere = std::move(place);
    {
      const platform::mapping gone = std::move(elsewhere);
    }
    place = platform::mapping::map(object.again(), reinterpret_cast<void*>(header.pinned_at));
  }
  auto state = std::make_unique<segment_state>(std::move(place));
  state->who = who;
  if (mode == platform::access::read_write)
    state->memory.emplace(ipcpp::heap::open(state->source));
  else
    (void)state->place.adopt(state->place.capacity());
  state->names = directory(state->place, state->memory ? &*state->memory : nullptr,
                           header.directory_at, state->describe());
  remember(state.get());
  return state.release();
}

[[nodiscard]] segment_state* open_state(std::string_view name, platform::access mode,
                                        permissions who) {
  const platform::audience trusted = audience_of(who);
  platform::shared_object object = platform::shared_object::open(name, mode, trusted);
  const fork_safe_guard guard(known_lock);
  return attach(std::move(object), trusted);
}

[[nodiscard]] segment_state* create_state(std::string_view name, const segment_options& options) {
  platform::check_name(name);
  auto state = make_state(options);
  state->place.publish(name);
  state->names =
      directory(state->place, &*state->memory, state->header().directory_at, state->describe());
  const fork_safe_guard guard(known_lock);
  remember(state.get());
  return state.release();
}

}  // namespace

segment segment::create(std::string_view name, const segment_options& options) {
  return segment(create_state(name, options));
}

segment segment::open(std::string_view name, const open_options& options) {
  return segment(open_state(name, platform::access::read_write, options.permissions));
}

segment segment::open_read_only(std::string_view name, const open_options& options) {
  return segment(open_state(name, platform::access::read_only, options.permissions));
}

segment segment::open_or_create(std::string_view name, const segment_options& options) {
  for (;;) {
    try {
      return segment(open_state(name, platform::access::read_write, options.permissions));
    } catch (const error& e) {
      if (e.kind() != errc::not_found) throw;
    }
    try {
      return segment(create_state(name, options));
    } catch (const error& e) {
      if (e.kind() != errc::already_exists) throw;
    }
  }
}

bool segment::remove(std::string_view name, const open_options& options) {
  return platform::shared_object::remove(name, audience_of(options.permissions));
}

segment segment::anonymous(const segment_options& options) {
  auto state = make_state(options);
  const fork_safe_guard guard(known_lock);
  remember(state.get());
  return segment(state.release());
}

segment::~segment() {
  if (state_ == nullptr) return;
  std::string name;
  platform::object_id id;
  platform::audience who = platform::audience::owner;
  {
    const fork_safe_guard guard(known_lock);
    if (--state_->references != 0) return;
    forget(state_);
    id = state_->place.object().id();
    who = state_->who;
    const std::uint32_t chosen =
        std::atomic_ref(state_->header().lifetime).load(std::memory_order_relaxed);
    if (chosen == static_cast<std::uint32_t>(ipcpp::lifetime::last_user))
      name = state_->place.object().name();
    delete state_;
  }
  if (name.empty()) return;
  try {
    (void)platform::shared_object::remove_if_unused(name, who, &id);
  } catch (...) {  // not ours to remove any more
  }
}

}  // namespace ipcpp
