// ipcpp.segment:ledger - what a constructor has allocated so far, so that none of it is lost if the
// process dies in it. Internal: only the segment's bodies import it.
//
// Representation: blocks of the heap that hang on the slot of the object under construction; each
// cell is a link (heap::allocate_to) to one block the constructor allocated, or null.
//
//   slot.ledger -> | next is valid | next -> ... | 62 cells |
//
// Invariant: a ledger block counts once it is initialised: slot.ledger_valid, or `next_valid` of the
// block before, says so.
// Failure model. Dead in the constructor: whoever takes the slot over frees what the cells lead to,
// then the blocks, last first. Dead afterwards (settling): the blocks alone. Either may be killed and
// begun again. What it covers is what one thread allocates in the segment's heap by the ordinary
// ways; neither tracked blocks nor alignments beyond 4096.
module;

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

export module ipcpp.segment:ledger;

import ipcpp.malloc;
import :directory;

namespace ipcpp::detail {

inline constexpr std::size_t ledger_cells = 62;

struct ledger_block {
  std::uint64_t next_valid = 0;
  offset_ptr<void> next;
  offset_ptr<void> cell[ledger_cells];
};
static_assert(sizeof(ledger_block) == 512 && offsetof(ledger_block, cell) == 16);

// Records what this thread allocates from begin() to end(). One construction's, never moved.
class ledger {
 public:
  inline ledger(heap& memory, directory_slot& slot) noexcept : memory_(&memory), slot_(&slot) {}
  ledger(const ledger&) = delete;
  ledger& operator=(const ledger&) = delete;
  ~ledger();

  void begin();
  void end() noexcept;

 private:
  [[nodiscard]] void* allocate(std::size_t bytes, std::size_t alignment);
  [[nodiscard]] bool deallocate(void* block);
  void extend();

  heap* memory_;
  directory_slot* slot_;
  allocation_recorder recorder_{};
  const allocation_recorder* before_ = nullptr;
  bool begun_ = false;
  ledger_block* last_ = nullptr;
  std::size_t total_ = 0;  // cells
  std::vector<offset_ptr<void>*> spare_;
  std::unordered_map<void*, offset_ptr<void>*> cells_;
};

// Frees the ledger of a slot that is nobody else's; with `contents`, what it lists as well.
void free_ledger(heap& memory, directory_slot& slot, bool contents);

}  // namespace ipcpp::detail
