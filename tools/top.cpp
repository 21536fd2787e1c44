// `ipcpp top`: the segments, live. Keys as in top.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <map>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "limits.hpp"
#include "screen.hpp"

#include "look.hpp"

namespace tool {

namespace platform = ipcpp::platform;

namespace {

using steady = std::chrono::steady_clock;

struct row {
  std::string name;
  bool readable = false;
  condition state;
  platform::object_facts facts;
  ipcpp::segment_picture seen;
  std::map<std::uint64_t, object_view> views;
  double growth = 0;  // bytes in use, a second
  std::map<std::uint64_t, std::pair<double, double>> rates;
};

struct moment {
  steady::time_point at;
  std::vector<row> rows;
  std::size_t processes = 0;
  std::size_t dead = 0;
  std::uint64_t used = 0;
  std::optional<std::uint64_t> bound;
};

[[nodiscard]] moment look_now(const moment& before) {
  moment now;
  for (const std::string& name : platform::object_names()) {
    row one;
    one.name = name;
    try {
      const platform::object_image image = platform::object_image::open(name);
      one.facts = image.facts();
      one.seen = ipcpp::look_until_sure(image, 3, 2);
      one.readable = one.seen.readable;
      one.state = condition_of(one.seen, one.facts);
      for (const auto& object : one.seen.objects)
        one.views[object.index] = view_of(image, one.seen, object);
    } catch (const ipcpp::error& e) {
      if (e.kind() == ipcpp::errc::not_found) continue;
      one.state = {e.kind() == ipcpp::errc::access_denied ? "no permission" : "unreadable",
                   style::warn};
    }
    now.processes += one.seen.participants.living();
    now.dead += one.seen.participants.processes.size() - one.seen.participants.living();
    now.rows.push_back(std::move(one));
  }
  now.at = steady::now();
  const double seconds = std::chrono::duration<double>(now.at - before.at).count();
  for (row& one : now.rows) {
    const auto then = std::find_if(before.rows.begin(), before.rows.end(), [&](const row& other) {
      return other.name == one.name && other.seen.id == one.seen.id;
    });
    if (then == before.rows.end() || seconds <= 0) continue;
    one.growth = (static_cast<double>(one.seen.heap.statistics.bytes_in_use) -
                  static_cast<double>(then->seen.heap.statistics.bytes_in_use)) /
                 seconds;
    for (const auto& [index, view] : one.views) {
      const auto old = then->views.find(index);
      if (old == then->views.end() || !view.sent || !old->second.sent) continue;
      const auto rate = [&](const auto& of, const auto& from) {
        return of && from ? static_cast<double>(*of - *from) / seconds : 0.0;
      };
      one.rates[index] = {rate(view.sent, old->second.sent),
                          rate(view.received, old->second.received)};
    }
  }
  for (const limit& one : limits_of_this_machine())
    if (one.key == "shared_memory") {
      now.bound = one.bound;
      now.used = one.used.value_or(0);
    }
  return now;
}

constexpr std::array<const char*, 5> orders{"memory", "name", "use", "processes", "growth"};

void sort(std::vector<row>& rows, const std::string& by, bool reversed) {
  const auto less = [&](const row& a, const row& b) {
    const auto larger_first = [&](auto x, auto y) { return x != y ? x > y : a.name < b.name; };
    if (by == "memory") return larger_first(a.facts.committed_bytes, b.facts.committed_bytes);
    if (by == "use")
      return larger_first(a.seen.heap.statistics.bytes_in_use, b.seen.heap.statistics.bytes_in_use);
    if (by == "processes")
      return larger_first(a.seen.participants.processes.size(),
                          b.seen.participants.processes.size());
    if (by == "growth") return larger_first(a.growth, b.growth);
    return a.name < b.name;
  };
  std::sort(rows.begin(), rows.end(), less);
  if (reversed) std::reverse(rows.begin(), rows.end());
}

[[nodiscard]] std::string padded(const std::string& text, std::size_t width, bool right) {
  const std::size_t has = columns_of(text);
  const std::string gap(width > has ? width - has : 0, ' ');
  return right ? gap + text : text + gap;
}

[[nodiscard]] std::string rate_text(double bytes) {
  if (bytes == 0) return "-";
  return (bytes < 0 ? "-" : "+") +
         bytes_text(static_cast<std::uint64_t>(bytes < 0 ? -bytes : bytes)) + "/s";
}

constexpr std::size_t name_width = 24;

[[nodiscard]] std::string heading(const std::string& by) {
  const auto mark = [&](const char* text, const char* key) {
    return by == key ? std::string(text) + "*" : std::string(text);
  };
  return padded(mark("NAME", "name"), name_width, false) + padded("SIZE", 9, true) +
         padded(mark("MEMORY", "memory"), 11, true) + padded(mark("IN USE", "use"), 11, true) +
         padded(mark("GROWTH", "growth"), 14, true) + "  " +
         padded(mark("PROCESSES", "processes"), 16, false) + "STATE";
}

[[nodiscard]] std::string line_of(const row& one) {
  const std::string name =
      padded(shortened(printable(one.name), name_width - 1), name_width, false);
  if (!one.readable)
    return name + padded("?", 9, true) + padded(bytes_text(one.facts.committed_bytes), 11, true) +
           padded("?", 11, true) + padded("?", 14, true) + "  " + padded("?", 12, false) +
           one.state.text;
  return name + padded(bytes_text(one.seen.capacity_bytes), 9, true) +
         padded(bytes_text(one.facts.committed_bytes), 11, true) +
         padded(bytes_text(one.seen.heap.statistics.bytes_in_use), 11, true) +
         padded(rate_text(one.growth), 14, true) + "  " +
         padded(processes_text(one.seen.participants) + " ", 16, false) + one.state.text;
}

[[nodiscard]] std::string summary(const moment& now) {
  std::array<char, 16> clock{};
  const std::time_t t = std::time(nullptr);
  if (const std::tm* const local = std::localtime(&t); local != nullptr)
    std::strftime(clock.data(), clock.size(), "%H:%M:%S", local);
  std::string text = "ipcpp top - " + std::string(clock.data()) +
                     "  segments: " + std::to_string(now.rows.size()) +
                     "  processes: " + std::to_string(now.processes);
  if (now.dead != 0) text += " + " + std::to_string(now.dead) + " dead";
  text += "   " + platform::place_of_names() + " " + bytes_text(now.used);
  if (now.bound) text += " of " + bytes_text(*now.bound);
  return text;
}

// What is below the list: the selected segment.
[[nodiscard]] std::vector<std::pair<std::string, style>> details(const row& one) {
  std::vector<std::pair<std::string, style>> lines;
  lines.emplace_back(printable(one.name), style::strong);
  for (const std::string& fault : one.seen.faults)
    lines.emplace_back("  " + printable(fault), style::bad);
  for (const auto& object : one.seen.objects) {
    std::string text = "  " + padded(shortened(printable(object.name), 27), 28, false);
    const auto view = one.views.find(object.index);
    const bool known = view != one.views.end() && !view->second.text.empty();
    text += known ? printable(view->second.text) : shortened(printable(object.type), 60);
    if (const auto rate = one.rates.find(object.index); rate != one.rates.end()) {
      std::array<char, 80> more{};
      std::snprintf(more.data(), more.size(), "  %.0f/s in, %.0f/s out", rate->second.first,
                    rate->second.second);
      text += more.data();
    }
    lines.emplace_back(std::move(text), style::accent);
  }
  for (const bool alive : {true, false})  // a window may be too short for all of them
    for (const auto& process : one.seen.participants.processes) {
      if (process.alive != alive) continue;
      lines.emplace_back("  " + padded(process_text(process.identity), 28, false) +
                             padded(std::string(alive ? process.state : "dead"), 9, false) +
                             std::to_string(process.handles) +
                             (process.handles == 1 ? " handle, " : " handles, ") +
                             seconds_text(age_of(process.joined_ns)),
                         alive ? style::plain : style::bad);
    }
  return lines;
}

int batch(const options& how, const top_options& what) {
  moment now;
  json looks = json::array();
  const unsigned rounds = what.rounds == 0 && how.json ? 1 : what.rounds;
  for (unsigned round = 0; rounds == 0 || round < rounds; ++round) {
    if (round != 0) std::this_thread::sleep_for(std::chrono::duration<double>(what.seconds));
    now = look_now(now);
    sort(now.rows, what.sort, false);
    if (how.json) {
      json rows = json::array();
      for (const row& one : now.rows) {
        json entry = json_of(one.name, one.seen, one.facts);
        entry["growth_bytes_per_second"] = one.growth;
        rows.push_back(std::move(entry));
      }
      looks.push_back(json{{"segments", std::move(rows)}, {"shared_memory_used", now.used}});
      continue;
    }
    std::string text = (round == 0 ? "" : "\n") + summary(now) + "\n" + heading(what.sort) + "\n";
    for (const row& one : now.rows) text += line_of(one) + "\n";
    print(text);
  }
  if (how.json) print_json(json{{"looks", std::move(looks)}});
  return fine;
}

constexpr std::array<const char*, 9> help{
    "q          quit",
    "s          sort by the next column (marked *)",
    "r          reverse the order",
    "up, down   select a segment (also j, k)",
    "enter, i   show or hide what is in it",
    "+, -       look less, more often",
    "space      look now",
    "h, ?       this help",
    "any key goes back",
};

}  // namespace

int top(const options& how, const top_options& what) {
  if (what.batch || how.json) return batch(how, what);
  screen window(how.colours);
  std::string by = what.sort;
  bool reversed = false;
  bool detailed = true;
  bool helping = false;
  double seconds = what.seconds;
  std::string selected;
  moment now;
  bool stale = true;
  auto due = steady::now();
  for (unsigned round = 0;;) {
    if (stale || steady::now() >= due) {
      if (what.rounds != 0 && round == what.rounds) return fine;
      now = look_now(now);
      due = now.at +
            std::chrono::duration_cast<steady::duration>(std::chrono::duration<double>(seconds));
      stale = false;
      ++round;
    }
    sort(now.rows, by, reversed);
    std::size_t chosen = 0;
    for (std::size_t i = 0; i < now.rows.size(); ++i)
      if (now.rows[i].name == selected) chosen = i;
    if (!now.rows.empty()) selected = now.rows[chosen].name;

    window.begin();
    window.put(0, summary(now), style::strong);
    std::array<char, 120> keys{};
    std::snprintf(keys.data(), keys.size(),
                  "q quit  s sort: %s%s  enter details  +/- every %.1f s  h help", by.c_str(),
                  reversed ? ", reversed" : "", seconds);
    window.put(1, keys.data(), style::faint);
    if (helping) {
      for (std::size_t i = 0; i < help.size(); ++i)
        window.put(static_cast<int>(i) + 3, help[i], style::plain);
    } else {
      window.put(3, heading(by), style::plain, true);
      const int list_rows = std::max(
          1, detailed ? std::min<int>(static_cast<int>(now.rows.size()), (window.rows() - 5) / 2)
                      : window.rows() - 5);
      const std::size_t first = chosen < static_cast<std::size_t>(list_rows)
                                    ? 0
                                    : chosen - static_cast<std::size_t>(list_rows) + 1;
      int line = 4;
      for (std::size_t i = first; i < now.rows.size() && line < 4 + list_rows; ++i, ++line)
        window.put(line, line_of(now.rows[i]), i == chosen ? style::plain : now.rows[i].state.as,
                   i == chosen);
      if (now.rows.empty()) window.put(line++, "no segments", style::faint);
      if (detailed && !now.rows.empty()) {
        ++line;
        const auto lines = details(now.rows[chosen]);
        const auto room = static_cast<std::size_t>(std::max(0, window.rows() - line));
        const std::size_t shown = lines.size() <= room ? lines.size() : room > 0 ? room - 1 : 0;
        for (std::size_t i = 0; i < shown; ++i) window.put(line++, lines[i].first, lines[i].second);
        if (shown < lines.size())
          window.put(line, "  and " + std::to_string(lines.size() - shown) + " more", style::faint);
      }
    }
    window.end();

    const double left = std::chrono::duration<double>(due - steady::now()).count();
    const pressed key = window.wait(left);
    if (helping && (key.letter != 0 || key.special != tool::key::none)) {
      helping = key.special == tool::key::resized;
      if (key.letter == 'q') return fine;
      continue;
    }
    const auto select = [&](std::size_t i) {
      if (i < now.rows.size()) selected = now.rows[i].name;
    };
    switch (key.special) {
      case tool::key::up:
        if (chosen > 0) select(chosen - 1);
        break;
      case tool::key::down:
        select(chosen + 1);
        break;
      case tool::key::enter:
        detailed = !detailed;
        break;
      default:
        break;
    }
    switch (key.letter) {
      case 'q':
      case 'Q':
        return fine;
      case 's':
        by = orders[static_cast<std::size_t>(std::find(orders.begin(), orders.end(), by) -
                                             orders.begin() + 1) %
                    orders.size()];
        break;
      case 'r':
      case 'R':
        reversed = !reversed;
        break;
      case 'k':
        if (chosen > 0) select(chosen - 1);
        break;
      case 'j':
        select(chosen + 1);
        break;
      case 'i':
        detailed = !detailed;
        break;
      case '+':
        seconds = std::min(seconds * 2, 60.0);
        break;
      case '-':
        seconds = std::max(seconds / 2, 0.1);
        break;
      case ' ':
        stale = true;
        break;
      case 'h':
      case '?':
        helping = true;
        break;
      default:
        break;
    }
    if (key.letter == '+' || key.letter == '-')
      due = now.at +
            std::chrono::duration_cast<steady::duration>(std::chrono::duration<double>(seconds));
  }
}

}  // namespace tool
