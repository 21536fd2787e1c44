// Bodies of ipcpp.platform:os_windows: the record that a name stands for.
//
// Publishing, and what others see if the process dies after each step:
//   1 make or find the record    an empty record, which goes with its last handle: nothing
//   2 key: 0, or dead -> ours    the object; and nothing again once its last user is gone, for then
//                                the record is gone too, or leads nowhere while a passer-by has it
// Removing is one step: key -> 0. Whoever has the record open keeps an empty one, to be used again.
//
// Race story. The key is changed by compare-exchange alone, so of those who publish at once one
// wins, and none replaces a key it has not looked at. Nobody brings a dead key back to life: a
// section whose last handle is closed has lost its name, and nobody makes one of that name again.
module;

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#define NOMINMAX 1
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

module ipcpp.platform;

namespace ipcpp::platform::windows {

namespace {

constexpr DWORD record_bytes = 4096;

std::string described(std::string_view name) {
  return "the name of shared object '" + std::string(name) + "'";
}

// CreateFileMapping and OpenFileMapping say "invalid handle" of a name that something else has.
[[noreturn]] void refuse_record(std::string_view name, DWORD code) {
  if (code == ERROR_INVALID_HANDLE)
    throw error(errc::damaged, described(name), "a record made by ipcpp", "another kind of object",
                "end the program that made it", static_cast<int>(code));
  refuse(described(name), "open it", code);
}

std::atomic_ref<std::uint64_t> word(std::uint64_t& key) noexcept {
  static_assert(std::atomic_ref<std::uint64_t>::is_always_lock_free);
  return std::atomic_ref<std::uint64_t>(key);
}

}  // namespace

name_record name_record::find(std::string_view name, access mode, audience who) {
  const bool writable = mode == access::read_write;
  name_record found;
  found.section_ =
      handle(::OpenFileMappingW(FILE_MAP_READ | (writable ? FILE_MAP_WRITE : 0u) | READ_CONTROL,
                                FALSE, kernel_name(name).text()));
  if (!found.section_) {
    const DWORD code = ::GetLastError();
    if (code == ERROR_FILE_NOT_FOUND) return {};
    refuse_record(name, code);
  }
  check_trust(found.section_.get(), described(name), who);
  found.map(described(name), writable);
  return found;
}

name_record name_record::find_or_make(std::string_view name, const security& by, audience who) {
  SECURITY_ATTRIBUTES attributes{sizeof attributes, by.get(), FALSE};
  name_record made;
  made.section_ = handle(::CreateFileMappingW(INVALID_HANDLE_VALUE, &attributes, PAGE_READWRITE, 0,
                                              record_bytes, kernel_name(name).text()));
  if (!made.section_) refuse_record(name, ::GetLastError());
  check_trust(made.section_.get(), described(name), who);
  made.map(described(name), true);
  return made;
}

name_record name_record::again() const {
  name_record copy;
  if (!*this) return copy;
  copy.section_ = duplicate(section_.get());
  copy.map("a name", false);
  return copy;
}

void name_record::map(std::string_view what, bool writable) {
  key_ = static_cast<std::uint64_t*>(::MapViewOfFile(
      section_.get(), FILE_MAP_READ | (writable ? FILE_MAP_WRITE : 0u), 0, 0, record_bytes));
  if (key_ == nullptr) refuse(what, "map it", ::GetLastError());
}

name_record::~name_record() {
  if (key_ != nullptr) ::UnmapViewOfFile(key_);
}

std::uint64_t name_record::key() const noexcept {
  return word(*key_).load(std::memory_order_acquire);  // pairs with replace
}

bool name_record::replace(std::uint64_t seen, std::uint64_t key) noexcept {
  // Release: pairs with key; who finds the key finds a complete object.
  return word(*key_).compare_exchange_strong(seen, key, std::memory_order_acq_rel);
}

void name_record::admit(const security& who) noexcept {
  // Refused when another member of the group made the record: then it is open to the group already.
  if (who) (void)::SetKernelObjectSecurity(section_.get(), DACL_SECURITY_INFORMATION, who.get());
}

}  // namespace ipcpp::platform::windows
