// Bodies of ipcpp.sync:participants_picture.
//
// Race story. A slot is read while its owner may change it: control word, the rest, control word
// again. What changed in between is read anew a few times, then taken as it is; nothing depends on it
// but what a person is shown.
module;

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

module ipcpp.sync;

import ipcpp.platform;
import :participants;
import :participants_picture;
import :participant_table;

namespace ipcpp {

using namespace detail;

namespace {

[[nodiscard]] std::string_view text_of(slot_state state) noexcept {
  switch (state) {
    case slot_state::free:
      return "free";
    case slot_state::joining:
      return "joining";
    case slot_state::live:
      return "live";
    case slot_state::burying:
      return "burying";
  }
  return "";
}

}  // namespace

participants_picture look_at_participants(const platform::object_image& image, std::uint64_t at) {
  participants_picture seen;
  seen.at = at;
  const auto fault = [&](const std::string& what) {
    if (seen.faults.size() < 100) seen.faults.push_back("participants: " + what);
  };
  const auto header = image.get<table_header>(at);
  if (!header) {
    fault("no table at byte " + std::to_string(at) + ": the object ends before");
    return seen;
  }
  if (header->magic != table_magic) {
    fault("something else in the table's place at byte " + std::to_string(at));
    return seen;
  }
  if (header->version != table_version) {
    fault("table version " + std::to_string(header->version) + ", this program knows " +
          std::to_string(table_version));
    return seen;
  }
  if (header->processes < 1 || header->processes > participants::max_processes ||
      header->handles < 1 || header->handles > participants::max_handles ||
      header->first_life > platform::max_lives - header->processes) {
    fault("limits that cannot be: " + std::to_string(header->processes) + " processes, " +
          std::to_string(header->handles) + " handles");
    return seen;
  }
  seen.limits = {header->processes, header->handles};
  seen.first_life = header->first_life;

  const std::uint64_t processes_at = at + platform::line_stride;
  for (std::uint32_t slot = 0; slot < header->processes; ++slot) {
    const std::uint64_t here = processes_at + std::uint64_t{slot} * sizeof(process_slot);
    for (int look = 0; look < 4; ++look) {
      const auto found = image.get<process_slot>(here);
      if (!found) {
        fault("the object ends within the table");
        return seen;
      }
      const slot_state state = state_of(found->control);
      if (state > slot_state::burying) {
        fault("process slot " + std::to_string(slot) + " is in a state that cannot be");
        break;
      }
      if (state == slot_state::free) break;
      participants_picture::process one;
      one.id = {slot, generation_of(found->control)};
      if (state != slot_state::joining)
        one.identity = {found->pid, found->start_time, found->pid_namespace};
      one.joined_ns = found->joined_ns;
      one.state = text_of(state);
      one.alive = image.probe(header->first_life + slot, one.identity) == platform::life::alive;
      const auto again = image.get<std::uint64_t>(here);
      if (again && *again != found->control && look < 3) continue;
      seen.processes.push_back(one);
      break;
    }
  }

  const std::uint64_t handles_at =
      processes_at + std::uint64_t{header->processes} * sizeof(process_slot);
  // In one piece: a table may have thousands, and most are free.
  std::vector<handle_slot> slots(header->handles);
  if (!image.read(handles_at, slots.data(), slots.size() * sizeof(handle_slot))) {
    fault("the object ends within the table");
    return seen;
  }
  for (std::uint32_t i = 0; i < header->handles; ++i) {
    const handle_slot& found = slots[i];
    if (!handle_used(found.control)) continue;
    participants_picture::handle one;
    one.id = {i, handle_generation(found.control)};
    one.owner = handle_owner(found.control);
    one.kind = handle_kind_of(found.control);
    one.words = found.words;
    if (one.owner >= header->processes)
      fault("handle " + std::to_string(i) + " belongs to process slot " +
            std::to_string(one.owner) + ", which cannot be");
    bool owned = false;
    for (participants_picture::process& process : seen.processes)
      if (process.id.slot == one.owner) {
        ++process.handles;
        owned = true;
      }
    if (!owned && one.owner < header->processes)
      fault("handle " + std::to_string(i) + " is in use, but process slot " +
            std::to_string(one.owner) + " is free");
    seen.handles.push_back(one);
  }
  return seen;
}

}  // namespace ipcpp
