// ipcpp.queue:lane - a ring from one sender to one receiver: what spsc_queue is, and what mpsc_queue
// has one of for each sender.
//
// Representation: two lines of the queue's own, and a ring (:ring_slot)
//
//   sender's line     claimed     every position below it may be in use by the sender
//   receiver's line   head        every position below it has been taken
//                     in_hand     positions below it may have been seen by the receiver
//   slot of p         sequence    p + 1 once message p is complete; less before
//
// Positions count from 0 and never wrap (64 bits). Neither side reads the other's line while there are
// messages, or room, that it knows of.
//
// Crash story, send of message t           successor, or receiver, finds
//   1 claimed = t + 1                      sequence < t + 1: nothing was sent; position t is used again
//   2 the state is open, else claimed = t  the same
//   3 payload                              the same
//   4 sequence = t + 1 (release)           sent
// receive of message h
//   1 copy                                 head = h: delivered again, flagged
//   2 head = h + 1 (release)               taken, whether or not anybody acted on it
// A batch is committed in ascending order, so what a kill leaves is always a beginning of it, and
// taken by one store of head behind in_hand. Nobody else ever writes to any of these words, so there is
// nothing to repair.
//
// Race story. sequence: release by the sender, acquire by the receiver, for the payload. head: release
// by the receiver (its reads of the payload are over), acquire by the sender before it overwrites.
// claimed and state are the two sides of closing: the sender stores claimed, then loads state; who
// closes stores state, issues a heavy fence, and then whoever receives loads claimed. One of the two sees
// the other, so a message is either refused or waited for. Without heavy fences the sender exchanges. The
// receiver's loads of state and claimed are sequentially consistent: acquiring is not enough, it has not
// met the sender (model queue_lane).
module;

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

export module ipcpp.queue:lane;

import ipcpp.platform;
import ipcpp.sync;
import :message;
import :received;
import :endpoint;
import :waitable;
import :ring_slot;
import :blocking;

namespace ipcpp::detail {

export struct lane_lines {
  std::uint64_t claimed;
  std::uint64_t of_sender[15];
  std::uint64_t head;
  std::uint64_t in_hand;
  std::uint64_t of_receiver[14];
};
static_assert(sizeof(lane_lines) == 2 * platform::line_stride &&
              offsetof(lane_lines, head) == platform::line_stride);

export template <message T>
class lane_sender {
 public:
  lane_sender() noexcept = default;
  // Goes on where the last sender stopped.
  lane_sender(queue_kind kind, lane_lines& lines, ring<T> slots, std::uint64_t capacity)
      : lines_(&lines), ring_(slots), capacity_(capacity) {
    const std::uint64_t claimed =
        shared(lines.claimed).load(std::memory_order_relaxed);   // its last owner is gone
    head_ = shared(lines.head).load(std::memory_order_acquire);  // pairs with taking
    if (claimed - head_ > capacity)
      refuse_damaged(kind, "a ring that holds at most its capacity",
                     "positions that are further apart");
    tail_ = head_;
    while (tail_ != claimed &&
           ring_.sequence(tail_).load(std::memory_order_relaxed) == tail_ + 1)  // the last owner's
      ++tail_;
    shared(lines.claimed).store(tail_, std::memory_order_relaxed);  // as it was, for whoever looks
  }

  [[nodiscard]] std::uint64_t room() noexcept {
    const std::uint64_t known = capacity_ - (tail_ - head_);
    return known != 0 ? known : room_now();
  }
  // Precondition: room() >= n. open, or why not.
  [[nodiscard]] queue_state claim(queue_head& head, std::uint64_t n) noexcept {
    const auto claimed = shared(lines_->claimed);
    if (notifies_without_fence.load(std::memory_order_relaxed)) [[likely]] {  // never false again
      // Relaxed: ordered by the closer's heavy fence; the compiler must not reorder.
      claimed.store(tail_ + n, std::memory_order_relaxed);
      std::atomic_signal_fence(std::memory_order_seq_cst);
    } else {
      claimed.exchange(tail_ + n, std::memory_order_seq_cst);
    }
    // Sequentially consistent: with the exchange above. An ordinary load where it matters.
    const auto state =
        static_cast<queue_state>(shared(head.state).load(std::memory_order_seq_cst) & 0xff);
    if (state != queue_state::open) [[unlikely]]
      claimed.store(tail_, std::memory_order_release);  // pairs with in_flight
    return state;
  }
  // Precondition: claimed.
  void commit(const T& message) noexcept {
    ring_.write(tail_, message);
    ring_.sequence(tail_).store(tail_ + 1, std::memory_order_release);  // pairs with look
    ++tail_;
  }

 private:
  [[nodiscard]] std::uint64_t room_now() noexcept {
    const std::uint64_t head =
        shared(lines_->head).load(std::memory_order_acquire);  // pairs with taking
    // A damaged head cannot make room that is not there, nor be believed to go back.
    if (head - head_ <= tail_ - head_) head_ = head;
    return capacity_ - (tail_ - head_);
  }

  lane_lines* lines_ = nullptr;
  ring<T> ring_;
  std::uint64_t tail_ = 0;
  std::uint64_t head_ = 0;  // at most the receiver's
  std::uint64_t capacity_ = 0;
};

export template <message T>
class lane_receiver {
 public:
  lane_receiver() noexcept = default;
  // `died`: the last receiver did not detach, so what it had in hand is delivered again.
  lane_receiver(lane_lines& lines, ring<T> slots, std::uint64_t capacity, bool died)
      : lines_(&lines), ring_(slots), capacity_(capacity) {
    head_ = shared(lines.head).load(std::memory_order_relaxed);  // its last owner is gone
    again_until_ = head_;
    if (died) {
      const std::uint64_t in_hand =
          shared(lines.in_hand).load(std::memory_order_relaxed);  // the last owner's
      again_until_ = in_hand - head_ <= capacity && in_hand != head_ ? in_hand : head_ + 1;
    }
  }

  [[nodiscard]] bool ready() const noexcept {
    return ring_.sequence(head_).load(std::memory_order_acquire) == head_ + 1;  // commit
  }
  // Precondition: ready().
  [[nodiscard]] received<T> take() noexcept {
    received<T> got(ring_.payload(head_), head_ < again_until_);
    ++head_;
    shared(lines_->head).store(head_, std::memory_order_release);  // pairs with room_now
    return got;
  }
  // Whatever is there, up to out.size().
  [[nodiscard]] received_batch take_batch(std::span<T> out) noexcept {
    received_batch got;
    const std::uint64_t most = out.size() < capacity_ ? out.size() : capacity_;
    if (most == 0 || !ready()) return got;
    // Relaxed: for a successor, which sees it because we are dead. Before the first look at a payload.
    shared(lines_->in_hand).store(head_ + most, std::memory_order_relaxed);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    do {
      std::memcpy(&out[got.count], ring_.payload(head_), sizeof(T));
      if (head_ < again_until_) ++got.redelivered;
      ++head_;
      ++got.count;
    } while (got.count < most && ready());
    shared(lines_->head).store(head_, std::memory_order_release);  // pairs with room_now
    got.status = receive_status::message;
    return got;
  }

  // Is the sender between claiming and committing, or died there? Only sharp after the queue was
  // closed, see the race story.
  [[nodiscard]] bool in_flight() const noexcept {
    // Sequentially consistent: with the sender's exchange, or the closer's heavy fence, and the state.
    return shared(lines_->claimed).load(std::memory_order_seq_cst) != head_;
  }
  // Does the slot hold what no sender can have written?
  [[nodiscard]] bool damaged() const noexcept {
    const std::uint64_t sequence =
        ring_.sequence(head_).load(std::memory_order_relaxed);  // only compared
    return sequence > head_ + 1;
  }

 private:
  lane_lines* lines_ = nullptr;
  ring<T> ring_;
  std::uint64_t head_ = 0;
  std::uint64_t again_until_ = 0;
  std::uint64_t capacity_ = 0;
};

// Messages in the lane, as far as anybody can tell.
export [[nodiscard]] inline std::uint64_t lane_size(lane_lines& lines,
                                                    std::uint64_t capacity) noexcept {
  const std::uint64_t head = shared(lines.head).load(std::memory_order_acquire);
  const std::uint64_t claimed = shared(lines.claimed).load(std::memory_order_acquire);
  return claimed - head <= capacity ? claimed - head : 0;
}

}  // namespace ipcpp::detail
