// Bodies of mapping on Windows: one reservation, its private page, and growth.
//
// Address space is taken as a placeholder (Windows 10 1803), which is cut to size and then replaced
// piece by piece, so nobody else gets in between. Without placeholders a free place is looked for,
// let go and taken again, which another thread may spoil: then it is looked for once more.
//
// Crash story of growing: VirtualAlloc commits all pages it was asked for or none. What a process
// committed before it died is memory nobody knows of yet, and committing it again is harmless.
module;

#include <cstddef>
#include <cstdint>
#include <new>
#include <string>
#include <string_view>
#include <utility>

#define NOMINMAX 1
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

module ipcpp.platform;

namespace ipcpp::platform {

namespace {

// The private page ends an allocation of its own, and allocations begin at multiples of this.
constexpr std::size_t area_bytes = 64_KiB;

// Not in the import libraries of older kits, and not in older systems.
struct placeholder_functions {
  static constexpr ULONG reserve_flag = 0x40000;
  static constexpr ULONG replace_flag = 0x4000;
  static constexpr ULONG preserve_flag = 0x2;
  using allocate_function = void*(WINAPI*)(HANDLE, void*, SIZE_T, ULONG, ULONG, void*, ULONG);
  using map_function = void*(WINAPI*)(HANDLE, HANDLE, void*, ULONG64, SIZE_T, ULONG, ULONG, void*,
                                      ULONG);

  allocate_function allocate = nullptr;
  map_function map = nullptr;

  placeholder_functions() noexcept {
    const HMODULE library = ::GetModuleHandleW(L"kernelbase.dll");
    if (library == nullptr || windows::active_variant().no_placeholders) return;
    const auto found = [&](const char* name) {
      return reinterpret_cast<void*>(::GetProcAddress(library, name));
    };
    allocate = reinterpret_cast<allocate_function>(found("VirtualAlloc2"));
    map = reinterpret_cast<map_function>(found("MapViewOfFile3"));
    if (map == nullptr) allocate = nullptr;
  }
  explicit operator bool() const noexcept { return allocate != nullptr; }
};

const placeholder_functions& placeholders() noexcept {
  static const placeholder_functions functions;
  return functions;
}

std::byte* align_up(std::byte* p, std::size_t alignment) noexcept {
  const auto address = reinterpret_cast<std::uintptr_t>(p);
  return p + (alignment - address % alignment) % alignment;
}

[[noreturn]] void no_room(const std::string& object, std::size_t bytes, DWORD code) {
  const int number = static_cast<int>(code);
  throw error(errc::no_address_space, object, std::to_string(bytes) + " bytes of address space",
              "the address taken or refused: " + system_message(number),
              "create it with a smaller capacity, or let the system choose the address", number);
}

// What is to be mapped, and where.
struct plan {
  const std::string& name;
  void* section;
  std::size_t capacity;
  std::size_t alignment;
  bool writable;
  std::byte* at;  // the base, or nullptr
};

[[noreturn]] void no_view(const plan& of, DWORD code) {
  if (code == ERROR_ACCESS_DENIED)  // also said of a section smaller than the view
    throw error(errc::access_denied, of.name,
                "permission to map " + std::to_string(of.capacity) + " bytes of it",
                system_message(static_cast<int>(code)), "open it for reading only, or as its owner",
                static_cast<int>(code));
  windows::refuse(of.name, "map it", code);
}

// Address space that is given back unless somebody keeps it.
class placeholder {
 public:
  placeholder(std::byte* begin, std::size_t bytes) noexcept : begin_(begin), bytes_(bytes) {}
  placeholder(const placeholder&) = delete;
  placeholder& operator=(const placeholder&) = delete;
  ~placeholder() {
    if (bytes_ != 0) ::VirtualFree(begin_, 0, MEM_RELEASE);
  }
  // Keeps the first `bytes`, and returns what lies behind them.
  [[nodiscard]] placeholder cut(const plan& of, std::size_t bytes) {
    if (bytes > 0 && bytes < bytes_ &&
        ::VirtualFree(begin_, bytes, MEM_RELEASE | placeholder_functions::preserve_flag) == FALSE)
      windows::refuse(of.name, "cut its address space", ::GetLastError());
    return placeholder(begin_ + bytes, std::exchange(bytes_, bytes) - bytes);
  }
  [[nodiscard]] std::byte* begin() const noexcept { return begin_; }
  void keep() noexcept { bytes_ = 0; }

 private:
  std::byte* begin_;
  std::size_t bytes_;
};

std::byte* map_into_placeholder(const plan& of) {
  const placeholder_functions& windows10 = placeholders();
  const HANDLE self = ::GetCurrentProcess();
  const std::size_t wanted = area_bytes + of.capacity;
  const std::size_t total = of.at != nullptr ? wanted : wanted + of.alignment;
  void* const start = windows10.allocate(self, of.at != nullptr ? of.at - area_bytes : nullptr,
                                         total, MEM_RESERVE | placeholder_functions::reserve_flag,
                                         PAGE_NOACCESS, nullptr, 0);
  if (start == nullptr) no_room(of.name, wanted, ::GetLastError());
  placeholder before(static_cast<std::byte*>(start), total);
  std::byte* const base = align_up(before.begin() + area_bytes, of.alignment);
  placeholder area = before.cut(of, static_cast<std::size_t>(base - area_bytes - before.begin()));
  placeholder object = area.cut(of, area_bytes);
  const placeholder after = object.cut(of, of.capacity);
  if (windows10.allocate(self, area.begin(), area_bytes,
                         MEM_RESERVE | placeholder_functions::replace_flag, PAGE_READWRITE, nullptr,
                         0) == nullptr)
    windows::refuse(of.name, "reserve its private page", ::GetLastError());
  if (windows10.map(of.section, self, object.begin(), 0, of.capacity,
                    placeholder_functions::replace_flag,
                    of.writable ? PAGE_READWRITE : PAGE_READONLY, nullptr, 0) == nullptr)
    no_view(of, ::GetLastError());
  object.keep();
  area.keep();
  return base;
}

std::byte* map_into_a_gap(const plan& of) {
  const std::size_t wanted = area_bytes + of.capacity;
  DWORD code = ERROR_INVALID_ADDRESS;
  for (int attempt = 0; attempt < 64; ++attempt) {
    std::byte* base = of.at;
    if (base == nullptr) {
      void* const gap = ::VirtualAlloc(nullptr, wanted + of.alignment, MEM_RESERVE, PAGE_NOACCESS);
      if (gap == nullptr) no_room(of.name, wanted, ::GetLastError());
      base = align_up(static_cast<std::byte*>(gap) + area_bytes, of.alignment);
      ::VirtualFree(gap, 0, MEM_RELEASE);
    }
    void* const area = ::VirtualAlloc(base - area_bytes, area_bytes, MEM_RESERVE, PAGE_NOACCESS);
    const DWORD rights = of.writable ? FILE_MAP_READ | FILE_MAP_WRITE : FILE_MAP_READ;
    if (area != nullptr &&
        ::MapViewOfFileEx(of.section, rights, 0, 0, of.capacity, base) != nullptr)
      return base;
    code = ::GetLastError();
    if (area != nullptr) ::VirtualFree(area, 0, MEM_RELEASE);
    if (code != ERROR_INVALID_ADDRESS && area != nullptr) no_view(of, code);
    if (of.at != nullptr) break;
  }
  no_room(of.name, wanted, code);
}

}  // namespace

mapping mapping::map(shared_object object, void* at) {
  const std::string name = object.describe();
  const std::size_t alignment = base_alignment(object.capacity());
  auto* const wanted = static_cast<std::byte*>(at);
  if (align_up(wanted, alignment) != wanted)
    throw error(errc::invalid_argument, name, "an address aligned to " + std::to_string(alignment),
                "one that is not", "take the address another process got");
  // A view below its own private area would be asked for at 0, which means anywhere.
  if (wanted != nullptr && reinterpret_cast<std::uintptr_t>(wanted) <= area_bytes)
    no_room(name, object.capacity(), ERROR_INVALID_ADDRESS);
  const plan of{name,
                object.native_handle(),
                object.capacity(),
                alignment,
                object.mode() == access::read_write,
                wanted};
  std::byte* const base = placeholders() ? map_into_placeholder(of) : map_into_a_gap(of);
  mapping made(std::move(object), base);  // unmaps whatever happens
  if (::VirtualAlloc(made.private_area(), private_area_bytes, MEM_COMMIT, PAGE_READWRITE) ==
      nullptr)
    windows::refuse(name, "get its private page", ::GetLastError());
  return made;
}

mapping::~mapping() {
  if (base_ == nullptr) return;
  ::UnmapViewOfFile(base_);
  ::VirtualFree(base_ - area_bytes, 0, MEM_RELEASE);
}

void mapping::check_range(std::size_t offset, std::size_t bytes, std::string_view verb) const {
  if (offset > capacity() || bytes > capacity() - offset)
    throw error(
        errc::invalid_argument, object_.describe(),
        "a range within its capacity of " + std::to_string(capacity()) + " to " + std::string(verb),
        std::to_string(bytes) + " bytes at " + std::to_string(offset), "");
  if (object_.mode() == access::read_only)
    throw error(errc::access_denied, object_.describe(),
                "a mapping that may write to " + std::string(verb), "a read-only one",
                "open it with access::read_write");
}

bool mapping::commit(std::size_t offset, std::size_t bytes) {
  check_range(offset, bytes, "commit");
  if (bytes == 0 || ::VirtualAlloc(base_ + offset, bytes, MEM_COMMIT, PAGE_READWRITE) != nullptr)
    return true;
  const DWORD code = ::GetLastError();
  if (windows::is_refusal(code)) return false;
  throw system_error_of(object_.describe(), "grow it", static_cast<int>(code));
}

std::size_t mapping::release(std::size_t offset, std::size_t bytes) {
  check_range(offset, bytes, "release");
  return 0;
}

bool mapping::adopt(std::size_t end) noexcept {
  return end <= capacity();
}

bool mapping::prefer_huge_pages() noexcept {
  return false;  // sections of large pages cannot grow, and need a privilege
}

}  // namespace ipcpp::platform
