// ipcpp.queue:endpoint - what all queues have in common in shared memory: a head, and who sends and
// receives.
//
// Representation. A queue object holds an allocator and an offset to one block of the heap:
//
//   | head 256 B | endpoint slot 0 | endpoint slot 1 | ... | the queue's own lines | its ring ... |
//
//   head     line 0   what was fixed at creation; whoever attaches checks it, keeps a copy, and trusts
//                     nothing else
//            line 1   state, and where receivers and senders sleep
//   state    63    16 15     8  7    0
//            | owner | locked | state |      owner: the participant that holds the lock, which only
//                                            matters for freeing a destroyed queue
//   slot (128 B, a line of its own)
//     control  63        32 31       20 19        5  4      3  0
//              | generation | process  | generation | orphan | role |
//              `------ participant_id -' `- endpoint         role 0: free
//     bell     1: armed, see Bells
//     intent   what its owner is in the middle of; what it means is the queue's business
//     word[]   the queue's own
//
// Roles. An endpoint belongs to the process that attached it, and within it to one thread at a time.
// It is movable. A forked child inherits the object, not the endpoint: every use throws
// not_a_participant, destruction does nothing.
//
// Crash story. control names the owner by participant_id in the one exchange that takes the slot, so
// whoever finds the slot can ask the kernel about its owner. A dead endpoint stays where it is, with
// its intent, until somebody needs the slot and has repaired what the intent says (`resolve`, the
// queue's own; it may refuse). Its successor clears intent and words itself, after taking the slot;
// until then they are taken for the successor's, which is alive, so that nobody acts upon them.
//
// Destruction. The block lives as long as anybody alive holds an endpoint:
//   destroyer  1 state = destroyed, locked     2 each control |= orphan     3 wakes all
//              4 frees the block if there is no living orphan, else unlocks
//   orphan     leaves under the same lock, and frees the block if it was the last
//   others     leave by one exchange of control, and touch nothing after it
// The lock is taken over when its holder has died. If the last holder of a destroyed queue is killed
// the block is lost until the segment goes.
//
// Bells. An endpoint that a program waits for by epoll or the like has a platform::doorbell, made at
// its first native_handle(). Armed: bell = 1 and a bit (slot modulo 64) in the head's bells; whoever
// notifies takes both off and rings. It is armed again whenever the operation found nothing to do:
// answer, arm, heavy fence, look once more. A ring that is lost with its ringer comes with the bell's
// own timer.
module;

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

export module ipcpp.queue:endpoint;

import ipcpp.platform;
import ipcpp.sync;
import ipcpp.malloc;

namespace ipcpp::detail {

export enum class queue_kind : std::uint32_t {
  spsc = 1,
  mpmc = 2,
  mpsc = 3,
  latest = 4,
  broadcast = 5,
  message = 6,
  loan = 7,
  call = 8
};
// "spsc_queue"
export [[nodiscard]] std::string_view name_of(queue_kind kind) noexcept;

export enum class queue_state : std::uint8_t { open = 0, closing = 1, closed = 2, destroyed = 3 };

export enum class endpoint_role : std::uint8_t { none = 0, sender = 1, receiver = 2 };

export struct endpoint_slot {
  static constexpr std::size_t words = 13;
  std::uint64_t control;
  std::uint64_t bell;
  std::uint64_t intent;
  std::uint64_t word[words];
};
static_assert(sizeof(endpoint_slot) == platform::line_stride &&
              std::is_standard_layout_v<endpoint_slot> &&
              std::is_trivially_copyable_v<endpoint_slot>);

export struct queue_head {
  // line 0: never changes
  std::uint64_t magic;
  std::uint32_t version;
  std::uint32_t kind;
  std::uint64_t bytes;     // of the whole block
  std::uint64_t capacity;  // in the queue's own unit
  std::uint32_t endpoints;
  std::uint32_t own_lines;
  std::uint32_t message_bytes;
  std::uint32_t message_alignment;
  std::uint32_t stride;  // of ring slots
  std::uint32_t reserved;
  std::uint64_t option[8];  // the queue's own
  std::uint64_t zero;
  // line 1: see above; bells are armed ones (:endpoint_bell)
  std::uint64_t state;
  waiting_point receivers;
  std::uint64_t receiver_bells;
  waiting_point senders;
  std::uint64_t sender_bells;
  std::uint64_t repairs;  // counter
  std::uint64_t unused[10];
};
static_assert(sizeof(queue_head) == 2 * platform::line_stride &&
              offsetof(queue_head, state) == platform::line_stride &&
              std::is_standard_layout_v<queue_head> && std::is_trivially_copyable_v<queue_head>);

export inline std::atomic_ref<std::uint64_t> shared(std::uint64_t& word) noexcept {
  return std::atomic_ref<std::uint64_t>(word);
}
static_assert(std::atomic_ref<std::uint64_t>::is_always_lock_free);

// What a queue is to look like. capacity and endpoints are what look_at() takes from the head.
export struct queue_plan {
  queue_kind kind{};
  std::uint64_t capacity = 0;
  std::uint32_t endpoints = 0;
  std::uint32_t own_lines = 0;           // lines of 128 bytes between the slots and the ring,
  std::uint32_t lines_per_endpoint = 0;  // and these for each endpoint besides
  std::uint64_t ring_bytes = 0;          // make_queue only; look_at() takes ring_bytes_of
  std::uint32_t message_bytes = 0;
  std::uint32_t message_alignment = 0;
  std::uint32_t stride = 0;
  std::uint64_t option[8] = {};
};

export inline constexpr std::uint32_t default_endpoints = 64;
export inline constexpr std::uint32_t max_endpoints = 4096;

// A checked, process-private view of a queue.
export struct queue_view {
  queue_head* head = nullptr;
  endpoint_slot* slots = nullptr;
  std::byte* own = nullptr;   // the queue's own lines
  std::byte* ring = nullptr;  // 128-aligned
  std::uint64_t ring_bytes = 0;
  std::uint64_t capacity = 0;
  std::uint32_t endpoints = 0;
  participants* who = nullptr;
  heap_header* heap = nullptr;
  std::uint64_t option[8] = {};
};

// A new queue in the heap, zero except for the head. Throws bad_alloc, invalid_argument for private
// memory (a null heap) and for more than max_endpoints.
export [[nodiscard]] queue_head* make_queue(heap_header* heap, const queue_plan& plan);
// Checks that the block lies in the heap and is what `expected` says (kind, own_lines, message,
// stride), and that the ring holds `ring_unit` bytes for each of capacity (0: any size). Throws
// damaged, wrong_layout.
export [[nodiscard]] queue_view look_at(queue_head* at, heap_header* heap,
                                        const queue_plan& expected, std::uint64_t ring_unit);
// By the queue object's destructor. See Destruction.
export void destroy_queue(queue_head* at, heap_header* heap) noexcept;

export [[nodiscard]] inline queue_state state_of(queue_head& head) noexcept {
  // Sequentially consistent: who sees it closed also sees what was claimed before, see :lane.
  return static_cast<queue_state>(shared(head.state).load(std::memory_order_seq_cst) & 0xff);
}
// open -> closing, and so on, by exchange; false if it is not in state `from`.
export bool change_state(queue_head& head, queue_state from, queue_state to) noexcept;

// ---- control words ----

export inline constexpr std::uint64_t orphan_bit = 16;

export [[nodiscard]] inline constexpr endpoint_role role_of(std::uint64_t control) noexcept {
  return static_cast<endpoint_role>(control & 15);
}
export [[nodiscard]] inline constexpr participant_id owner_of(std::uint64_t control) noexcept {
  return {static_cast<std::uint32_t>(control >> 20 & 0xfff),
          static_cast<std::uint32_t>(control >> 32)};
}
export [[nodiscard]] inline constexpr std::uint64_t pack_control(participant_id owner,
                                                                 std::uint64_t generation,
                                                                 endpoint_role role) noexcept {
  return std::uint64_t{owner.generation} << 32 | std::uint64_t{owner.slot & 0xfff} << 20 |
         (generation & 0x7fff) << 5 | static_cast<std::uint64_t>(role);
}
export [[nodiscard]] inline constexpr std::uint64_t generation_of(std::uint64_t control) noexcept {
  return control >> 5 & 0x7fff;
}
static_assert(participants::max_processes <= 4096);

// Has the owner of this slot, which is in use, died or left? Asks the kernel: about 1 us.
export [[nodiscard]] bool owner_is_gone(const queue_view& queue, std::uint64_t control) noexcept;
// Endpoints of that role whose owners live; dead ones are not counted. About 1 us each.
export [[nodiscard]] std::uint32_t count_endpoints(const queue_view& queue,
                                                   endpoint_role role) noexcept;

// A word that holds this process's mark, and something else in a forked child.
export [[nodiscard]] std::uint64_t* process_mark();
export [[noreturn]] void refuse_inherited(queue_kind kind);
export [[noreturn]] void refuse_damaged(queue_kind kind, std::string_view what,
                                        std::string_view found);
export [[noreturn]] void refuse_closed(queue_kind kind, queue_state state);

export class endpoint {
 public:
  // Deals with what the dead owner of `slot`, `control` at that time, left behind. Idempotent;
  // several may be at it at once.
  enum class verdict : std::uint8_t {
    settled,      // the slot may be taken, its intent is cleared
    not_yet,      // leave it alone
    inheritable,  // it may be taken with its intent, if no other can be had
  };
  using resolve_function = verdict (*)(const queue_view& queue, std::uint32_t slot,
                                       std::uint64_t control) noexcept;

  // Takes one of the slots [first, last), joining the participants of the heap if necessary.
  // Throws limit_reached (all in use by the living, or by dead ones that cannot be resolved yet).
  [[nodiscard]] static endpoint attach(const queue_view& queue, endpoint_role role,
                                       std::uint32_t first, std::uint32_t last,
                                       resolve_function resolve);

  endpoint() noexcept = default;
  endpoint(endpoint&& other) noexcept;
  endpoint& operator=(endpoint&& other) noexcept;
  // Detaches. With an inherited intent that is not settled the slot is left as if we had died.
  ~endpoint();
  void detach() noexcept;

  // Readable while there may be something to do; see Bells. Made and armed by the first call; throws
  // system_failure.
  [[nodiscard]] platform::doorbell::native_handle_type native_handle();
  [[nodiscard]] inline bool has_bell() const noexcept { return bell_ != nullptr; }
  // Forgets rings, arms; the caller looks once more.
  void arm_bell() noexcept;

  [[nodiscard]] inline explicit operator bool() const noexcept { return view_.head != nullptr; }
  // Is this the process that attached it? Two loads.
  [[nodiscard]] inline bool usable() const noexcept {
    return mark_ != nullptr && std::atomic_ref<std::uint64_t>(*mark_).load(
                                   std::memory_order_relaxed) == mark_value_;  // private memory
  }
  // Throws not_a_participant, invalid_argument for a moved-from endpoint.
  inline void require_usable(queue_kind kind) const {
    if (!usable()) [[unlikely]]
      refuse_inherited(kind);
  }

  [[nodiscard]] inline const queue_view& view() const noexcept { return view_; }
  [[nodiscard]] inline queue_head& head() const noexcept { return *view_.head; }
  [[nodiscard]] inline endpoint_slot& slot() const noexcept { return view_.slots[index_]; }
  [[nodiscard]] inline std::uint32_t index() const noexcept { return index_; }
  [[nodiscard]] inline std::uint64_t control() const noexcept { return control_; }
  [[nodiscard]] inline endpoint_role role() const noexcept { return role_of(control_); }
  // The slot's last owner died with it, and did not detach.
  [[nodiscard]] inline bool took_over() const noexcept { return took_over_; }
  // It left an intent, which is ours now.
  [[nodiscard]] inline bool inherited() const noexcept { return inherited_; }
  inline void inheritance_settled() noexcept { inherited_ = false; }

 private:
  queue_view view_;
  std::uint64_t* mark_ = nullptr;
  std::uint64_t mark_value_ = 0;
  std::uint64_t control_ = 0;
  std::uint32_t index_ = 0;
  bool took_over_ = false;
  bool inherited_ = false;
  std::unique_ptr<platform::doorbell> bell_;
};

// Rings whoever of that role is armed.
export void ring_bells(const queue_view& queue, std::uint64_t& bells, endpoint_role role) noexcept;

}  // namespace ipcpp::detail
