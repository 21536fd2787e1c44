// What the processes of the demonstration share besides the index itself: who counts which file, and how
// far each is.
//
// A builder claims a file, adds its words to the index one by one, and after each update acknowledges it
// here. When it is killed, its file is free again from the word after the one that may have been in
// flight.
#pragma once

#include <array>
#include <atomic>
#include <cctype>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace demo {

inline constexpr std::size_t builders = 3;
inline constexpr std::size_t most_files = 8192;

struct file_line {
  std::uint64_t builder;  // number of the builder that has it; 0: nobody
  std::uint64_t next;     // words below this are in the index, acknowledged
  std::uint64_t done;
};

struct builder_line {
  std::uint64_t stop;     // asked to stop inside its next update
  std::uint64_t stopped;  // it has: the index shows nothing of that update
  std::uint64_t padding[14];
};

struct board {
  std::uint64_t files;
  std::uint64_t over;  // everything is counted
  std::uint64_t words_per_nap;
  std::uint64_t reader_words;  // sum of all counts, as the reader saw it last
  std::uint64_t reader_distinct;
  std::uint64_t reader_rounds;
  std::uint64_t reader_complaints;  // a count that went down
  std::uint64_t padding[9];
  std::array<builder_line, builders> builder;
  std::array<file_line, most_files> file;
};

inline std::atomic_ref<std::uint64_t> at(std::uint64_t& word) {
  return std::atomic_ref(word);
}

// Runs of ASCII letters, in lower case, as word_index counts them.
inline std::vector<std::string> words_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text(std::istreambuf_iterator<char>(file), {});
  std::vector<std::string> words;
  std::string word;
  for (std::size_t i = 0; i <= text.size(); ++i) {
    const auto c = i < text.size() ? static_cast<unsigned char>(text[i]) : 0;
    if (c < 128 && std::isalpha(c)) {
      word.push_back(static_cast<char>(std::tolower(c)));
    } else if (!word.empty()) {
      words.push_back(word);
      word.clear();
    }
  }
  return words;
}

int build(const std::string& segment, std::size_t place, std::uint64_t number);
int read(const std::string& segment);

}  // namespace demo
