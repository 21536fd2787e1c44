// demo [--root DIR] [--quick] [FILE...]
//
// Three builders and a reader, each a process of its own, share one index of the words of many files
// (ipcpp::concurrent_map in a segment). Six times a builder is killed with SIGKILL, every other time
// while it is stopped inside an update, and a new one takes its place. In the end the index is compared
// with a plain count in one process, and the heap is drawn. Without FILEs, the sources and documents
// below DIR are counted. --quick leaves out the naps that let one watch.
//
// Exit status 0 only if every word's count is that of the plain count, but for the one word that each
// killed builder had in flight and not acknowledged; if the reader never saw a count go down; if all
// memory of the dead was reclaimed; and if nothing is left in shared memory.
//
// (`demo --build NAME PLACE N` and `--read NAME` are its own child processes.)
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>
#include <sys/wait.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/prctl.h>
#endif

#include "board.hpp"

import ipcpp;

namespace fs = std::filesystem;
using namespace ipcpp::literals;
using index_map = ipcpp::concurrent_map<ipcpp::string, std::uint64_t>;
using file_names = ipcpp::concurrent_map<std::uint64_t, ipcpp::string>;
using std::chrono::steady_clock;
using ull = unsigned long long;

namespace {

constexpr std::size_t kills_wanted = 6;
constexpr std::size_t width = 64;  // of pictures

std::string own_path;

struct worker {
  pid_t pid = -1;
  std::uint64_t number = 0;
};

// A builder that was killed, and the word it may or may not have added.
struct death {
  std::uint64_t number;
  std::string file;
  std::uint64_t acknowledged;
  std::string in_flight;  // "": none
  bool inside;            // stopped in the update, so that it was certainly not added
};

pid_t start(const std::vector<std::string>& arguments) {
  std::vector<char*> words{own_path.data()};
  for (const auto& argument : arguments) words.push_back(const_cast<char*>(argument.c_str()));
  words.push_back(nullptr);
  const pid_t pid = ::fork();
  if (pid == 0) {
#if defined(__linux__)
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // nobody outlives the demonstration
#endif
    ::execv(own_path.c_str(), words.data());
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
    if (it->is_regular_file() && (kind == ".md" || kind == ".cpp" || kind == ".cppm" ||
                                  kind == ".hpp" || kind == ".sh" || kind == ".txt"))
      found.push_back(it->path().string());
  }
  std::sort(found.begin(), found.end());
  return found;
}

// Files of that name, or parts of it, in the place where the system keeps shared memory.
std::size_t left_in_shared_memory(const std::string& name) {
  const char* const chosen = std::getenv("IPCPP_DIRECTORY");
  std::size_t found = 0;
  std::error_code ignored;
  for (auto it =
           fs::recursive_directory_iterator(chosen != nullptr ? chosen : "/dev/shm",
                                            fs::directory_options::skip_permission_denied, ignored);
       it != fs::end(it); it.increment(ignored))
    if (it->path().filename().string().find(name) != std::string::npos) ++found;
  return found;
}

// One character for each part of the heap: how full it is.
void draw(const ipcpp::heap& heap) {
  const ipcpp::heap_statistics of = heap.statistics();
  std::uintptr_t first = ~std::uintptr_t{0};
  std::uintptr_t last = 0;
  heap.visit([&](const ipcpp::block_info& block) {
    const auto at = reinterpret_cast<std::uintptr_t>(block.address);
    first = std::min(first, at);
    last = std::max(last, at + block.bytes);
  });
  constexpr std::size_t cells = 8 * width;
  std::vector<double> used(cells, 0);
  const double cell = static_cast<double>(last - first) / cells;
  heap.visit([&](const ipcpp::block_info& block) {
    if (!block.in_use) return;
    double at = static_cast<double>(reinterpret_cast<std::uintptr_t>(block.address) - first);
    double bytes = static_cast<double>(block.bytes);
    while (bytes > 0) {
      const auto i = std::min(static_cast<std::size_t>(at / cell), cells - 1);
      const double here = std::max(std::min(bytes, static_cast<double>(i + 1) * cell - at), 1.0);
      used[i] += here;
      at += here;
      bytes -= here;
    }
  });
  std::printf("the heap, %.0f bytes a character (empty ' ', then . : - = + * # %% full @):\n",
              cell);
  for (std::size_t row = 0; row < cells / width; ++row) {
    std::string line;
    for (std::size_t i = 0; i < width; ++i) {
      const double share = used[row * width + i] / cell;
      line.push_back(" .:-=+*#%@"[std::clamp(static_cast<int>(share * 9.99), 0, 9)]);
    }
    std::printf("   |%s|\n", line.c_str());
  }
  std::printf("   %zu blocks in use, %zu of %zu committed bytes, %zu bytes of metadata\n",
              of.blocks_in_use, of.bytes_in_use, of.footprint, of.metadata_bytes);
  std::vector<ipcpp::class_statistics> classes(of.classes.begin(), of.classes.end());
  std::ranges::sort(classes, [](const auto& a, const auto& b) {
    return a.blocks_in_use * a.block_bytes > b.blocks_in_use * b.block_bytes;
  });
  for (std::size_t i = 0; i < 4 && classes[i].blocks_in_use != 0; ++i)
    std::printf("   %7zu blocks of %5zu bytes in %4zu slabs, %zu more are free\n",
                classes[i].blocks_in_use, classes[i].block_bytes, classes[i].slabs,
                classes[i].blocks_free);
}

class demonstration {
 public:
  demonstration(std::vector<std::string> files, bool quick)
      : files_(std::move(files)),
        name_("ipcpp-demo." + std::to_string(::getpid())),
        segment_(std::make_unique<ipcpp::segment>(
            ipcpp::segment::create(name_, {.max_size = 256_MiB}))) {
    for (const std::string& file : files_) {
      words_.push_back(demo::words_of(file));
      total_ += words_.back().size();
    }
    // Once for the segment's own sake: what its directory needs for three names stays.
    segment_->construct<index_map>("index");
    segment_->construct<file_names>("files");
    segment_->construct<demo::board>("board");
    destroy_all();
    blocks_before_ = segment_->heap().statistics().blocks_in_use;
    index_ = &segment_->construct<index_map>("index");
    names_ = &segment_->construct<file_names>("files");
    board_ = &segment_->construct<demo::board>("board");
    for (std::size_t f = 0; f < files_.size(); ++f)
      names_->insert(std::uint64_t{f}, std::string_view(files_[f]));
    board_->files = files_.size();
    board_->words_per_nap = total_ / (demo::builders * (quick ? 500 : 4000)) + 1;
  }

  // true: everything is as it should be.
  bool run() {
    std::printf(
        "%zu builders and a reader, each a process of its own, count %zu words of %zu files\n",
        demo::builders, total_, files_.size());
    const auto began = steady_clock::now();
    for (std::size_t i = 0; i < demo::builders; ++i) start_builder(i);
    reader_ = start({"--read", name_});
    auto next_look = began;
    bool sound = true;
    while (sound && !everything_is_counted()) {
      if (steady_clock::now() >= next_look) {
        show();
        next_look += std::chrono::milliseconds(400);
      }
      if (steady_clock::now() - began > std::chrono::seconds(12))  // a slow machine: no more naps
        demo::at(board_->words_per_nap).store(~std::uint64_t{0});
      const std::size_t due = counted() * (kills_wanted + 1) / std::max<std::size_t>(total_, 1);
      if (deaths_.size() < std::min(due, kills_wanted)) kill_one(deaths_.size() % builders_.size());
      int status = 0;
      if (const pid_t ended = ::waitpid(-1, &status, WNOHANG); ended > 0) {
        std::printf("process %d ended by itself, status %d\n", ended, status);
        sound = false;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    demo::at(board_->over).store(1);
    for (int status = 0; ::waitpid(-1, &status, 0) > 0 || errno == EINTR;)
      sound = sound && status == 0;
    show();
    const std::chrono::duration<double> took = steady_clock::now() - began;
    std::printf("counted in %.1f s\n", took.count());
    return report(sound);
  }

 private:
  void destroy_all() {
    segment_->destroy<index_map>("index");
    segment_->destroy<file_names>("files");
    segment_->destroy<demo::board>("board");
  }

  void start_builder(std::size_t place) {
    board_->builder[place] = {};
    builders_[place].number = next_number_++;
    builders_[place].pid =
        start({"--build", name_, std::to_string(place), std::to_string(builders_[place].number)});
  }

  bool everything_is_counted() const {
    for (std::size_t f = 0; f < files_.size(); ++f)
      if (demo::at(board_->file[f].done).load() == 0) return false;
    return true;
  }
  std::size_t counted() const {
    std::size_t n = 0;
    for (std::size_t f = 0; f < files_.size(); ++f) n += demo::at(board_->file[f].next).load();
    return n;
  }

  void show() const {
    std::string picture;
    for (std::size_t i = 0; i < std::min(width, files_.size()); ++i) {
      demo::file_line& line = board_->file[i * files_.size() / std::min(width, files_.size())];
      const std::uint64_t by = demo::at(line.builder).load();
      picture.push_back(demo::at(line.done).load() != 0 ? '#'
                        : by != 0                       ? static_cast<char>('0' + by % 10)
                                                        : '.');
    }
    std::printf("   [%s] %7zu words; the reader sees %7llu, %llu different; heap %zu KiB\n",
                picture.c_str(), counted(), static_cast<ull>(demo::at(board_->reader_words).load()),
                static_cast<ull>(demo::at(board_->reader_distinct).load()),
                segment_->heap().footprint() / 1024);
    std::fflush(stdout);
  }

  std::size_t file_of(std::uint64_t number) const {
    for (std::size_t f = 0; f < files_.size(); ++f)
      if (demo::at(board_->file[f].builder).load() == number) return f;
    return files_.size();
  }

  void kill_one(std::size_t place) {
    const worker victim = builders_[place];
    demo::builder_line& line = board_->builder[place];
    const bool wants_inside = deaths_.size() % 2 == 0;
    bool inside = false;
    std::size_t meanwhile = 0;
    if (wants_inside) {
      demo::at(line.stop).store(1);
      const auto patience = steady_clock::now() + std::chrono::seconds(2);
      while (!inside && !everything_is_counted() && steady_clock::now() < patience) {
        std::this_thread::sleep_for(std::chrono::microseconds(200));
        inside = demo::at(line.stopped).load() != 0;
      }
      const std::size_t before = counted();
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      meanwhile = counted() - before;
    }
    ::kill(victim.pid, SIGKILL);
    while (::waitpid(victim.pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    death died{victim.number, "no file", 0, "", inside};
    if (const std::size_t f = file_of(victim.number); f < files_.size()) {
      demo::file_line& file = board_->file[f];
      died.file = fs::path(files_[f]).filename().string();
      died.acknowledged = demo::at(file.next).load();
      if (died.acknowledged < words_[f].size()) {
        died.in_flight = words_[f][died.acknowledged];
        demo::at(file.next).store(died.acknowledged + 1);  // that word is the dead one's
      }
      demo::at(file.builder).store(0);
    }
    std::printf("   SIGKILL: builder %llu (pid %d) at word %llu of %s",
                static_cast<ull>(died.number), victim.pid, static_cast<ull>(died.acknowledged),
                died.file.c_str());
    if (inside)
      std::printf(", inside update(\"%s\"); stopped there, the others added %zu words\n",
                  died.in_flight.c_str(), meanwhile);
    else
      std::printf("; \"%s\" may be in flight\n", died.in_flight.c_str());
    deaths_.push_back(died);
    start_builder(place);
  }

  bool report(bool sound) {
    std::map<std::string, std::uint64_t> expected;
    for (const auto& words : words_)
      for (const auto& word : words) ++expected[word];
    std::map<std::string, std::uint64_t> found;
    index_->for_each(
        [&](std::string_view word, std::uint64_t count) { found.emplace(word, count); });
    std::vector<std::pair<std::uint64_t, std::string_view>> ranked;
    std::uint64_t sum = 0;
    for (const auto& [word, count] : found) {
      ranked.emplace_back(count, word);
      sum += count;
    }
    std::ranges::sort(ranked, [](const auto& a, const auto& b) {
      return a.first != b.first ? a.first > b.first : a.second < b.second;
    });
    std::printf("top words:");
    for (std::size_t i = 0; i < std::min<std::size_t>(12, ranked.size()); ++i)
      std::printf(" %.*s %llu", static_cast<int>(ranked[i].second.size()), ranked[i].second.data(),
                  static_cast<ull>(ranked[i].first));
    std::printf("\ntotals: %llu words, %zu different, of %zu files\n", static_cast<ull>(sum),
                found.size(), files_.size());

    // What each word may be short of: the killed ones' words in flight.
    std::map<std::string, std::pair<std::uint64_t, std::uint64_t>> short_of;  // least, most
    for (const death& d : deaths_)
      if (!d.in_flight.empty()) {
        ++short_of[d.in_flight].second;
        if (d.inside) ++short_of[d.in_flight].first;
      }
    std::size_t wrong = 0;
    std::size_t lost = 0;
    for (const auto& [word, count] : expected) {
      const auto at = found.find(word);
      const std::uint64_t has = at == found.end() ? 0 : at->second;
      const auto allowed = short_of.find(word);
      const std::uint64_t least = allowed == short_of.end() ? 0 : allowed->second.first;
      const std::uint64_t most = allowed == short_of.end() ? 0 : allowed->second.second;
      if (has > count - least || has + most < count) {
        if (++wrong <= 5)
          std::printf("FAIL \"%s\" counted %llu times, stands there %llu times\n", word.c_str(),
                      static_cast<ull>(has), static_cast<ull>(count));
      } else {
        lost += count - has;
      }
    }
    for (const auto& [word, count] : found)
      if (!expected.contains(word)) ++wrong;
    std::size_t inside = 0;
    for (const death& d : deaths_) inside += d.inside;
    index_->recover();
    segment_->recover();
    draw(segment_->heap());

    const auto checked = segment_->heap().check();
    const bool whole = static_cast<bool>(checked);
    const bool size_fits = index_->size() == found.size();
    const std::uint64_t complaints = demo::at(board_->reader_complaints).load();
    const std::uint64_t rounds = demo::at(board_->reader_rounds).load();
    destroy_all();
    const std::size_t blocks_after = segment_->heap().statistics().blocks_in_use;
    const std::size_t attached = segment_->attached_processes();
    segment_.reset();
    bool gone = left_in_shared_memory(name_) == 0;
    try {
      (void)ipcpp::segment::open(name_);
      gone = false;
    } catch (const ipcpp::error& e) {
      gone = gone && e.code() == ipcpp::errc::not_found;
    }
    const bool enough = deaths_.size() == kills_wanted || total_ < 10'000;
    const auto say = [&](bool holds, const std::string& what) {
      std::printf("%s %s\n", holds ? "ok  " : "FAIL", what.c_str());
      return holds;
    };
    bool good =
        say(wrong == 0, "every word's count is that of a plain count in one process, but for " +
                            std::to_string(lost) + " of the " + std::to_string(deaths_.size()) +
                            " words that the killed had in flight");
    good &= say(enough, std::to_string(deaths_.size()) + " builders killed, " +
                            std::to_string(inside) + " of them inside an update");
    good &= say(sound, "every survivor ended well");
    good &= say(complaints == 0 && size_fits,
                "the reader looked " + std::to_string(rounds) + " times and saw no count go down");
    good &= say(whole, "the heap is whole: " + checked.message());
    good &= say(blocks_after == blocks_before_ && attached == 1,
                "every block of the dead was reclaimed: " + std::to_string(blocks_after) +
                    " in use as before (" + std::to_string(blocks_before_) + "), " +
                    std::to_string(attached) + " process attached");
    good &= say(gone, "nothing is left in shared memory");
    return good;
  }

  std::vector<std::string> files_;
  std::string name_;
  std::unique_ptr<ipcpp::segment> segment_;
  std::vector<std::vector<std::string>> words_;
  std::size_t total_ = 0;
  std::size_t blocks_before_ = 0;
  index_map* index_ = nullptr;
  file_names* names_ = nullptr;
  demo::board* board_ = nullptr;
  std::array<worker, demo::builders> builders_;
  std::uint64_t next_number_ = 1;
  pid_t reader_ = -1;
  std::vector<death> deaths_;
};

int usage() {
  std::fprintf(stderr, "usage: demo [--root DIR] [--quick] [FILE...]\n");
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  std::error_code no_link;
  own_path = fs::read_symlink("/proc/self/exe", no_link).string();
  if (no_link) own_path = fs::absolute(argv[0]).string();
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  try {
    if (arguments.size() == 4 && arguments[0] == "--build")
      return demo::build(arguments[1], std::stoull(arguments[2]), std::stoull(arguments[3]));
    if (arguments.size() == 2 && arguments[0] == "--read") return demo::read(arguments[1]);
    std::vector<std::string> files;
    std::string root = ".";
    bool quick = false;
    for (std::size_t i = 0; i < arguments.size(); ++i) {
      if (arguments[i] == "--root" && i + 1 < arguments.size())
        root = arguments[++i];
      else if (arguments[i] == "--quick")
        quick = true;
      else if (arguments[i].starts_with("--"))
        return usage();
      else
        files.push_back(arguments[i]);
    }
    if (files.empty()) files = texts_below(root);
    for (const std::string& file : files)
      if (!fs::is_regular_file(file)) {
        std::fprintf(stderr, "demo: %s is not a file\n", file.c_str());
        return 2;
      }
    if (files.empty() || files.size() > demo::most_files) {
      std::fprintf(stderr, "demo: 1 to %zu files, not %zu\n", demo::most_files, files.size());
      return 2;
    }
    demonstration all(std::move(files), quick);
    return all.run() ? 0 : 1;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "demo: %s\n", e.what());
    return 1;
  }
}
