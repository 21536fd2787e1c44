// ipcpp.queue:ring_slot - one place in a ring: a commit word and a message, in one line if they fit.
//
//   | sequence 8 B | padding to alignof(T) | T ... | padding to the stride |
//
// The message carries its own commit word, so that one transfer of a cache line brings both. The
// stride is 16, 32, 64 or a multiple of 64, so that no message lies across one line more than it must.
module;

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

export module ipcpp.queue:ring_slot;

import ipcpp.platform;
import :message;
import :endpoint;

namespace ipcpp::detail {

export template <message T>
struct ring_slot {
  static_assert(alignof(T) <= 64, "a message's alignment is at most 64");
  static constexpr std::size_t payload_at = alignof(T) > 8 ? alignof(T) : 8;
  static constexpr std::size_t raw_bytes = payload_at + sizeof(T);
  static constexpr std::size_t stride = raw_bytes <= 16   ? 16
                                        : raw_bytes <= 32 ? 32
                                                          : (raw_bytes + 63) / 64 * 64;
};
static_assert(ring_slot<std::uint64_t>::stride == 16 && ring_slot<std::uint16_t>::stride == 16);
static_assert(ring_slot<char[48]>::stride == 64 && ring_slot<char[64]>::stride == 128);

// The slot of a position, wherever the position came from: the mask keeps it inside the ring.
export template <message T>
class ring {
 public:
  using slot_type = ring_slot<T>;

  ring() noexcept = default;
  // `capacity` is a power of two, and so many slots lie at `first`.
  ring(std::byte* first, std::uint64_t capacity) noexcept : first_(first), mask_(capacity - 1) {}

  [[nodiscard]] std::atomic_ref<std::uint64_t> sequence(std::uint64_t position) const noexcept {
    return std::atomic_ref<std::uint64_t>(
        *static_cast<std::uint64_t*>(static_cast<void*>(at(position))));
  }
  void write(std::uint64_t position, const T& message) const noexcept {
    std::memcpy(at(position) + slot_type::payload_at, &message, sizeof(T));
  }
  // One slot, found once.
  class slot_view {
   public:
    explicit slot_view(std::byte* at) noexcept : at_(at) {}
    [[nodiscard]] std::atomic_ref<std::uint64_t> sequence() const noexcept {
      return std::atomic_ref<std::uint64_t>(*static_cast<std::uint64_t*>(static_cast<void*>(at_)));
    }
    void write(const T& message) const noexcept {
      std::memcpy(at_ + slot_type::payload_at, &message, sizeof(T));
    }
    void read(void* to) const noexcept { std::memcpy(to, at_ + slot_type::payload_at, sizeof(T)); }

   private:
    std::byte* at_;
  };
  [[nodiscard]] slot_view slot(std::uint64_t position) const noexcept {
    return slot_view(at(position));
  }
  [[nodiscard]] const std::byte* payload(std::uint64_t position) const noexcept {
    return at(position) + slot_type::payload_at;
  }

 private:
  [[nodiscard]] std::byte* at(std::uint64_t position) const noexcept {
    return first_ + (position & mask_) * slot_type::stride;
  }

  std::byte* first_ = nullptr;
  std::uint64_t mask_ = 0;
};

// Checks that the capacity is a power of two and that there are at least so many endpoint slots; throws
// damaged.
export [[nodiscard]] queue_view look_ring(const queue_view& queue, std::uint32_t endpoints);

// What was asked for, rounded up to a power of two, at least 2. Throws invalid_argument beyond 2^36.
export [[nodiscard]] std::uint64_t ring_capacity(queue_kind kind, std::uint64_t asked);

export template <message T>
[[nodiscard]] queue_plan ring_plan(queue_kind kind) noexcept {
  queue_plan plan;
  plan.kind = kind;
  plan.message_bytes = sizeof(T);
  plan.message_alignment = alignof(T);
  plan.stride = ring_slot<T>::stride;
  return plan;
}

}  // namespace ipcpp::detail
