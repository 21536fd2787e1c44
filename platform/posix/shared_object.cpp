// Bodies of shared_object on Linux and macOS. The names and their crash story are in posix/name_store.cpp.
module;

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

module ipcpp.platform;

namespace ipcpp::platform {

shared_object::shared_object(posix::stored_object stored, access mode, std::string name)
    : stored_(std::move(stored)), mode_(mode), name_(std::move(name)) {
  remember_files();
}

shared_object::shared_object(shared_object&& other) noexcept
    : stored_(std::move(other.stored_)),
      anchor_facts_(other.anchor_facts_),
      memory_facts_(other.memory_facts_),
      mode_(other.mode_),
      name_(std::move(other.name_)) {
  other.emptied_ = true;
}

shared_object& shared_object::operator=(shared_object&& other) noexcept {
  std::swap(stored_.prologue, other.stored_.prologue);
  std::swap(stored_.anchor, other.stored_.anchor);
  std::swap(stored_.memory, other.stored_.memory);
  std::swap(stored_.hidden, other.stored_.hidden);
  std::swap(anchor_facts_, other.anchor_facts_);
  std::swap(memory_facts_, other.memory_facts_);
  std::swap(mode_, other.mode_);
  std::swap(name_, other.name_);
  std::swap(emptied_, other.emptied_);
  return *this;
}

shared_object::~shared_object() {
  if (emptied_) return;
  // A number that somebody closed and reused is not ours to close.
  if (checked(false) < 0) (void)stored_.anchor.release();
  if (stored_.memory && checked(true) < 0) (void)stored_.memory.release();
  const bool hidden = stored_.hidden;
  const object_id mine = id();
  stored_.anchor = {};
  stored_.memory = {};
  if (hidden) posix::store_sweep(mine);
}

void shared_object::remember_files() {
  const auto facts_of = [&](const posix::file_handle& file) {
    posix::file_facts facts;
    if (file && !posix::facts_of(file.get(), facts))
      throw system_error_of(describe(), "look at it", errno);
    return facts;
  };
  anchor_facts_ = facts_of(stored_.anchor);
  memory_facts_ = facts_of(stored_.memory);
}

std::string shared_object::describe() const {
  return name_.empty() ? "unnamed shared object " + id().text() : "shared object '" + name_ + "'";
}

int shared_object::checked(bool memory) const noexcept {
  const bool separate = memory && stored_.memory;
  posix::file_handle& file = separate ? stored_.memory : stored_.anchor;
  const posix::file_facts& expected = separate ? memory_facts_ : anchor_facts_;
  const auto is_it = [&](int descriptor) {
    posix::file_facts now;
    return posix::facts_of(descriptor, now) && now == expected;
  };
  const int mine = file.get();
  if (is_it(mine)) return mine;
  try {
    const int flags = mode_ == access::read_write ? O_RDWR : O_RDONLY;
    posix::file_handle again;
    if (separate) {
      again = posix::open_memory(id(), 0, flags, 0);
    } else {
      const std::string path = name_.empty() ? posix::hidden_path(id()) : posix::public_path(name_);
      again = posix::file_handle(::open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW));
    }
    if (!again || !is_it(again.get())) return -1;
    if (!separate && posix::try_lock(again.get(), posix::users_byte, posix::lock_kind::shared) != 0)
      return -1;
    // Of several threads that find it lost, one replaces it.
    return file.replace(mine, again) || is_it(file.get()) ? file.get() : -1;
  } catch (const std::bad_alloc&) {
    return -1;
  }
}

namespace {

void check_files(std::string_view path) {
  if (posix::files_can_be_objects()) return;
  throw error(errc::not_supported, "file '" + std::string(path) + "'",
              "a system where a file can be shared memory that grows", "macOS",
              "use a name instead of a path");
}

}  // namespace

shared_object shared_object::create(const object_options& options) {
  if (!options.directory.empty()) check_files(options.directory);
  const std::size_t capacity =
      options.capacity_bytes == 0 ? default_capacity() : rounded_capacity(options.capacity_bytes);
  const bool stepped = posix::active_variant().several_objects && options.directory.empty();
  const object_prologue prologue = make_prologue(
      fresh_object_id(), capacity, stepped ? growth::several_objects : growth::one_object,
      stepped ? capacity_unit : 0);
  return shared_object(posix::store_create(prologue, options.who, options.directory),
                       access::read_write, {});
}

void shared_object::publish(std::string_view name) {
  check_name(name);
  posix::store_publish(stored_, name);
  name_ = name;
}

void shared_object::publish_file(std::string_view path) {
  check_files(path);
  std::string kept = checked_path(path);
  posix::store_publish(stored_, kept);
  name_ = std::move(kept);
}

shared_object shared_object::open_file(std::string_view path, access mode, audience who) {
  check_files(path);
  std::string kept = checked_path(path);
  posix::stored_object stored = posix::store_open(kept, mode, who);
  return shared_object(std::move(stored), mode, std::move(kept));
}

bool shared_object::remove_file(std::string_view path, audience who) {
  check_files(path);
  return posix::store_remove(checked_path(path), who, false);
}

shared_object shared_object::open(std::string_view name, access mode, audience who) {
  check_name(name);
  return shared_object(posix::store_open(name, mode, who), mode, std::string(name));
}

bool shared_object::remove(std::string_view name, audience who) {
  check_name(name);
  return posix::store_remove(name, who, false);
}

bool shared_object::remove_if_unused(std::string_view name, audience who, const object_id* only) {
  check_name(name);
  return posix::store_remove(name, who, true, only);
}

shared_object shared_object::from_handle(native_handle_type received, access mode) {
  const posix::file_handle theirs(received);
  const std::string object = "received descriptor " + std::to_string(received);
  const bool registry = posix::active_variant().registry_names;
  posix::stored_object stored;
  const std::int64_t bytes =
      registry ? posix::read_memory_prologue(theirs.get(), stored.prologue)
               : ::pread(theirs.get(), &stored.prologue, sizeof stored.prologue, 0);
  if (bytes < 0) throw system_error_of(object, "read its first bytes", errno);
  check_prologue(stored.prologue, static_cast<std::size_t>(bytes), object);
  // Descriptions of our own: locks must not be shared with the sender's.
  const object_id id{stored.prologue.id_high, stored.prologue.id_low};
  if (registry) {
    stored.memory = posix::reopen_memory(theirs.get(), mode, id);
    if (!stored.memory) throw system_error_of(object, "open it once more", errno);
    stored.anchor =
        posix::file_handle(::open(posix::hidden_path(id).c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
    if (!stored.anchor) throw system_error_of(object, "open its record", errno);
  } else {
    stored.anchor = posix::reopen(theirs.get(), mode, {});
    if (!stored.anchor) throw system_error_of(object, "open it through /proc once more", errno);
  }
  stored.hidden = stored.prologue.how == growth::several_objects || stored.memory;
  if (const int refused =
          posix::try_lock(stored.anchor.get(), posix::users_byte, posix::lock_kind::shared);
      refused != 0)
    throw system_error_of(object, "lock it", refused);
  return shared_object(std::move(stored), mode, {});
}

void shared_object::send(int socket) const {
  const int mine = checked(true);
  if (mine < 0) throw system_error_of(describe(), "find its own descriptor", EBADF);
  if (const int refused = posix::send_descriptor(socket, mine); refused != 0)
    throw system_error_of(describe(), "send it over a socket", refused);
}

int shared_object::receive(int socket) {
  int received = -1;
  const int refused = posix::receive_descriptor(socket, received);
  if (refused == ENOMSG)
    throw error(errc::not_found, "a socket", "a shared object sent by ipcpp",
                "other data, or the end", "send one with segment::send_handle", refused);
  if (refused != 0) throw system_error_of("a socket", "receive a shared object", refused);
  return received;
}

bool shared_object::reachable() const noexcept {
  try {
    struct stat there{};
    return !name_.empty() && ::stat(posix::public_path(name_).c_str(), &there) == 0 &&
           posix::file_facts{static_cast<std::uint64_t>(there.st_dev), there.st_ino} ==
               anchor_facts_;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

shared_object shared_object::again() const {
  const auto opened = [&](posix::file_handle file, int mine) {
    if (!file) throw system_error_of(describe(), "open it once more", mine < 0 ? EBADF : errno);
    return file;
  };
  posix::stored_object copy;
  copy.prologue = stored_.prologue;
  copy.hidden = stored_.hidden;
  // The hidden name stays as long as anybody uses the object, the public one may go any time.
  const std::string path =
      name_.empty() || stored_.hidden ? posix::hidden_path(id()) : posix::public_path(name_);
  const int anchor = checked(false);
  copy.anchor =
      opened(anchor < 0 ? posix::file_handle() : posix::reopen(anchor, mode_, path), anchor);
  if (stored_.memory) {
    const int memory = checked(true);
    copy.memory = opened(
        memory < 0 ? posix::file_handle() : posix::reopen_memory(memory, mode_, id()), memory);
  }
  if (const int refused =
          posix::try_lock(copy.anchor.get(), posix::users_byte, posix::lock_kind::shared);
      refused != 0)
    throw system_error_of(describe(), "lock it", refused);
  return shared_object(std::move(copy), mode_, name_);
}

}  // namespace ipcpp::platform
