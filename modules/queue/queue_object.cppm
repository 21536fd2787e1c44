// ipcpp.queue:queue_object - what every queue object is made of, and what it can say about itself.
//
// Representation, in the segment: an allocator (8 bytes: which heap) and an offset to the block that
// :endpoint describes. The object stays where it was constructed. Its destructor ends the queue for
// everybody, while the block lives on as long as somebody alive holds an endpoint.
module;

#include <cstddef>
#include <cstdint>

export module ipcpp.queue:queue_object;

import ipcpp.platform;
import ipcpp.sync;
import ipcpp.malloc;
import :endpoint;
import :waitable;

namespace ipcpp {

// Fixed when a queue is made.
export struct queue_limits {
  // Senders and receivers together that may be attached at a time; 128 bytes each.
  std::uint32_t endpoints = detail::default_endpoints;
};

// Exact when nobody is at work.
export struct queue_statistics {
  std::uint64_t sent = 0;
  std::uint64_t received = 0;
  std::uint64_t size = 0;
  std::uint64_t capacity = 0;
  std::uint64_t repairs = 0;  // what the dead left in the way
  std::uint32_t senders = 0;  // attached and alive
  std::uint32_t receivers = 0;
};

namespace detail {

export class queue_object {
 public:
  static constexpr bool is_ipcpp_shareable = true;
  using allocator_type = allocator<std::byte>;

  queue_object(const queue_object&) = delete;
  queue_object& operator=(const queue_object&) = delete;

  [[nodiscard]] inline allocator_type get_allocator() const noexcept { return allocator_; }

 protected:
  inline queue_object(const queue_plan& plan, const allocator_type& where)
      : allocator_(where), head_(make_queue(where.header(), plan)) {}
  inline ~queue_object() { destroy_queue(head_.get(), allocator_.header()); }

  [[nodiscard]] inline queue_view look(const queue_plan& expected, std::uint64_t ring_unit) const {
    return look_at(head_.get(), allocator_.header(), expected, ring_unit);
  }

 private:
  allocator_type allocator_;
  offset_ptr<queue_head> head_;
};

// open -> closing -> (heavy fence) -> closed: from closed on, whoever looks sees every claim that was
// made before. Whoever finds it closing may finish it; the closer may have died.
export void close_queue(const queue_view& queue) noexcept;
export void finish_closing(const queue_view& queue) noexcept;
// false: it is destroyed.
export bool reopen_queue(const queue_view& queue) noexcept;

}  // namespace detail
}  // namespace ipcpp
