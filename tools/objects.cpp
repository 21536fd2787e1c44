// What the tool knows to say of named objects: plain values by their type's description. Kinds of
// ipcpp's own are added here, each by the looking function its module offers.
#include <array>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

#include "look.hpp"

namespace tool {

namespace {

template <class T>
bool value(const ipcpp::platform::object_image& image, std::uint64_t at, object_view& into) {
  const auto found = image.get<T>(at);
  if (!found) return false;
  into.kind = "value";
  into.facts = *found;
  if constexpr (std::is_floating_point_v<T>) {
    std::array<char, 40> text{};
    std::snprintf(text.data(), text.size(), "%.17g", static_cast<double>(*found));
    into.text = "= " + std::string(text.data());
  } else {
    into.text = "= " + std::to_string(*found);
  }
  return true;
}

// "std::atomic<u64>:8/8" is as good as "u64".
[[nodiscard]] std::string_view plain(std::string_view type) {
  constexpr std::string_view atomic = "std::atomic<";
  if (type.starts_with(atomic)) {
    type.remove_prefix(atomic.size());
    type = type.substr(0, type.find('>'));
  }
  return type;
}

}  // namespace

object_view view_of(const ipcpp::platform::object_image& image, const ipcpp::segment_picture&,
                    const ipcpp::segment_picture::object& of) {
  object_view view;
  if (!of.inside) return view;
  const std::string_view type = plain(of.type);
  if (type == "i8" && of.bytes == 1) value<std::int8_t>(image, of.at, view);
  if (type == "u8" && of.bytes == 1) value<std::uint8_t>(image, of.at, view);
  if (type == "i16" && of.bytes == 2) value<std::int16_t>(image, of.at, view);
  if (type == "u16" && of.bytes == 2) value<std::uint16_t>(image, of.at, view);
  if (type == "i32" && of.bytes == 4) value<std::int32_t>(image, of.at, view);
  if (type == "u32" && of.bytes == 4) value<std::uint32_t>(image, of.at, view);
  if (type == "i64" && of.bytes == 8) value<std::int64_t>(image, of.at, view);
  if (type == "u64" && of.bytes == 8) value<std::uint64_t>(image, of.at, view);
  if (type == "f32" && of.bytes == 4) value<float>(image, of.at, view);
  if (type == "f64" && of.bytes == 8) value<double>(image, of.at, view);
  if (type == "bool" && of.bytes == 1 && value<std::uint8_t>(image, of.at, view)) {
    const bool is = view.facts != 0;
    view.facts = is;
    view.text = is ? "= true" : "= false";
  }
  return view;
}

}  // namespace tool
