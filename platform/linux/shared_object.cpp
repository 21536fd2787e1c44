// Bodies of shared_object on Linux. The names and their crash story are in posix/name_store.cpp.
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
    struct stat facts{};
    if (!file) return file_facts{};
    if (::fstat(file.get(), &facts) != 0) throw system_error_of(describe(), "look at it", errno);
    return file_facts{facts.st_dev, facts.st_ino};
  };
  anchor_facts_ = facts_of(stored_.anchor);
  memory_facts_ = facts_of(stored_.memory);
}

std::string shared_object::describe() const {
  return name_.empty() ? "unnamed shared object " + id().text() : "shared object '" + name_ + "'";
}

int shared_object::checked(bool memory) const noexcept {
  const bool separate = memory && memory_facts_.inode != 0;
  posix::file_handle& file = separate ? stored_.memory : stored_.anchor;
  const file_facts& expected = separate ? memory_facts_ : anchor_facts_;
  const auto is_it = [&](int descriptor) {
    struct stat now{};
    return ::fstat(descriptor, &now) == 0 && now.st_dev == expected.device &&
           now.st_ino == expected.inode;
  };
  const int mine = file.get();
  if (is_it(mine)) return mine;
  try {
    const std::string path = separate        ? posix::step_path(id(), 0, true)
                             : name_.empty() ? posix::hidden_path(id())
                                             : posix::public_path(name_);
    posix::file_handle again(::open(
        path.c_str(), (mode_ == access::read_write ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW));
    if (!again || !is_it(again.get())) return -1;
    if (!separate && posix::try_lock(again.get(), posix::users_byte, posix::lock_kind::shared) != 0)
      return -1;
    // Of several threads that find it lost, one replaces it.
    return file.replace(mine, again) || is_it(file.get()) ? file.get() : -1;
  } catch (const std::bad_alloc&) {
    return -1;
  }
}

shared_object shared_object::create(const object_options& options) {
  const std::size_t capacity =
      options.capacity_bytes == 0 ? default_capacity() : rounded_capacity(options.capacity_bytes);
  const bool stepped = posix::active_variant().several_objects && options.directory.empty();
  const object_prologue prologue = make_prologue(
      fresh_object_id(), capacity, stepped ? growth::several_objects : growth::one_object,
      stepped ? capacity_unit : 0);
  return shared_object(posix::store_create(prologue, options.who, options.directory), access::read_write, {});
}

void shared_object::publish(std::string_view name) {
  check_name(name);
  posix::store_publish(stored_, name);
  name_ = name;
}

void shared_object::publish_file(std::string_view path) {
  std::string kept = checked_path(path);
  posix::store_publish(stored_, kept);
  name_ = std::move(kept);
}

shared_object shared_object::open_file(std::string_view path, access mode, audience who) {
  std::string kept = checked_path(path);
  posix::stored_object stored = posix::store_open(kept, mode, who);
  return shared_object(std::move(stored), mode, std::move(kept));
}

bool shared_object::remove_file(std::string_view path, audience who) {
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
  posix::stored_object stored;
  ssize_t bytes = ::pread(theirs.get(), &stored.prologue, sizeof stored.prologue, 0);
  if (bytes < 0) throw system_error_of(object, "read its first bytes", errno);
  check_prologue(stored.prologue, static_cast<std::size_t>(bytes), object);
  // A description of our own: locks must not be shared with the sender's.
  posix::file_handle own = posix::reopen(theirs.get(), mode, {});
  if (!own) throw system_error_of(object, "open it through /proc once more", errno);
  const object_id id{stored.prologue.id_high, stored.prologue.id_low};
  if (posix::active_variant().registry_names) {
    stored.anchor =
        posix::file_handle(::open(posix::hidden_path(id).c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
    if (!stored.anchor) throw system_error_of(object, "open its record", errno);
    stored.memory = std::move(own);
  } else {
    stored.anchor = std::move(own);
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
           there.st_dev == anchor_facts_.device && there.st_ino == anchor_facts_.inode;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

shared_object shared_object::again() const {
  const auto opened = [&](bool memory, const std::string& path) {
    const int mine = checked(memory);
    posix::file_handle file = mine < 0 ? posix::file_handle() : posix::reopen(mine, mode_, path);
    if (!file) throw system_error_of(describe(), "open it once more", mine < 0 ? EBADF : errno);
    return file;
  };
  posix::stored_object copy;
  copy.prologue = stored_.prologue;
  copy.hidden = stored_.hidden;
  copy.anchor = opened(false, name_.empty() ? posix::hidden_path(id()) : posix::public_path(name_));
  if (stored_.memory) copy.memory = opened(true, posix::step_path(id(), 0, true));
  if (const int refused =
          posix::try_lock(copy.anchor.get(), posix::users_byte, posix::lock_kind::shared);
      refused != 0)
    throw system_error_of(describe(), "lock it", refused);
  return shared_object(std::move(copy), mode_, name_);
}

}  // namespace ipcpp::platform
