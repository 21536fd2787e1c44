// ipcpp.malloc:heap - ipcmalloc: a heap over any memory source, used by many processes and threads
// at once, whole after the death of any of them at any instruction.
//
//   auto heap = ipcpp::heap::create(source);      another process: ipcpp::heap::open(source)
//   void* p = heap.allocate(100);                 std::bad_alloc exactly when nothing is left
//   heap.deallocate(p);                           by any thread of any process
//
// Representation: docs/ipcmalloc.md; in short
//
//   source   | header | page words | block bits | pages of 4 KiB ... | not yet committed ... |
//
// Every run of pages begins with a word that says what it is; the blocks of a slab are two bitmaps,
// free and freed-by-others. These are the truth, and each operation takes effect with one store to
// one of them. Everything else (which slab to try next, the index of free runs) is a hint.
//
// Roles. Each thread that allocates takes a handle of the heap's participant table and owns the
// slabs it allocates from; it frees into them with plain stores, into others' with one atomic OR.
// Runs are split and joined under a lock that passes on when its holder dies.
//
// Failure model. A process may die anywhere: what it had committed stays, what it had not never
// happened, and the slabs it owned go to whoever needs them. Blocks it had allocated stay allocated,
// except tracked ones, which are freed with it. A forked child takes part anew at its first use.
// Memory damaged by a buggy peer is detected where it is read and never followed out of the heap.
//
// Not async-signal-safe: do not allocate in signal handlers or longjmp out of a heap function.
module;

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

export module ipcpp.malloc:heap;

import ipcpp.platform;
import ipcpp.sync;
import :memory_source;
import :offset_ptr;

namespace ipcpp {

// What happens when a program frees what it must not free, or when the heap's own data turn out to
// be damaged: the process says so on standard error and aborts, or an ipcpp::error is thrown and
// the heap stays as it was. A choice of each process.
export enum class misuse : std::uint8_t { aborts, throws };

export struct heap_options {
  std::size_t max_size = 0;               // bytes of the source to use; 0 means all of it
  std::size_t footprint_limit = 0;        // bytes; 0 means none. See heap::set_footprint_limit
  participant_limits participants{0, 0};  // 0 means as many as 1 % of the heap can hold
  bool tracked = false;                   // every block is tracked, see heap::allocate_tracked
  bool pinned = false;  // everyone maps the source where its creator does; open() verifies it
  misuse on_misuse = misuse::aborts;  // of this process
};

// A block or a free range, as heap::visit sees it.
export struct block_info {
  void* address = nullptr;
  std::size_t bytes = 0;  // usable
  bool in_use = false;
  bool tracked = false;  // belongs to `owner` and is freed with it
  participant_id owner{};
};

export struct class_statistics {
  std::size_t block_bytes = 0;
  std::size_t slabs = 0;
  std::size_t blocks_in_use = 0;
  std::size_t blocks_free = 0;
};

export inline constexpr std::size_t heap_class_count = 72;

export struct heap_statistics {
  std::size_t bytes_in_use = 0;   // usable bytes of the blocks in use
  std::size_t bytes_free = 0;     // committed, and not part of a block in use
  std::size_t blocks_in_use = 0;  // small and large
  std::size_t large_blocks_in_use = 0;
  std::size_t footprint = 0;  // bytes committed, metadata included
  std::size_t metadata_bytes = 0;
  std::size_t largest_block = 0;  // the largest block that would now succeed, growth included
  double fragmentation = 0;       // 1 - largest free range / bytes in free ranges
  std::array<class_statistics, heap_class_count> classes{};
};

// What heap::check found.
export class check_report {
 public:
  [[nodiscard]] inline explicit operator bool() const noexcept { return faults_.empty(); }
  // One line per fault, "no fault in N blocks" without any. Allocates.
  [[nodiscard]] std::string message() const;
  [[nodiscard]] inline const std::vector<std::string>& faults() const noexcept { return faults_; }
  [[nodiscard]] inline std::size_t blocks() const noexcept { return blocks_; }

 private:
  friend class heap;
  friend struct heap_checker;
  std::vector<std::string> faults_;
  std::size_t blocks_ = 0;
};

// The heap's first bytes, in its source. Where it lies says which heap a thing belongs to.
export struct heap_header;

namespace detail {

struct heap_state;

// A memory source without its type.
export struct source_functions {
  void* object = nullptr;
  void* base = nullptr;
  std::size_t capacity = 0;
  std::size_t (*extend)(void*, std::size_t) noexcept = nullptr;
  bool (*commit)(void*, std::size_t, std::size_t) noexcept = nullptr;          // may be null
  std::size_t (*release)(void*, std::size_t, std::size_t) noexcept = nullptr;  // may be null
  bool (*adopt)(void*, std::size_t) noexcept = nullptr;                        // may be null
  platform::mapping* place = nullptr;  // of an object_source
};

export template <memory_source Source>
[[nodiscard]] source_functions functions_of(Source& source) noexcept {
  source_functions f;
  f.object = &source;
  f.base = source.base();
  f.capacity = source.capacity();
  f.extend = [](void* s, std::size_t n) noexcept -> std::size_t {
    return static_cast<Source*>(s)->extend(n);
  };
  if constexpr (sparse_memory_source<Source>) {
    f.commit = [](void* s, std::size_t at, std::size_t n) noexcept -> bool {
      return static_cast<Source*>(s)->commit(at, n);
    };
    f.release = [](void* s, std::size_t at, std::size_t n) noexcept -> std::size_t {
      return static_cast<Source*>(s)->release(at, n);
    };
  }
  if constexpr (shared_memory_source<Source>)
    f.adopt = [](void* s, std::size_t end) noexcept -> bool {
      return static_cast<Source*>(s)->adopt(end);
    };
  if constexpr (requires {
                  { source.place() } noexcept -> std::same_as<platform::mapping&>;
                })
    f.place = &source.place();
  return f;
}

// What the allocators call: the heap is named by its header alone, this thread's own state is found
// from there without lock or search.
export [[nodiscard]] void* heap_allocate(heap_header* of, std::size_t bytes);
export [[nodiscard]] void* heap_allocate(heap_header* of, std::size_t bytes, std::size_t alignment);
export [[nodiscard]] void* heap_try_allocate(heap_header* of, std::size_t bytes) noexcept;
export void heap_deallocate(heap_header* of, void* block);
// The header of the heap that the address lies in; nullptr if it lies in none.
export [[nodiscard]] heap_header* heap_header_at(const void* address) noexcept;
// heap::allocate_to.
export void* heap_allocate_to(heap_header* of, offset_ptr<void>& link, std::size_t bytes);
// A structure that must not lose what a process was building when it died gives each thing it builds
// a tag of its own: every block this thread allocates carries it until the next call, however deep
// inside constructors, and belongs to no process. The structure notes in its own memory which tags
// stand for things that were never finished; their blocks are found by the tag.
// The first of 65536 tags, in sequence, that nobody else has.
export [[nodiscard]] std::uint64_t heap_fresh_tags(heap_header* of);
// For this thread; 0: none. The tag before.
export std::uint64_t heap_set_tag(heap_header* of, std::uint64_t tag);
// The tag of a block in use, 0 if it has none.
export [[nodiscard]] std::uint64_t heap_tag_of(heap_header* of, const void* block);
// Frees every block with that tag. Precondition: nobody else allocates or frees any such block.
export void heap_free_tagged(heap_header* of, std::uint64_t tag) noexcept;
// Does the address lie in pages of the heap with that header? false if none such is open here.
export [[nodiscard]] bool heap_contains(const heap_header* of, const void* address) noexcept;
export [[nodiscard]] bool heap_is_pinned(const heap_header* of) noexcept;
// Allocates and frees in this thread's stead while it is set: for those who have to know every block
// that somebody else's code takes from one heap. Sees allocate, deallocate and what is built on them,
// but neither tracked blocks nor allocate_to and free_from, which it may use itself.
export struct allocation_recorder {
  void* context = nullptr;
  void* (*allocate)(void* context, std::size_t bytes, std::size_t alignment) = nullptr;
  // false: not one of its blocks; it is freed as ever.
  bool (*deallocate)(void* context, void* block) = nullptr;
};
// The participant table's distance from the source's first byte; 0: it is elsewhere.
export [[nodiscard]] std::uint64_t participants_at(const heap_header* of) noexcept;
// Sets this thread's recorder for the heap, null for none; returns the one before.
export const allocation_recorder* set_recorder(heap_header* of,
                                               const allocation_recorder* recorder);
// The size of a block that is aligned so wherever allocate_to finds one; 0: no size is.
export [[nodiscard]] std::size_t size_that_aligns(std::size_t bytes,
                                                  std::size_t alignment) noexcept;
// The bytes of the block of this heap that begins there; 0: none does, or the heap is not open here. Believes
// nothing but the heap's own table of pages.
export [[nodiscard]] std::size_t heap_block_bytes(const heap_header* of,
                                                  const void* block) noexcept;
// [begin, end) of the heap's whole reservation in this process.
export [[nodiscard]] std::span<std::byte> heap_range(const heap_header* of) noexcept;

}  // namespace detail

export class heap {
 public:
  // Makes a heap in a source that is empty so far. Throws std::bad_alloc if the source refuses the
  // first pages, invalid_argument for a source too small (16 KiB) or misaligned (16 bytes).
  template <memory_source Source>
  [[nodiscard]] static heap create(Source& source, const heap_options& options = {}) {
    return make(detail::functions_of(source), options);
  }
  // Takes part in the heap that some process made in this source. Throws damaged, wrong_layout,
  // limit_reached.
  template <shared_memory_source Source>
  [[nodiscard]] static heap open(Source& source, misuse on_misuse = misuse::aborts) {
    return join(detail::functions_of(source), on_misuse);
  }

  inline heap(heap&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  inline heap& operator=(heap&& other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  // This process leaves: what its threads had cached is free for others. No other thread may be
  // using the heap through this object any more. The blocks stay.
  ~heap();

  // ---- allocating and freeing ----
  // At least `bytes` (0 counts as 1), aligned to 16. Throws std::bad_alloc only if no free block of
  // the size class, no run of free pages and no growth was to be had throughout the call, the
  // caches of other processes, living and dead, included. Throws limit_reached if this thread is
  // new and the participant table is full of living ones. The fast path takes no lock and no system
  // call.
  [[nodiscard]] void* allocate(std::size_t bytes);
  // `alignment`: a power of two up to 1 GiB, else invalid_argument. Addresses are aligned in every
  // process that maps the source at such a multiple (object_source does).
  [[nodiscard]] void* allocate(std::size_t bytes, std::size_t alignment);
  // nullptr instead of any exception.
  [[nodiscard]] void* try_allocate(std::size_t bytes, std::size_t alignment = 16) noexcept;
  [[nodiscard]] void* allocate_zeroed(std::size_t bytes);
  // Whole block of any thread or process; nullptr is ignored. Misuse (see enum misuse): not a
  // block of this heap, not its first byte, already free.
  void deallocate(void* block);

  // The same bytes in a block of the new size, in place if possible. On std::bad_alloc the old
  // block is untouched. nullptr allocates.
  [[nodiscard]] void* reallocate(void* block, std::size_t bytes);
  [[nodiscard]] void* try_reallocate(void* block, std::size_t bytes) noexcept;
  // Grows or shrinks the block where it is to at least `bytes`; false if there is no room. Never
  // moves, never throws bad_alloc.
  bool resize_in_place(void* block, std::size_t bytes);
  [[nodiscard]] std::size_t usable_size(const void* block) const;

  // All of them or none: n blocks of one size; a block for each size. Independent of each other.
  void allocate_many(std::size_t bytes, std::span<void*> blocks);
  void allocate_each(std::span<const std::size_t> bytes, std::span<void*> blocks);
  void deallocate_many(std::span<void* const> blocks);

  // ---- blocks that a death must not lose ----
  // A tracked block belongs to this process and is freed when the process dies or leaves, unless it
  // was published. Costs 8 bytes more.
  [[nodiscard]] void* allocate_tracked(std::size_t bytes);
  // From now on the block belongs to nobody. One store.
  void publish(void* block);
  // Allocates and stores the pointer in `link` in one step: whoever dies, either both happened or
  // neither. `link` lies in this heap and is changed by these two functions alone.
  void* allocate_to(offset_ptr<void>& link, std::size_t bytes);
  // Frees what `link` points at and makes it null in one step. One caller at a time per link.
  void free_from(offset_ptr<void>& link);
  // Looks for dead participants now and reclaims what was theirs. Returns how many.
  std::size_t recover();

  // ---- memory ----
  // Gives free pages back to the system; keeps `keep` bytes. Returns the bytes given back; 0 with a
  // source that cannot. This thread's caches are emptied first.
  std::size_t trim(std::size_t keep = 0);
  [[nodiscard]] std::size_t footprint() const noexcept;
  [[nodiscard]] std::size_t max_footprint() const noexcept;
  [[nodiscard]] std::size_t footprint_limit() const noexcept;  // 0: none
  // The heap does not grow beyond it, whoever asks; it does not shrink to it either.
  void set_footprint_limit(std::size_t bytes) noexcept;
  [[nodiscard]] std::size_t capacity() const noexcept;
  // What a block of this many bytes really takes.
  [[nodiscard]] static std::size_t good_size(std::size_t bytes) noexcept;

  // ---- looking inside: exact when nobody else is at work, else an approximation ----
  template <std::invocable<const block_info&> F>
  void visit(F&& f) const {
    visit_blocks(
        [](void* context, const block_info& block) {
          (*static_cast<std::remove_reference_t<F>*>(context))(block);
        },
        const_cast<void*>(static_cast<const void*>(std::addressof(f))));
  }
  [[nodiscard]] heap_statistics statistics() const;
  [[nodiscard]] check_report check() const;
  [[nodiscard]] bool contains(const void* address) const noexcept;

  [[nodiscard]] heap_header* header() const noexcept;
  [[nodiscard]] ipcpp::participants& participants() const noexcept;

 private:
  inline explicit heap(detail::heap_state* state) noexcept : state_(state) {}
  [[nodiscard]] static heap make(const detail::source_functions& source,
                                 const heap_options& options);
  [[nodiscard]] static heap join(const detail::source_functions& source, misuse on_misuse);
  void visit_blocks(void (*f)(void*, const block_info&), void* context) const;

  detail::heap_state* state_ = nullptr;
};

}  // namespace ipcpp
