// word_census [--root DIR] [--quick] [FILE...]
//
// Several processes count the words of many files in one shared object; some of them are killed
// with SIGKILL in the midst of it, and nothing is lost: the survivors learn from the kernel who
// died, and count the files of the dead again. Without FILEs, the sources and documents below DIR
// are counted. --quick leaves out the pauses that let one watch.
//
// Exit status 0 only if every word's count equals that of a plain single-process count, at least
// three builders were killed in the midst of a file, everybody dead was buried, and nothing is left
// in shared memory.
//
// (`word_census --build NAME N` and `--read NAME` are its own child processes.)
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "census.hpp"

import ipcpp;
import ipcpp.platform;

namespace fs = std::filesystem;
namespace platform = ipcpp::platform;
using namespace ipcpp::literals;

namespace {

constexpr std::size_t builders = 3;
constexpr std::size_t kills_wanted = 5;

struct worker {
  pid_t pid = -1;
  std::uint64_t number = 0;
};

pid_t start(const std::vector<std::string>& arguments) {
  std::vector<char*> words{const_cast<char*>("word_census")};
  for (const auto& argument : arguments) words.push_back(const_cast<char*>(argument.c_str()));
  words.push_back(nullptr);
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // nobody outlives the demonstration
    ::execv("/proc/self/exe", words.data());
    ::_exit(127);
  }
  return pid;
}

std::vector<std::string> texts_below(const fs::path& root) {
  std::vector<std::string> found;
  for (auto it = fs::recursive_directory_iterator(root); it != fs::end(it); ++it) {
    const std::string name = it->path().filename().string();
    if (it->is_directory() && (name == "build" || name.starts_with('.')))
      it.disable_recursion_pending();
    const std::string kind = it->path().extension().string();
    if (it->is_regular_file() &&
        (kind == ".md" || kind == ".cpp" || kind == ".cppm" || kind == ".hpp"))
      found.push_back(it->path().string());
  }
  std::sort(found.begin(), found.end());
  return found;
}

// The shared object, complete, under its name.
platform::mapping lay_out(const std::vector<std::string>& files, const std::string& name,
                          std::uint64_t pause_us) {
  std::size_t names = 0;
  for (const auto& file : files) names += file.size() + 1;
  const std::size_t names_at = census::header_at() + 128 + files.size() * sizeof(census::file);
  const std::size_t regions_at = (names_at + names + 4095) / 4096 * 4096;
  std::vector<census::file> entries;
  std::size_t name_at = names_at;
  std::size_t region_at = regions_at;
  for (const auto& file : files) {
    census::file entry{};
    entry.bytes = fs::file_size(file);
    entry.name_at = name_at;
    entry.region_at = region_at;
    entry.table_slots = 64;
    while (entry.table_slots < entry.bytes / 2)
      entry.table_slots *= 2;  // every second byte may end a word
    entries.push_back(entry);
    name_at += file.size() + 1;
    region_at += census::view::region_bytes(entry.bytes, entry.table_slots);
  }
  platform::mapping unseen =
      platform::mapping::map(platform::shared_object::create({.capacity_bytes = region_at}));
  if (!unseen.commit(0, regions_at)) throw std::bad_alloc();
  {
    const auto table = ipcpp::participants::create(
        unseen, census::table_at,
        {.processes = census::max_processes, .handles = census::max_handles});
  }
  const census::view all(unseen.base());
  all.head() = {.files = files.size(), .takeovers = 0, .reader_sum = 0, .pause_us = pause_us};
  for (std::size_t i = 0; i < files.size(); ++i) {
    all.at(i) = entries[i];
    std::strcpy(reinterpret_cast<char*>(unseen.base() + entries[i].name_at), files[i].c_str());
  }
  platform::shared_object object = unseen.object().again();
  object.publish(name);
  return platform::mapping::map(platform::shared_object::open(name));
}

// One character per file: '.' not begun, 'o' under way, then the number of the builder that counted
// it.
std::string picture(const census::view& all) {
  std::string line;
  const std::size_t files = all.head().files;
  const std::size_t width = std::min<std::size_t>(files, 64);
  for (std::size_t column = 0; column < width; ++column) {
    census::file& one = all.at(column * files / width);
    const bool done = census::shared(one.words).load(std::memory_order_acquire) != 0;
    const bool begun = census::shared(one.owner).load(std::memory_order_relaxed) != 0;
    line.push_back(done
                       ? static_cast<char>(
                             '0' + census::shared(one.builder).load(std::memory_order_relaxed) % 10)
                   : begun ? 'o'
                           : '.');
  }
  return line;
}

void show(const census::view& all) {
  census::header& head = all.head();
  std::printf("   [%s] %3llu of %llu files, the reader sees %llu words\n", picture(all).c_str(),
              static_cast<unsigned long long>(all.done()),
              static_cast<unsigned long long>(head.files),
              static_cast<unsigned long long>(census::shared(head.reader_sum).load()));
  std::fflush(stdout);
}

// A file that `number` is in the midst of, or the number of files.
std::size_t in_the_midst_of(const census::view& all, std::uint64_t number) {
  const std::size_t files = all.head().files;
  for (std::size_t i = 0; i < files; ++i) {
    census::file& one = all.at(i);
    if (census::shared(one.owner).load() != 0 && census::shared(one.builder).load() == number &&
        census::shared(one.words).load() == 0 && census::shared(one.progress).load() != 0)
      return i;
  }
  return files;
}

std::map<std::string, std::uint64_t> plain_count(const std::vector<std::string>& files) {
  std::map<std::string, std::uint64_t> words;
  for (const auto& file : files)
    census::for_each_word(census::read_file(file),
                          [&](const std::string& w, std::size_t) { ++words[w]; });
  return words;
}

std::map<std::string, std::uint64_t> merge(const census::view& all) {
  std::map<std::string, std::uint64_t> words;
  for (std::size_t i = 0; i < all.head().files; ++i)
    for (std::uint64_t slot = 0; slot < all.at(i).table_slots; ++slot) {
      const census::entry& e = all.table(i)[slot];
      if (e.length == 0) continue;
      std::string word(all.text(i) + e.text_at, e.length);
      for (char& c : word) c = static_cast<char>(c | 0x20);
      words[word] += e.count;
    }
  return words;
}

int demonstrate(const std::vector<std::string>& files, std::uint64_t pause_us) {
  const std::string name = "word-census." + std::to_string(::getpid());
  platform::mapping place = lay_out(files, name, pause_us);
  ipcpp::participants members = ipcpp::participants::attach(place, census::table_at);
  (void)members.self();
  const census::view all(place.base());
  std::printf("%zu builders and a reader count %zu files in shared object '%s'\n", builders,
              files.size(), name.c_str());

  std::uint64_t next_number = 0;
  std::vector<worker> working(builders);
  for (auto& w : working) {
    w.number = next_number++;
    w.pid = start({"--build", name, std::to_string(w.number)});
  }
  const pid_t reader = start({"--read", name});

  std::size_t kills = 0;
  std::mt19937 dice(std::random_device{}());
  auto next_kill = std::chrono::steady_clock::now() + std::chrono::microseconds(20 * pause_us);
  auto next_look = std::chrono::steady_clock::now();
  bool sound = true;
  while (all.done() < files.size()) {
    const auto now = std::chrono::steady_clock::now();
    if (now >= next_look) {
      show(all);
      next_look = now + std::chrono::milliseconds(400);
    }
    if (kills < kills_wanted && now >= next_kill) {
      worker& victim = working[dice() % working.size()];
      if (in_the_midst_of(all, victim.number) < files.size()) {
        ::kill(victim.pid, SIGKILL);
        ::waitpid(victim.pid, nullptr, 0);
        // Where it died, now that it cannot go on.
        const std::size_t at = in_the_midst_of(all, victim.number);
        if (at < files.size()) {
          ++kills;
          std::printf("   builder %llu (pid %d) killed with SIGKILL at byte %llu of %llu of %s\n",
                      static_cast<unsigned long long>(victim.number), victim.pid,
                      static_cast<unsigned long long>(census::shared(all.at(at).progress).load()),
                      static_cast<unsigned long long>(all.at(at).bytes),
                      fs::path(all.name(at)).filename().c_str());
        }
        victim.number = next_number++;
        victim.pid = start({"--build", name, std::to_string(victim.number)});
        next_kill = now + std::chrono::microseconds(25 * pause_us);
      }
    }
    int status = 0;
    if (const pid_t ended = ::waitpid(-1, &status, WNOHANG); ended > 0 && status != 0) {
      std::printf("process %d ended with status %d\n", ended, status);
      sound = false;
      break;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  for (int status = 0; ::waitpid(-1, &status, 0) > 0 || errno == EINTR;)
    sound = sound && status == 0;
  (void)reader;
  show(all);

  if (!place.adopt(place.capacity())) sound = false;
  const auto counted = merge(all);
  const auto expected = plain_count(files);
  std::uint64_t total = 0;
  std::vector<std::pair<std::uint64_t, std::string>> ranked;
  for (const auto& [word, count] : counted) {
    total += count;
    ranked.emplace_back(count, word);
  }
  std::sort(ranked.begin(), ranked.end(), [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  });
  std::printf("top words:");
  for (std::size_t i = 0; i < std::min<std::size_t>(10, ranked.size()); ++i)
    std::printf(" %s %llu", ranked[i].second.c_str(),
                static_cast<unsigned long long>(ranked[i].first));
  const std::uint64_t takeovers = census::shared(all.head().takeovers).load();
  members.bury_dead();
  const bool equal = counted == expected;
  const bool buried = members.size() == 1;
  members.leave();
  const bool removed = platform::shared_object::remove(name);
  std::printf(
      "\n%llu words, %zu different; %zu builders killed in the midst of a file, %llu files counted "
      "again by others\n",
      static_cast<unsigned long long>(total), counted.size(), kills,
      static_cast<unsigned long long>(takeovers));
  std::printf("%s every count equals the plain single-process count\n", equal ? "ok  " : "FAIL");
  std::printf("%s every survivor ended well\n", sound ? "ok  " : "FAIL");
  std::printf("%s at least 3 builders were killed at work\n", kills >= 3 ? "ok  " : "FAIL");
  std::printf("%s the dead are buried, the name is gone\n", buried && removed ? "ok  " : "FAIL");
  return equal && sound && kills >= 3 && buried && removed ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  try {
    if (arguments.size() == 3 && arguments[0] == "--build")
      return census::build(arguments[1], std::stoull(arguments[2]));
    if (arguments.size() == 2 && arguments[0] == "--read") return census::read_along(arguments[1]);
    std::vector<std::string> files;
    std::string root;
    std::uint64_t pause_us = 20'000;
    for (std::size_t i = 0; i < arguments.size(); ++i) {
      if (arguments[i] == "--root" && i + 1 < arguments.size()) {
        root = arguments[++i];
      } else if (arguments[i] == "--quick") {
        pause_us = 1000;
      } else if (arguments[i].starts_with("--")) {
        std::fprintf(stderr, "usage: word_census [--root DIR] [--quick] [FILE...]\n");
        return 2;
      } else {
        files.push_back(arguments[i]);
      }
    }
    if (files.empty()) files = texts_below(root.empty() ? "." : root);
    std::erase_if(files, [](const std::string& file) {
      if (fs::is_regular_file(file)) return false;
      std::fprintf(stderr, "word_census: %s is not a file\n", file.c_str());
      return true;
    });
    if (files.empty()) {
      std::fprintf(stderr, "word_census: no files to count\n");
      return 2;
    }
    return demonstrate(files, pause_us);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "word_census: %s\n", e.what());
    return 1;
  }
}
