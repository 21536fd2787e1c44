// Bodies of ipcpp.segment:ledger.
module;

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>
#include <string>
#include <unordered_map>
#include <vector>

module ipcpp.segment;

import ipcpp.platform;
import ipcpp.malloc;
import :directory;
import :ledger;

namespace ipcpp::detail {

namespace {

constexpr std::size_t most_blocks = std::size_t{1} << 20;  // against loops made by a buggy peer

[[nodiscard]] std::atomic_ref<std::uint64_t> word(std::uint64_t& of) noexcept {
  return std::atomic_ref<std::uint64_t>(of);
}

// A ledger block where a link leads, if it counts and lies in the heap.
[[nodiscard]] ledger_block* block_at(const heap& memory, offset_ptr<void>& link,
                                     std::uint64_t& valid) {
  if (word(valid).load(std::memory_order_acquire) == 0) return nullptr;  // pairs with extend
  auto* const first = static_cast<std::byte*>(link.get());
  if (first == nullptr) return nullptr;
  if (!memory.contains(first) || !memory.contains(first + sizeof(ledger_block) - 1) ||
      reinterpret_cast<std::uintptr_t>(first) % alignof(ledger_block) != 0)
    throw error(errc::damaged, "segment", "a constructor's ledger inside it", "one outside",
                "remove it and make a new one");
  return reinterpret_cast<ledger_block*>(first);
}

}  // namespace

ledger::~ledger() {
  end();
}

void ledger::begin() {
  recorder_ = {
      this,
      [](void* self, std::size_t bytes, std::size_t alignment) {
        return static_cast<ledger*>(self)->allocate(bytes, alignment);
      },
      [](void* self, void* block) { return static_cast<ledger*>(self)->deallocate(block); }};
  before_ = set_recorder(memory_->header(), &recorder_);
  begun_ = true;
}

void ledger::end() noexcept {
  if (!begun_) return;
  begun_ = false;
  (void)set_recorder(memory_->header(), before_);
}

void ledger::extend() {
  spare_.reserve(total_ + ledger_cells);
  offset_ptr<void>& link = last_ == nullptr ? slot_->ledger : last_->next;
  std::uint64_t& valid = last_ == nullptr ? slot_->ledger_valid : last_->next_valid;
  void* const memory = memory_->allocate_to(link, sizeof(ledger_block));
  auto* const made = ::new (memory) ledger_block{};
  word(valid).store(1, std::memory_order_release);  // pairs with block_at
  last_ = made;
  total_ += ledger_cells;
  for (offset_ptr<void>& cell : made->cell) spare_.push_back(&cell);
}

void* ledger::allocate(std::size_t bytes, std::size_t alignment) {
  const std::size_t size = alignment <= 16 ? bytes : size_that_aligns(bytes, alignment);
  if (size == 0) {  // no link leads to such a block
    const allocation_recorder* const mine = set_recorder(memory_->header(), nullptr);
    void* block = nullptr;
    try {
      block = memory_->allocate(bytes, alignment);
    } catch (...) {
      (void)set_recorder(memory_->header(), mine);
      throw;
    }
    (void)set_recorder(memory_->header(), mine);
    return block;
  }
  if (spare_.empty()) extend();
  offset_ptr<void>* const cell = spare_.back();
  cells_.reserve(cells_.size() + 1);
  void* const block = memory_->allocate_to(*cell, size);
  spare_.pop_back();
  try {
    cells_.emplace(block, cell);
  } catch (...) {
    memory_->free_from(*cell);
    spare_.push_back(cell);
    throw;
  }
  return block;
}

bool ledger::deallocate(void* block) {
  const auto found = cells_.find(block);
  if (found == cells_.end()) return false;
  memory_->free_from(*found->second);
  spare_.push_back(found->second);  // has room since extend
  cells_.erase(found);
  return true;
}

void free_ledger(heap& memory, directory_slot& slot, bool contents) {
  std::vector<ledger_block*> chain;
  for (ledger_block* at = block_at(memory, slot.ledger, slot.ledger_valid); at != nullptr;
       at = block_at(memory, at->next, at->next_valid)) {
    chain.push_back(at);
    if (chain.size() > most_blocks)
      throw error(errc::damaged, "segment", "a constructor's ledger that ends", "one in a circle",
                  "remove it and make a new one");
    if (contents)
      for (offset_ptr<void>& cell : at->cell) memory.free_from(cell);
  }
  for (; chain.size() > 1; chain.pop_back()) memory.free_from(chain[chain.size() - 2]->next);
  if (chain.size() == 1) memory.free_from(chain.front()->next);  // one that does not count yet
  memory.free_from(slot.ledger);
}

}  // namespace ipcpp::detail
