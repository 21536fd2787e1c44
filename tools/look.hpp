// What several commands show of a segment. Include it last: it imports ipcpp.
#pragma once

#include <optional>
#include <string>

#include "tool.hpp"

import ipcpp;
import ipcpp.platform;

namespace tool {

// By name, or by path if it contains a slash.
[[nodiscard]] ipcpp::platform::object_image open_image(const std::string& name);

// What is the matter with a segment, in a word or two.
struct condition {
  std::string text;  // used, unused, left over, damaged, another layout, no segment
  style as = style::plain;
};
[[nodiscard]] condition condition_of(const ipcpp::segment_picture& seen,
                                     const ipcpp::platform::object_facts& facts);

[[nodiscard]] json json_of(const ipcpp::heap_statistics& of);
[[nodiscard]] json json_of(const ipcpp::participants_picture& of);
// Everything but the objects and the heap's runs.
[[nodiscard]] json json_of(const std::string& name, const ipcpp::segment_picture& seen,
                           const ipcpp::platform::object_facts& facts);

// "4711 (writer)"; "a process" where the pid means nothing here.
[[nodiscard]] std::string process_text(const ipcpp::platform::process_identity& who);
[[nodiscard]] std::string command_of(const ipcpp::platform::process_identity& who);
[[nodiscard]] std::string user_text(std::uint32_t user);
// "2", "2 + 1 dead".
[[nodiscard]] std::string processes_text(const ipcpp::participants_picture& of);
// Now, on the clock of participants_picture::process::joined_ns.
[[nodiscard]] double age_of(std::int64_t joined_ns);

// What the tool knows to say of an object beyond its name and type: a value, a queue's depth, a
// lock's owner. `kind` is empty if it knows nothing.
struct object_view {
  std::string kind;                   // value, queue, lock, ...
  std::string text;                   // for people
  json facts;                         // for programs
  std::optional<std::uint64_t> sent;  // messages so far, for rates
  std::optional<std::uint64_t> received;
};
[[nodiscard]] object_view view_of(const ipcpp::platform::object_image& image,
                                  const ipcpp::segment_picture& seen,
                                  const ipcpp::segment_picture::object& of);

}  // namespace tool
