// `ipcpp show NAME`: everything about one segment.
#include <array>
#include <chrono>
#include <cstdio>
#include <map>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "look.hpp"

namespace tool {

namespace platform = ipcpp::platform;

namespace {

[[nodiscard]] std::string percent(double part) {
  std::array<char, 16> text{};
  std::snprintf(text.data(), text.size(), "%.1f %%", part * 100);
  return text.data();
}

[[nodiscard]] std::string who_holds(const ipcpp::segment_picture& seen, ipcpp::participant_id id) {
  const auto* const process = seen.participants.find(id);
  if (process == nullptr) return "a process that has left";
  return process_text(process->identity) + (process->alive ? "" : ", which is dead");
}

void add_head(std::string& text, const options& how, const std::string& name,
              const ipcpp::segment_picture& seen, const platform::object_facts& facts) {
  const condition state = condition_of(seen, facts);
  const auto line = [&](std::string_view what, const std::string& is) {
    std::string label = "  " + std::string(what);
    label.resize(14, ' ');
    text += paint(how, style::faint, label) + is + "\n";
  };
  text +=
      paint(how, style::strong, printable(name)) + "  " + paint(how, state.as, state.text) + "\n";
  line("where", printable(facts.where));
  line("id", seen.id);
  line("size", bytes_text(seen.capacity_bytes) + ", of which " + bytes_text(facts.committed_bytes) +
                   " committed");
  line("lifetime", std::string(ipcpp::name_of_lifetime(seen.lifetime)));
  std::array<char, 40> number{};
  std::snprintf(number.data(), number.size(), "%s, mode %04o", user_text(facts.owner).c_str(),
                facts.mode);
  line("owner", number.data());
  if (seen.pinned_at != 0) {
    std::snprintf(number.data(), number.size(), "at 0x%llx",
                  static_cast<unsigned long long>(seen.pinned_at));
    line("pinned", number.data());
  }
  line("layout", "object " + std::to_string(seen.prologue_version) + ", segment " +
                     std::to_string(seen.version) + ", heap " + std::to_string(seen.heap.version));
  if (seen.heap.holder) line("heap's lock", "held by " + who_holds(seen, seen.heap.holder));
  if (seen.directory_holder)
    line("names' lock", "held by " + who_holds(seen, seen.directory_holder));
}

void add_processes(std::string& text, const options& how, const ipcpp::segment_picture& seen) {
  text += "\n" + paint(how, style::strong, "processes") + "  " + processes_text(seen.participants) +
          ", " + std::to_string(seen.participants.limits.processes) + " can be\n";
  if (seen.participants.processes.empty()) return;
  table rows({"PID", "COMMAND", "STATE", ">HANDLES", ">JOINED"});
  for (const auto& one : seen.participants.processes)
    rows.add({one.identity.pid == 0 ? "?" : std::to_string(one.identity.pid),
              printable(command_of(one.identity)), std::string(one.alive ? one.state : "dead"),
              std::to_string(one.handles), seconds_text(age_of(one.joined_ns)) + " ago"},
             {style::plain, style::plain, one.alive ? style::good : style::bad});
  text += rows.text(how, "  ");
}

void add_heap(std::string& text, const options& how, const ipcpp::heap_picture& heap) {
  const ipcpp::heap_statistics& of = heap.statistics;
  text += "\n" + paint(how, style::strong, "heap") + "  " + bytes_text(of.bytes_in_use) +
          " in use in " + std::to_string(of.blocks_in_use) + " blocks (" +
          std::to_string(of.large_blocks_in_use) + " large), footprint " +
          bytes_text(of.footprint) + ", largest free block " + bytes_text(of.largest_block) +
          ", fragmentation " + percent(of.fragmentation) + "\n";
  table rows({">BLOCK", ">SLABS", ">IN USE", ">FREE", ">USED"});
  for (const auto& k : of.classes)
    if (k.slabs != 0)
      rows.add({std::to_string(k.block_bytes), std::to_string(k.slabs),
                std::to_string(k.blocks_in_use), std::to_string(k.blocks_free),
                percent(static_cast<double>(k.blocks_in_use) /
                        static_cast<double>(k.blocks_in_use + k.blocks_free))});
  if (!rows.empty()) text += rows.text(how, "  ");
}

}  // namespace

int show(const options& how, const std::string& name, double interval) {
  const platform::object_image image = open_image(name);
  platform::object_facts facts = image.facts();
  ipcpp::segment_picture seen = ipcpp::look_until_sure(image);
  if (!seen.readable)
    return fail(how, seen.other_layout ? "wrong_layout" : "damaged",
                "'" + name + "' cannot be read as a segment", refused, seen.faults,
                json_of(name, seen, facts));

  // Rates take two looks.
  std::map<std::uint64_t, object_view> before;
  bool rates = false;
  for (const auto& object : seen.objects) {
    before[object.index] = view_of(image, seen, object);
    rates |= before[object.index].sent.has_value();
  }
  const auto first = std::chrono::steady_clock::now();
  double seconds = 0;
  if (rates && interval > 0 && facts.used) {
    std::this_thread::sleep_for(std::chrono::duration<double>(interval));
    std::vector<std::string> faults = std::move(seen.faults);
    seen = ipcpp::look_at_segment(image);
    seen.faults = std::move(faults);
    seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - first).count();
  }

  json objects = json::array();
  table rows({"NAME", ">BYTES", "TYPE", "IS"});
  const std::size_t room = how.wide ? 100000 : 56;
  for (const auto& object : seen.objects) {
    object_view view = view_of(image, seen, object);
    json one{{"name", object.name},           {"type", object.type}, {"bytes", object.bytes},
             {"alignment", object.alignment}, {"offset", object.at}, {"state", object.state}};
    if (object.owner) one["owner_slot"] = object.owner.slot;
    if (object.left_by_dead) one["left_by_dead"] = true;
    if (!view.kind.empty()) one[view.kind] = view.facts;
    std::string is = view.text;
    const auto earlier = before.find(object.index);
    if (seconds > 0 && view.sent && earlier != before.end() && earlier->second.sent) {
      const auto rate = [&](std::optional<std::uint64_t> now, std::optional<std::uint64_t> then) {
        return now && then ? static_cast<double>(*now - *then) / seconds : 0.0;
      };
      const double in = rate(view.sent, earlier->second.sent);
      const double out = rate(view.received, earlier->second.received);
      one["sent_per_second"] = in;
      one["received_per_second"] = out;
      std::array<char, 80> text{};
      std::snprintf(text.data(), text.size(), ", %.0f/s in, %.0f/s out", in, out);
      is += text.data();
    }
    if (object.state != "ready") {
      const std::string state = std::string(object.state) + " by " + who_holds(seen, object.owner);
      is = is.empty() ? state : state + "; " + is;
    }
    rows.add({printable(object.name), std::to_string(object.bytes),
              shortened(printable(object.type), room), printable(is)},
             {style::strong, style::plain, style::accent,
              object.left_by_dead ? style::warn : style::plain});
    objects.push_back(std::move(one));
  }

  if (how.json) {
    json report = json_of(name, seen, facts);
    report["heap"] = json_of(seen.heap.statistics);
    report["objects"] = std::move(objects);
    print_json(report);
    return fine;
  }
  std::string text;
  add_head(text, how, name, seen, facts);
  add_processes(text, how, seen);
  text += "\n" + paint(how, style::strong, "objects") + "  " + std::to_string(seen.objects.size()) +
          "\n";
  if (!rows.empty()) text += rows.text(how, "  ");
  add_heap(text, how, seen.heap);
  if (!seen.faults.empty()) {
    text +=
        "\n" + paint(how, style::bad, "faults") + "  " + std::to_string(seen.faults.size()) + "\n";
    for (const std::string& fault : seen.faults) text += "  " + printable(fault) + "\n";
  }
  print(text);
  return fine;
}

}  // namespace tool
