// Bodies of ipcpp.platform:posix: how a name comes to lead to an object, and how it goes.
//
// Creating, the usual way (Linux, a file system with O_TMPFILE, one file per object):
//   1 open O_TMPFILE         killed after: the kernel frees it
//   2 memory, prologue       the same
//   3 linkat to the name     one step; the loser of a race gets EEXIST
// Creating with a hidden name (no O_TMPFILE, registry names, or several files per object):
//   1 create .ipcpp.<id>     killed after: an anchor that nobody uses; a sweep removes it
//   2 lock its users byte    a sweep between 1 and 2 has the byte, or has removed the name: start
//                            over with another id
//   3 memory, prologue       killed after: a sweep goes from the id to every file and removes it
//   4 link the public name   one step; the hidden name stays as long as the anchor
// Removing: unlink the public name (one step), then sweep. Killed between: the next sweep of anyone
// finds it.
// A reboot takes memory, and may leave names (where they are on a disk and it is not): a public name
// whose memory is missing. Nothing else looks like it, for memory is made before the name and goes
// after it. Whoever opens or wants such a name removes it, like any other.
// Sweeping holds the users byte exclusively, so nobody can come in meanwhile: whoever opens takes
// the byte shared first and then checks that the name still leads to what it opened. The hidden name
// goes last, so a sweep that dies is repeated from the top.
module;

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <string_view>
#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

module ipcpp.platform;

namespace ipcpp::platform::posix {

namespace {

constexpr std::uint32_t max_steps = 48;
constexpr std::string_view hidden_prefix = ".ipcpp.";
constexpr std::size_t id_characters = 26;

std::string described(std::string_view name) {
  return "shared object '" + std::string(name) + "'";
}

[[noreturn]] void refuse(std::string_view object, std::string_view attempted, int code) {
  if (code == ENOMEM || code == ENOSPC || code == EDQUOT) throw std::bad_alloc();
  const std::string said = system_message(code);
  if (code == ENOENT)
    throw error(errc::not_found, object, "an object of that name in " + directory(), "none",
                "create it first, or start the program that does", code);
  if (code == EACCES || code == EPERM)
    throw error(errc::access_denied, object, "permission to " + std::string(attempted), said,
                "run as its owner, or have it created for a group", code);
  if (code == ELOOP)
    throw error(errc::access_denied, object, "a file", "a symbolic link",
                "remove the link: ipcpp makes none", code);
  if (code == EISDIR)
    throw error(errc::damaged, object, "a file made by ipcpp", "a directory", "remove it", code);
  if (code == EMFILE || code == ENFILE)
    throw error(errc::limit_reached, object, "a free file descriptor to " + std::string(attempted),
                said, "raise the limit on open files (ulimit -n)", code);
  throw system_error_of(object, attempted, code);
}

unsigned permissions_of(audience who) noexcept {
  return who == audience::group ? 0660u : 0600u;
}

// Only our own, or what a group's members agreed to share.
void check_trust(int descriptor, std::string_view object, audience who) {
  struct stat facts{};
  if (::fstat(descriptor, &facts) != 0) refuse(object, "look at it", errno);
  // macOS does not say what kind of thing memory is.
  if ((facts.st_mode & S_IFMT) != 0 && !S_ISREG(facts.st_mode))
    throw error(errc::damaged, object, "a file made by ipcpp", "a directory, device or pipe",
                "remove it");
  const bool ours = facts.st_uid == ::geteuid();
  if (!ours && who != audience::group)
    throw error(errc::access_denied, object,
                "user " + std::to_string(::geteuid()) + " as its owner",
                "user " + std::to_string(facts.st_uid),
                "ask for audience::group if it is meant to be shared");
  if ((facts.st_mode & S_IWOTH) != 0)
    throw error(errc::access_denied, object, "permissions for its owner or group only",
                "a file anybody may write", "remove it: ipcpp makes none like it");
}

object_prologue read_prologue(int descriptor, std::string_view object) {
  object_prologue found{};
  std::size_t bytes = 0;
  while (bytes < sizeof found) {
    const ssize_t n = ::pread(descriptor, reinterpret_cast<char*>(&found) + bytes,
                              sizeof found - bytes, static_cast<off_t>(bytes));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) refuse(object, "read its first bytes", errno);
    if (n == 0) break;
    bytes += static_cast<std::size_t>(n);
  }
  check_prologue(found, bytes, object);
  return found;
}

int write_prologue(int descriptor, const object_prologue& prologue) noexcept {
  std::size_t bytes = 0;
  while (bytes < sizeof prologue) {
    const ssize_t n = ::pwrite(descriptor, reinterpret_cast<const char*>(&prologue) + bytes,
                               sizeof prologue - bytes, static_cast<off_t>(bytes));
    if (n < 0 && errno != EINTR) return errno;
    if (n > 0) bytes += static_cast<std::size_t>(n);
  }
  return 0;
}

// Memory is written through a mapping: it may be nothing that can be written to.
int write_memory_prologue(int descriptor, const object_prologue& prologue) noexcept {
  void* const page =
      ::mmap(nullptr, page_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (page == MAP_FAILED) return errno;
  std::memcpy(page, &prologue, sizeof prologue);
  ::munmap(page, page_bytes());
  return 0;
}

// Gives a file that holds its own memory its permissions (whatever the umask), its first page and
// its prologue.
int furnish_file(int descriptor, const object_prologue& prologue, unsigned permissions) noexcept {
  const std::uint64_t bytes = prologue.first_step_bytes;
  if (const int refused = give_size(descriptor, bytes, permissions); refused != 0) return refused;
  if (const int refused = allocate_range(descriptor, 0, page_bytes()); refused != 0) return refused;
  return write_prologue(descriptor, prologue);
}

// The same for memory and its record. The record is small: no page is claimed for it beyond what the
// write takes.
int furnish_memory(const stored_object& made, unsigned permissions) noexcept {
  const object_prologue& prologue = made.prologue;
  if (exceeds_file_limit(sizeof prologue)) return EFBIG;
  if (::fchmod(made.anchor.get(), static_cast<mode_t>(permissions)) != 0) return errno;
  if (const int refused = write_prologue(made.anchor.get(), prologue); refused != 0) return refused;
  const int memory = made.memory.get();
  if (const int refused = give_size(memory, prologue.first_step_bytes, permissions); refused != 0)
    return refused;
  if (const int refused = allocate_range(memory, 0, page_bytes()); refused != 0) return refused;
  // On BSDs a new file gets its directory's group: the record is to have that of the memory.
  struct stat of_memory{};
  struct stat of_record{};
  if (::fstat(memory, &of_memory) != 0 || ::fstat(made.anchor.get(), &of_record) != 0) return errno;
  if (of_memory.st_gid != of_record.st_gid &&
      ::fchown(made.anchor.get(), static_cast<uid_t>(-1), of_memory.st_gid) != 0)
    return errno;
  return write_memory_prologue(memory, prologue);
}

object_id id_of(const object_prologue& prologue) noexcept {
  return {prologue.id_high, prologue.id_low};
}

// Steps 1 and 2 of creating with a hidden name. Empty and errno on refusal; EAGAIN: a sweep was
// faster.
file_handle create_hidden_anchor(const std::string& path) noexcept {
  file_handle anchor(
      ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!anchor) return {};
  struct stat facts{};
  if (const int refused = try_lock(anchor.get(), users_byte, lock_kind::shared); refused != 0) {
    errno = refused;
    return {};
  }
  if (::fstat(anchor.get(), &facts) != 0 || facts.st_nlink == 0) {
    errno = EAGAIN;
    return {};
  }
  return anchor;
}

stored_object create_hidden(object_prologue prologue, unsigned permissions, bool registry_names) {
  stored_object made;
  made.hidden = true;
  made.anchor = create_hidden_anchor(hidden_path(id_of(prologue)));
  // A sweep may take a name for a leftover before its creator has locked it: another name, then.
  for (int attempt = 0; !made.anchor && errno == EAGAIN && attempt < 1000; ++attempt) {
    const object_id other = fresh_object_id();
    prologue.id_high = other.high;
    prologue.id_low = other.low;
    made.anchor = create_hidden_anchor(hidden_path(other));
  }
  if (!made.anchor) refuse("a new shared object", "create its file in " + directory(), errno);
  made.prologue = prologue;
  const object_id id = id_of(prologue);
  int refused = 0;
  if (registry_names) {
    made.memory = open_memory(id, 0, O_RDWR | O_CREAT | O_EXCL, permissions);
    refused = made.memory ? furnish_memory(made, permissions) : errno;
  } else {
    refused = furnish_file(made.anchor.get(), prologue, permissions);
  }
  if (refused == 0) return made;
  made = {};  // lets the users byte go
  store_sweep(id);
  refuse("a new shared object", "furnish its file in " + directory(), refused);
}

// Is there anything of growth step `step`?
bool step_exists(object_id id, std::uint32_t step, bool registry_names) {
  const file_handle found = open_step(id, step, registry_names, O_RDONLY, 0);
  return found || errno != ENOENT;
}

void remove_step(object_id id, std::uint32_t step, bool registry_names) {
  if (registry_names) {
    (void)remove_memory(id, step);
  } else {
    ::unlink(step_path(id, step, false).c_str());
  }
}

// Does this name lead to a record that has lost its memory in a reboot? Then it is removed.
bool removed_leftover(std::string_view name, audience who) {
  if (!active_variant().registry_names || name.starts_with('/')) return false;
  const file_handle anchor(
      ::open(public_path(name).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  object_prologue found{};
  if (!anchor || ::pread(anchor.get(), &found, sizeof found, 0) != ssize_t{sizeof found})
    return false;
  const object_id id = id_of(found);
  if (step_exists(id, 0, true)) return false;
  return store_remove(name, who, true, &id);
}

}  // namespace

std::string directory() {
  const char* chosen = trusted_environment("IPCPP_DIRECTORY");
  return chosen != nullptr && *chosen != 0 ? chosen : default_directory();
}

std::string public_path(std::string_view name) {
  if (name.starts_with('/')) return std::string(name);
  return directory() + "/ipcpp." + std::string(name);
}

std::string hidden_path(object_id id) {
  return directory() + "/" + std::string(hidden_prefix) + id.text();
}

std::string step_path(object_id id, std::uint32_t step, bool registry_names) {
  return registry_names ? directory() + memory_name(id, step)
                        : hidden_path(id) + "." + std::to_string(step);
}

file_handle open_step(object_id id, std::uint32_t step, bool registry_names, int flags,
                      unsigned permissions) noexcept {
  if (registry_names) return open_memory(id, step, flags, permissions);
  try {
    return file_handle(
        ::open(step_path(id, step, false).c_str(), flags | O_CLOEXEC | O_NOFOLLOW, permissions));
  } catch (const std::bad_alloc&) {
    errno = ENOMEM;
    return {};
  }
}

std::string memory_name(object_id id, std::uint32_t step) {
  const char digits[] = {static_cast<char>('0' + step / 10), static_cast<char>('0' + step % 10), 0};
  return "/i" + id.text() + digits;
}

bool exceeds_file_limit(std::uint64_t end) noexcept {
  struct rlimit limit{};
  return ::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
         end > limit.rlim_cur;
}

std::int64_t read_memory_prologue(int descriptor, object_prologue& into) noexcept {
  struct stat facts{};
  if (::fstat(descriptor, &facts) != 0) return -1;
  if (facts.st_size < off_t{sizeof into}) return facts.st_size < 0 ? 0 : facts.st_size;
  void* const page = ::mmap(nullptr, page_bytes(), PROT_READ, MAP_SHARED, descriptor, 0);
  if (page == MAP_FAILED) return -1;
  std::memcpy(&into, page, sizeof into);
  ::munmap(page, page_bytes());
  return sizeof into;
}

stored_object store_create(const object_prologue& prologue, audience who,
                           const std::string& directory_of_file) {
  const variant kind = active_variant();
  const unsigned permissions = permissions_of(who);
  const bool file = !directory_of_file.empty();
  const std::string place = file ? directory_of_file : directory();
  if (!file && (kind.registry_names || prologue.how == growth::several_objects)) {
    store_sweep_all();
    return create_hidden(prologue, permissions, kind.registry_names);
  }
  stored_object made;
  made.prologue = prologue;
  made.anchor = open_unnamed_file(place);
  if (!made.anchor) {
    const int code = errno;
    if (code == EOPNOTSUPP && !file) return create_hidden(prologue, permissions, false);
    if (code == EOPNOTSUPP)
      throw error(errc::not_supported, "a new file in " + place, "a file system with O_TMPFILE",
                  system_message(code), "put it elsewhere: ext4, xfs, btrfs and tmpfs have it",
                  code);
    if (file && (code == ENOENT || code == ENOTDIR))
      throw error(errc::not_found, "a new file in " + place, "a directory", system_message(code),
                  "make it first", code);
    refuse("a new shared object", "create a file in " + place, code);
  }
  int refused = try_lock(made.anchor.get(), users_byte, lock_kind::shared);
  if (refused == 0) refused = furnish_file(made.anchor.get(), prologue, permissions);
  if (refused != 0) refuse("a new shared object", "furnish its file in " + place, refused);
  return made;
}

void store_publish(const stored_object& object, std::string_view name) {
  const std::string path = public_path(name);
  const auto give = [&] {
    if (!object.hidden) return name_unnamed_file(object.anchor.get(), path);
    return ::link(hidden_path(id_of(object.prologue)).c_str(), path.c_str()) == 0 ? 0 : errno;
  };
  int refused = give();
  if (refused == EEXIST && removed_leftover(name, audience::owner)) refused = give();
  if (refused == EEXIST)
    throw error(
        errc::already_exists, described(name),
        name.starts_with('/') ? "no file there" : "no object of that name in " + directory(), "one",
        "open it, or choose another name", refused);
  if (refused != 0) refuse(described(name), "give it its name", refused);
}

stored_object store_open(std::string_view name, access mode, audience who) {
  const std::string path = public_path(name);
  const std::string object = described(name);
  const int flags =
      (mode == access::read_write ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
  // A name that is being removed or replaced right now is looked up again; who removes it may have
  // been stopped.
  for (int attempt = 0; attempt < 200; ++attempt) {
    stored_object found;
    found.anchor = file_handle(::open(path.c_str(), flags));
    if (!found.anchor) refuse(object, "open it", errno);
    check_trust(found.anchor.get(), object, who);
    const int refused = try_lock(found.anchor.get(), users_byte, lock_kind::shared);
    if (refused != 0 && refused != EAGAIN) refuse(object, "lock it", refused);
    struct stat there{};
    struct stat here{};
    if (refused == 0 && ::stat(path.c_str(), &there) == 0 &&
        ::fstat(found.anchor.get(), &here) == 0 && there.st_dev == here.st_dev &&
        there.st_ino == here.st_ino) {
      found.prologue = read_prologue(found.anchor.get(), object);
      const object_id id = id_of(found.prologue);
      if (name.starts_with('/')) return found;
      found.hidden = here.st_nlink > 1;
      const bool stepped = found.prologue.how == growth::several_objects;
      if (stepped != active_variant().several_objects)
        throw error(errc::wrong_layout, object,
                    stepped ? "growth by one object" : "growth by several objects", "the other way",
                    "give all processes the same IPCPP_PLATFORM_VARIANT");
      if (active_variant().registry_names) {
        found.memory = open_memory(id, 0, mode == access::read_write ? O_RDWR : O_RDONLY, 0);
        if (!found.memory) {
          const int code = errno;
          found = {};  // not a user any more
          if (code == ENOENT) (void)removed_leftover(name, who);
          refuse(object, "open its memory", code);
        }
        check_trust(found.memory.get(), object, who);
        object_prologue again{};
        const std::int64_t bytes = read_memory_prologue(found.memory.get(), again);
        if (bytes < 0) refuse(object, "look at its memory", errno);
        check_prologue(again, static_cast<std::size_t>(bytes), object);
        if (id_of(again) != id)
          throw error(errc::damaged, object, "memory of the same object", "another's", "remove it");
      }
      return found;
    }
    const timespec pause{0, 500'000};
    if (refused == EAGAIN) ::nanosleep(&pause, nullptr);
  }
  throw error(errc::not_found, object, "an object that stays", "one that is being removed",
              "try again later");
}

bool store_remove(std::string_view name, audience who, bool only_unused, const object_id* only) {
  const std::string path = public_path(name);
  const std::string object = described(name);
  for (;;) {
    file_handle anchor(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (!anchor && errno == ENOENT) return false;
    if (!anchor) refuse(object, "open it", errno);
    check_trust(anchor.get(), object, who);
    if (only_unused) {
      const int refused = try_lock(anchor.get(), users_byte, lock_kind::exclusive);
      if (refused == EAGAIN) return false;
      if (refused != 0) refuse(object, "lock it", refused);
      file_handle now(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
      if (!now || !same_file(now.get(), anchor.get())) continue;
    }
    object_prologue
        found{};  // a damaged object may be removed like any other, it just has no files to sweep
    const bool readable = ::pread(anchor.get(), &found, sizeof found, 0) == ssize_t{sizeof found};
    if (only != nullptr && (!readable || id_of(found) != *only)) return false;
    if (::unlink(path.c_str()) != 0) {
      if (errno == ENOENT) continue;
      refuse(object, "remove its name", errno);
    }
    anchor = {};
    if (readable && !name.starts_with('/')) store_sweep(id_of(found));
    return true;
  }
}

void store_sweep(object_id id) noexcept {
  try {
    const std::string hidden = hidden_path(id);
    file_handle anchor(::open(hidden.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (!anchor || try_lock(anchor.get(), users_byte, lock_kind::exclusive) != 0) return;
    struct stat facts{};
    if (::fstat(anchor.get(), &facts) != 0 || facts.st_nlink != 1 || facts.st_uid != ::geteuid())
      return;
    // Steps come into being from the lowest up; going from the highest down, a sweep that dies
    // leaves no gap either.
    const bool registry = active_variant().registry_names;
    std::uint32_t steps = 1;
    while (steps < max_steps && step_exists(id, steps, registry)) ++steps;
    while (--steps > 0) remove_step(id, steps, registry);
    if (registry) remove_step(id, 0, true);
    ::unlink(hidden.c_str());
  } catch (const std::bad_alloc&) {
    // Left for the next sweep.
  }
}

void store_sweep_all() noexcept {
  try {
    DIR* const listing = ::opendir(directory().c_str());
    if (listing == nullptr) return;
    while (const dirent* entry = ::readdir(listing)) {
      const std::string_view file = entry->d_name;
      if (file.size() != hidden_prefix.size() + id_characters || !file.starts_with(hidden_prefix))
        continue;
      object_id id;
      for (const char c : file.substr(hidden_prefix.size())) {
        id.high = (id.high << 5) | (id.low >> 59);
        id.low = (id.low << 5) | static_cast<std::uint64_t>(c >= 'a' ? c - 'a' : c - '2' + 26);
      }
      if (hidden_path(id).ends_with(file)) store_sweep(id);
    }
    ::closedir(listing);
  } catch (const std::bad_alloc&) {
  }
}

file_handle store_open_step(object_id id, std::uint32_t step, std::uint64_t bytes, access mode,
                            bool create, unsigned permissions) noexcept {
  try {
    const int flags = (mode == access::read_write ? O_RDWR : O_RDONLY) | (create ? O_CREAT : 0);
    file_handle file = open_step(id, step, active_variant().registry_names, flags, permissions);
    if (!file) return {};
    // Whoever finds the step empty gives it its one size: the creator may have died before it
    // could.
    struct stat facts{};
    int refused = ::fstat(file.get(), &facts) != 0 ? errno : 0;
    if (refused == 0 && facts.st_size == 0) {
      refused = create ? give_size(file.get(), bytes, permissions) : ENOENT;
    } else if (refused == 0 && static_cast<std::uint64_t>(facts.st_size) != bytes) {
      refused = EBADMSG;  // not our doing
    }
    if (refused == 0) return file;
    errno = refused;
  } catch (const std::bad_alloc&) {
    errno = ENOMEM;
  }
  return {};
}

}  // namespace ipcpp::platform::posix
