// ipcpp.queue:latest - the newest value only: anybody stores, anybody loads, nobody waits for the dead.
//
//   auto& price = segment.construct<ipcpp::latest<tick>>("price", tick{0, 1.0});
//   price.store({7, 2.0});                          any thread of any process
//   price.load().sequence                           likewise
//   auto news = price.reader();                     to wait for a newer one:
//   while (auto t = news.receive()) ...             each value at most once, some never
//
// Representation: :endpoint (slots for readers only), one line of the queue's own, and cells:
//
//   line      next      the number of the last store that began
//             current   the number of the newest finished store; it is in cell (current modulo cells)
//   cell      | word | value ... |   rounded up to 128 bytes
//   word      63   62       51 50         19 18             0
//             | 0 | number of the store whose value this is |
//             | 1 | process  | generation  | low bits of it |    being written by that participant
//
// store    1 number = ++next          2 cell (number modulo cells): its number < current, or its writer
//                                       dead; else the next number
//          3 word = being written by me, by exchange    4 the value    5 word = number (release)
//          6 current = number, unless it is newer already
// A cell that `current` leads to, or may still be led to, is never claimed: current only grows, and
// only cells with numbers below it are. So whoever dies, current leads to a whole value.
//
// Crash story. Killed before 3: a number that nobody uses. Between 3 and 5: a cell that says who was
// writing it; the next store that comes to it finds that one dead and takes it over by exchange.
// Between 5 and 6: a value that nobody sees, unless a store comes to the cell and finishes 6 for it.
// A stopped writer keeps one cell, and the others go on in the rest; with all of them held by stopped
// writers, a store waits. (A plain sequence lock would block all readers there.)
//
// Race story. Reader: current (acquire), word == current (acquire), the value by relaxed words, an
// acquire fence, word again. Writer: 3, a release fence, the value by relaxed words, 5 (release). If
// the reader has seen any word of a newer value, the fences make it see 3 at its second look. A reader
// repeats only when it was lapped, which takes as many stores as there are cells during one copy.
module;

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>

export module ipcpp.queue:latest;

import ipcpp.platform;
import ipcpp.sync;
import ipcpp.malloc;
import :message;
import :received;
import :endpoint;
import :waitable;
import :blocking;
import :queue_object;

namespace ipcpp {

namespace detail {

export struct latest_line {
  std::uint64_t next;
  std::uint64_t current;
  std::uint64_t unused[14];
};
static_assert(sizeof(latest_line) == platform::line_stride);

// The cells without the type of the value.
export struct latest_cells {
  queue_view queue;
  latest_line* line = nullptr;
  std::uint64_t stride = 0;
  std::uint64_t value_bytes = 0;

  [[nodiscard]] inline std::uint64_t* cell(std::uint64_t number) const noexcept {
    return static_cast<std::uint64_t*>(
        static_cast<void*>(queue.ring + number % queue.capacity * stride));
  }
};

// Throws not_a_participant's causes (limit_reached), damaged.
export void store_latest(const latest_cells& in, const void* value);
// Copies the newest value, returns its number. 0: lapped `tries` times, nothing was copied. Throws
// damaged.
export std::uint64_t load_latest(const latest_cells& in, void* value, std::uint64_t tries);

export [[nodiscard]] constexpr std::uint64_t cell_stride(std::uint64_t value_bytes) noexcept {
  return (8 + (value_bytes + 7) / 8 * 8 + platform::line_stride - 1) / platform::line_stride *
         platform::line_stride;
}

template <message T>
[[nodiscard]] inline T load_as(const latest_cells& in) {
  alignas(T) std::byte bytes[sizeof(T)];
  (void)load_latest(in, bytes, ~std::uint64_t{0});
  return *received<T>(bytes, false);
}

}  // namespace detail

export template <message T>
class latest;

// Sees each value at most once, and the newest one when it looks.
export template <message T>
class latest_reader : public detail::receiving<latest_reader<T>, T> {
 public:
  static constexpr detail::queue_kind kind = detail::queue_kind::latest;

  latest_reader() noexcept = default;  // attached to nothing

  // The newest value, if it is newer than the last one received here. Throws not_a_participant,
  // damaged.
  received<T> try_receive() {
    end_.require_usable(kind);
    if (!newer() && end_.has_bell()) end_.arm_bell();
    if (!newer()) {
      const detail::queue_state state = detail::state_of(end_.head());
      if (state == detail::queue_state::open || state == detail::queue_state::closing)
        return received<T>(receive_status::empty);
      if (!newer())
        return received<T>(state == detail::queue_state::destroyed ? receive_status::destroyed
                                                                   : receive_status::closed);
    }
    alignas(T) std::byte bytes[sizeof(T)];
    seen_ = detail::load_latest(cells_, bytes, ~std::uint64_t{0});
    return received<T>(bytes, false);
  }
  // One value is all there ever is.
  received_batch try_receive_batch(std::span<T> out) {
    received_batch got;
    if (out.empty()) return got;
    const received<T> one = try_receive();
    got.status = one.status();
    if (!one) return got;
    std::memcpy(out.data(), &*one, sizeof(T));
    got.count = 1;
    return got;
  }
  // The newest value, seen or not.
  [[nodiscard]] T load() {
    end_.require_usable(kind);
    return detail::load_as<T>(cells_);
  }

  [[nodiscard]] detail::wait_source wait_source() noexcept {
    return {&end_.head().receivers, this,
            [](void* self) {
              auto& me = *static_cast<latest_reader*>(self);
              const detail::queue_state state = detail::state_of(me.end_.head());
              return me.newer() || state == detail::queue_state::closed ||
                     state == detail::queue_state::destroyed;
            },
            [](void* self) noexcept {
              detail::finish_closing(static_cast<latest_reader*>(self)->end_.view());
            }};
  }
  // For epoll, poll and the like; see spsc_receiver.
  [[nodiscard]] auto native_handle() { return end_.native_handle(); }
  [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(end_); }
  void detach() noexcept { end_.detach(); }

 private:
  friend class latest<T>;
  latest_reader(detail::endpoint end, const detail::latest_cells& cells)
      : end_(std::move(end)), cells_(cells) {}
  [[nodiscard]] bool newer() const noexcept {
    return detail::shared(cells_.line->current).load(std::memory_order_acquire) != seen_;  // store
  }

  detail::endpoint end_;
  detail::latest_cells cells_;
  std::uint64_t seen_ = 0;
};

export template <message T>
class latest : public detail::queue_object {
 public:
  using value_type = T;

  // Throws bad_alloc, invalid_argument.
  explicit latest(const T& initial, const allocator_type& where)
      : latest(initial, queue_limits{}, where) {}
  latest(const T& initial, const queue_limits& limits, const allocator_type& where)
      : queue_object(plan(limits), where) {
    detail::store_latest(cells(), &initial);
  }

  // Lock-free unless writers are stopped in all cells. Throws closed; limit_reached if this process
  // cannot take part.
  void store(const T& value) {
    const detail::latest_cells in = cells();
    const detail::queue_state state = detail::state_of(*in.queue.head);
    if (state != detail::queue_state::open)
      detail::refuse_closed(detail::queue_kind::latest, state);
    detail::store_latest(in, &value);
    detail::notify_all(in.queue, in.queue.head->receivers);
  }
  // Lock-free: repeats only when it is lapped by writers.
  [[nodiscard]] T load() const { return detail::load_as<T>(cells()); }
  // Gives up when it was lapped a few times.
  [[nodiscard]] received<T> try_load() const {
    alignas(T) std::byte bytes[sizeof(T)];
    if (detail::load_latest(cells(), bytes, 8) == 0) return received<T>(receive_status::empty);
    return received<T>(bytes, false);
  }

  // To wait for values. Throws limit_reached.
  [[nodiscard]] latest_reader<T> reader() {
    const detail::latest_cells in = cells();
    return latest_reader<T>(detail::endpoint::attach(in.queue, detail::endpoint_role::receiver, 0,
                                                     in.queue.endpoints, nullptr),
                            in);
  }

  // No more values from now on; readers that have seen the last one are told. By anybody.
  void close() { detail::close_queue(cells().queue); }
  void reopen() { detail::reopen_queue(cells().queue); }
  [[nodiscard]] bool closed() const {
    return detail::state_of(*cells().queue.head) != detail::queue_state::open;
  }
  // Stores so far.
  [[nodiscard]] std::uint64_t stores() const {
    return detail::shared(cells().line->current).load(std::memory_order_relaxed);  // a number
  }

 private:
  // More than one copy takes to write, few enough where they are large.
  static constexpr std::uint64_t cell_count = sizeof(T) <= 4096 ? 8 : 4;

  [[nodiscard]] static detail::queue_plan shape() noexcept {
    detail::queue_plan p;
    p.kind = detail::queue_kind::latest;
    p.message_bytes = sizeof(T);
    p.message_alignment = alignof(T);
    p.stride = static_cast<std::uint32_t>(detail::cell_stride(sizeof(T)));
    p.own_lines = 1;
    return p;
  }
  [[nodiscard]] static detail::queue_plan plan(const queue_limits& limits) noexcept {
    detail::queue_plan p = shape();
    p.capacity = cell_count;
    p.endpoints = limits.endpoints;
    p.ring_bytes = p.capacity * p.stride;
    return p;
  }
  [[nodiscard]] detail::latest_cells cells() const {
    const detail::queue_plan expected = shape();
    const detail::queue_view v = look(expected, expected.stride);
    if (v.capacity != cell_count)
      detail::refuse_damaged(expected.kind, "its number of cells", "another");
    return {v, static_cast<detail::latest_line*>(static_cast<void*>(v.own)), expected.stride,
            sizeof(T)};
  }
};

}  // namespace ipcpp
