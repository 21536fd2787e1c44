// Bodies of ipcpp.platform:object_image on Windows: a read-only view of the section.
//
// Looking keeps the section alive for as long as the image lives, which is an instant: with its last
// user's end the object goes all the same. Copies in files are read like any file.
module;

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#define NOMINMAX 1
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#include <winternl.h>

module ipcpp.platform;

namespace ipcpp::platform {

using windows::handle;
using windows::kernel_name;
using windows::name_record;

namespace {

constexpr std::string_view public_prefix = "ipcpp.name.";

// Of this session's namespace, where Local\ leads.
[[nodiscard]] std::wstring directory_of_names() {
  DWORD session = 0;
  if (::ProcessIdToSessionId(::GetCurrentProcessId(), &session) == FALSE || session == 0)
    return L"\\BaseNamedObjects";
  return L"\\Sessions\\" + std::to_wstring(session) + L"\\BaseNamedObjects";
}

// Documented, but in no import library.
struct directory_functions {
  using open_function = NTSTATUS(NTAPI*)(HANDLE*, ACCESS_MASK, OBJECT_ATTRIBUTES*);
  using query_function = NTSTATUS(NTAPI*)(HANDLE, void*, ULONG, BOOLEAN, BOOLEAN, ULONG*, ULONG*);
  open_function open = nullptr;
  query_function query = nullptr;

  directory_functions() noexcept {
    const HMODULE library = ::GetModuleHandleW(L"ntdll.dll");
    if (library == nullptr) return;
    const auto found = [&](const char* name) {
      return reinterpret_cast<void*>(::GetProcAddress(library, name));
    };
    open = reinterpret_cast<open_function>(found("NtOpenDirectoryObject"));
    query = reinterpret_cast<query_function>(found("NtQueryDirectoryObject"));
  }
};

struct directory_entry {  // OBJECT_DIRECTORY_INFORMATION
  UNICODE_STRING name;
  UNICODE_STRING kind;
};

}  // namespace

struct object_image::source {
  handle section;
  const std::byte* view = nullptr;
  std::uint64_t bytes = 0;
  std::uint64_t key = 0;
  std::string path;  // of a copy
  mutable std::ifstream file;

  source() = default;
  source(const source&) = delete;
  source& operator=(const source&) = delete;
  ~source() {
    if (view != nullptr) ::UnmapViewOfFile(view);
  }

  [[nodiscard]] bool read(std::uint64_t offset, void* into, std::size_t n) const noexcept {
    if (offset > bytes || n > bytes - offset) return false;
    auto* to = static_cast<std::byte*>(into);
    if (view == nullptr) {
      file.clear();
      file.seekg(static_cast<std::streamoff>(offset));
      file.read(reinterpret_cast<char*>(to), static_cast<std::streamsize>(n));
      return static_cast<bool>(file);
    }
    while (n > 0) {
      MEMORY_BASIC_INFORMATION facts{};
      const std::byte* const at = view + offset;
      if (::VirtualQuery(at, &facts, sizeof facts) == 0) return false;
      const auto* const end = static_cast<const std::byte*>(facts.BaseAddress) + facts.RegionSize;
      const std::size_t part = std::min(n, static_cast<std::size_t>(end - at));
      if (facts.State == MEM_COMMIT)
        std::memcpy(to, at, part);
      else
        std::memset(to, 0, part);
      to += part;
      offset += part;
      n -= part;
    }
    return true;
  }
};

object_image::object_image(std::string name, std::unique_ptr<source> from)
    : name_(std::move(name)), from_(std::move(from)) {
  prologue_bytes_ =
      static_cast<std::size_t>(std::min<std::uint64_t>(sizeof prologue_, from_->bytes));
  if (!from_->read(0, &prologue_, prologue_bytes_)) prologue_bytes_ = 0;
}

object_image::object_image(object_image&&) noexcept = default;
object_image& object_image::operator=(object_image&&) noexcept = default;
object_image::~object_image() = default;

object_image object_image::open(std::string_view name) {
  check_name(name);
  const std::string object = "'" + std::string(name) + "'";
  const auto none = [&] {
    throw error(errc::not_found, object, "an object of that name in this session", "none",
                "`ipcpp ls` lists what there is", ERROR_FILE_NOT_FOUND);
  };
  const name_record record = name_record::find(name, access::read_only, audience::group);
  if (!record) none();
  auto from = std::make_unique<source>();
  from->key = record.key();
  if (from->key == 0) none();
  from->section =
      handle(::OpenFileMappingW(FILE_MAP_READ, FALSE, kernel_name(from->key, "memory").text()));
  if (!from->section) {
    const DWORD code = ::GetLastError();
    if (code == ERROR_FILE_NOT_FOUND) none();
    windows::refuse(object, "open it", code);
  }
  from->view =
      static_cast<const std::byte*>(::MapViewOfFile(from->section.get(), FILE_MAP_READ, 0, 0, 0));
  if (from->view == nullptr) windows::refuse(object, "map it", ::GetLastError());
  MEMORY_BASIC_INFORMATION facts{};
  const std::byte* at = from->view;
  while (::VirtualQuery(at, &facts, sizeof facts) != 0 && facts.AllocationBase == from->view)
    at = static_cast<const std::byte*>(facts.BaseAddress) + facts.RegionSize;
  from->bytes = static_cast<std::uint64_t>(at - from->view);
  return object_image(std::string(name), std::move(from));
}

object_image object_image::open_file(const std::string& path) {
  auto from = std::make_unique<source>();
  from->path = path;
  from->file.open(path, std::ios::binary | std::ios::ate);
  if (!from->file)
    throw error(errc::not_found, "'" + path + "'", "a file", "none that can be opened",
                "name a file");
  from->bytes = static_cast<std::uint64_t>(from->file.tellg());
  return object_image(path, std::move(from));
}

bool object_image::read(std::uint64_t offset, void* into, std::size_t bytes) const noexcept {
  return from_->read(offset, into, bytes);
}

object_facts object_image::facts() const {
  object_facts of;
  of.apparent_bytes = from_->bytes;
  if (from_->view == nullptr) {
    of.where = from_->path;
    of.committed_bytes = from_->bytes;
    of.stale = true;
    return of;
  }
  of.where = "Local\\ipcpp.name." + name_;
  of.used = true;  // or it would not be there
  MEMORY_BASIC_INFORMATION facts{};
  const std::byte* at = from_->view;
  while (::VirtualQuery(at, &facts, sizeof facts) != 0 && facts.AllocationBase == from_->view) {
    if (facts.State == MEM_COMMIT) of.committed_bytes += facts.RegionSize;
    at = static_cast<const std::byte*>(facts.BaseAddress) + facts.RegionSize;
  }
  return of;
}

life object_image::probe(std::uint32_t slot, const process_identity& /*recorded*/) const noexcept {
  if (from_->view == nullptr) return life::dead;
  return windows::exists(kernel_name(from_->key, "life", slot)) ? life::alive : life::dead;
}

std::vector<std::string> object_names() {
  const directory_functions functions;
  if (functions.open == nullptr || functions.query == nullptr)
    throw error(errc::not_supported, "the names of this session", "a system that lists them",
                "none", "name the segment");
  std::wstring path = directory_of_names();
  UNICODE_STRING text{};
  text.Buffer = path.data();
  text.Length = static_cast<USHORT>(path.size() * sizeof(wchar_t));
  text.MaximumLength = text.Length;
  OBJECT_ATTRIBUTES attributes{};
  attributes.Length = sizeof attributes;
  attributes.ObjectName = &text;
  HANDLE opened = nullptr;
  constexpr ACCESS_MASK query_access = 1;  // DIRECTORY_QUERY
  if (functions.open(&opened, query_access, &attributes) < 0)
    throw error(errc::access_denied, "the names of this session", "permission to list them", "none",
                "run in the session of the programs");
  const handle directory(opened);
  std::vector<std::string> names;
  alignas(directory_entry) std::byte buffer[4096];
  ULONG context = 0;
  ULONG used = 0;
  for (BOOLEAN first = TRUE;
       functions.query(directory.get(), buffer, sizeof buffer, TRUE, first, &context, &used) >= 0;
       first = FALSE) {
    const auto& entry = *reinterpret_cast<const directory_entry*>(buffer);
    std::string name;
    for (USHORT i = 0; i < entry.name.Length / sizeof(wchar_t); ++i)
      name += static_cast<char>(entry.name.Buffer[i]);  // ours are ASCII
    if (!name.starts_with(public_prefix)) continue;
    name.erase(0, public_prefix.size());
    // A record alone leads nowhere.
    try {
      const name_record record = name_record::find(name, access::read_only, audience::group);
      if (record && record.key() != 0 && windows::exists(kernel_name(record.key(), "memory")))
        names.push_back(name);
    } catch (const error&) {
      names.push_back(name);
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<object_remains> find_remains() {
  return {};  // the system leaves nothing
}
void sweep_remains() noexcept {}

std::string place_of_names() {
  return "this session";
}

}  // namespace ipcpp::platform
