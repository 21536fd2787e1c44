// Bodies of ipcpp.segment: objects in a segment, and small things. Making and opening: attach.cpp.
module;

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

module ipcpp.segment;

import ipcpp.platform;
import ipcpp.sync;
import ipcpp.malloc;
import :directory;
import :ledger;
import :state;
import :type_description;

namespace ipcpp {

using namespace detail;

namespace {

[[nodiscard]] slot_place place_of(void* slot, void* hash) noexcept {
  return {static_cast<directory_slot*>(slot), static_cast<std::uint64_t*>(hash)};
}

}  // namespace

object_making::~object_making() {
  delete ledger_;  // before the slot is given back: it records no longer
  if (segment_ != nullptr && slot_ != nullptr) segment_->names.give_back(place_of(slot_, hash_));
}

void object_making::begin() {
  ledger_ = new ledger(*segment_->memory, *static_cast<directory_slot*>(slot_));
  ledger_->begin();
}

void object_making::settle() noexcept {
  if (ledger_ != nullptr) ledger_->end();
  segment_->names.settle(place_of(slot_, hash_));
  segment_ = nullptr;
}

object_unmaking::~object_unmaking() {
  if (segment_ != nullptr && slot_ != nullptr) segment_->names.give_back(place_of(slot_, hash_));
}

void segment::check_writable() const {
  if (state_->read_only())
    throw error(errc::access_denied, state_->describe(), "a segment opened for writing",
                "one opened by open_read_only", "open it with open, or use a const segment");
}

void segment::refuse_existing(std::string_view name) const {
  object_record there;
  const bool found = state_->names.read(name, there);
  throw error(errc::already_exists, "object '" + std::string(name) + "' in " + state_->describe(),
              "no object of that name", found ? "one of type " + there.type : "one",
              "use find_or_construct, or choose another name");
}

void* segment::find_object(std::string_view name, const type_facts& type) const {
  // What others added: nothing to do where one mapping grows by itself.
  (void)state_->place.adopt(state_->place.capacity());
  object_record found;
  if (!state_->names.read(name, found)) return nullptr;
  return state_->names.object_of(found, type);
}

object_making segment::make_object(std::string_view name, const type_facts& type) {
  check_writable();
  object_making made;
  const slot_place claimed = state_->names.claim(name, type);
  if (claimed.slot == nullptr) return made;
  made.segment_ = state_;  // from here on it is given back whatever happens
  made.slot_ = claimed.slot;
  made.hash_ = claimed.hash;
  made.memory_ = state_->names.furnish(claimed, type);
  return made;
}

object_unmaking segment::unmake_object(std::string_view name, const type_facts& type) {
  check_writable();
  object_unmaking unmade;
  const slot_place owned = state_->names.unmake(name, type, unmade.object_);
  if (owned.slot == nullptr) unmade.object_ = nullptr;
  unmade.segment_ = state_;
  unmade.slot_ = owned.slot;
  unmade.hash_ = owned.hash;
  return unmade;
}

void segment::visit_objects(void (*f)(void*, const object_info&), void* context) const {
  // What others added: nothing to do where one mapping grows by itself.
  (void)state_->place.adopt(state_->place.capacity());
  object_record found;
  const std::uint64_t n = state_->names.slots();
  for (std::uint64_t i = 0; i < n; ++i) {
    if (!state_->names.read(i, found)) continue;
    f(context, object_info{found.name, found.type, found.bytes, found.alignment,
                           state_->place.base() + found.at});
  }
}

std::size_t segment::attached_processes() const {
  check_writable();
  ipcpp::participants& all = state_->memory->participants();
  (void)all.self();
  std::size_t living = 0;
  all.for_each(
      [&](const participant_info& one) { living += one.state == vitality::alive ? 1 : 0; });
  return living;
}

std::vector<participant_info> segment::processes() const {
  check_writable();
  ipcpp::participants& all = state_->memory->participants();
  (void)all.self();
  std::vector<participant_info> found;
  all.for_each([&](const participant_info& one) { found.push_back(one); });
  return found;
}

std::size_t segment::recover() {
  check_writable();
  const std::size_t buried = state_->memory->recover();
  return buried + state_->names.recover();
}

std::string_view segment::name() const noexcept {
  return state_->place.object().name();
}

lifetime segment::lifetime() const {
  // Relaxed: nothing else depends on it.
  const std::uint32_t word =
      std::atomic_ref(state_->header().lifetime).load(std::memory_order_relaxed);
  return static_cast<ipcpp::lifetime>(word);
}

void segment::set_lifetime(ipcpp::lifetime chosen) {
  check_writable();
  if (name().starts_with('/') && chosen != ipcpp::lifetime::persistent)
    throw error(errc::invalid_argument, state_->describe(), "lifetime::persistent", "another",
                "a file stays until it is removed");
  std::atomic_ref(state_->header().lifetime)
      .store(static_cast<std::uint32_t>(chosen), std::memory_order_relaxed);
}

bool segment::reachable() const noexcept {
  return state_->place.object().reachable();
}

segment::native_handle_type segment::native_handle() const noexcept {
  return state_->place.object().native_handle();
}

void segment::send_handle(native_handle_type socket) const {
  state_->place.object().send(socket);
}

bool segment::read_only() const noexcept {
  return state_->read_only();
}

std::size_t segment::max_size() const noexcept {
  return state_->place.capacity();
}

ipcpp::heap& segment::heap() const {
  check_writable();
  return *state_->memory;
}

bool segment::contains(const void* address) const noexcept {
  const auto at = reinterpret_cast<std::uintptr_t>(address);
  const auto first = reinterpret_cast<std::uintptr_t>(state_->place.base());
  return at >= first && at - first < state_->place.capacity();
}

}  // namespace ipcpp
