// ipcpp.platform:error - what went wrong, said so that a reader can act on it.
//
// Memory that cannot be had is std::bad_alloc, everywhere. Everything else is ipcpp::error, a
// std::system_error whose what() names the object, what was expected there, what was found, and
// what to do, in that order:
//
//   shared object 'shop': expected layout version 1, found 7; build both alike: wrong layout
//
// code() compares with ipcpp::errc; system_code() is the number the operating system gave (errno,
// GetLastError), 0 if it was not asked. Functions named try_* never throw for "full", "empty" or
// "exhausted".
module;

#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>

export module ipcpp.platform:error;

namespace ipcpp {

// Kinds of failure a caller may want to tell apart. The numbers are part of the interface and are
// never reused.
export enum class errc : int {
  not_found = 1,         // nothing of that name
  already_exists = 2,    // the name is taken
  invalid_argument = 3,  // a name, size or option outside its documented range
  access_denied = 4,     // the system refuses, or the object belongs to somebody we must not trust
  wrong_layout = 5,      // made by another version, word size or configuration of ipcpp
  damaged = 6,           // truncated, overwritten or never an ipcpp object
  no_address_space = 7,  // the reservation does not fit into this process
  limit_reached = 8,     // a table whose size was fixed at creation is full
  not_supported = 9,     // this system, file system or build cannot do it
  not_a_participant = 10,  // the caller has left, or never joined
  not_a_block = 12,        // a heap was given an address to free or resize that is no block in use
  owner_died = 20,         // a lock's owner died holding it: what it protects may be half changed
  not_owner = 21,          // unlocked by somebody who does not hold it
  would_deadlock = 22,     // locked again by the thread that holds it
  wrong_type = 16,         // an object of that name is there, and is of another type
  closed = 30,             // a blocking send to a queue that was closed or destroyed
  system_failure = 11,     // an unexpected answer of the operating system: see system_code()
};

export [[nodiscard]] const std::error_category& error_category() noexcept;
export [[nodiscard]] std::error_code make_error_code(errc code) noexcept;

export class error : public std::system_error {
 public:
  // what() becomes "<object>: expected <expected>, found <found>; <remedy>: <kind>". Pass an empty
  // view for a part that does not apply. Allocates.
  error(errc code, std::string_view object, std::string_view expected, std::string_view found,
        std::string_view remedy, int system_code = 0);
  error(const error&) = default;
  error& operator=(const error&) = default;
  ~error() override;

  [[nodiscard]] inline errc kind() const noexcept { return static_cast<errc>(code().value()); }
  [[nodiscard]] inline int system_code() const noexcept { return system_code_; }

 private:
  int system_code_;
};

namespace platform {

// "No space left on device (28)": the system's own words for `system_code`. Allocates.
export [[nodiscard]] std::string system_message(int system_code);

// The error for a system call that failed in an unforeseen way.
export [[nodiscard]] error system_error_of(std::string_view object, std::string_view attempted,
                                           int system_code);

}  // namespace platform
}  // namespace ipcpp

template <>
struct std::is_error_code_enum<ipcpp::errc> : std::true_type {};
