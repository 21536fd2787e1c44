// Bodies of ipcpp.queue:call_queue that do not depend on the messages.
module;

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

module ipcpp.queue;

import ipcpp.platform;
import ipcpp.sync;
import ipcpp.malloc;

namespace ipcpp::detail {

namespace {

constexpr std::size_t head_bytes = 64;  // before a request and before an answer
// Some microseconds of polling: a look costs the other side transfers of its lines.
constexpr std::uint32_t empties_between_looks = 1024;

std::uint32_t part(std::size_t bytes) noexcept {
  return static_cast<std::uint32_t>((head_bytes + bytes + 127) / 128 * 128);
}

call_table call_table_of(const queue_view& queue) {
  const std::uint64_t answer_at = queue.option[0];
  const std::uint64_t stride = queue.option[1];
  if (queue.capacity < 1 || queue.capacity > 65536 || queue.endpoints > 1000 || stride < 256 ||
      stride % 128 != 0 || answer_at < 128 || answer_at % 128 != 0 || answer_at >= stride ||
      queue.ring_bytes / stride < queue.capacity)
    refuse_damaged(queue_kind::call, "calls that fit the block",
                   std::to_string(queue.capacity) + " of " + std::to_string(stride) + " bytes");
  return call_table(reinterpret_cast<std::uint64_t*>(queue.own), queue.ring,
                    static_cast<std::uint32_t>(queue.capacity),
                    static_cast<std::uint32_t>(answer_at), static_cast<std::uint32_t>(stride));
}

endpoint::verdict resolve_call(const queue_view& queue, std::uint32_t slot,
                               std::uint64_t control) noexcept {
  try {
    call_table_of(queue).retire(queue, slot, control);
  } catch (const error&) {
    return endpoint::verdict::not_yet;
  }
  notify_all(queue, queue.head->senders);
  return endpoint::verdict::settled;
}

call_state& call_at(void* object) noexcept {
  return *static_cast<call_state*>(object);
}

struct waited_call {
  call_state* by;
  std::uint32_t call;
  call_word word;
  bool ask;
  call_status found;
};

}  // namespace

queue_plan any_call_plan(std::size_t request_bytes, std::size_t answer_bytes) {
  queue_plan plan;
  plan.kind = queue_kind::call;
  plan.own_lines = 1;
  plan.message_bytes = static_cast<std::uint32_t>(request_bytes);
  plan.message_alignment = static_cast<std::uint32_t>(answer_bytes);
  plan.stride = part(request_bytes) + part(answer_bytes);
  return plan;
}

queue_plan call_plan(std::size_t request_bytes, std::size_t answer_bytes,
                     const call_queue_options& options) {
  if (options.capacity < 1 || options.capacity > 65536 || options.endpoints < 1 ||
      options.endpoints > 1000)
    throw error(errc::invalid_argument, name_of(queue_kind::call),
                "1 to 65536 calls, 1 to 1000 endpoints",
                std::to_string(options.capacity) + ", " + std::to_string(options.endpoints), "");
  queue_plan plan = any_call_plan(request_bytes, answer_bytes);
  plan.capacity = options.capacity;
  plan.endpoints = options.endpoints;
  plan.ring_bytes = plan.capacity * plan.stride;
  plan.option[0] = part(request_bytes);
  plan.option[1] = plan.stride;
  return plan;
}

std::unique_ptr<call_state> attach_call(const queue_view& queue, endpoint_role role) {
  auto state = std::make_unique<call_state>();
  state->table = call_table_of(queue);
  state->end = endpoint::attach(queue, role, 0, queue.endpoints, resolve_call);
  state->owner = state->end.index() + 1;
  state->next = state->end.index() % state->table.count();  // not all at the same place
  state->seen = ~std::uint64_t{0};                          // look at once
  return state;
}

call_queue_statistics call_statistics(const queue_view& queue) {
  const call_table table = call_table_of(queue);
  return {table.requests(), table.in_use(), count_endpoints(queue, endpoint_role::sender),
          count_endpoints(queue, endpoint_role::receiver)};
}

// ---- clients ----

call_status call_state::prepare_until(platform::steady_time deadline, bool wait,
                                      std::uint32_t& call, call_word& mine) {
  for (;;) {
    end.require_usable(queue_kind::call);
    if (state() != queue_state::open) return call_status::closed;
    if (table.try_prepare(end.view(), owner, next, call, mine)) {
      fence_after_claim();
      if (state() == queue_state::open) return call_status::pending;
      table.cancel(call, mine);
      return call_status::closed;
    }
    if (!wait) return call_status::full;
    if (!wait_for(source(), deadline)) return call_status::timed_out;
  }
}

call_status call_state::poll(std::uint32_t call, call_word mine, bool ask) noexcept {
  if (!ask && !table.is_done(call, mine)) {
    if (end.has_bell()) end.arm_bell();
    if (++empties < empties_between_looks && !table.is_done(call, mine))
      return call_status::pending;
    empties = 0;
    ask = true;
  }
  switch (table.outcome(end.view(), call, mine, ask)) {
    case call_outcome::answered:
      return call_status::answered;
    case call_outcome::refused:
      return call_status::refused;
    case call_outcome::pending:
      // A destroyed queue gets no more servers, and those it has may be gone.
      if (state() == queue_state::destroyed && table.take_back(call, mine))
        return call_status::closed;
      return call_status::pending;
    case call_outcome::server_died:
    case call_outcome::gone:
      break;
  }
  return call_status::server_died;
}

call_status call_state::wait_until(std::uint32_t call, call_word mine,
                                   platform::steady_time deadline) {
  end.require_usable(queue_kind::call);
  waited_call waited{this, call, mine, false, call_status::pending};
  struct wait_source source;
  source.object = &waited;
  source.point = &end.head().senders;
  source.ready = [](void* object) {
    waited_call& w = *static_cast<waited_call*>(object);
    // What is found is kept: that a server died is found once.
    if (w.found == call_status::pending)
      w.found = w.by->poll(w.call, w.word, std::exchange(w.ask, false));
    return w.found != call_status::pending;
  };
  source.tend = [](void* object) noexcept { static_cast<waited_call*>(object)->ask = true; };
  if (wait_for(source, deadline)) return waited.found;
  const call_status last = poll(call, mine, true);
  return last == call_status::pending ? call_status::timed_out : last;
}

void call_state::end_call(std::uint32_t call, call_word mine, bool answered) noexcept {
  if (answered) {
    table.finish(call, mine);
  } else {
    table.cancel(call, mine);
  }
  notify_all(end.view(), end.head().senders);  // there is a place for another call
}

// ---- servers ----

receive_status call_state::try_receive(std::uint32_t& call, call_word& mine) {
  end.require_usable(queue_kind::call);
  if (table.try_accept(owner, seen, next, call, mine)) return receive_status::message;
  if (end.has_bell()) {
    end.arm_bell();
    if (table.try_accept(owner, seen, next, call, mine)) return receive_status::message;
  }
  if (++empties >= empties_between_looks) {
    empties = 0;
    finish_closing(end.view());
    seen = ~std::uint64_t{0};  // a client may have died before it counted its request
    if (table.try_accept(owner, seen, next, call, mine)) return receive_status::message;
  }
  const queue_state now = state();
  if (now == queue_state::open || now == queue_state::closing || !table.drained(end.view()))
    return receive_status::empty;
  return now == queue_state::destroyed ? receive_status::destroyed : receive_status::closed;
}

receive_status call_state::receive_until(platform::steady_time deadline, std::uint32_t& call,
                                         call_word& mine) {
  bool waited = false;
  for (;;) {
    const receive_status status = try_receive(call, mine);
    // A wake-up was for one: pass it on if there may be more.
    if (waited && status == receive_status::message && table.any_sent(seen))
      notify_one(end.view(), end.head().receivers);
    if (status != receive_status::empty) return status;
    if (!wait_for(source(), deadline)) return receive_status::timed_out;
    waited = true;
  }
}

bool call_state::reply(std::uint32_t call, call_word mine, call_phase how) noexcept {
  const bool wanted = table.reply(call, mine, how);
  notify_all(end.view(), end.head().senders);
  return wanted;
}

void call_state::leave() noexcept {
  if (!end || !end.usable()) return;
  const queue_view queue = end.view();
  table.retire(queue, end.index(), end.control());
  notify_all(queue, queue.head->senders);
  end.detach();
}

wait_source call_state::source() noexcept {
  struct wait_source source;
  source.object = this;
  source.tend = [](void* object) noexcept { call_at(object).empties = empties_between_looks; };
  if (role_of(end.control()) == endpoint_role::sender) {
    source.point = &end.head().senders;
    source.ready = [](void* object) {
      call_state& me = call_at(object);
      if (me.state() != queue_state::open || me.table.in_use() < me.table.count()) return true;
      if (me.empties < empties_between_looks) return false;
      me.empties = 0;
      std::uint32_t call = 0;
      call_word word;
      // Finds places of the dead; what it finds is given back at once.
      if (!me.table.try_prepare(me.end.view(), me.owner, me.next, call, word)) return false;
      me.table.cancel(call, word);
      return true;
    };
  } else {
    source.point = &end.head().receivers;
    source.ready = [](void* object) {
      call_state& me = call_at(object);
      if (me.table.some_sent(me.seen)) return true;
      if (me.empties >= empties_between_looks) {
        finish_closing(me.end.view());
        me.empties = 0;
        std::uint64_t all = ~std::uint64_t{0};
        if (me.table.some_sent(all)) {  // its client died before it counted it
          me.seen = ~std::uint64_t{0};
          return true;
        }
      }
      const queue_state now = me.state();
      return (now == queue_state::closed || now == queue_state::destroyed) &&
             me.table.drained(me.end.view());
    };
  }
  return source;
}

}  // namespace ipcpp::detail
