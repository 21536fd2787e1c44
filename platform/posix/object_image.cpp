// Bodies of ipcpp.platform:object_image on POSIX systems: the object's files, read with pread.
//
// No lock is taken, the users byte included: an outsider must not keep the last user from removing
// the name. A file that is removed or truncated meanwhile stays readable, or reads short.
module;

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>
#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

module ipcpp.platform;

namespace ipcpp::platform {

using posix::file_handle;

namespace {

constexpr std::string_view public_prefix = "ipcpp.";
constexpr std::string_view hidden_prefix = ".ipcpp.";
constexpr std::uint32_t most_steps = 48;

[[nodiscard]] file_handle open_for_looking(const std::string& path) noexcept {
  return file_handle(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
}

[[noreturn]] void refuse(const std::string& object, const std::string& path, int code) {
  const std::string said = system_message(code);
  if (code == ENOENT || code == ENOTDIR)
    throw error(errc::not_found, object, path, "nothing of that name",
                "`ipcpp ls` lists what there is", code);
  if (code == EACCES || code == EPERM)
    throw error(errc::access_denied, object, "permission to read " + path, said,
                "run as its owner, as a member of its group, or as root", code);
  if (code == ELOOP)
    throw error(errc::damaged, object, "a file", "a symbolic link",
                "remove the link: ipcpp makes none", code);
  if (code == EMFILE || code == ENFILE)
    throw error(errc::limit_reached, object, "a free file descriptor", said,
                "raise the limit on open files (ulimit -n)", code);
  throw system_error_of(object, "open " + path, code);
}

// Everything, or false.
[[nodiscard]] bool read_file(int descriptor, std::uint64_t offset, void* into,
                             std::size_t bytes) noexcept {
  auto* to = static_cast<char*>(into);
  while (bytes > 0) {
    const ssize_t n = ::pread(descriptor, to, bytes, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n == 0) return false;
    if (n < 0) break;
    to += n;
    offset += static_cast<std::uint64_t>(n);
    bytes -= static_cast<std::size_t>(n);
  }
  if (bytes == 0) return true;
  // Systems whose shared memory is no file to read: a mapping for a moment. Such memory cannot be
  // truncated.
  struct stat facts{};
  if (::fstat(descriptor, &facts) != 0 || S_ISREG(facts.st_mode) ||
      offset + bytes > static_cast<std::uint64_t>(facts.st_size))
    return false;
  const std::uint64_t first = offset / page_bytes() * page_bytes();
  const std::size_t length = static_cast<std::size_t>(offset - first) + bytes;
  void* const view =
      ::mmap(nullptr, length, PROT_READ, MAP_SHARED, descriptor, static_cast<off_t>(first));
  if (view == MAP_FAILED) return false;
  std::memcpy(to, static_cast<const char*>(view) + (offset - first), bytes);
  ::munmap(view, length);
  return true;
}

[[nodiscard]] bool parse_id(std::string_view text, object_id& id) noexcept {
  if (text.size() != 26) return false;
  for (const char c : text) {
    const bool letter = c >= 'a' && c <= 'z';
    if (!letter && (c < '2' || c > '7')) return false;
    id.high = (id.high << 5) | (id.low >> 59);
    id.low = (id.low << 5) | static_cast<std::uint64_t>(letter ? c - 'a' : c - '2' + 26);
  }
  return true;
}

// The files of the directory of names, by name.
[[nodiscard]] std::vector<std::string> files() {
  std::vector<std::string> found;
  const std::string place = posix::directory();
  DIR* const listing = ::opendir(place.c_str());
  if (listing == nullptr) refuse("the directory of names", place, errno);
  while (const dirent* entry = ::readdir(listing)) found.emplace_back(entry->d_name);
  ::closedir(listing);
  std::sort(found.begin(), found.end());
  return found;
}

[[nodiscard]] std::uint64_t committed(int descriptor) noexcept {
  struct stat facts{};
  return ::fstat(descriptor, &facts) == 0 ? static_cast<std::uint64_t>(facts.st_blocks) * 512 : 0;
}

}  // namespace

// The anchor carries the locks; step 0 is the anchor itself unless `memory` is there.
struct object_image::source {
  std::string path;
  file_handle anchor;
  file_handle memory;
  std::vector<file_handle> steps;  // from step 1 on
  std::uint64_t first_step = 0;    // 0: one object
  bool copy = false;

  [[nodiscard]] int first() const noexcept { return memory ? memory.get() : anchor.get(); }

  void find_steps(const object_prologue& of) {
    const object_id id{of.id_high, of.id_low};
    if (of.magic != make_prologue(id, 0, of.how, 0).magic) return;
    memory = open_for_looking(posix::step_path(id, 0, true));
    if (of.how != growth::several_objects || of.first_step_bytes == 0 ||
        of.first_step_bytes % capacity_unit != 0)
      return;
    first_step = of.first_step_bytes;
    for (std::uint32_t k = 1; k < most_steps; ++k) {
      file_handle step = open_for_looking(posix::step_path(id, k, static_cast<bool>(memory)));
      if (!step) break;
      steps.push_back(std::move(step));
    }
  }

  [[nodiscard]] bool read(std::uint64_t offset, void* into, std::size_t bytes) const noexcept {
    if (first_step == 0) return read_file(first(), offset, into, bytes);
    auto* to = static_cast<char*>(into);
    while (bytes > 0) {
      // Step k >= 1 is [first * 2^(k-1), first * 2^k), see mapping.
      const auto k = static_cast<std::size_t>(std::bit_width(offset / first_step));
      if (k > steps.size()) return false;
      const std::uint64_t begin = k == 0 ? 0 : first_step << (k - 1);
      const std::uint64_t end = first_step << k;
      const std::size_t n = static_cast<std::size_t>(std::min<std::uint64_t>(bytes, end - offset));
      const int descriptor = k == 0 ? first() : steps[k - 1].get();
      if (!read_file(descriptor, offset - begin, to, n)) return false;
      to += n;
      offset += n;
      bytes -= n;
    }
    return true;
  }
};

object_image::object_image(std::string name, std::unique_ptr<source> from)
    : name_(std::move(name)), from_(std::move(from)) {
  const auto look = [&](int descriptor) {
    prologue_bytes_ = 0;
    prologue_ = {};
    while (prologue_bytes_ < sizeof prologue_ &&
           read_file(descriptor, prologue_bytes_,
                     reinterpret_cast<char*>(&prologue_) + prologue_bytes_, 1))
      ++prologue_bytes_;
  };
  // The usual case first; byte by byte only for what is shorter.
  const auto quick = [&](int descriptor) {
    if (read_file(descriptor, 0, &prologue_, sizeof prologue_))
      prologue_bytes_ = sizeof prologue_;
    else
      look(descriptor);
  };
  quick(from_->anchor.get());
  if (!from_->copy) from_->find_steps(prologue_);
  if (from_->memory) quick(from_->memory.get());
}

object_image::object_image(object_image&&) noexcept = default;
object_image& object_image::operator=(object_image&&) noexcept = default;
object_image::~object_image() = default;

object_image object_image::open(std::string_view name) {
  check_name(name);
  const std::string object = "'" + std::string(name) + "'";
  auto from = std::make_unique<source>();
  from->path = posix::public_path(name);
  from->anchor = open_for_looking(from->path);
  if (!from->anchor) refuse(object, from->path, errno);
  struct stat facts{};
  if (::fstat(from->anchor.get(), &facts) != 0 || !S_ISREG(facts.st_mode))
    throw error(errc::damaged, object, "a file made by ipcpp", "a directory, device or pipe",
                "remove it: " + from->path);
  return object_image(std::string(name), std::move(from));
}

object_image object_image::open_file(const std::string& path) {
  auto from = std::make_unique<source>();
  from->path = path;
  from->anchor = file_handle(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!from->anchor) refuse("'" + path + "'", path, errno);
  struct stat facts{};
  if (::fstat(from->anchor.get(), &facts) != 0 || !S_ISREG(facts.st_mode))
    throw error(errc::damaged, "'" + path + "'", "a file", "a directory, device or pipe",
                "name a file");
  // Whoever uses a file holds its users byte; a copy has neither user nor steps.
  from->copy = posix::find_lock(from->anchor.get(), posix::users_byte) != 0;
  return object_image(path, std::move(from));
}

bool object_image::read(std::uint64_t offset, void* into, std::size_t bytes) const noexcept {
  return offset < largest_capacity && bytes <= largest_capacity && from_->read(offset, into, bytes);
}

object_facts object_image::facts() const {
  object_facts of;
  of.where = from_->path;
  struct stat now{};
  if (::fstat(from_->anchor.get(), &now) == 0) {
    of.owner = now.st_uid;
    of.group = now.st_gid;
    of.mode = now.st_mode & 07777;
    of.changed_seconds = static_cast<std::int64_t>(now.st_mtime);
  }
  struct stat memory{};
  if (::fstat(from_->first(), &memory) == 0)
    of.apparent_bytes = static_cast<std::uint64_t>(memory.st_size);
  of.committed_bytes = committed(from_->anchor.get());
  if (from_->memory) of.committed_bytes += committed(from_->memory.get());
  for (const file_handle& step : from_->steps) {
    struct stat facts{};
    if (::fstat(step.get(), &facts) != 0) continue;
    of.apparent_bytes += static_cast<std::uint64_t>(facts.st_size);
    of.committed_bytes += committed(step.get());
  }
  of.stale = from_->copy;
  of.used = posix::find_lock(from_->anchor.get(), posix::users_byte) == 0;
  return of;
}

life object_image::probe(std::uint32_t slot, const process_identity& /*recorded*/) const noexcept {
  if (from_->copy) return life::dead;
  const int answer = posix::find_lock(from_->anchor.get(), posix::life_byte(slot));
  return answer == ENOENT ? life::dead : life::alive;
}

std::vector<std::string> object_names() {
  std::vector<std::string> names;
  for (const std::string& file : files())
    if (file.starts_with(public_prefix)) names.push_back(file.substr(public_prefix.size()));
  return names;
}

std::vector<object_remains> find_remains() {
  std::vector<object_remains> found;
  for (const std::string& file : files()) {
    object_id id;
    if (!file.starts_with(hidden_prefix) ||
        !parse_id(std::string_view(file).substr(hidden_prefix.size()), id))
      continue;
    const file_handle anchor = open_for_looking(posix::directory() + "/" + file);
    struct stat facts{};
    if (!anchor || ::fstat(anchor.get(), &facts) != 0 || facts.st_nlink != 1 ||
        facts.st_uid != ::geteuid() || posix::find_lock(anchor.get(), posix::users_byte) != ENOENT)
      continue;
    object_remains one{posix::directory() + "/" + file, committed(anchor.get())};
    for (const bool registry : {false, true})
      for (std::uint32_t k = registry ? 0 : 1; k < most_steps; ++k) {
        const file_handle step = open_for_looking(posix::step_path(id, k, registry));
        if (!step) break;
        one.bytes += committed(step.get());
      }
    found.push_back(std::move(one));
  }
  return found;
}

void sweep_remains() noexcept {
  posix::store_sweep_all();
}

std::string place_of_names() {
  return posix::directory();
}

}  // namespace ipcpp::platform
