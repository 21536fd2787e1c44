// `ipcpp limits`: what the machine allows, and how to have more.
#include <string>
#include <utility>
#include <vector>

#include "limits.hpp"
#include "tool.hpp"

namespace tool {

namespace {

struct advice {
  const char* what;
  const char* on_linux;
  const char* on_macos;
  const char* on_windows;
};

constexpr advice all_advice[] = {
    {"shared memory in all",
     "mount -o remount,size=16G /dev/shm   (for ever: /etc/fstab; docker run --shm-size)",
     "bounded by memory and swap alone", "the commit limit: a larger page file"},
    {"address space", "ulimit -v unlimited; overcommit: sysctl vm.overcommit_memory=0",
     "bounded by the 47 bits of the machine", "bounded by the 47 bits of the machine"},
    {"locked memory",
     "ulimit -l unlimited   (/etc/security/limits.conf: memlock; systemd: LimitMEMLOCK=)",
     "ulimit -l unlimited; sysctl vm.user_wire_limit",
     "SetProcessWorkingSetSize; right 'Lock pages in memory'"},
    {"open files", "ulimit -n 65536   (systemd: LimitNOFILE=)",
     "ulimit -n; launchctl limit maxfiles", "16 million handles a process"},
    {"mappings", "sysctl vm.max_map_count=1048576", "none of its own", "none of its own"},
    {"huge pages", "echo advise > /sys/kernel/mm/transparent_hugepage/shmem_enabled",
     "none for shared memory", "right 'Lock pages in memory'"},
    {"names that vanish at logout",
     "loginctl enable-linger, or RemoveIPC=no in /etc/systemd/logind.conf", "does not happen",
     "a name lives as long as its last user"},
};

}  // namespace

int limits(const options& how) {
  const std::vector<limit> all = limits_of_this_machine();
  if (how.json) {
    json list = json::array();
    for (const limit& one : all) {
      json entry{{"limit", one.key},
                 {"what", one.what},
                 {"unit", one.bytes ? "bytes" : "number"},
                 {"bound", one.bound ? json(*one.bound) : json(nullptr)},
                 {"used", one.used ? json(*one.used) : json(nullptr)},
                 {"note", one.note},
                 {"matters_to", one.matters},
                 {"raise", one.raise},
                 {"tight", one.tight}};
      list.push_back(std::move(entry));
    }
    json ways = json::array();
    for (const advice& one : all_advice)
      ways.push_back({{"what", one.what},
                      {"linux", one.on_linux},
                      {"macos", one.on_macos},
                      {"windows", one.on_windows}});
    print_json(json{{"limits", std::move(list)}, {"ways_to_raise", std::move(ways)}});
    return fine;
  }
  table rows({"LIMIT", ">BOUND", ">USED", "MATTERS TO"});
  std::string raises;
  for (const limit& one : all) {
    const auto number = [&](const std::optional<std::uint64_t>& value) {
      return !value ? std::string() : one.bytes ? bytes_text(*value) : std::to_string(*value);
    };
    std::string bound = number(one.bound);
    if (!one.note.empty()) bound += (bound.empty() ? "" : ", ") + one.note;
    if (bound.empty()) bound = "unlimited";
    rows.add({one.what, bound, number(one.used), one.matters},
             {style::strong, one.tight ? style::warn : style::plain});
    if (one.tight) raises += "  " + paint(how, style::warn, one.what) + ": " + one.raise + "\n";
  }
  std::string text = rows.text(how);
  if (!raises.empty())
    text += "\n" + paint(how, style::strong, "worth raising here") + "\n" + raises;
  text += "\n" + paint(how, style::strong, "how to raise") + "\n";
  for (const advice& one : all_advice) {
    text += "  " + paint(how, style::accent, one.what) + "\n";
    text += "    Linux    " + std::string(one.on_linux) + "\n";
    text += "    macOS    " + std::string(one.on_macos) + "\n";
    text += "    Windows  " + std::string(one.on_windows) + "\n";
  }
  print(text);
  return fine;
}

}  // namespace tool
