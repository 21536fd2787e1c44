// Two heaps for freeze frames: A, in which victims are moved on instruction by instruction, and B,
// into which A's bytes are copied at each stop. This process is the first participant of both and
// lives; nobody else lives in B, so what the copied table says of the others is that they died at
// that very instruction, and recovery is tried there without ending A.
//
// What must be there afterwards says the journal, in shared memory, in which everyone notes what it
// has and what it is about to do. Include it last: it imports ipcpp and
// ipcpp.platform, and includes come before imports.
#pragma once

#include "freeze_frame.hpp"
#include "heap_image.hpp"

import ipcpp;
import ipcpp.platform;

namespace crash {

enum class doing : std::uint64_t { nothing, allocating, freeing, replacing, publishing, taking };

struct journal {
  static constexpr unsigned workers = 5, region = 400, links = 16;
  static constexpr unsigned first_link = 1'000'000;  // index of link 0 in `work`
  struct block {
    std::uint64_t at;  // offset from the header; 0: none
    std::uint64_t bytes;
    std::uint64_t tracked_by;  // worker + 1; 0: nobody
    std::uint64_t mark;        // stands in its first and last 8 bytes
  };
  struct work {
    doing what;
    std::uint64_t index;
    std::uint64_t bytes;
    std::uint64_t in_call;  // within the heap
    std::uint64_t hurry;    // needs no look, but in full
  };
  work of[workers];
  std::uint64_t root;  // where the links are
  char fault[200];
  block blocks[workers * region];  // a region for each
};

// What somebody does with a heap, noted in the journal.
class worker {
 public:
  worker(ipcpp::heap& heap, journal& notes, unsigned who, std::uint64_t seed);

  // Indices of the own region; elsewhere: `at(who, i)`.
  static constexpr unsigned at(unsigned who, unsigned i) { return who * journal::region + i; }
  bool allocate(unsigned i, std::size_t bytes, std::size_t alignment = 16);
  bool allocate_tracked(unsigned i, std::size_t bytes);
  void publish(unsigned i);
  void free(unsigned i);
  bool reallocate(unsigned i, std::size_t bytes);
  bool resize(unsigned i, std::size_t bytes);
  bool link(unsigned n, std::size_t bytes);
  void unlink(unsigned n);
  void trim(std::size_t keep = 0);
  void recover();
  void calling(const std::function<void()>& f);  // anything else
  // What others look at only in full: it was all seen before.
  void hurrying(const std::function<void()>& f);
  std::function<void()> leave;  // a victim's: its heap object ends

  // Blocks until there is no more; the first index after them.
  unsigned fill(unsigned from, unsigned to, std::size_t bytes);
  void free_all(unsigned from, unsigned to);
  // A random operation on indices [from, to) of the own region; links [first_link, +4).
  void something(unsigned from, unsigned to, unsigned first_link, bool with_runs = true);
  [[nodiscard]] bool has(unsigned i) const { return notes_->blocks[i].at != 0; }
  [[nodiscard]] std::uint64_t random(std::uint64_t below);
  [[nodiscard]] unsigned mine(unsigned i) const { return at(who_, i); }
  [[nodiscard]] ipcpp::offset_ptr<void>& link_at(unsigned n) const;
  // Every block's marks, but for those somebody has under way.
  void check_marks() const;

 private:
  void begin(doing what, unsigned i, std::size_t bytes);
  void end();
  void note(unsigned i, void* block, std::size_t bytes, bool tracked);
  void check_mark(unsigned i) const;
  void fault(const char* what, unsigned i) const;
  [[nodiscard]] std::byte* first() const;

  ipcpp::heap* heap_;
  journal* notes_;
  unsigned who_;
  std::uint64_t state_;
};

class heap_frames {
 public:
  explicit heap_frames(std::size_t capacity_bytes, ipcpp::heap_options options = {});
  heap_frames(const heap_frames&) = delete;
  heap_frames& operator=(const heap_frames&) = delete;
  ~heap_frames();

  [[nodiscard]] ipcpp::heap& a() { return *a_.heap; }
  [[nodiscard]] journal& notes() { return *notes_; }
  [[nodiscard]] worker& peer() { return *peer_; }  // this process, in A
  [[nodiscard]] heap_image image_of_a() const;
  [[nodiscard]] bool lock_is_free() const {
    return image_of_a().field(heap_image::run_lock) % 65536 == 0;
  }

  // A victim at the beginning of body(worker), with a mapping and a heap object of its own.
  [[nodiscard]] std::unique_ptr<puppet> start(unsigned who, std::function<void(worker&)> body,
                                              std::uint64_t seed = 1);
  // The same in this thread, in A.
  void in_a_thread(unsigned who, const std::function<void(worker&)>& body);

  // Steps until the victim has ended or `until` says so. After each instruction of the executable
  // within a call (in full), or each that changed the heap's metadata and every so many others:
  // what a survivor would find. `at_stop` runs after each instruction within a call.
  struct walk {
    unsigned who = 1;
    unsigned every = 16;
    std::function<bool()> until = [] { return false; };
    std::function<void(std::uint64_t)> at_stop = [](std::uint64_t) {};
    bool through_libraries = false;
  };
  // false: the victim has ended, or something was wrong.
  bool step(puppet& victim, const walk& how);
  // One look at the copy. false: wrong, and said so.
  bool survives(std::uint64_t address);
  // After the death and burial of `who` in A: what it had under way is settled in the journal, what
  // was its own is forgotten. Checks A.
  bool settle(unsigned who);
  // Takes all there is in B (then what was taken is given back); exactly all the free memory.
  std::string exhaust();

  stops where;
  std::size_t states = 0;
  std::size_t instructions = 0;
  std::size_t exhausted = 0;
  std::size_t taken_over = 0;
  unsigned exhaust_every = 200;

 private:
  struct one {
    explicit one(std::size_t capacity_bytes, const ipcpp::heap_options& options);
    ipcpp::platform::mapping place;
    std::unique_ptr<ipcpp::object_source> source;
    std::unique_ptr<ipcpp::heap> heap;
    [[nodiscard]] std::byte* header() const { return reinterpret_cast<std::byte*>(heap->header()); }
  };
  void copy();
  [[nodiscard]] std::string compare(const one& of, std::vector<std::uint64_t>* unknown,
                                    bool others_live);
  [[nodiscard]] bool changed() const;

  one a_;
  one b_;
  journal* notes_;
  std::unique_ptr<worker> peer_;
  std::vector<std::byte> last_;  // A's metadata when it was last looked at
};

// A thread of this process with a cache of its own in A, that does what it is told.
class companion {
 public:
  companion(heap_frames& frames, unsigned who);
  companion(const companion&) = delete;
  companion& operator=(const companion&) = delete;
  ~companion();
  void does(std::function<void(worker&)> what);

 private:
  std::function<void(worker&)> what_;
  std::atomic<int> turn_{0};  // 1: the thread's, 2: it shall end
  std::thread thread_;
};

}  // namespace crash
