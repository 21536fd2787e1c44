// The demonstration's child processes: builders, and the reader.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <thread>
#include <vector>
#include <unistd.h>

#include "board.hpp"

import ipcpp;

using index_map = ipcpp::concurrent_map<ipcpp::string, std::uint64_t>;
using file_names = ipcpp::concurrent_map<std::uint64_t, ipcpp::string>;

namespace demo {

int build(const std::string& name, std::size_t place, std::uint64_t number) {
  auto segment = ipcpp::segment::open(name);
  auto& index = *segment.find<index_map>("index");
  auto& names = *segment.find<file_names>("files");
  auto& all = *segment.find<board>("board");
  builder_line& mine = all.builder[place];
  std::uint64_t since_nap = 0;
  while (at(all.over).load() == 0) {
    bool found_one = false;
    for (std::uint64_t f = 0; f < all.files; ++f) {
      file_line& line = all.file[f];
      std::uint64_t nobody = 0;
      if (at(line.done).load() != 0 || !at(line.builder).compare_exchange_strong(nobody, number))
        continue;
      if (at(line.done).load() != 0) {  // finished between the two looks
        at(line.builder).store(0);
        continue;
      }
      found_one = true;
      const std::vector<std::string> words =
          words_of(std::string(std::string_view(*names.find(f))));
      for (std::uint64_t i = at(line.next).load(); i < words.size(); ++i) {
        index.update(std::string_view(words[i]), [&](std::uint64_t& count) {
          ++count;
          if (at(mine.stop).load() != 0) {
            at(mine.stopped).store(1);
            for (;;) ::pause();  // here we die
          }
        });
        at(line.next).store(i + 1);  // acknowledged
        if (++since_nap >= at(all.words_per_nap).load()) {
          since_nap = 0;
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
      }
      at(line.done).store(1);
      at(line.builder).store(0);
    }
    // What is left is somebody else's, who may be killed yet.
    if (!found_one) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return 0;
}

int read(const std::string& name) {
  auto segment = ipcpp::segment::open(name);
  const auto& index = *segment.find<index_map>("index");
  auto& all = *segment.find<board>("board");
  std::uint64_t sum_before = 0;
  std::uint64_t the_before = 0;
  while (at(all.over).load() == 0) {
    std::uint64_t sum = 0;
    std::uint64_t distinct = 0;
    index.for_each([&](std::string_view, std::uint64_t count) {
      sum += count;
      ++distinct;
    });
    const std::uint64_t the = index.find("the").value_or(0);
    // Nothing is ever taken back, whoever dies.
    if (sum < sum_before || the < the_before) at(all.reader_complaints).fetch_add(1);
    sum_before = sum;
    the_before = the;
    at(all.reader_words).store(sum);
    at(all.reader_distinct).store(distinct);
    at(all.reader_rounds).fetch_add(1);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return 0;
}

}  // namespace demo
