// Bodies of ipcpp.segment: making segments, opening them, and how they go.
//
// Making, and what the others see if the process dies after each step:
//   1 the object, its header, its heap, its directory     nothing; the system frees it
//   2 this process joins                                  the same
//   3 its name (platform: one step)                       a whole segment whose one user is dead
// Opening: joining is the only step the others see.
// Going, with lifetime::last_user:
//   1 this process leaves, unmaps, closes                 a name nobody uses, unless there are others
//   2 the name is removed if nobody uses it (platform: decided without a race)      nothing
// A last user that was killed leaves the state after 1, its participants dead. Whoever looks at the
// name finds nobody alive before it joins itself, closes what it opened and does 2.
//
// Race story of that look. Two who look at once see each other's opening and fail at 2, so each tries
// again after a random nap; nobody joins what it found dead. Who sees only the dead, and yet cannot
// remove the name for long, has found a segment that is used without taking part (a read-only opener,
// a forked child that has done nothing yet), and joins it.
module;

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define IPCPP_THREAD_SANITIZER
#endif
#endif

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

// How often a look at a name whose users are dead is repeated when the name cannot be removed.
constexpr unsigned most_looks = 60;

// A name or a file's path.
struct locator {
  std::string_view text;
  bool file = false;
  platform::audience who = platform::audience::owner;

  [[nodiscard]] platform::shared_object open(platform::access mode) const {
    return file ? platform::shared_object::open_file(text, mode, who)
                : platform::shared_object::open(text, mode, who);
  }
};

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

// Longer and longer, and never the same for two processes.
void nap(unsigned look) {
  const std::uint64_t most = look < 8 ? 200 : look < 30 ? 1000 : 5000;
  std::this_thread::sleep_for(
      std::chrono::microseconds(50 + platform::fresh_object_id().low % most));
}

// ---- making ----

// Far from where systems put other things, so that others can have the address, too.
#if defined( \
    IPCPP_THREAD_SANITIZER)  // which wants the usual place for itself, and lets few others have any
constexpr std::uintptr_t first_pinned_address = std::uintptr_t{0x7d00} << 32;
constexpr std::uintptr_t pinned_gigabytes = std::uintptr_t{0x100} << 2;
#else
constexpr std::uintptr_t first_pinned_address = std::uintptr_t{0x2000} << 32;
constexpr std::uintptr_t pinned_gigabytes = std::uintptr_t{0x2000} << 2;
#endif
constexpr int pinned_attempts = 6;

[[nodiscard]] platform::mapping map_pinned(platform::shared_object object) {
  std::uint64_t place = object.id().low;
  for (int attempt = 0; attempt < pinned_attempts;
       ++attempt, place = place * 0x9e3779b97f4a7c15U + 1) {
    const std::uintptr_t gigabyte = (place >> 20) % pinned_gigabytes;
    try {
      return platform::mapping::map(
          object.again(), reinterpret_cast<void*>(first_pinned_address + (gigabyte << 30)));
    } catch (const error& e) {
      if (e.kind() != errc::no_address_space) throw;
    }
  }
  return platform::mapping::map(std::move(object));
}

[[nodiscard]] std::unique_ptr<segment_state> make_state(const segment_options& options,
                                                        std::string directory_of_file = {}) {
  const platform::audience who = audience_of(options.permissions);
  const bool file = !directory_of_file.empty();
  platform::shared_object object = platform::shared_object::create(
      {.capacity_bytes = options.max_size, .who = who, .directory = std::move(directory_of_file)});
  auto state = std::make_unique<segment_state>(
      options.pinned ? map_pinned(std::move(object)) : platform::mapping::map(std::move(object)));
  state->who = who;
  if (options.huge_pages) (void)state->place.prefer_huge_pages();
  state->memory.emplace(ipcpp::heap::create(state->source, {.participants = options.participants,
                                                            .pinned = options.pinned,
                                                            .on_misuse = options.on_misuse}));
  auto* const header = ::new (static_cast<void*>(&state->header())) segment_header{};
  header->version = segment_version;
  header->lifetime =
      static_cast<std::uint32_t>(file ? ipcpp::lifetime::persistent : options.lifetime);
  header->pinned_at = options.pinned ? reinterpret_cast<std::uintptr_t>(state->place.base()) : 0;
  header->participants_at = heap_source_at + participants_at(state->memory->header());
  header->directory_at = directory::make(state->place, *state->memory);
  header->at_least = header->directory_at + sizeof(directory_root);
  header->magic = segment_magic;
  state->names = directory(state->place, &*state->memory, state->naming, header->directory_at,
                           state->describe());
  return state;
}

// ---- opening ----

// The header as it is now; what was there when it was made can be looked at afterwards. Throws damaged, wrong_layout.
[[nodiscard]] segment_header checked_header(platform::mapping& place, const std::string& name) {
  segment_header found;
  const std::size_t backed = place.backed_bytes();
  const auto refuse_short = [&](std::uint64_t expected) {
    throw error(errc::damaged, name, "at least " + std::to_string(expected) + " bytes",
                std::to_string(backed) + ": it was truncated", "remove it and make a new one");
  };
  if (backed < heap_source_at) refuse_short(heap_source_at);
  std::memcpy(static_cast<void*>(&found), place.base() + segment_header_at, sizeof found);
  if (found.magic != segment_magic)
    throw error(errc::damaged, name, "a segment", "a shared object without a segment's header",
                "open it with what made it, or remove it");
  if (found.version != segment_version)
    throw error(errc::wrong_layout, name, "segment layout " + std::to_string(segment_version),
                std::to_string(found.version), "build all programs with the same ipcpp");
  if (backed < found.at_least || !place.adopt(found.at_least)) refuse_short(found.at_least);
  if (found.participants_at < heap_source_at ||
      found.participants_at > backed - sizeof(segment_header) ||
      found.participants_at % platform::line_stride != 0)
    throw error(errc::damaged, name, "a table of participants inside it",
                "it at byte " + std::to_string(found.participants_at),
                "remove it and make a new one");
  return found;
}

[[nodiscard]] bool anybody_alive(platform::mapping& place, const segment_header& header) {
  const std::uint64_t at = header.participants_at;  // at least a header's length from the end
  if (!place.adopt(at + sizeof(segment_header))) return true;  // damaged: opening it says so
  const participants all = participants::attach(place, at);
  const std::size_t bytes = participants::bytes_needed(all.limits());
  if (bytes > place.backed_bytes() - at || !place.adopt(at + bytes)) return true;
  bool alive = false;
  all.for_each([&](const participant_info& one) { alive |= one.state == vitality::alive; });
  return alive;
}

// nullptr: its last user was killed, and it is to be removed.
[[nodiscard]] segment_state* attach(platform::shared_object object, const locator& where,
                                    const open_options& options, bool last_look) {
  const fork_safe_guard guard(known_lock);
  const platform::access mode = object.mode();
  for (segment_state* s = known; s != nullptr; s = s->next)
    if (s->place.object().id() == object.id() && s->place.object().mode() == mode) {
      ++s->references;
      return s;
    }
  const std::string name =
      object.name().empty() ? "received segment" : "segment '" + object.name() + "'";
  platform::mapping place = platform::mapping::map(object.again());
  const segment_header header = checked_header(place, name);
  if (header.lifetime == static_cast<std::uint32_t>(lifetime::last_user) && !last_look &&
      !object.name().empty() && !anybody_alive(place, header))
    return nullptr;
  if (header.pinned_at != 0 && header.pinned_at != reinterpret_cast<std::uintptr_t>(place.base())) {
    {
      const platform::mapping gone = std::move(place);
    }
    place = platform::mapping::map(std::move(object), reinterpret_cast<void*>(header.pinned_at));
  }
  auto state = std::make_unique<segment_state>(std::move(place));
  state->who = where.who;
  if (options.huge_pages) (void)state->place.prefer_huge_pages();
  if (mode == platform::access::read_write)
    state->memory.emplace(ipcpp::heap::open(state->source, options.on_misuse));
  else
    (void)state->place.adopt(state->place.capacity());
  state->names = directory(state->place, state->memory ? &*state->memory : nullptr, state->naming,
                           header.directory_at, state->describe());
  remember(state.get());
  return state.release();
}

[[noreturn]] void refuse_dead(const locator& where) {
  throw error(errc::not_found, "segment '" + std::string(where.text) + "'", "a segment in use",
              "one whose last user was killed; it is removed now", "create it anew");
}

[[nodiscard]] segment_state* open_state(const locator& where, platform::access mode,
                                        const open_options& options) {
  for (unsigned look = 1;; ++look) {
    platform::shared_object object = where.open(mode);
    const platform::object_id id = object.id();
    if (segment_state* const state =
            attach(std::move(object), where, options, where.file || look >= most_looks);
        state != nullptr)
      return state;
    if (platform::shared_object::remove_if_unused(where.text, where.who, &id)) refuse_dead(where);
    nap(look);
  }
}

// Does the name lead to something that somebody uses, or that is to stay? If not, it is free now.
[[nodiscard]] bool is_taken(const locator& where) {
  for (unsigned look = 1; look < most_looks; ++look) {
    platform::object_id id;
    try {
      const platform::shared_object object = where.open(platform::access::read_write);
      id = object.id();
      platform::mapping place = platform::mapping::map(object.again());
      const segment_header header = checked_header(place, "");
      if (header.lifetime != static_cast<std::uint32_t>(lifetime::last_user) ||
          anybody_alive(place, header))
        return true;
    } catch (const error& e) {
      return e.kind() != errc::not_found;
    }
    if (platform::shared_object::remove_if_unused(where.text, where.who, &id)) return false;
    nap(look);
  }
  return true;
}

[[nodiscard]] segment_state* create_state(const locator& where, const segment_options& options) {
  std::string path;
  std::string directory_of_file;
  if (where.file) {
    path = platform::checked_path(where.text);
    directory_of_file = std::filesystem::path(path).parent_path().generic_string();
  } else {
    platform::check_name(where.text);
  }
  auto state = make_state(options, std::move(directory_of_file));
  for (bool published = false; !published;) {
    try {
      if (where.file)
        state->place.publish_file(path);
      else
        state->place.publish(where.text);
      published = true;
    } catch (const error& e) {
      if (e.kind() != errc::already_exists || where.file || is_taken(where)) throw;
    }
  }
  state->names = directory(state->place, &*state->memory, state->naming,
                           state->header().directory_at, state->describe());
  const fork_safe_guard guard(known_lock);
  remember(state.get());
  return state.release();
}

[[nodiscard]] segment_state* open_or_create_state(const locator& where,
                                                  const segment_options& options) {
  const open_options opening{options.permissions, options.huge_pages, options.on_misuse};
  for (;;) {
    try {
      return open_state(where, platform::access::read_write, opening);
    } catch (const error& e) {
      if (e.kind() != errc::not_found) throw;
    }
    try {
      return create_state(where, options);
    } catch (const error& e) {
      if (e.kind() != errc::already_exists) throw;
    }
  }
}

}  // namespace

segment segment::create(std::string_view name, const segment_options& options) {
  return segment(create_state({name, false, audience_of(options.permissions)}, options));
}

segment segment::open(std::string_view name, const open_options& options) {
  return segment(open_state({name, false, audience_of(options.permissions)},
                            platform::access::read_write, options));
}

segment segment::open_read_only(std::string_view name, const open_options& options) {
  return segment(open_state({name, false, audience_of(options.permissions)},
                            platform::access::read_only, options));
}

segment segment::open_or_create(std::string_view name, const segment_options& options) {
  return segment(open_or_create_state({name, false, audience_of(options.permissions)}, options));
}

bool segment::remove(std::string_view name, const open_options& options) {
  return platform::shared_object::remove(name, audience_of(options.permissions));
}

segment segment::create_file(std::string_view path, const segment_options& options) {
  return segment(create_state({path, true, audience_of(options.permissions)}, options));
}

segment segment::open_file(std::string_view path, const open_options& options) {
  return segment(open_state({path, true, audience_of(options.permissions)},
                            platform::access::read_write, options));
}

segment segment::open_file_read_only(std::string_view path, const open_options& options) {
  return segment(open_state({path, true, audience_of(options.permissions)},
                            platform::access::read_only, options));
}

segment segment::open_or_create_file(std::string_view path, const segment_options& options) {
  return segment(open_or_create_state({path, true, audience_of(options.permissions)}, options));
}

bool segment::remove_file(std::string_view path, const open_options& options) {
  return platform::shared_object::remove_file(path, audience_of(options.permissions));
}

segment segment::anonymous(const segment_options& options) {
  auto state = make_state(options);
  const fork_safe_guard guard(known_lock);
  remember(state.get());
  return segment(state.release());
}

segment segment::from_handle(native_handle_type received, const open_options& options) {
  return segment(attach(platform::shared_object::from_handle(received),
                        {"", false, audience_of(options.permissions)}, options, true));
}

segment segment::receive_handle(native_handle_type socket, const open_options& options) {
  return from_handle(platform::shared_object::receive(socket), options);
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
    // Relaxed: nothing else depends on it.
    const std::uint32_t chosen =
        std::atomic_ref(state_->header().lifetime).load(std::memory_order_relaxed);
    if (chosen == static_cast<std::uint32_t>(ipcpp::lifetime::last_user))
      name = state_->place.object().name();
    delete state_;
  }
  if (name.empty() || name.starts_with('/')) return;
  try {
    (void)platform::shared_object::remove_if_unused(name, who, &id);
  } catch (...) {  // not ours to remove any more
  }
}

}  // namespace ipcpp
