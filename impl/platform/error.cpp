// Bodies of ipcpp.platform:error.
module;

#include <string>
#include <string_view>
#include <system_error>

module ipcpp.platform;

namespace ipcpp {

namespace {

class ipcpp_category final : public std::error_category {
 public:
  constexpr ipcpp_category() noexcept = default;
  const char* name() const noexcept override { return "ipcpp"; }
  std::string message(int value) const override {
    switch (static_cast<errc>(value)) {
      case errc::not_found:
        return "not found";
      case errc::already_exists:
        return "already exists";
      case errc::invalid_argument:
        return "invalid argument";
      case errc::access_denied:
        return "access denied";
      case errc::wrong_layout:
        return "wrong layout";
      case errc::damaged:
        return "damaged";
      case errc::no_address_space:
        return "no address space";
      case errc::limit_reached:
        return "limit reached";
      case errc::not_supported:
        return "not supported";
      case errc::not_a_block:
        return "not a block in use";
      case errc::wrong_type:
        return "wrong type";
      case errc::not_a_participant:
        return "not a participant";
      case errc::owner_died:
        return "owner died";
      case errc::not_owner:
        return "not the owner";
      case errc::would_deadlock:
        return "would deadlock";
      case errc::closed:
        return "closed";
      case errc::system_failure:
        return "system failure";
    }
    return "unknown ipcpp error " + std::to_string(value);
  }
};

std::string compose(std::string_view object, std::string_view expected, std::string_view found,
                    std::string_view remedy) {
  std::string text(object);
  if (!expected.empty()) text.append(": expected ").append(expected);
  if (!found.empty()) text.append(expected.empty() ? ": found " : ", found ").append(found);
  if (!remedy.empty()) text.append("; ").append(remedy);
  return text;
}

// Not a function-local static: its guard could be inherited locked by a forked child.
constinit const ipcpp_category the_category;

}  // namespace

const std::error_category& error_category() noexcept {
  return the_category;
}

std::error_code make_error_code(errc code) noexcept {
  return {static_cast<int>(code), error_category()};
}

error::error(errc code, std::string_view object, std::string_view expected, std::string_view found,
             std::string_view remedy, int system_code)
    : std::system_error(make_error_code(code), compose(object, expected, found, remedy)),
      system_code_(system_code) {}

error::~error() = default;

namespace platform {

std::string system_message(int system_code) {
  return std::system_category().message(system_code) + " (" + std::to_string(system_code) + ")";
}

error system_error_of(std::string_view object, std::string_view attempted, int system_code) {
  return error(errc::system_failure, object, std::string(attempted) + " to succeed",
               "the system's refusal: " + system_message(system_code), "", system_code);
}

}  // namespace platform
}  // namespace ipcpp
