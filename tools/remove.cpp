// `ipcpp clean`, `rm`, `reclaim`: the three that change something.
#include <string>
#include <utility>
#include <vector>

#include "look.hpp"

namespace tool {

namespace platform = ipcpp::platform;

namespace {

constexpr platform::audience anybodys = platform::audience::group;  // the system decides

// A segment as one that others may use, too.
[[nodiscard]] ipcpp::open_options as_found() {
  return {.permissions = ipcpp::permissions::group};
}

}  // namespace

int clean(const options& how, bool only_tell) {
  json removed = json::array();
  json kept = json::array();
  std::string text;
  int ended = fine;
  std::uint64_t bytes = 0;
  std::size_t gone = 0;
  const auto say = [&](const std::string& what, std::uint64_t size, const std::string& why) {
    removed.push_back({{"what", what}, {"bytes", size}, {"why", why}});
    text += (only_tell ? "would remove " : "removed ") +
            paint(how, style::strong, printable(what)) + ", " + bytes_text(size) + ": " + why +
            "\n";
    bytes += size;
    ++gone;
  };
  const auto keep = [&](const std::string& what, const std::string& why) {
    kept.push_back({{"what", what}, {"why", why}});
    text += "kept " + paint(how, style::strong, printable(what)) + ": " + printable(why) + "\n";
  };
  for (const std::string& name : platform::object_names()) {
    try {
      const platform::object_image image = platform::object_image::open(name);
      const platform::object_facts facts = image.facts();
      const ipcpp::segment_picture seen = ipcpp::look_at_segment(image);
      if (facts.used) continue;
      if (!seen.readable || !seen.faults.empty()) {
        keep(name, seen.other_layout ? "made by another version of ipcpp; `ipcpp rm` removes it"
                                     : "damaged, or no segment; `ipcpp rm` removes it");
        continue;
      }
      if (seen.lifetime != 0) continue;  // is to stay
      const std::string why = "its last user was killed";
      const platform::object_id id = image.id();
      if (only_tell || platform::shared_object::remove_if_unused(name, anybodys, &id))
        say(name, facts.committed_bytes, why);
    } catch (const ipcpp::error& e) {
      if (e.kind() == ipcpp::errc::not_found) continue;
      if (e.kind() != ipcpp::errc::access_denied) ended = faulty;
      keep(name, e.what());
    }
  }
  const auto remains = platform::find_remains();
  if (!only_tell && !remains.empty()) platform::sweep_remains();
  std::vector<std::string> still;
  if (!only_tell)
    for (const auto& one : platform::find_remains()) still.push_back(one.where);
  for (const auto& one : remains) {
    bool there = false;
    for (const std::string& where : still) there |= where == one.where;
    if (there)
      ended = faulty;
    else
      say(one.where, one.bytes, "nameless, and its makers are dead");
  }
  if (how.json) {
    print_json(json{{"only_told", only_tell},
                    {"removed", std::move(removed)},
                    {"kept", std::move(kept)},
                    {"bytes", bytes}});
    return ended;
  }
  if (gone == 0) text += "nothing to remove\n";
  if (gone > 1) text += bytes_text(bytes) + " in all\n";
  print(text);
  return ended;
}

int rm(const options& how, const std::vector<std::string>& names, bool force) {
  json removed = json::array();
  json refusals = json::array();
  std::string text;
  int ended = fine;
  const auto refuse = [&](const std::string& name, const std::string& why, status as) {
    refusals.push_back({{"name", name}, {"why", why}});
    complain(printable(why));
    ended = as;
  };
  for (const std::string& name : names) {
    bool used = false;
    try {
      const platform::object_image image = platform::object_image::open(name);
      used = image.facts().used;
      if (used && !force) {
        const ipcpp::segment_picture seen = ipcpp::look_at_segment(image);
        refuse(name,
               "'" + name + "' is in use (processes: " + processes_text(seen.participants) +
                   "). Its users would go on, but nobody could join them: `ipcpp rm --force " +
                   name + "` removes the name all the same",
               refused);
        continue;
      }
    } catch (const ipcpp::error& e) {
      // What cannot be looked at may still be removed by who may.
      if (e.kind() == ipcpp::errc::not_found || e.kind() == ipcpp::errc::invalid_argument) {
        refuse(name, e.what(), e.kind() == ipcpp::errc::not_found ? missing : misused);
        continue;
      }
    }
    const bool done = force ? platform::shared_object::remove(name, anybodys)
                            : platform::shared_object::remove_if_unused(name, anybodys);
    if (!done) {
      refuse(name, "'" + name + "' is gone, or in use since just now", refused);
      continue;
    }
    removed.push_back({{"name", name}, {"was_used", used}});
    text +=
        "removed " + printable(name) + (used ? ", whose users go on without a name" : "") + "\n";
  }
  if (how.json)
    print_json(json{{"removed", std::move(removed)}, {"refused", std::move(refusals)}});
  else
    print(text);
  return ended;
}

int reclaim(const options& how, const std::string& name) {
  const platform::object_image image = platform::object_image::open(name);
  const ipcpp::segment_picture before = ipcpp::look_until_sure(image);
  if (!before.readable || !before.faults.empty())
    return fail(how, "damaged",
                "a damaged segment is not touched: `ipcpp check " + name +
                    "` says more, `ipcpp rm` removes it",
                refused, before.faults);
  if (before.lifetime == 0 && before.participants.living() == 0)
    return fail(
        how, "not_found",
        "'" + name +
            "' has lost its last user, and goes with the next look: `ipcpp clean` removes it",
        refused);
  std::size_t dead = 0;
  for (const auto& one : before.participants.processes) dead += one.alive ? 0 : 1;
  std::size_t buried = 0;
  {
    ipcpp::segment one = ipcpp::segment::open(name, as_found());
    buried = one.recover();
  }
  const ipcpp::segment_picture after = ipcpp::look_at_segment(image);
  const std::size_t then = before.heap.statistics.bytes_in_use;
  const std::size_t now = after.heap.statistics.bytes_in_use;
  if (how.json) {
    print_json(json{{"name", name},
                    {"dead_processes", dead},
                    {"reclaimed", buried},
                    {"in_use_bytes_before", then},
                    {"in_use_bytes_after", now}});
  } else if (buried == 0) {
    print(printable(name) + ": nothing to reclaim\n");
  } else {
    print(printable(name) + ": reclaimed what " + std::to_string(buried) + " dead held; in use " +
          bytes_text(then) + " before, " + bytes_text(now) + " now\n");
  }
  return fine;
}

}  // namespace tool
