// `ipcpp ls`: every segment of the machine, one a line.
#include <string>
#include <utility>
#include <vector>

#include "look.hpp"

namespace tool {

namespace platform = ipcpp::platform;

int ls(const options& how) {
  json segments = json::array();
  table rows({"NAME", ">SIZE", ">COMMITTED", ">IN USE", "PROCESSES", "LIFETIME", "LAYOUT", "OWNER",
              "STATE"});
  for (const std::string& name : platform::object_names()) {
    try {
      const platform::object_image image = platform::object_image::open(name);
      const platform::object_facts facts = image.facts();
      const ipcpp::segment_picture seen = ipcpp::look_until_sure(image, 4, 5);
      const condition state = condition_of(seen, facts);
      segments.push_back(json_of(name, seen, facts));
      if (seen.readable)
        rows.add(
            {printable(name), bytes_text(seen.capacity_bytes), bytes_text(facts.committed_bytes),
             bytes_text(seen.heap.statistics.bytes_in_use), processes_text(seen.participants),
             std::string(ipcpp::name_of_lifetime(seen.lifetime)), std::to_string(seen.version),
             user_text(facts.owner), state.text},
            {style::strong, style::plain, style::plain, style::plain, style::plain, style::plain,
             style::plain, style::plain, state.as});
      else
        rows.add({printable(name), "?", bytes_text(facts.committed_bytes), "?", "?", "?",
                  seen.other_layout && seen.version != 0 ? std::to_string(seen.version) : "?",
                  user_text(facts.owner), state.text},
                 {style::strong, style::plain, style::plain, style::plain, style::plain,
                  style::plain, style::plain, style::plain, state.as});
    } catch (const ipcpp::error& e) {
      if (e.kind() == ipcpp::errc::not_found) continue;  // gone meanwhile
      const bool denied = e.kind() == ipcpp::errc::access_denied;
      segments.push_back({{"name", name},
                          {"condition", denied ? "no permission" : "unreadable"},
                          {"error", e.what()}});
      rows.add({printable(name), "?", "?", "?", "?", "?", "?", "?",
                denied ? "no permission" : "unreadable"},
               {style::strong, style::plain, style::plain, style::plain, style::plain, style::plain,
                style::plain, style::plain, style::warn});
    }
  }
  const std::string place = platform::place_of_names();
  if (how.json) {
    print_json(json{{"place", place}, {"segments", std::move(segments)}});
  } else if (rows.empty()) {
    print("no segments in " + place + "\n");
  } else {
    print(rows.text(how));
  }
  return fine;
}

}  // namespace tool
