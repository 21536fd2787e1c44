// Bodies of ipcpp.queue:call_table.
module;

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <initializer_list>

module ipcpp.queue;

import ipcpp.platform;
import ipcpp.sync;

namespace ipcpp::detail {

bool call_table::is_gone(const queue_view& queue, std::uint32_t owner) noexcept {
  if (owner == 0 || owner > queue.endpoints) return true;
  const auto control_word = shared(queue.slots[owner - 1].control);
  const std::uint64_t control = control_word.load(std::memory_order_acquire);  // attach, detach
  return role_of(control) == endpoint_role::none ||
         (owner_is_gone(queue, control) && control_word.load(std::memory_order_acquire) == control);
}

call_word call_table::settled(call_word word, bool client_gone, bool server_gone) noexcept {
  const call_word idle = call_word::of(word.turn(), 0, 0, call_phase::idle);
  switch (word.phase()) {
    case call_phase::preparing:
    case call_phase::sent:
    case call_phase::answered:
    case call_phase::refused:
      return client_gone ? idle : word;
    case call_phase::accepted:
      if (client_gone) return server_gone ? idle : word.with(call_phase::cancelled);
      return word;  // the client finds out itself
    case call_phase::cancelled:
      return server_gone ? idle : word;
    case call_phase::idle:
      return word;
  }
  return idle;  // damaged
}

bool call_table::try_prepare(const queue_view& queue, std::uint32_t owner, std::uint32_t& next,
                             std::uint32_t& call, call_word& mine) noexcept {
  for (const bool ask : {false, true}) {
    for (std::uint32_t n = 0; n < count_; ++n) {
      const std::uint32_t here = (next + n) % count_;
      call_word seen{word(here).load(std::memory_order_acquire)};
      if (ask && seen.phase() != call_phase::idle) {
        const bool server_matters =
            seen.phase() == call_phase::accepted || seen.phase() == call_phase::cancelled;
        const call_word then = settled(seen, is_gone(queue, seen.client()),
                                       server_matters && is_gone(queue, seen.server()));
        if (then.bits == seen.bits ||
            !word(here).compare_exchange_strong(seen.bits, then.bits, std::memory_order_acq_rel))
          continue;
        seen = then;
      }
      if (seen.phase() != call_phase::idle) continue;
      mine = call_word::of(seen.turn() + 1, owner, 0, call_phase::preparing);
      // Acquire: pairs with finish, the last answer was read.
      if (!word(here).compare_exchange_strong(seen.bits, mine.bits, std::memory_order_acq_rel))
        continue;
      next = here + 1;
      call = here;
      return true;
    }
  }
  return false;
}

call_outcome call_table::outcome(const queue_view& queue, std::uint32_t call, call_word mine,
                                 bool ask) noexcept {
  for (;;) {
    call_word seen{word(call).load(std::memory_order_acquire)};  // pairs with reply
    if (seen.turn() != mine.turn() || seen.client() != mine.client()) return call_outcome::gone;
    switch (seen.phase()) {
      case call_phase::answered:
        return call_outcome::answered;
      case call_phase::refused:
        return call_outcome::refused;
      case call_phase::accepted: {
        if (!ask || !is_gone(queue, seen.server())) return call_outcome::pending;
        // It is dead, and what it did before is visible: the exchange decides.
        const call_word idle = call_word::of(seen.turn(), 0, 0, call_phase::idle);
        if (!word(call).compare_exchange_strong(seen.bits, idle.bits, std::memory_order_acq_rel))
          continue;
        return call_outcome::server_died;
      }
      case call_phase::sent:
        return call_outcome::pending;
      default:
        return call_outcome::gone;
    }
  }
}

void call_table::finish(std::uint32_t call, call_word mine) noexcept {
  call_word seen{word(call).load(std::memory_order_relaxed)};  // the exchange decides
  if (seen.turn() != mine.turn() || seen.client() != mine.client()) return;
  if (seen.phase() != call_phase::answered && seen.phase() != call_phase::refused) return;
  const call_word idle = call_word::of(mine.turn(), 0, 0, call_phase::idle);
  // Release: the answer was read. Pairs with try_prepare.
  word(call).compare_exchange_strong(seen.bits, idle.bits, std::memory_order_acq_rel);
}

void call_table::cancel(std::uint32_t call, call_word mine) noexcept {
  call_word seen{word(call).load(std::memory_order_relaxed)};  // the exchange decides
  while (seen.turn() == mine.turn() && seen.client() == mine.client() &&
         seen.phase() != call_phase::idle && seen.phase() != call_phase::cancelled) {
    const call_word then = settled(seen, true, false);
    if (word(call).compare_exchange_strong(seen.bits, then.bits, std::memory_order_acq_rel)) return;
  }
}

bool call_table::try_accept(std::uint32_t owner, std::uint64_t& seen, std::uint32_t& next,
                            std::uint32_t& call, call_word& mine) noexcept {
  const std::uint64_t requests = std::atomic_ref(*requests_).load(std::memory_order_acquire);
  if (requests == seen) return false;
  for (std::uint32_t n = 0; n < count_; ++n) {
    const std::uint32_t here = (next + n) % count_;
    call_word found{word(here).load(std::memory_order_relaxed)};  // the exchange decides
    if (found.phase() != call_phase::sent) continue;
    mine = call_word::of(found.turn(), found.client(), owner, call_phase::accepted);
    // Acquire: pairs with send, the request is complete.
    if (!word(here).compare_exchange_strong(found.bits, mine.bits, std::memory_order_acq_rel))
      continue;
    next = here + 1;
    call = here;
    return true;  // `seen` stays: there may be more
  }
  seen = requests;
  return false;
}

bool call_table::some_sent(std::uint64_t& seen) const noexcept {
  const std::uint64_t requests = std::atomic_ref(*requests_).load(std::memory_order_acquire);
  if (requests == seen) return false;
  for (std::uint32_t i = 0; i < count_; ++i)
    if (call_word{word(i).load(std::memory_order_acquire)}.phase() == call_phase::sent) return true;
  seen = requests;
  return false;
}

bool call_table::drained(const queue_view& queue) noexcept {
  for (std::uint32_t i = 0; i < count_; ++i) {
    call_word seen{word(i).load(std::memory_order_acquire)};
    if (seen.phase() == call_phase::sent) return false;
    if (seen.phase() != call_phase::preparing) continue;
    if (!is_gone(queue, seen.client())) return false;
    const call_word idle = call_word::of(seen.turn(), 0, 0, call_phase::idle);
    if (!word(i).compare_exchange_strong(seen.bits, idle.bits, std::memory_order_acq_rel))
      return false;  // it has moved on: look again
  }
  return true;
}

bool call_table::take_back(std::uint32_t call, call_word mine) noexcept {
  call_word seen = mine.with(call_phase::sent);
  const call_word idle = call_word::of(mine.turn(), 0, 0, call_phase::idle);
  return word(call).compare_exchange_strong(seen.bits, idle.bits, std::memory_order_acq_rel);
}

bool call_table::reply(std::uint32_t call, call_word mine, call_phase how) noexcept {
  call_word seen = mine;
  const call_word then = mine.with(how);
  // Release: pairs with outcome, the answer is complete.
  if (word(call).compare_exchange_strong(seen.bits, then.bits, std::memory_order_acq_rel)) {
    done(call).store(std::uint64_t{mine.turn()} << 1 | 1, std::memory_order_release);
    return true;
  }
  if (seen.turn() == mine.turn() && seen.phase() == call_phase::cancelled) {
    const call_word idle = call_word::of(mine.turn(), 0, 0, call_phase::idle);
    word(call).compare_exchange_strong(seen.bits, idle.bits, std::memory_order_acq_rel);
  }
  return false;
}

void call_table::retire(const queue_view& queue, std::uint32_t slot,
                        std::uint64_t control) noexcept {
  const auto control_word = shared(queue.slots[slot].control);
  for (std::uint32_t i = 0; i < count_; ++i) {
    for (;;) {
      call_word seen{word(i).load(std::memory_order_acquire)};
      const bool client = seen.client() == slot + 1;
      const bool server = seen.server() == slot + 1;
      if (!client && !server) break;
      if ((control_word.load(std::memory_order_acquire) & ~orphan_bit) != (control & ~orphan_bit))
        return;
      call_word then = settled(seen, client, server);
      // Its client must learn it although the server's slot gets another owner.
      if (server && !client && seen.phase() == call_phase::accepted)
        then = call_word::of(seen.turn(), seen.client(), 0, call_phase::accepted);
      if (then.bits == seen.bits ||
          word(i).compare_exchange_strong(seen.bits, then.bits, std::memory_order_acq_rel))
        break;
    }
  }
}

std::uint32_t call_table::in_use() const noexcept {
  std::uint32_t n = 0;
  for (std::uint32_t i = 0; i < count_; ++i)
    n += call_word{word(i).load(std::memory_order_relaxed)}.phase() != call_phase::idle;
  return n;  // relaxed: approximate
}

}  // namespace ipcpp::detail
