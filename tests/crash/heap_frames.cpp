#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <utility>
#include <vector>
#include <sys/mman.h>

#include "roles.hpp"

// clang-format off
#include "heap_frames.hpp"
// clang-format on

import ipcpp;
import ipcpp.platform;

namespace crash {

namespace platform = ipcpp::platform;

heap_frames::one::one(std::size_t capacity_bytes, const ipcpp::heap_options& options)
    : place(platform::mapping::map(
          platform::shared_object::create({.capacity_bytes = capacity_bytes}))) {
  // So that every byte can be copied; growing commits once more what is there.
  if (!place.commit(0, place.capacity())) throw std::bad_alloc();
  source = std::make_unique<ipcpp::object_source>(place);
  heap = std::make_unique<ipcpp::heap>(ipcpp::heap::create(*source, options));
}

namespace {

ipcpp::heap_options small_tables(ipcpp::heap_options options) {
  options.on_misuse = ipcpp::misuse::throws;
  options.participants = {6, 8};
  return options;
}

}  // namespace

heap_frames::heap_frames(std::size_t capacity_bytes, ipcpp::heap_options options)
    : a_(capacity_bytes, small_tables(options)), b_(capacity_bytes, small_tables(options)) {
  void* const shared =
      ::mmap(nullptr, sizeof(journal), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) throw std::bad_alloc();
  notes_ = new (shared) journal{};
  peer_ = std::make_unique<worker>(*a_.heap, *notes_, 0, 1);
  auto* const links = static_cast<ipcpp::offset_ptr<void>*>(a_.heap->allocate(journal::links * 8));
  for (unsigned n = 0; n < journal::links; ++n) new (links + n) ipcpp::offset_ptr<void>();
  notes_->root = static_cast<std::uint64_t>(reinterpret_cast<std::byte*>(links) - a_.header());
}

heap_frames::~heap_frames() {
  ::munmap(notes_, sizeof(journal));
}

heap_image heap_frames::image_of_a() const {
  return heap_image(a_.header());
}

std::unique_ptr<puppet> heap_frames::start(unsigned who, std::function<void(worker&)> body,
                                           std::uint64_t seed) {
  notes_->of[who] = {};
  auto started = std::make_unique<puppet>([this, who, body = std::move(body), seed] {
    // All of it stays for ever: the thread's end gives up its cache after this.
    auto* const place = new platform::mapping(platform::mapping::map(a_.place.object().again()));
    auto* const source = new ipcpp::object_source(*place);
    auto* const heap = new ipcpp::heap(ipcpp::heap::open(*source, ipcpp::misuse::throws));
    worker me(*heap, *notes_, who, seed);
    me.leave = [&me, heap] { me.calling([heap] { delete heap; }); };
    puppet::stand_still();
    body(me);
    notes_->of[who].in_call = 1;
  });
  if (!started->run()) throw std::runtime_error("a victim did not begin");
  return started;
}

void heap_frames::in_a_thread(unsigned who, const std::function<void(worker&)>& body) {
  std::thread([&] {
    worker me(*a_.heap, *notes_, who, 7);
    body(me);
  }).join();
}

// ---- copying and comparing ----

bool heap_frames::changed() const {
  const std::size_t n = image_of_a().metadata_bytes();
  return last_.size() != n || std::memcmp(last_.data(), a_.header(), n) != 0;
}

// Of the pages only those that recovery looks into: the links, and blocks that may be tracked.
void heap_frames::copy() {
  const heap_image a(a_.header());
  const std::size_t n = a.metadata_bytes();
  std::memcpy(b_.header(), a_.header(), n);
  last_.assign(a_.header(), a_.header() + n);
  const auto copy_page = [&](std::uint64_t page, std::uint64_t pages) {
    std::memcpy(b_.header() + n + page * 4096, a_.header() + n + page * 4096, pages * 4096);
  };
  copy_page((notes_->root - n) / 4096, 1);
  const std::uint64_t end = a.field(heap_image::end_page);
  for (std::uint64_t page = 0; page < end; ++page) {
    const std::uint64_t word = a.word(page);
    if (heap_image::kind(word) == heap_image::slab && heap_image::tracked(word))
      copy_page(page, heap_image::pages(word));
  }
}

// What the journal says against what is there. `unknown`: blocks in use that it does not name.
std::string heap_frames::compare(const one& of, std::vector<std::uint64_t>* unknown,
                                 bool others_live) {
  const heap_image image(of.header());
  ipcpp::participants& members = of.heap->participants();
  const auto may_own = [&](std::uint64_t owner) {
    return owner <= members.limits().handles &&
           static_cast<bool>(members.handle_at(static_cast<std::uint32_t>(owner - 1)).id);
  };
  const heap_image::summary found = image.look(may_own);
  if (!found.fault.empty()) return found.fault;
  if (notes_->fault[0] != 0) return notes_->fault;
  std::uint64_t expected = 1;  // the links' own block
  std::uint64_t slack = 0;
  std::map<std::uint64_t, std::string> users{{notes_->root, "the links"}};
  std::string twice;
  const auto user = [&](std::uint64_t at, const std::string& who) {
    ++expected;
    if (const auto [before, fresh] = users.emplace(at, who); !fresh)
      twice = "one block, at " + std::to_string(at) + ", for " + before->second + " and " + who;
  };
  const auto under_way = [&](std::uint64_t i) -> doing {
    for (const journal::work& one : notes_->of)
      if (one.what != doing::nothing && one.index == i) return one.what;
    return doing::nothing;
  };
  bool replaced = false;
  for (const journal::work& one : notes_->of)
    if (one.what == doing::allocating || one.what == doing::replacing) ++slack;
  const auto look = [&](std::uint64_t i, doing what) -> std::string {
    const journal::block& block = notes_->blocks[i];
    const heap_image::place place = image.at(block.at);
    // Freed with its owner, and perhaps somebody else's since; still in use, it is one too many.
    if (block.tracked_by > 1 && !others_live && what != doing::publishing) return "";
    const bool may_be_gone = what == doing::freeing || what == doing::replacing;
    if (place.in_use && !(may_be_gone && users.contains(block.at))) {
      user(block.at, "block " + std::to_string(i));
      if (what == doing::nothing && place.bytes < block.bytes)
        return "block " + std::to_string(i) + " shrank";
    } else if (what == doing::nothing || what == doing::allocating) {
      return "block " + std::to_string(i) + " in use is free";
    } else if (what == doing::replacing) {
      replaced = true;
    }
    return "";
  };
  std::vector<std::uint64_t> last;  // what may be somebody else's already comes last
  for (std::uint64_t i = 0; i < journal::workers * journal::region; ++i) {
    if (notes_->blocks[i].at == 0) continue;
    if (under_way(i) != doing::nothing)
      last.push_back(i);
    else if (const std::string wrong = look(i, doing::nothing); !wrong.empty())
      return wrong;
  }
  for (unsigned n = 0; n < journal::links; ++n) {
    const std::uint64_t link = notes_->root + n * 8;
    const std::uint64_t held = heap_image(of.header()).field(link);
    if (held == 1) continue;
    if (!image.at(link + held).in_use) return "link " + std::to_string(n) + " to a free block";
    user(link + held, "link " + std::to_string(n));
  }
  for (const std::uint64_t i : last)
    if (const std::string wrong = look(i, under_way(i)); !wrong.empty()) return wrong;
  if (!twice.empty()) return twice;
  if (replaced && found.in_use == expected) return "a block replaced by nothing";
  if (found.in_use > expected + slack && !others_live)
    return std::to_string(found.in_use - expected) + " blocks lost, " + std::to_string(slack) +
           " may be";
  if (unknown != nullptr) {
    image.each([&](std::uint64_t at, std::size_t) {
      if (!users.contains(at)) unknown->push_back(at);
    });
  }
  return "";
}

bool heap_frames::survives(std::uint64_t address) {
  copy();
  ++states;
  std::string wrong;
  if (states % 2 == 0 && !lock_is_free()) {
    // Somebody who needs the lock comes before any undertaker.
    ++taken_over;
    (void)b_.heap->statistics();
    if (heap_image(b_.header()).field(heap_image::run_lock) % 65536 != 0)
      wrong = "the run lock was not taken over";
    if (states % 32 == 0)
      std::thread([&] { b_.heap->deallocate(b_.heap->try_allocate(40000)); }).join();
    if (const auto report = b_.heap->check(); wrong.empty() && !report)
      wrong = "taken over: " + report.message();
  } else if (lock_is_free()) {
    // Somebody who only looks, and buries nobody, finds the heap whole too.
    if (const auto report = b_.heap->check(); !report) wrong = "unburied: " + report.message();
  }
  (void)b_.heap->recover();
  if (wrong.empty() && b_.heap->recover() != 0) wrong = "a second recovery found somebody";
  if (wrong.empty() && b_.heap->participants().size() != 1) wrong = "somebody was not buried";
  if (wrong.empty())
    if (const auto report = b_.heap->check(); !report) wrong = report.message();
  if (wrong.empty()) wrong = compare(b_, nullptr, false);
  if (wrong.empty() && states % exhaust_every == 0) wrong = exhaust();
  if (wrong.empty()) return true;
  ADD_FAILURE() << wrong << "\nafter " << instructions << " instructions, stopped in "
                << where.name_of(address) << ", state " << states;
  return false;
}

std::string heap_frames::exhaust() {
  ++exhausted;
  const auto anyone = [](std::uint64_t) { return true; };
  const heap_image image(b_.header());
  const heap_image::summary before = image.look(anyone);
  const std::uint64_t grown = image.field(heap_image::end_page);
  std::vector<bool> taken(image.field(heap_image::most_pages) * 256);
  const std::size_t first = image.metadata_bytes();
  std::string wrong;
  image.each([&](std::uint64_t at, std::size_t bytes) {
    for (std::size_t i = (at - first) / 16; i < (at - first + bytes + 15) / 16; ++i)
      taken[i] = true;
  });
  std::thread([&] {
    std::vector<void*> got;
    const auto take = [&](std::size_t bytes, bool tracked) {
      void* p = nullptr;
      try {
        p = tracked ? b_.heap->allocate_tracked(bytes) : b_.heap->allocate(bytes);
      } catch (const std::bad_alloc&) {
        return false;
      }
      got.push_back(p);
      const auto at = static_cast<std::size_t>(static_cast<std::byte*>(p) - b_.header()) - first;
      for (std::size_t i = at / 16; i < (at + bytes + 15) / 16; ++i) {
        if (taken[i] && wrong.empty()) wrong = "memory in use was allocated once more";
        taken[i] = true;
      }
      return true;
    };
    constexpr unsigned page_class = 47;
    static_assert(heap_image::class_bytes(page_class) == 4096);
    const std::uint64_t pages = before.free_pages + before.empty_pages +
                                before.free_blocks[page_class] +
                                (image.field(heap_image::most_pages) - grown);
    std::uint64_t n = 0;
    while (n < pages && take(4096, false)) ++n;
    if (n != pages)
      wrong = "only " + std::to_string(n) + " of " + std::to_string(pages) + " pages to be had";
    else if (take(4096, false))
      wrong = "more pages than there are";
    for (unsigned bin = 0; bin < 144 && wrong.empty(); ++bin)
      for (std::uint32_t i = bin == page_class ? before.free_blocks[bin] : 0;
           i < before.free_blocks[bin] && wrong.empty(); ++i)
        if (!take(heap_image::class_bytes(bin % 72) - (bin < 72 ? 0 : 8), bin >= 72))
          wrong = "a free block of class " + std::to_string(bin) + " is not to be had";
    const heap_image::summary after = image.look(anyone);
    if (wrong.empty()) wrong = after.fault;
    if (wrong.empty() && after.free_pages + after.empty_pages != 0)
      wrong = "free pages after all was taken";
    for (const std::uint32_t left : after.free_blocks)
      if (wrong.empty() && left != 0) wrong = "free blocks after all was taken";
    for (void* const p : got) b_.heap->deallocate(p);
  }).join();
  if (!wrong.empty()) return wrong;
  const heap_image::summary after = image.look(anyone);
  if (!after.fault.empty()) return after.fault;
  if (after.in_use != before.in_use) return "not all came back";
  const auto report = b_.heap->check();
  return report ? "" : "exhausted: " + report.message();
}

// ---- stepping ----

bool heap_frames::step(puppet& victim, const walk& how) {
  const bool everywhere = test::prove_in_full();
  while (!how.until()) {
    if (!victim.step()) return false;
    if (notes_->of[how.who].hurry != 0 && !everywhere) {
      if (!victim.run()) return false;
      continue;
    }
    if (notes_->of[how.who].in_call == 0) continue;
    const std::uint64_t address = victim.address();
    if (!where.within(address) && !how.through_libraries) continue;
    ++instructions;
    if (everywhere || instructions % how.every == 0 || changed()) {
      where.at(address);
      if (!survives(address)) return false;
    }
    how.at_stop(address);
  }
  return true;
}

bool heap_frames::settle(unsigned who) {
  (void)a_.heap->recover();
  std::vector<std::uint64_t> unknown;
  for (unsigned i = 0; i < journal::workers * journal::region; ++i) {
    journal::block& block = notes_->blocks[i];
    journal::work& mine = notes_->of[who];
    const bool under_way = mine.what != doing::nothing && mine.index == i;
    const bool in_use = block.at != 0 && image_of_a().at(block.at).in_use;
    if (block.tracked_by == who + 1 || (under_way && mine.what != doing::allocating)) {
      if (!in_use) block.at = 0;
      if (mine.what == doing::publishing && under_way) block.tracked_by = 0;
      // Who died resizing may have got there without noting it.
      if (mine.what == doing::replacing && under_way)
        block.bytes = std::min(block.bytes, mine.bytes);
    }
    if (under_way) block.mark = 0;
  }
  std::string wrong = compare(a_, &unknown, false);
  notes_->of[who] = {};
  for (const std::uint64_t at : unknown) a_.heap->deallocate(a_.header() + at);
  if (wrong.empty()) wrong = compare(a_, nullptr, false);
  if (const auto report = a_.heap->check(); wrong.empty() && !report) wrong = report.message();
  if (!wrong.empty()) ADD_FAILURE() << "after the burial of worker " << who << ": " << wrong;
  return wrong.empty();
}

// ---- companions ----

companion::companion(heap_frames& frames, unsigned who)
    : thread_([this, &frames, who] {
        worker me(frames.a(), frames.notes(), who, 5);
        for (;;) {
          turn_.wait(0);
          if (turn_ == 2) return;
          what_(me);
          turn_ = 0;
          turn_.notify_all();
        }
      }) {}

companion::~companion() {
  turn_ = 2;
  turn_.notify_all();
  thread_.join();
}

void companion::does(std::function<void(worker&)> what) {
  what_ = std::move(what);
  turn_ = 1;
  turn_.notify_all();
  turn_.wait(1);
}

}  // namespace crash
