// `ipcpp check NAME`: verifies everything that ipcpp itself keeps in a segment.
#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "look.hpp"

namespace tool {

namespace platform = ipcpp::platform;

int check(const options& how, const std::string& name, bool exact) {
  const platform::object_image image = open_image(name);
  const ipcpp::segment_picture seen = ipcpp::look_until_sure(image, 10, 20);
  std::vector<std::string> faults = seen.faults;
  std::vector<std::string> notes;
  std::size_t dead = 0;
  for (const auto& one : seen.participants.processes) dead += one.alive ? 0 : 1;
  if (dead != 0)
    notes.push_back(std::to_string(dead) +
                    " dead process(es), whose belongings the next who needs them takes over; "
                    "`ipcpp reclaim` does it now");
  const auto* const holder = seen.participants.find(seen.heap.holder);
  if (seen.heap.holder && (holder == nullptr || !holder->alive))
    notes.emplace_back(
        "somebody died while splitting or joining runs of pages; the next who does mends it");
  for (const auto& object : seen.objects)
    if (object.left_by_dead)
      notes.push_back(
          "object '" + object.name + "' was left half-way (" + std::string(object.state) +
          ") by somebody dead; nobody sees it, and its memory is freed with the next use");
  if (exact && faults.empty() && seen.readable) {
    // Takes part for a moment, so that nobody changes runs of pages meanwhile.
    ipcpp::segment one =
        ipcpp::segment::open(image.name(), {.permissions = ipcpp::permissions::group});
    const ipcpp::check_report report = one.heap().check();
    for (const std::string& fault : report.faults()) faults.push_back("heap " + fault);
  }
  if (how.json) {
    print_json(json{{"name", name},
                    {"sound", faults.empty()},
                    {"blocks_in_use", seen.heap.statistics.blocks_in_use},
                    {"pages", seen.heap.end_page},
                    {"objects", seen.objects.size()},
                    {"processes", seen.participants.processes.size()},
                    {"faults", faults},
                    {"notes", notes}});
    return faults.empty() ? fine : faulty;
  }
  std::string text;
  if (faults.empty())
    text = printable(name) + ": " + paint(how, style::good, "sound") + ", " +
           std::to_string(seen.heap.end_page) + " pages, " +
           std::to_string(seen.heap.statistics.blocks_in_use) + " blocks in use, " +
           std::to_string(seen.objects.size()) + " objects, " +
           std::to_string(seen.participants.processes.size()) + " processes\n";
  else
    text = printable(name) + ": " + paint(how, style::bad, "damaged") + ", " +
           std::to_string(faults.size()) + " fault(s)\n";
  constexpr std::size_t told = 20;
  for (std::size_t i = 0; i < std::min(faults.size(), told); ++i)
    text += "  " + printable(faults[i]) + "\n";
  if (faults.size() > told)
    text += "  and " + std::to_string(faults.size() - told) + " more (--json lists them)\n";
  for (const std::string& note : notes)
    text += "  " + paint(how, style::warn, "note: ") + printable(note) + "\n";
  print(text);
  return faults.empty() ? fine : faulty;
}

}  // namespace tool
