// Bodies of ipcpp.platform:os_windows: handles, names and permissions of kernel objects, and what a
// refusal of the system becomes.
module;

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <new>
#include <string>
#include <string_view>

#define NOMINMAX 1
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <aclapi.h>
#include <sddl.h>

module ipcpp.platform;

namespace ipcpp::platform::windows {

namespace {

// What the security functions hand out by LocalAlloc.
template <class T>
class local_memory {
 public:
  local_memory() = default;
  local_memory(const local_memory&) = delete;
  local_memory& operator=(const local_memory&) = delete;
  ~local_memory() { ::LocalFree(pointer_); }
  [[nodiscard]] T get() const noexcept { return pointer_; }
  [[nodiscard]] T* out() noexcept { return &pointer_; }

 private:
  T pointer_ = nullptr;
};

constexpr std::string_view permissions = "look at its permissions";

std::string text_of(PSID sid) {
  local_memory<LPSTR> text;
  if (::ConvertSidToStringSidA(sid, text.out()) == FALSE)
    refuse("a user's identity", "write it down", ::GetLastError());
  return text.get();
}

// The user, or the primary group, that this thread acts as: what it opens is opened as that.
class own_identity {
 public:
  explicit own_identity(TOKEN_INFORMATION_CLASS what) {
    HANDLE token = nullptr;
    if (::OpenThreadToken(::GetCurrentThread(), TOKEN_QUERY, TRUE, &token) == FALSE &&
        ::OpenProcessToken(::GetCurrentProcess(), TOKEN_QUERY, &token) == FALSE)
      refuse("this process", "open its own token", ::GetLastError());
    const handle closes_it(token);
    DWORD bytes = 0;
    if (::GetTokenInformation(token, what, buffer_, sizeof buffer_, &bytes) == FALSE)
      refuse("this process", "ask who runs it", ::GetLastError());
  }
  [[nodiscard]] PSID user() const noexcept {
    return reinterpret_cast<const TOKEN_USER*>(buffer_)->User.Sid;
  }
  [[nodiscard]] PSID group() const noexcept {
    return reinterpret_cast<const TOKEN_PRIMARY_GROUP*>(buffer_)->PrimaryGroup;
  }

 private:
  alignas(TOKEN_USER) std::byte buffer_[sizeof(TOKEN_USER) + SECURITY_MAX_SID_SIZE];
};

security parse(const std::string& text) {
  PSECURITY_DESCRIPTOR made = nullptr;
  if (::ConvertStringSecurityDescriptorToSecurityDescriptorA(text.c_str(), SDDL_REVISION_1, &made,
                                                             nullptr) == FALSE)
    refuse("a new kernel object", "describe its permissions", ::GetLastError());
  return security(made, [](void* descriptor) { ::LocalFree(descriptor); });
}

// Calls `use` with everybody whom the list allows anything.
template <class F>
void for_each_allowed(PACL list, F&& use) {
  for (DWORD i = 0; i < list->AceCount; ++i) {
    void* entry = nullptr;
    if (::GetAce(list, i, &entry) == FALSE) return;
    auto* const allowed = static_cast<ACCESS_ALLOWED_ACE*>(entry);
    if (allowed->Header.AceType == ACCESS_ALLOWED_ACE_TYPE)
      use(static_cast<PSID>(&allowed->SidStart));
  }
}

bool open_to_everybody(PACL list) {
  bool found = list == nullptr;  // no list at all denies nothing
  if (!found)
    for_each_allowed(list, [&](PSID who) {
      for (const WELL_KNOWN_SID_TYPE many :
           {WinWorldSid, WinAuthenticatedUserSid, WinBuiltinUsersSid})
        found = found || ::IsWellKnownSid(who, many) != FALSE;
    });
  return found;
}

std::string everything_for(const std::string& sid) {
  return "(A;;GA;;;" + sid + ")";
}

}  // namespace

// ---- handles and names -------------------------------------------------------------------------

handle::~handle() {
  if (value_ != nullptr) ::CloseHandle(value_);
}

variant active_variant() noexcept {
#ifdef IPCPP_PLATFORM_VARIANTS
  static const variant chosen = [] {
    char text[128] = "";
    ::GetEnvironmentVariableA("IPCPP_PLATFORM_VARIANT", text, sizeof text);
    return variant{std::string_view(text).find("no_placeholders") != std::string_view::npos};
  }();
  return chosen;
#else
  return {};
#endif
}

kernel_name::kernel_name(std::string_view name) noexcept {
  append("Local\\ipcpp.name.");
  append(name);
}

kernel_name::kernel_name(std::uint64_t key, std::string_view kind) noexcept {
  append("Local\\ipcpp.");
  append_number(key, 16, 16);
  append(".");
  append(kind);
}

kernel_name::kernel_name(std::uint64_t key, std::string_view kind, std::uint32_t number) noexcept
    : kernel_name(key, kind) {
  append(".");
  append_number(number, 10, 1);
}

void kernel_name::append(std::string_view more) noexcept {
  for (const char c : more)
    if (length_ + 1 < std::size(text_)) text_[length_++] = static_cast<wchar_t>(c);
  text_[length_] = 0;
}

void kernel_name::append_number(std::uint64_t number, unsigned base, int digits) noexcept {
  char text[20];
  std::size_t at = sizeof text;
  for (; number > 0 || digits > 0; number /= base, --digits)
    text[--at] = "0123456789abcdef"[number % base];
  append({text + at, sizeof text - at});
}

handle duplicate(void* source) {
  HANDLE made = nullptr;
  const HANDLE self = ::GetCurrentProcess();
  if (::DuplicateHandle(self, source, self, &made, 0, FALSE, DUPLICATE_SAME_ACCESS) == FALSE)
    refuse("a shared object", "open it once more", ::GetLastError());
  return handle(made);
}

handle make_event(const kernel_name& name, const security& who, bool* found) noexcept {
  SECURITY_ATTRIBUTES attributes{sizeof attributes, who.get(), FALSE};
  handle made(::CreateEventW(&attributes, FALSE, FALSE, name.text()));
  if (found != nullptr) *found = made && ::GetLastError() == ERROR_ALREADY_EXISTS;
  return made;
}

bool exists(const kernel_name& name) noexcept {
  const handle mutex(::OpenMutexW(SYNCHRONIZE, FALSE, name.text()));
  return mutex || ::GetLastError() != ERROR_FILE_NOT_FOUND;
}

// ---- permissions -------------------------------------------------------------------------------

security security_for(audience who) {
  const std::string user = text_of(own_identity(TokenUser).user());
  const std::string group = text_of(own_identity(TokenPrimaryGroup).group());
  // Owned by the user in any case: an administrator's objects would else be the administrators'.
  std::string text = "O:" + user + "G:" + group + "D:P" + everything_for(user);
  if (who == audience::group) text += everything_for(group);
  return parse(text);
}

security security_like(void* object) {
  local_memory<PSECURITY_DESCRIPTOR> descriptor;
  PACL list = nullptr;
  const DWORD refused = ::GetSecurityInfo(object, SE_KERNEL_OBJECT, DACL_SECURITY_INFORMATION,
                                          nullptr, nullptr, &list, nullptr, descriptor.out());
  if (refused == ERROR_ACCESS_DENIED)
    return {};  // a handle passed to somebody who may not even look
  if (refused != ERROR_SUCCESS) refuse("a shared object", permissions, refused);
  if (list == nullptr) return {};
  std::string text = "O:" + text_of(own_identity(TokenUser).user()) + "D:P";
  for_each_allowed(list, [&](PSID who) { text += everything_for(text_of(who)); });
  return parse(text);
}

void check_trust(void* object, std::string_view what, audience who) {
  local_memory<PSECURITY_DESCRIPTOR> descriptor;
  PSID owner = nullptr;
  PACL list = nullptr;
  const DWORD refused = ::GetSecurityInfo(object, SE_KERNEL_OBJECT,
                                          OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION,
                                          &owner, nullptr, &list, nullptr, descriptor.out());
  if (refused != ERROR_SUCCESS) refuse(what, permissions, refused);
  const own_identity me(TokenUser);
  const bool ours = owner != nullptr && ::EqualSid(owner, me.user()) != FALSE;
  if (!ours && who != audience::group)
    throw error(errc::access_denied, what, "user " + text_of(me.user()) + " as its owner",
                owner == nullptr ? "none" : "user " + text_of(owner),
                "ask for audience::group if it is meant to be shared");
  if (open_to_everybody(list))
    throw error(errc::access_denied, what, "permissions for its owner or group only",
                "an object anybody may open", "end the program that made it: it is not ipcpp's");
}

// ---- refusals ----------------------------------------------------------------------------------

bool is_refusal(unsigned long code) noexcept {
  switch (code) {
    case ERROR_NOT_ENOUGH_MEMORY:
    case ERROR_OUTOFMEMORY:
    case ERROR_COMMITMENT_LIMIT:
    case ERROR_NO_SYSTEM_RESOURCES:
    case ERROR_NOT_ENOUGH_QUOTA:
    case ERROR_PAGEFILE_QUOTA:
    case ERROR_DISK_FULL:
      return true;
    default:
      return false;
  }
}

void refuse(std::string_view object, std::string_view attempted, unsigned long code) {
  if (is_refusal(code)) throw std::bad_alloc();
  const int number = static_cast<int>(code);
  if (code == ERROR_FILE_NOT_FOUND)
    throw error(errc::not_found, object, "an object of that name in this session", "none",
                "create it first, or start the program that does", number);
  if (code == ERROR_ACCESS_DENIED)
    throw error(errc::access_denied, object, "permission to " + std::string(attempted),
                system_message(number), "run as its owner, or have it created for a group", number);
  throw system_error_of(object, attempted, number);
}

}  // namespace ipcpp::platform::windows
