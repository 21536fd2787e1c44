// The census: what the processes of this example share.
//
//   | prologue | participants | header | file 0 .. n-1, 128 B each | names | region 0 | region 1 |
//   ...
//
// Each file has a region of the reservation to itself, committed by whichever builder claims the
// file: its text, and a hash table of the words in it. A builder owns a file by its handle id in
// `owner`; what it counts becomes valid with one store, `words`. So a builder may die at any
// instruction: what it published stays, what it had begun is begun again by whoever finds its owner
// dead.
//
//     owner    words                  means
//     0        0                      nobody has begun
//     h        0                      h is counting, or died at it
//     h        n + 1                  counted: n words, the table is complete
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace census {

struct header {
  std::uint64_t files;
  std::uint64_t takeovers;   // files begun again after their owner died
  std::uint64_t reader_sum;  // words in the files that the reader has seen complete
  std::uint64_t pause_us;    // of a builder, every 64 words
};

struct file {
  std::uint64_t owner;     // handle id: generation << 32 | slot
  std::uint64_t words;     // 0, or the number of words + 1
  std::uint64_t progress;  // bytes counted so far, for the eye
  std::uint64_t builder;   // number of the builder that counts or counted it
  std::uint64_t bytes;     // of text
  std::uint64_t name_at;   // offsets in the object
  std::uint64_t region_at;
  std::uint64_t table_slots;  // a power of two
  std::uint64_t padding[8];
};
static_assert(sizeof(file) == 128);

// A word and how often it occurs; length 0 marks a free entry.
struct entry {
  std::uint32_t text_at;
  std::uint32_t length;
  std::uint32_t count;
  std::uint32_t hash;
};
static_assert(sizeof(entry) == 16);

inline constexpr std::size_t table_at = 4096;  // participants
inline constexpr std::uint32_t max_processes = 16;
inline constexpr std::uint32_t max_handles = 32;

inline std::atomic_ref<std::uint64_t> shared(std::uint64_t& word) {
  return std::atomic_ref<std::uint64_t>(word);
}

// Offsets of everything, from the base of a mapping.
class view {
 public:
  explicit view(std::byte* base) : base_(base) {}

  header& head() const;
  file& at(std::size_t i) const;
  std::string_view name(std::size_t i) const;
  char* text(std::size_t i) const;
  entry* table(std::size_t i) const;
  // Files counted so far. A counter of its own could miss one whose builder died right after
  // publishing it.
  std::size_t done() const;
  static std::size_t region_bytes(std::uint64_t text_bytes, std::uint64_t table_slots);

 private:
  std::byte* base_;
};

std::size_t header_at();

// Calls f(word) for every maximal run of ASCII letters, lower-cased.
template <class F>
void for_each_word(std::string_view text, F&& f) {
  std::string word;
  for (std::size_t i = 0; i <= text.size(); ++i) {
    const char c = i < text.size() ? text[i] : ' ';
    if (c >= 'a' && c <= 'z') {
      word.push_back(c);
    } else if (c >= 'A' && c <= 'Z') {
      word.push_back(static_cast<char>(c - 'A' + 'a'));
    } else if (!word.empty()) {
      f(word, i - word.size());
      word.clear();
    }
  }
}

std::string read_file(const std::string& path);

// The roles, each a process of its own; they return an exit status.
int build(const std::string& object_name, std::uint64_t number);
int read_along(const std::string& object_name);

}  // namespace census
