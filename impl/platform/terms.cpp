// Bodies of ipcpp.platform:terms: identities, names and the prologue's check.
module;

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <random>
#include <string>
#include <string_view>
#include <system_error>

module ipcpp.platform;

namespace ipcpp::platform {

namespace {

constexpr std::uint64_t prologue_magic =
    0x6a626f7070637069;  // "ipcppobj", read as a little-endian word
constexpr std::uint8_t this_endianness = std::endian::native == std::endian::little ? 1 : 2;

constexpr std::uint64_t byte_reversed(std::uint64_t word) noexcept {
  std::uint64_t out = 0;
  for (int i = 0; i < 8; ++i, word >>= 8) out = (out << 8) | (word & 0xff);
  return out;
}

std::uint64_t random_word(std::random_device& source) {
  return (std::uint64_t{source()} << 32) | source();
}

bool name_character(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_' || c == '-';
}

[[noreturn]] void refuse_name(std::string_view name, std::string_view found) {
  // A name may be anything at all: show at most its beginning, and nothing a terminal would obey.
  std::string shown(name.substr(0, 40));
  for (char& c : shown)
    if (c < ' ' || c > '~') c = '?';
  if (name.size() > 40) shown += "...";
  throw error(errc::invalid_argument, "name '" + shown + "'",
              "1 to " + std::to_string(max_name_bytes) +
                  " letters, digits, '.', '_' or '-', the first no '.'",
              found, "choose another name");
}

}  // namespace

std::string object_id::text() const {
  static constexpr std::string_view digits = "abcdefghijklmnopqrstuvwxyz234567";
  std::string out(26, 'a');
  std::uint64_t upper = high;
  std::uint64_t lower = low;
  for (std::size_t i = out.size(); i-- > 0;) {
    out[i] = digits[lower & 31];
    lower = (lower >> 5) | (upper << 59);
    upper >>= 5;
  }
  return out;
}

object_id fresh_object_id() {
  std::random_device source;
  return {random_word(source), random_word(source)};
}

object_prologue make_prologue(object_id id, std::uint64_t capacity_bytes, growth how,
                              std::uint64_t first_step_bytes) noexcept {
  object_prologue made{};
  made.magic = prologue_magic;
  made.layout_version = layout_version;
  made.word_bytes = sizeof(void*);
  made.endianness = this_endianness;
  made.line_stride = line_stride;
  made.id_high = id.high;
  made.id_low = id.low;
  made.capacity_bytes = capacity_bytes;
  made.first_step_bytes = first_step_bytes;
  made.how = how;
  return made;
}

void check_prologue(const object_prologue& found, std::size_t bytes_found,
                    std::string_view object) {
  const auto damaged = [&](std::string_view expected, const std::string& what) {
    throw error(errc::damaged, object, expected, what, "remove it, or open what ipcpp made");
  };
  const auto differs = [&](std::string_view what, std::uint64_t expected, std::uint64_t actual) {
    throw error(errc::wrong_layout, object, std::string(what) + " " + std::to_string(expected),
                std::to_string(actual),
                "build all programs with the same ipcpp for the same kind of machine");
  };
  if (bytes_found < sizeof found)
    damaged("at least " + std::to_string(sizeof found) + " bytes", std::to_string(bytes_found));
  if (found.magic == byte_reversed(prologue_magic))
    differs("endianness", this_endianness, found.endianness);
  if (found.magic != prologue_magic) damaged("an object of ipcpp", "something else");
  if (found.layout_version != layout_version)
    differs("layout version", layout_version, found.layout_version);
  if (found.endianness != this_endianness) differs("endianness", this_endianness, found.endianness);
  if (found.word_bytes != sizeof(void*)) differs("bytes per word", sizeof(void*), found.word_bytes);
  if (found.line_stride != line_stride) differs("line stride", line_stride, found.line_stride);
  if (found.how != growth::one_object && found.how != growth::several_objects)
    damaged("a known way of growing", std::to_string(static_cast<std::uint32_t>(found.how)));
  if (found.capacity_bytes == 0 || found.capacity_bytes % capacity_unit != 0 ||
      found.capacity_bytes > largest_capacity)
    damaged("a capacity in units of " + std::to_string(capacity_unit) + " bytes, at most " +
                std::to_string(largest_capacity),
            std::to_string(found.capacity_bytes));
  const bool stepped = found.how == growth::several_objects;
  if (found.first_step_bytes != (stepped ? capacity_unit : 0))
    damaged("a first step that fits its way of growing", std::to_string(found.first_step_bytes));
}

std::size_t rounded_capacity(std::size_t asked) {
  if (asked > largest_capacity)
    throw error(
        errc::invalid_argument, "a new shared object",
        "a capacity of at most " + std::to_string(largest_capacity) + " bytes",
        std::to_string(asked),
        "ask for less: it is address space, taken from every process that opens the object");
  return (asked + capacity_unit - 1) / capacity_unit * capacity_unit;
}

std::string checked_path(std::string_view path) {
  const auto refuse = [&](std::string_view found) {
    throw error(errc::invalid_argument, "file '" + std::string(path) + "'",
                "a path to a file, of up to 4000 bytes", found, "choose another path");
  };
  if (path.empty()) refuse("an empty one");
  if (path.size() > 4000) refuse(std::to_string(path.size()) + " bytes");
  if (path.find('\0') != std::string_view::npos) refuse("a zero byte in it");
  if (path.back() == '/' || path.ends_with("/.") || path.ends_with("/..") || path == "." ||
      path == "..")
    refuse("a directory's");
  std::error_code failed;
  const std::filesystem::path whole =
      std::filesystem::absolute(std::filesystem::path(std::string(path)), failed);
  if (failed) refuse("one without a working directory");
  return whole.lexically_normal().generic_string();
}

void check_name(std::string_view name) {
  if (name.empty()) refuse_name(name, "an empty name");
  if (name.size() > max_name_bytes) refuse_name(name, std::to_string(name.size()) + " characters");
  if (name.front() == '.') refuse_name(name, "a leading '.'");
  for (const char c : name)
    if (!name_character(c))
      refuse_name(name, "character " + std::to_string(static_cast<unsigned char>(c)));
}

}  // namespace ipcpp::platform
