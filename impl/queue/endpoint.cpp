// Bodies of ipcpp.queue:endpoint: making, checking and destroying queues, attaching and detaching.
//
// Attaching, killed after each step: 1 control taken (a dead endpoint with its predecessor's intent:
// resolved already), 2 intent and words cleared (a dead endpoint that was doing nothing).
// Detaching: 1 bell, intent cleared, 2 control free. From 2 on the block may be gone: nothing of it is
// touched, unless the exchange failed because a destroyer marked us an orphan.
//
// Race story. control is changed by exchange only. attach (acquire) pairs with detach (release): what
// the last owner wrote comes before what the next one does. Whoever judges an endpoint reads control,
// intent, control: equal controls name one owner for the time between, since a control never comes
// back while its owner lives, and its owner does nothing any more when it is dead.
module;

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

module ipcpp.queue;

import ipcpp.platform;
import ipcpp.sync;
import ipcpp.malloc;

namespace ipcpp::detail {

namespace {

constexpr std::uint64_t queue_magic = 0x7565757170637069;  // "ipcpqueu"
constexpr std::uint32_t queue_version = 1;
constexpr std::uint64_t locked_bit = 256;

constexpr std::uint64_t blocks_before_ring(std::uint64_t endpoints, std::uint64_t own_lines) {
  return sizeof(queue_head) + (endpoints + own_lines) * platform::line_stride;
}

std::string describe(queue_kind kind) {
  return std::string(name_of(kind));
}

// ---- the lock of a destroyed queue ----

constexpr std::uint64_t lock_word(participant_id owner) noexcept {
  return std::uint64_t{owner.generation} << 32 | std::uint64_t{owner.slot & 0xfff} << 20 |
         locked_bit | static_cast<std::uint64_t>(queue_state::destroyed);
}

// A little patience with the living: the lock is held for microseconds unless its holder is stopped.
bool lock_destroyed(const queue_view& queue, participant_id me) noexcept {
  const auto state = shared(queue.head->state);
  for (int look = 0; look < 2000; ++look) {
    std::uint64_t seen = state.load(std::memory_order_relaxed);  // the exchange decides
    const bool free = (seen & locked_bit) == 0;
    if (free || (owner_of(seen) != me && look % 64 == 63 && owner_is_gone(queue, seen))) {
      // Acquire: pairs with unlock. Relaxed on failure: looked at again.
      if (state.compare_exchange_strong(seen, lock_word(me), std::memory_order_acquire,
                                        std::memory_order_relaxed))
        return true;
      continue;
    }
    std::this_thread::yield();
  }
  return false;
}

// Under the lock. Frees the block if nobody living is left, else unlocks.
void free_or_unlock(const queue_view& queue) noexcept {
  bool in_use = false;
  for (std::uint32_t i = 0; i < queue.endpoints && !in_use; ++i) {
    const std::uint64_t control =
        shared(queue.slots[i].control).load(std::memory_order_acquire);  // pairs with detach
    in_use = role_of(control) != endpoint_role::none && !owner_is_gone(queue, control);
  }
  if (in_use) {
    // Release: pairs with lock_destroyed.
    shared(queue.head->state)
        .store(static_cast<std::uint64_t>(queue_state::destroyed), std::memory_order_release);
    return;
  }
  queue.head->magic = 0;
  try {
    heap_deallocate(queue.heap, queue.head);
  } catch (const error&) {  // a damaged heap: the block is lost
  }
}

}  // namespace

std::string_view name_of(queue_kind kind) noexcept {
  switch (kind) {
    case queue_kind::spsc:
      return "spsc_queue";
    case queue_kind::mpmc:
      return "mpmc_queue";
    case queue_kind::mpsc:
      return "mpsc_queue";
    case queue_kind::latest:
      return "latest";
    case queue_kind::broadcast:
      return "broadcast_queue";
    case queue_kind::message:
      return "message_queue";
    case queue_kind::loan:
      return "loan_queue";
    case queue_kind::call:
      return "call_queue";
  }
  return "queue";
}

// ---- refusals ----

void refuse_inherited(queue_kind kind) {
  throw error(errc::not_a_participant, describe(kind), "an endpoint that this process attached",
              "one that was moved from, or inherited by fork",
              "call sender() or receiver() in this process");
}

void refuse_damaged(queue_kind kind, std::string_view what, std::string_view found) {
  throw error(errc::damaged, describe(kind), what, found,
              "some process wrote over the queue: make a new one");
}

void refuse_closed(queue_kind kind, queue_state state) {
  throw error(errc::closed, describe(kind), "an open queue",
              state == queue_state::destroyed ? "a destroyed one" : "a closed one",
              state == queue_state::destroyed ? "" : "reopen() it, or use try_send");
}

// ---- making, checking, destroying ----

queue_head* make_queue(heap_header* heap, const queue_plan& plan) {
  const std::string what = describe(plan.kind);
  if (heap == nullptr)
    throw error(errc::invalid_argument, what, "memory of a segment or heap", "private memory",
                "construct it with segment.construct, or pass the heap's allocator");
  if (plan.endpoints < 1 || plan.endpoints > max_endpoints)
    throw error(errc::invalid_argument, what,
                "1 to " + std::to_string(max_endpoints) + " endpoints",
                std::to_string(plan.endpoints), "");
  const std::uint32_t own_lines = plan.own_lines + plan.lines_per_endpoint * plan.endpoints;
  const std::uint64_t before = blocks_before_ring(plan.endpoints, own_lines);
  if (plan.ring_bytes > heap_range(heap).size() || before > heap_range(heap).size())
    throw std::bad_alloc();
  const std::uint64_t bytes = before + plan.ring_bytes;
  void* const block = heap_allocate(heap, static_cast<std::size_t>(bytes), platform::line_stride);
  std::memset(block, 0, static_cast<std::size_t>(bytes));
  auto* const head = static_cast<queue_head*>(block);
  head->magic = queue_magic;
  head->version = queue_version;
  head->kind = static_cast<std::uint32_t>(plan.kind);
  head->bytes = bytes;
  head->capacity = plan.capacity;
  head->endpoints = plan.endpoints;
  head->own_lines = own_lines;
  head->message_bytes = plan.message_bytes;
  head->message_alignment = plan.message_alignment;
  head->stride = plan.stride;
  std::memcpy(head->option, plan.option, sizeof plan.option);
  return head;
}

queue_view look_at(queue_head* at, heap_header* heap, const queue_plan& expected,
                   std::uint64_t ring_unit) {
  const std::span<std::byte> range = heap_range(heap);
  const auto first = reinterpret_cast<std::uintptr_t>(range.data());
  const auto head_at = reinterpret_cast<std::uintptr_t>(at);
  if (at == nullptr || head_at % platform::line_stride != 0 || head_at < first ||
      head_at - first > range.size() - sizeof(queue_head))
    refuse_damaged(expected.kind, "its block in the heap", "an address elsewhere");
  mapped_place* const place = address_map::of_this_process().find(at);
  if (place == nullptr || place->who == nullptr)
    throw error(errc::invalid_argument, describe(expected.kind), "an open segment or heap",
                "one that this process has closed", "keep the segment while its queues are used");
  queue_head found;  // read once, then checked, then used
  std::memcpy(static_cast<void*>(&found), at, platform::line_stride);
  if (found.magic != queue_magic) refuse_damaged(expected.kind, "a queue's head", "something else");
  if (found.version != queue_version)
    throw error(errc::wrong_layout, describe(expected.kind),
                "queue version " + std::to_string(queue_version), std::to_string(found.version),
                "build all programs with the same ipcpp");
  if (found.kind != static_cast<std::uint32_t>(expected.kind))
    throw error(errc::wrong_layout, describe(expected.kind), describe(expected.kind),
                describe(static_cast<queue_kind>(found.kind)), "use one type for one name");
  if (found.message_bytes != expected.message_bytes ||
      found.message_alignment != expected.message_alignment || found.stride != expected.stride)
    throw error(errc::wrong_layout, describe(expected.kind),
                "messages of " + std::to_string(expected.message_bytes) + " bytes",
                std::to_string(found.message_bytes) + " bytes",
                "build all programs with the same message type");
  // A scribbler may have written any of it, so what the heap says of the block counts.
  const std::uint64_t most = heap_block_bytes(heap, at);
  const bool bounded =
      found.endpoints >= 1 && found.endpoints <= max_endpoints &&
      found.own_lines ==
          expected.own_lines + std::uint64_t{expected.lines_per_endpoint} * found.endpoints &&
      found.bytes <= most;
  const std::uint64_t before = bounded ? blocks_before_ring(found.endpoints, found.own_lines) : 0;
  if (!bounded || before > found.bytes ||
      (ring_unit != 0 &&
       (found.capacity > most / ring_unit || before + found.capacity * ring_unit > found.bytes)))
    refuse_damaged(expected.kind, "a block that holds what its head says",
                   std::to_string(found.bytes) + " bytes in one of " + std::to_string(most) +
                       ", for " + std::to_string(found.endpoints) +
                       " endpoints and a capacity of " + std::to_string(found.capacity));
  queue_view view;
  view.head = at;
  view.slots =
      reinterpret_cast<endpoint_slot*>(reinterpret_cast<std::byte*>(at) + sizeof(queue_head));
  view.own = reinterpret_cast<std::byte*>(view.slots + found.endpoints);
  view.ring = view.own + std::size_t{found.own_lines} * platform::line_stride;
  view.ring_bytes = found.bytes - before;
  view.capacity = found.capacity;
  view.endpoints = found.endpoints;
  view.who = place->who;
  view.heap = heap;
  std::memcpy(view.option, found.option, sizeof view.option);
  return view;
}

void destroy_queue(queue_head* at, heap_header* heap) noexcept {
  if (at == nullptr || heap == nullptr) return;
  try {
    queue_plan found;
    found.kind = static_cast<queue_kind>(at->kind);
    found.own_lines = at->own_lines;
    found.message_bytes = at->message_bytes;
    found.message_alignment = at->message_alignment;
    found.stride = at->stride;
    const queue_view queue = look_at(at, heap, found, 0);
    const participant_id me = queue.who->self();
    // Sequentially consistent, like the loads and exchanges of whoever sends, receives and leaves.
    shared(at->state).store(lock_word(me), std::memory_order_seq_cst);
    for (std::uint32_t i = 0; i < queue.endpoints; ++i) {
      const auto control = shared(queue.slots[i].control);
      std::uint64_t seen = control.load(std::memory_order_relaxed);  // the exchange decides
      while (role_of(seen) != endpoint_role::none &&
             !control.compare_exchange_weak(seen, seen | orphan_bit, std::memory_order_acq_rel)) {
      }
    }
    notify_all(queue, at->receivers);
    notify_all(queue, at->senders);
    free_or_unlock(queue);
  } catch (const error&) {  // damaged, or this process cannot take part: the block is lost
  } catch (const std::bad_alloc&) {
  }
}

bool change_state(queue_head& head, queue_state from, queue_state to) noexcept {
  auto expected = static_cast<std::uint64_t>(from);
  return shared(head.state)
      .compare_exchange_strong(expected, static_cast<std::uint64_t>(to), std::memory_order_seq_cst);
}

// ---- endpoints ----

bool owner_is_gone(const queue_view& queue, std::uint64_t control) noexcept {
  return queue.who->probe(owner_of(control)) != vitality::alive;
}

std::uint32_t count_endpoints(const queue_view& queue, endpoint_role role) noexcept {
  std::uint32_t n = 0;
  for (std::uint32_t i = 0; i < queue.endpoints; ++i) {
    const std::uint64_t control =
        shared(queue.slots[i].control).load(std::memory_order_acquire);  // pairs with attach
    if (role_of(control) == role && !owner_is_gone(queue, control)) ++n;
  }
  return n;
}

namespace {

constinit std::atomic<std::uint64_t*> mark_word{nullptr};

}  // namespace

std::uint64_t* process_mark() {
  std::uint64_t* word = mark_word.load(std::memory_order_acquire);  // pairs with the exchange
  if (word == nullptr) {
    auto* const made =
        static_cast<std::uint64_t*>(platform::fork_private_pages(platform::page_bytes()));
    if (mark_word.compare_exchange_strong(word, made, std::memory_order_acq_rel)) {
      word = made;
    } else {
      platform::return_fork_private_pages(made, platform::page_bytes());
    }
  }
  // Relaxed: all threads of this process store the same.
  std::atomic_ref(*word).store(platform::incarnation(), std::memory_order_relaxed);
  return word;
}

endpoint endpoint::attach(const queue_view& queue, endpoint_role role, std::uint32_t first,
                          std::uint32_t last, resolve_function resolve) {
  endpoint made;
  // From now on this process notifies without a fence, if the system can do it for us.
  if (!notifies_without_fence.load(std::memory_order_relaxed) &&  // never false again
      platform::enrol_in_heavy_fence())
    notifies_without_fence.store(true, std::memory_order_relaxed);  // the kernel orders the rest
  made.mark_ = process_mark();
  made.mark_value_ = *made.mark_;
  const participant_id me = queue.who->self();
  const auto kind = static_cast<queue_kind>(queue.head->kind);
  participant_id living;
  // First what is free, then what the dead have settled, last what can be inherited.
  for (int attempt = 0; attempt < 3; ++attempt) {
    for (std::uint32_t i = first; i < last; ++i) {
      const auto control = shared(queue.slots[i].control);
      std::uint64_t seen = control.load(std::memory_order_acquire);  // detach
      const bool used = role_of(seen) != endpoint_role::none;
      bool inherits = false;
      if (used) {
        if (attempt == 0) continue;
        if (!owner_is_gone(queue, seen)) {
          living = owner_of(seen);
          continue;
        }
        verdict found = resolve == nullptr ? verdict::settled : resolve(queue, i, seen);
        inherits = found == verdict::inheritable;
        if (found == verdict::not_yet || (inherits && attempt < 2)) continue;
      }
      const std::uint64_t mine = pack_control(me, generation_of(seen) + 1, role);
      // Acquire: pairs with detach. Release: what resolve mended comes before.
      if (!control.compare_exchange_strong(seen, mine, std::memory_order_acq_rel)) continue;
      endpoint_slot& slot = queue.slots[i];
      made.view_ = queue;
      made.control_ = mine;
      made.index_ = i;
      made.took_over_ = used;
      shared(slot.bell).store(0,
                              std::memory_order_relaxed);  // published by its next owner's arming
      made.inherited_ = inherits;
      // Release: whoever sees 0 here may conclude that nothing is under way.
      if (!inherits) shared(slot.intent).store(0, std::memory_order_release);
      return made;
    }
  }
  throw error(
      errc::limit_reached, describe(kind),
      last - first == 1 ? std::string("no other ") +
                              (role == endpoint_role::sender ? "sender" : "receiver") + " at a time"
                        : "a free endpoint of " + std::to_string(last - first),
      living ? "living ones (the last seen: participant " + std::to_string(living.slot) + ")"
             : "dead ones whose messages wait for a receiver",
      last - first == 1 ? "detach it first, or use mpmc_queue"
                        : "create the queue with more endpoints");
}

endpoint::endpoint(endpoint&& other) noexcept
    : view_(std::exchange(other.view_, {})),
      mark_(std::exchange(other.mark_, nullptr)),
      mark_value_(other.mark_value_),
      control_(other.control_),
      index_(other.index_),
      took_over_(other.took_over_),
      inherited_(other.inherited_),
      bell_(std::move(other.bell_)) {}

endpoint& endpoint::operator=(endpoint&& other) noexcept {
  if (this != &other) {
    detach();
    view_ = std::exchange(other.view_, {});
    mark_ = std::exchange(other.mark_, nullptr);
    mark_value_ = other.mark_value_;
    control_ = other.control_;
    index_ = other.index_;
    took_over_ = other.took_over_;
    inherited_ = other.inherited_;
    bell_ = std::move(other.bell_);
  }
  return *this;
}

endpoint::~endpoint() {
  detach();
}

void endpoint::detach() noexcept {
  const queue_view queue = std::exchange(view_, {});
  const bool was_usable = usable();
  mark_ = nullptr;
  bell_.reset();
  if (queue.head == nullptr || !was_usable) return;
  endpoint_slot& slot = queue.slots[index_];
  shared(slot.bell).store(0, std::memory_order_relaxed);  // published by control
  std::uint64_t free = std::uint64_t{generation_of(control_)} << 5;
  if (inherited_) {
    free |= static_cast<std::uint64_t>(role());  // nobody's, as if its owner had left
  } else {
    shared(slot.intent).store(0, std::memory_order_relaxed);  // published by control
  }
  std::uint64_t seen = control_;
  // Release: pairs with attach. Nothing of the block is touched after it.
  if (shared(slot.control)
          .compare_exchange_strong(seen, free, std::memory_order_acq_rel,
                                   std::memory_order_acquire))
    return;
  if (seen != (control_ | orphan_bit)) return;  // damaged: not ours any more
  const bool locked = lock_destroyed(queue, owner_of(control_));
  shared(slot.control).store(free, std::memory_order_release);  // pairs with free_or_unlock
  if (locked) free_or_unlock(queue);
}

// ---- bells ----

namespace {

// One number for each slot: slots are 128 bytes, so 2^32 of them fill 512 GiB.
std::uint32_t bell_number(const queue_view& queue, std::uint32_t slot) noexcept {
  const auto* const at = reinterpret_cast<const std::byte*>(&queue.slots[slot]);
  return static_cast<std::uint32_t>(static_cast<std::uint64_t>(at - queue.who->place().base()) /
                                    platform::line_stride);
}

}  // namespace

platform::doorbell::native_handle_type endpoint::native_handle() {
  require_usable(static_cast<queue_kind>(view_.head->kind));
  if (bell_ == nullptr) {
    bell_ = std::make_unique<platform::doorbell>(
        platform::doorbell::make(view_.who->place().object().id(), bell_number(view_, index_)));
    // Something may be there already: ring ourselves.
    platform::doorbell::ring(view_.who->place().object().id(), bell_number(view_, index_));
  }
  return bell_->native_handle();
}

void endpoint::arm_bell() noexcept {
  bell_->answer();
  shared(slot().bell).store(1, std::memory_order_relaxed);  // published by the bits
  std::uint64_t& bells =
      role() == endpoint_role::sender ? head().sender_bells : head().receiver_bells;
  // Sequentially consistent: with the notifier's load or exchange.
  shared(bells).fetch_or(std::uint64_t{1} << index_ % 64, std::memory_order_seq_cst);
  (void)platform::heavy_fence();
}

void ring_bells(const queue_view& queue, std::uint64_t& bells, endpoint_role role) noexcept {
  const std::uint64_t bits = shared(bells).exchange(0, std::memory_order_acq_rel);  // arm_bell
  if (bits == 0) return;
  for (std::uint32_t i = 0; i < queue.endpoints; ++i) {
    if ((bits >> i % 64 & 1) == 0) continue;
    endpoint_slot& slot = queue.slots[i];
    if (role_of(shared(slot.control).load(std::memory_order_acquire)) != role) continue;  // attach
    if (shared(slot.bell).exchange(0, std::memory_order_acq_rel) != 0)  // arm_bell
      platform::doorbell::ring(queue.who->place().object().id(), bell_number(queue, i));
  }
}

}  // namespace ipcpp::detail
