// ipcpp.platform:os_windows - the platform contract on Windows. What every member promises is said
// once, in :contract.
//
// Everything shared is a kernel object with a name in this session's namespace (Local\). It exists
// while a handle is open somewhere, and the kernel closes the handles of a process when its last
// thread is gone: nothing is left behind, and there is nothing to sweep.
//
//   ipcpp.<key>.memory     section, SEC_RESERVE: the object; <key>: low word of its id, 16 digits
//   ipcpp.<key>.life.<i>   event: somebody holds life i; only its existence means something
//   ipcpp.<key>.park.<n>   auto-reset event: somebody sleeps, or has slept, in parking slot n
//   ipcpp.name.<name>      section of one page, the name record: | key of an object, or 0 | zeros |
//
// Why a key and not the whole id: a name is given by one 64-bit compare-exchange. A new object
// whose key is taken gets another id, so no two that live have the same.
//
// Invariants: a record's key leads to a complete object, or to none because all its users are gone.
// Nobody makes an object of a used key again, so such a record is as good as an empty one.
//
// How the contract is met here:
//   shared_object   handles to the memory and, if it has a name, to the record: a name lives while
//                   somebody has the object open by it, and never longer than its last user
//   mapping         one reservation: | 60 KiB unused | private page | a view of the capacity |
//                   What anyone commits is valid in every view; adopt() has nothing to do.
//   commit          VirtualAlloc on the view: charged against memory and page file, or refused
//   release         gives nothing back: a view cannot be decommitted, and DiscardVirtualMemory and
//                   MEM_RESET keep the charge and leave the contents undefined
//   parking_slot    an auto-reset event; WaitOnAddress does not reach other processes
//   life_hold       an event to which nobody but its holder ever has a handle
//   incarnation     always 1: there is no fork
//
// Permissions: an access list of the user alone, or of the user and the user's primary group. Users
// of different sessions (services, several desktops) never see each other's objects.
module;

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

export module ipcpp.platform:os_windows;

import :terms;

namespace ipcpp::platform {

export [[nodiscard]] std::size_t page_bytes() noexcept;
export [[nodiscard]] std::size_t default_capacity() noexcept;
export [[nodiscard]] std::uint64_t incarnation() noexcept;
export [[nodiscard]] process_identity current_process() noexcept;
export [[nodiscard]] bool same_process_lives(const process_identity& identity) noexcept;
export [[nodiscard]] bool enrol_in_heavy_fence() noexcept;
export [[nodiscard]] bool heavy_fence() noexcept;
export [[nodiscard]] void* fork_private_pages(std::size_t bytes);
export void return_fork_private_pages(void* pages, std::size_t bytes) noexcept;

namespace windows {

// What Windows can be told to do without, for tests (environment variable IPCPP_PLATFORM_VARIANT, a
// comma-separated list of `no_placeholders`, honoured by builds with IPCPP_PLATFORM_VARIANTS).
struct variant {
  bool no_placeholders = false;  // as before Windows 10 1803
};
[[nodiscard]] variant active_variant() noexcept;

// Owns one HANDLE, which no child inherits.
class handle {
 public:
  handle() noexcept = default;
  inline explicit handle(void* owned) noexcept : value_(owned) {}
  inline handle(handle&& other) noexcept : value_(std::exchange(other.value_, nullptr)) {}
  inline handle& operator=(handle&& other) noexcept {
    const handle closes_it(std::exchange(value_, std::exchange(other.value_, nullptr)));
    return *this;
  }
  ~handle();

  [[nodiscard]] inline void* get() const noexcept { return value_; }
  [[nodiscard]] inline void* release() noexcept { return std::exchange(value_, nullptr); }
  inline explicit operator bool() const noexcept { return value_ != nullptr; }

 private:
  void* value_ = nullptr;
};

// The full name of a kernel object, made without allocating.
class kernel_name {
 public:
  // Local\ipcpp.name.<name>
  explicit kernel_name(std::string_view name) noexcept;
  // Local\ipcpp.<key>.<kind>
  kernel_name(std::uint64_t key, std::string_view kind) noexcept;
  // Local\ipcpp.<key>.<kind>.<number>
  kernel_name(std::uint64_t key, std::string_view kind, std::uint32_t number) noexcept;
  [[nodiscard]] inline const wchar_t* text() const noexcept { return text_; }

 private:
  void append(std::string_view more) noexcept;
  void append_number(std::uint64_t number, unsigned base, int digits) noexcept;

  wchar_t text_[160];  // 17 characters, then max_name_bytes
  std::size_t length_ = 0;
};

// A SECURITY_DESCRIPTOR: who may open the kernel objects of one shared object. Empty: the default.
using security = std::shared_ptr<void>;
[[nodiscard]] security security_for(audience who);
// Everybody who may open `object` at all may do anything.
[[nodiscard]] security security_like(void* object);
// Refuses another user's kernel object, unless `who` allows it.
void check_trust(void* object, std::string_view what, audience who);

// Memory that the system does not have, in one of the ways it says so.
[[nodiscard]] bool is_refusal(unsigned long code) noexcept;
// Throws what fits a GetLastError code.
[[noreturn]] void refuse(std::string_view object, std::string_view attempted, unsigned long code);

[[nodiscard]] handle duplicate(void* source);

// An event with that name, made or found. Empty if neither is allowed. *found: it was there before.
[[nodiscard]] handle make_event(const kernel_name& name, const security& who, bool* found) noexcept;

// Does anybody have an object of that name open, of another kind than a mutex? Asked with a key
// that does not fit: opening it as a mutex fails because of its kind if there is one, and because
// of its name if there is none, so the question itself never has a handle that others could take
// for an answer. True if the system will not say.
[[nodiscard]] bool exists(const kernel_name& name) noexcept;

// A name record, kept open and mapped.
class name_record {
 public:
  name_record() noexcept = default;
  // The record of `name`, or an empty object if there is none.
  [[nodiscard]] static name_record find(std::string_view name, access mode, audience who);
  [[nodiscard]] static name_record find_or_make(std::string_view name, const security& by,
                                                audience who);
  [[nodiscard]] name_record again() const;
  inline name_record(name_record&& other) noexcept
      : section_(std::move(other.section_)), key_(std::exchange(other.key_, nullptr)) {}
  inline name_record& operator=(name_record&& other) noexcept {
    std::swap(section_, other.section_);
    std::swap(key_, other.key_);
    return *this;
  }
  ~name_record();

  inline explicit operator bool() const noexcept { return key_ != nullptr; }
  [[nodiscard]] std::uint64_t key() const noexcept;
  // One step, for everybody: if the record still says `seen`, it says `key` from now on.
  [[nodiscard]] bool replace(std::uint64_t seen, std::uint64_t key) noexcept;
  // Those who may open the object that is about to be published may open its record.
  void admit(const security& who) noexcept;

 private:
  void map(std::string_view what, bool writable);

  handle section_;
  std::uint64_t* key_ = nullptr;  // the view
};

}  // namespace windows

export class shared_object {
 public:
  using native_handle_type = void*;  // the HANDLE of the section

  [[nodiscard]] static shared_object create(const object_options& options = {});
  void publish(std::string_view name);
  void publish_file(std::string_view path);
  [[nodiscard]] static shared_object open_file(std::string_view path,
                                               access mode = access::read_write,
                                               audience who = audience::owner);
  static bool remove_file(std::string_view path, audience who = audience::owner);
  void send(native_handle_type socket) const;
  [[nodiscard]] static native_handle_type receive(native_handle_type socket);
  [[nodiscard]] static shared_object open(std::string_view name, access mode = access::read_write,
                                          audience who = audience::owner);
  static bool remove(std::string_view name, audience who = audience::owner);
  // Always false: a name nobody uses is gone already. Clears the record of one, if there is any.
  static bool remove_if_unused(std::string_view name, audience who = audience::owner,
                               const object_id* only = nullptr);
  [[nodiscard]] static shared_object from_handle(native_handle_type received,
                                                 access mode = access::read_write);

  shared_object(shared_object&& other) noexcept = default;
  shared_object& operator=(shared_object&& other) noexcept = default;
  ~shared_object() = default;

  [[nodiscard]] inline object_id id() const noexcept { return id_; }
  [[nodiscard]] inline std::size_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] inline access mode() const noexcept { return mode_; }
  [[nodiscard]] inline const std::string& name() const noexcept { return name_; }
  [[nodiscard]] inline native_handle_type native_handle() const noexcept { return memory_.get(); }
  [[nodiscard]] bool reachable() const noexcept;
  [[nodiscard]] shared_object again() const;

 private:
  friend class mapping;
  friend class parking_slot;
  friend class life_line;
  shared_object() noexcept = default;
  void read_prologue(std::string_view object);
  [[nodiscard]] std::string describe() const;

  windows::handle memory_;
  windows::name_record record_;
  windows::security security_;
  object_id id_;
  std::size_t capacity_ = 0;
  access mode_ = access::read_write;
  audience who_ = audience::owner;
  std::string name_;
};

export class mapping {
 public:
  [[nodiscard]] static mapping map(shared_object object, void* at = nullptr);

  inline mapping(mapping&& other) noexcept
      : object_(std::move(other.object_)), base_(std::exchange(other.base_, nullptr)) {}
  inline mapping& operator=(mapping&& other) noexcept {
    std::swap(object_, other.object_);
    std::swap(base_, other.base_);
    return *this;
  }
  ~mapping();

  [[nodiscard]] inline std::byte* base() const noexcept { return base_; }
  [[nodiscard]] inline std::size_t capacity() const noexcept { return object_.capacity(); }
  [[nodiscard]] inline const shared_object& object() const noexcept { return object_; }
  void publish(std::string_view name) { object_.publish(name); }  // the mapped object itself
  inline void publish_file(std::string_view path) { object_.publish_file(path); }
  [[nodiscard]] inline std::byte* private_area() const noexcept {
    return base_ - private_area_bytes;
  }

  [[nodiscard]] bool commit(std::size_t offset, std::size_t bytes);
  std::size_t release(std::size_t offset, std::size_t bytes);
  [[nodiscard]] bool adopt(std::size_t end) noexcept;
  [[nodiscard]] inline bool grows_by_mappings() const noexcept { return false; }
  bool prefer_huge_pages() noexcept;
  [[nodiscard]] std::size_t backed_bytes() const noexcept { return capacity(); }  // nobody tells

 private:
  inline mapping(shared_object object, std::byte* base) noexcept
      : object_(std::move(object)), base_(base) {}
  void check_range(std::size_t offset, std::size_t bytes, std::string_view verb) const;

  shared_object object_;
  std::byte* base_ = nullptr;
};

export class parking_slot {
 public:
  parking_slot(const mapping& place, std::uint32_t number, parking_cell& cell) noexcept;
  parking_slot(parking_slot&& other) noexcept;
  parking_slot& operator=(parking_slot&& other) noexcept;
  ~parking_slot();

  [[nodiscard]] std::uint32_t ticket() const noexcept;
  [[nodiscard]] park_outcome park(std::uint32_t expected, steady_time deadline) noexcept;
  void unpark() noexcept;

 private:
  [[nodiscard]] void* event() noexcept;

  parking_cell* cell_;
  std::uint64_t key_;
  std::uint32_t number_;
  windows::security security_;
  std::atomic<void*> event_{nullptr};  // made by the first thread that needs it
};

export class doorbell {
 public:
  using native_handle_type = void*;  // HANDLE of an event

  [[nodiscard]] static doorbell make(const object_id& of, std::uint32_t number);
  static void ring(const object_id& of, std::uint32_t number) noexcept;

  inline doorbell(doorbell&& other) noexcept : event_(std::exchange(other.event_, nullptr)) {}
  inline doorbell& operator=(doorbell&& other) noexcept {
    std::swap(event_, other.event_);
    return *this;
  }
  ~doorbell();

  [[nodiscard]] inline native_handle_type native_handle() const noexcept { return event_; }
  void answer() noexcept;

 private:
  doorbell() noexcept = default;
  void* event_ = nullptr;
};

export class life_hold {
 public:
  life_hold() noexcept = default;
  inline explicit operator bool() const noexcept { return static_cast<bool>(event_); }

 private:
  friend class life_line;
  windows::handle event_;
};

export class life_line {
 public:
  [[nodiscard]] static life_line of(const mapping& place);
  life_line(life_line&& other) noexcept = default;
  life_line& operator=(life_line&& other) noexcept = default;
  ~life_line() = default;

  [[nodiscard]] life_hold take(std::uint32_t slot);
  [[nodiscard]] life probe(std::uint32_t slot, const process_identity& recorded) const noexcept;

 private:
  inline life_line(std::uint64_t key, access mode, windows::security who,
                   std::string object) noexcept
      : key_(key), mode_(mode), security_(std::move(who)), object_(std::move(object)) {}

  std::uint64_t key_;
  access mode_;
  windows::security security_;
  std::string object_;  // for messages
};

}  // namespace ipcpp::platform
