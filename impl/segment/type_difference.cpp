// Bodies of ipcpp.segment:type_description: telling people what differs.
module;

#include <cstddef>
#include <string>
#include <string_view>

module ipcpp.segment;

import :type_description;

namespace ipcpp::detail {

namespace {

constexpr std::string_view separators = "{}<>,: []";

// Where the word begins that holds the first differing character.
[[nodiscard]] std::size_t word_of(std::string_view text, std::size_t at) noexcept {
  while (at > 0 && separators.find(text[at - 1]) == std::string_view::npos) --at;
  return at;
}

[[nodiscard]] std::string word_at(std::string_view text, std::size_t at) {
  const std::size_t end = text.find_first_of(separators, at);
  const std::string_view word =
      text.substr(at, end == std::string_view::npos ? end : (end == at ? 1 : end - at));
  return word.empty() ? "nothing" : "'" + std::string(word) + "'";
}

}  // namespace

std::string difference_of(std::string_view expected, std::string_view found) {
  constexpr std::string_view by = " by ";
  const std::size_t mine = expected.rfind(by);
  const std::size_t theirs = found.rfind(by);
  if (mine != std::string_view::npos && theirs != std::string_view::npos) {
    const std::string_view ours = expected.substr(mine + by.size());
    const std::string_view other = found.substr(theirs + by.size());
    if (ours != other)
      return "standard libraries lay it out differently, and this program was built with " +
             std::string(ours) + ", the one that made the object with " + std::string(other) +
             ": build both with one, or use types that do not depend on it, as ipcpp's containers";
  }
  std::size_t at = 0;
  while (at < expected.size() && at < found.size() && expected[at] == found[at]) ++at;
  at = word_of(expected, at < expected.size() ? at : expected.size());
  return "they differ at " + word_at(expected, at < expected.size() ? at : expected.size()) +
         " against " + word_at(found, at < found.size() ? at : found.size()) +
         ": build both programs with the same definition, or choose another name";
}

}  // namespace ipcpp::detail
