// What several commands show of a segment.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>

#if !defined(_WIN32)
#include <pwd.h>
#endif

#include "look.hpp"

namespace tool {

namespace platform = ipcpp::platform;

platform::object_image open_image(const std::string& name) {
  if (name.find_first_of("/\\") == std::string::npos) return platform::object_image::open(name);
  // The file that a name leads to is that name, so that who uses it is seen.
  const std::filesystem::path path(name);
  const std::string file = path.filename().string();
  std::error_code ignored;
  if (file.starts_with("ipcpp.") && path.has_parent_path() &&
      std::filesystem::equivalent(path.parent_path(), platform::place_of_names(), ignored))
    return platform::object_image::open(file.substr(6));
  return platform::object_image::open_file(name);
}

condition condition_of(const ipcpp::segment_picture& seen, const platform::object_facts& facts) {
  if (seen.other_layout) return {"another layout", style::warn};
  if (!seen.readable)
    return facts.used ? condition{"no segment, used", style::bad}
                      : condition{"no segment", style::bad};
  if (!seen.faults.empty()) return {"damaged", style::bad};
  if (facts.stale) return {"a copy", style::faint};
  if (facts.used && seen.participants.living() != 0) return {"used", style::good};
  if (facts.used) return {"only looked at", style::plain};
  return seen.lifetime == 0 ? condition{"left over", style::warn}
                            : condition{"unused", style::faint};
}

json json_of(const ipcpp::heap_statistics& of) {
  json classes = json::array();
  for (const auto& k : of.classes)
    if (k.slabs != 0)
      classes.push_back({{"block_bytes", k.block_bytes},
                         {"slabs", k.slabs},
                         {"blocks_in_use", k.blocks_in_use},
                         {"blocks_free", k.blocks_free}});
  return {{"bytes_in_use", of.bytes_in_use},
          {"bytes_free", of.bytes_free},
          {"blocks_in_use", of.blocks_in_use},
          {"large_blocks_in_use", of.large_blocks_in_use},
          {"footprint", of.footprint},
          {"metadata_bytes", of.metadata_bytes},
          {"largest_free_block", of.largest_block},
          {"fragmentation", of.fragmentation},
          {"classes", std::move(classes)}};
}

json json_of(const ipcpp::participants_picture& of) {
  json all = json::array();
  for (const auto& one : of.processes)
    all.push_back({{"slot", one.id.slot},
                   {"generation", one.id.generation},
                   {"pid", one.identity.pid},
                   {"command", command_of(one.identity)},
                   {"alive", one.alive},
                   {"state", one.state},
                   {"handles", one.handles},
                   {"joined_seconds_ago", age_of(one.joined_ns)}});
  return all;
}

json json_of(const std::string& name, const ipcpp::segment_picture& seen,
             const platform::object_facts& facts) {
  json of{{"name", name},
          {"where", facts.where},
          {"condition", condition_of(seen, facts).text},
          {"used", facts.used},
          {"owner", user_text(facts.owner)},
          {"mode", facts.mode},
          {"committed_bytes", facts.committed_bytes},
          {"changed", facts.changed_seconds}};
  if (!seen.readable) {
    of["faults"] = seen.faults;
    return of;
  }
  of["id"] = seen.id;
  of["size_bytes"] = seen.capacity_bytes;
  of["in_use_bytes"] = seen.heap.statistics.bytes_in_use;
  of["lifetime"] = ipcpp::name_of_lifetime(seen.lifetime);
  of["pinned_at"] = seen.pinned_at;
  of["layout_version"] = {
      {"object", seen.prologue_version}, {"segment", seen.version}, {"heap", seen.heap.version}};
  of["processes"] = json_of(seen.participants);
  of["limits"] = {{"processes", seen.participants.limits.processes},
                  {"handles", seen.participants.limits.handles}};
  of["objects"] = seen.objects.size();
  of["faults"] = seen.faults;
  return of;
}

std::string command_of(const platform::process_identity& who) {
#if defined(__linux__)
  if (who.pid == 0 || who.pid_namespace != platform::current_process().pid_namespace ||
      !platform::same_process_lives(who))
    return {};
  std::ifstream file("/proc/" + std::to_string(who.pid) + "/comm");
  std::string name;
  std::getline(file, name);
  return name;
#else
  (void)who;
  return {};
#endif
}

std::string process_text(const platform::process_identity& who) {
  if (who.pid == 0) return "a process";
  std::string text = std::to_string(who.pid);
  if (who.pid_namespace != platform::current_process().pid_namespace)
    return text + " in another namespace";
  if (const std::string command = command_of(who); !command.empty())
    text += " (" + printable(command) + ")";
  return text;
}

std::string user_text(std::uint32_t user) {
#if defined(_WIN32)
  (void)user;
  return "";
#else
  const passwd* const entry = ::getpwuid(user);
  return entry != nullptr ? entry->pw_name : std::to_string(user);
#endif
}

std::string processes_text(const ipcpp::participants_picture& of) {
  const std::size_t living = of.living();
  const std::size_t dead = of.processes.size() - living;
  std::string text = std::to_string(living);
  if (dead != 0) text += " + " + std::to_string(dead) + " dead";
  return text;
}

double age_of(std::int64_t joined_ns) {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(now - std::chrono::nanoseconds(joined_ns)).count();
}

}  // namespace tool
