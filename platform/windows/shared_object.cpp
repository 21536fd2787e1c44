// Bodies of shared_object on Windows. The names and their crash story are in name_record.cpp.
//
// Creating: a process that dies at it leaves nothing, for nobody knows the key before it is
// published, and the kernel frees a section with its last handle. Opening and removing: the same,
// one step each.
module;

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#define NOMINMAX 1
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

module ipcpp.platform;

namespace ipcpp::platform {

namespace {

using windows::handle;
using windows::kernel_name;
using windows::name_record;
using windows::refuse;

DWORD view_rights(access mode) noexcept {
  return mode == access::read_write ? FILE_MAP_READ | FILE_MAP_WRITE : FILE_MAP_READ;
}

std::string described(std::string_view name) {
  return "shared object '" + std::string(name) + "'";
}

// A view of a section's beginning, for a moment.
class beginning {
 public:
  beginning(void* section, DWORD rights, std::size_t bytes) noexcept
      : view_(::MapViewOfFile(section, rights, 0, 0, bytes)) {}
  beginning(const beginning&) = delete;
  beginning& operator=(const beginning&) = delete;
  ~beginning() {
    if (view_ != nullptr) ::UnmapViewOfFile(view_);
  }
  [[nodiscard]] void* get() const noexcept { return view_; }
  [[nodiscard]] bool committed() const noexcept {
    MEMORY_BASIC_INFORMATION facts{};
    return ::VirtualQuery(view_, &facts, sizeof facts) != 0 && facts.State == MEM_COMMIT;
  }

 private:
  void* view_;
};

// Does anybody have the object of that key open? Nobody can come in once the answer was no.
bool in_use(std::uint64_t key) noexcept {
  return key != 0 && windows::exists(kernel_name(key, "memory"));
}

// true: the name led to an object, and no longer does. A key that leads nowhere is cleared, too.
bool remove_name(std::string_view name, audience who, bool only_unused) {
  check_name(name);
  name_record record = name_record::find(name, access::read_write, who);
  if (!record) return false;
  for (;;) {
    const std::uint64_t seen = record.key();
    if (seen == 0) return false;
    const bool used = in_use(seen);
    if (used && only_unused) return false;
    if (record.replace(seen, 0)) return used;
  }
}

}  // namespace

std::string shared_object::describe() const {
  return name_.empty() ? "unnamed shared object " + id_.text() : described(name_);
}

namespace {

// A section over a file has no part that is reserved and not yet there, so it could not grow without
// taking the whole capacity from the disk.
[[noreturn]] void refuse_files(std::string_view path) {
  throw error(errc::not_supported, "file '" + std::string(path) + "'",
              "a system where a file can be shared memory that grows", "Windows",
              "use a name instead of a path");
}
[[noreturn]] void refuse_sockets() {
  throw error(errc::not_supported, "a shared object", "a system with Unix sockets", "Windows",
              "pass native_handle() by DuplicateHandle");
}

}  // namespace

void shared_object::publish_file(std::string_view path) {
  refuse_files(path);
}

shared_object shared_object::open_file(std::string_view path, access /*mode*/, audience /*who*/) {
  refuse_files(path);
}

bool shared_object::remove_file(std::string_view path, audience /*who*/) {
  refuse_files(path);
}

void shared_object::send(native_handle_type /*socket*/) const {
  refuse_sockets();
}

shared_object::native_handle_type shared_object::receive(native_handle_type /*socket*/) {
  refuse_sockets();
}

shared_object shared_object::create(const object_options& options) {
  if (!options.directory.empty()) refuse_files(options.directory);
  constexpr std::string_view object = "a new shared object";
  shared_object made;
  made.capacity_ =
      options.capacity_bytes == 0 ? default_capacity() : rounded_capacity(options.capacity_bytes);
  made.who_ = options.who;
  made.security_ = windows::security_for(options.who);
  SECURITY_ATTRIBUTES attributes{sizeof attributes, made.security_.get(), FALSE};
  const std::uint64_t bytes = made.capacity_;
  for (bool taken = true; taken || made.id_.low == 0;) {
    made.id_ = fresh_object_id();
    made.memory_ =
        handle(::CreateFileMappingW(INVALID_HANDLE_VALUE, &attributes, PAGE_READWRITE | SEC_RESERVE,
                                    static_cast<DWORD>(bytes >> 32), static_cast<DWORD>(bytes),
                                    kernel_name(made.id_.low, "memory").text()));
    const DWORD said = ::GetLastError();
    if (!made.memory_) refuse(object, "get its address space", said);
    taken = said == ERROR_ALREADY_EXISTS;
  }
  // Wine forgets a commit that ends where its view ends, so the view is larger than the page.
  const beginning page(made.memory_.get(), view_rights(access::read_write), capacity_unit);
  if (page.get() == nullptr ||
      ::VirtualAlloc(page.get(), sizeof(object_prologue), MEM_COMMIT, PAGE_READWRITE) == nullptr)
    refuse(object, "get its first page", ::GetLastError());
  const object_prologue prologue = make_prologue(made.id_, bytes, growth::one_object, 0);
  std::memcpy(page.get(), &prologue, sizeof prologue);
  return made;
}

void shared_object::publish(std::string_view name) {
  check_name(name);
  std::string kept(name);
  name_record record = name_record::find_or_make(name, security_, who_);
  for (;;) {
    const std::uint64_t seen = record.key();
    if (in_use(seen))
      throw error(errc::already_exists, described(name), "no object of that name in this session",
                  "one", "open it, or choose another name", ERROR_ALREADY_EXISTS);
    record.admit(security_);
    if (record.replace(seen, id_.low)) break;
  }
  record_ = std::move(record);  // of a name given before, this process lets go
  name_ = std::move(kept);
}

shared_object shared_object::open(std::string_view name, access mode, audience who) {
  check_name(name);
  const std::string object = described(name);
  shared_object found;
  found.mode_ = mode;
  found.who_ = who;
  found.name_ = name;
  found.record_ = name_record::find(name, access::read_only, who);
  if (!found.record_) refuse(object, "open it", ERROR_FILE_NOT_FOUND);
  // A name that is being removed or replaced right now is looked up again.
  for (int attempt = 0; attempt < 200; ++attempt) {
    const std::uint64_t key = found.record_.key();
    if (key == 0) break;
    found.memory_ = handle(::OpenFileMappingW(view_rights(mode) | READ_CONTROL, FALSE,
                                              kernel_name(key, "memory").text()));
    if (!found.memory_) {
      const DWORD code = ::GetLastError();
      if (found.record_.key() != key) continue;
      refuse(object, "open it", code);  // not found: its last user is gone
    }
    windows::check_trust(found.memory_.get(), object, who);
    found.read_prologue(object);
    if (found.id_.low != key)
      throw error(errc::damaged, object, "memory of the object the name leads to", "another's",
                  "remove it");
    if (found.record_.key() != key) continue;
    found.security_ = windows::security_like(found.memory_.get());
    return found;
  }
  refuse(object, "open it", ERROR_FILE_NOT_FOUND);
}

void shared_object::read_prologue(std::string_view object) {
  object_prologue found{};
  const beginning page(memory_.get(), view_rights(mode_), sizeof found);
  if (page.get() == nullptr) refuse(object, "map its first page", ::GetLastError());
  const bool committed = page.committed();
  if (committed) std::memcpy(&found, page.get(), sizeof found);
  check_prologue(found, committed ? sizeof found : 0, object);
  if (found.how != growth::one_object)
    throw error(errc::wrong_layout, object, "growth by one object", "by several",
                "build all programs with the same ipcpp");
  id_ = {found.id_high, found.id_low};
  capacity_ = static_cast<std::size_t>(found.capacity_bytes);
}

bool shared_object::remove(std::string_view name, audience who) {
  return remove_name(name, who, false);
}

bool shared_object::remove_if_unused(std::string_view name, audience who,
                                     const object_id* /*only*/) {
  return remove_name(name, who, true);
}

shared_object shared_object::from_handle(native_handle_type received, access mode) {
  constexpr std::string_view object = "a received handle";
  shared_object taken;
  taken.memory_ = handle(received);
  taken.mode_ = mode;
  taken.read_prologue(object);
  // One that was inherited stops here.
  (void)::SetHandleInformation(received, HANDLE_FLAG_INHERIT, 0);
  taken.security_ = windows::security_like(received);
  return taken;
}

bool shared_object::reachable() const noexcept {
  return record_ && record_.key() == id_.low;
}

shared_object shared_object::again() const {
  shared_object copy;
  copy.memory_ = windows::duplicate(memory_.get());
  copy.record_ = record_.again();
  copy.security_ = security_;
  copy.id_ = id_;
  copy.capacity_ = capacity_;
  copy.mode_ = mode_;
  copy.who_ = who_;
  copy.name_ = name_;
  return copy;
}

}  // namespace ipcpp::platform
