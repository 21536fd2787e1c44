// Bodies of ipcpp.segment:directory.
//
// Making an object, and what the others see if the process dies after each step:
//   1 lock                           a lock whose owner is dead: it is taken over
//   2 sequence, name, type, hash     a free slot with a stale name: nothing
//   3 control: free -> making        a slot that is being made by somebody dead: recover() frees it
//   4 unlock                         the same
//   5 text, memory, by allocate_to   the same; both happened or did not
//   6 the constructor                the same; what it allocated is in the ledger
//   7 control: making -> settling    the object, whole; the ledger is freed by recover()
//   8 ledger freed, settling -> ready  the object
// Unmaking:
//   1 control: ready -> unmaking     no object; recover() frees its block. What the destructor had
//                                    not freed yet stays allocated.
//   2 the destructor                 the same
//   3 links freed                    the same
//   4 hash 0                         no slot of that name, but one that recover() frees
//   5 control: unmaking -> free      a free slot
// Taking over a dead owner's slot, under the lock: its owner is buried first, so that the heap has
// finished what it was at; then 3 to 5.
// Growing, under the lock: 1 the block, by allocate_to: a chunk nobody counts; whoever grows next
// takes it  2 its slots  3 chunks + 1.
//
// Race story. A reader takes sequence and control (acquire, pairs with the release of 3 and 7), then
// the name and the rest, then both again: a slot that was used anew meanwhile has another sequence,
// for the writer's fence puts it before everything else it writes.
module;

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <new>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

module ipcpp.segment;

import ipcpp.platform;
import ipcpp.sync;
import ipcpp.malloc;
import :directory;
import :ledger;
import :type_description;

namespace ipcpp::detail {

namespace {

constexpr std::uint64_t longest_text = std::uint64_t{1} << 20;

template <class Word>
[[nodiscard]] std::atomic_ref<Word> shared(Word& word) noexcept {
  return std::atomic_ref<Word>(word);
}

// What a link leads to. The heap stores links as one word; acquire pairs with that.
[[nodiscard]] void* target_of(offset_ptr<void>& link) noexcept {
  static_assert(sizeof link == sizeof(std::uint64_t));
  (void)std::atomic_ref(reinterpret_cast<std::uint64_t&>(link)).load(std::memory_order_acquire);
  return link.get();
}

[[nodiscard]] bool is_visible(std::uint64_t control) noexcept {
  return state_of(control) == slot_state::ready || state_of(control) == slot_state::settling;
}

[[nodiscard]] std::uint64_t hash_of_name(std::string_view name) noexcept {
  return hash_of_text(name) | 1;  // 0: no name
}

[[nodiscard]] std::uint64_t this_thread() noexcept {
  return std::hash<std::thread::id>{}(std::this_thread::get_id());
}

// Longer and longer naps: for what takes as long as somebody's constructor.
class patience {
 public:
  void wait() {
    if (++naps_ < 32) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(std::chrono::microseconds(naps_ < 200 ? 50 : 1000));
    }
  }

 private:
  unsigned naps_ = 0;
};

[[nodiscard]] constexpr std::uint64_t packed(participant_id who) noexcept {
  return std::uint64_t{who.generation} << 32 | (who.slot + 1);
}

void check_object_name(std::string_view name, const std::string& segment) {
  const char* broken = nullptr;
  if (name.empty()) broken = "an empty one";
  if (name.size() > longest_object_name) broken = "a longer one";
  for (const char c : name)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) broken = "one with a control character";
  if (broken != nullptr)
    throw error(errc::invalid_argument, "object name in " + segment,
                "1 to " + std::to_string(longest_object_name) + " bytes of text", broken,
                "choose another name");
}

}  // namespace

// Held by one process's one thread; passes on when that has left.
class directory::lock_guard {
 public:
  explicit lock_guard(directory& of) : threads_(*of.threads_), word_(of.root().lock) {
    directory_root& r = of.root();
    const std::uint64_t mine = packed(of.memory_->participants().self());
    for (patience until_free;; until_free.wait()) {
      std::uint64_t seen = 0;
      // Acquire: pairs with the release below, or with what the dead one wrote.
      if (shared(r.lock).compare_exchange_strong(seen, mine, std::memory_order_acquire)) return;
      if (seen == mine) return;  // no other thread of this process is here: a peer wrote nonsense
      const participant_id holder{static_cast<std::uint32_t>(seen & 0xffff'ffff) - 1,
                                  static_cast<std::uint32_t>(seen >> 32)};
      if (of.has_left(holder) &&
          shared(r.lock).compare_exchange_strong(seen, mine, std::memory_order_acquire))
        return;
    }
  }
  lock_guard(const lock_guard&) = delete;
  lock_guard& operator=(const lock_guard&) = delete;
  ~lock_guard() {
    shared(word_).store(0, std::memory_order_release);
  }  // pairs with the next holder

 private:
  fork_safe_guard threads_;
  std::uint64_t& word_;
};

// ---- making one, looking at one ----

directory::directory(platform::mapping& place, heap* memory, fork_safe_lock& threads,
                     std::uint64_t at, std::string segment)
    : place_(&place), memory_(memory), threads_(&threads), at_(at), segment_(std::move(segment)) {
  if (at % alignof(directory_root) != 0 || at >= place.capacity() ||
      !lies_inside(place.base() + at, sizeof(directory_root)))
    damaged("its directory inside it", "it at byte " + std::to_string(at));
  const directory_root& r = root();
  if (r.magic != directory_magic) damaged("a directory", "something else in its place");
  if (r.version != directory_version)
    throw error(errc::wrong_layout, segment_,
                "directory version " + std::to_string(directory_version), std::to_string(r.version),
                "build all programs with the same ipcpp");
}

std::uint64_t directory::make(const platform::mapping& place, heap& memory) {
  auto* const made = new (memory.allocate(sizeof(directory_root))) directory_root{};
  made->magic = directory_magic;
  made->version = directory_version;
  return static_cast<std::uint64_t>(reinterpret_cast<std::byte*>(made) - place.base());
}

directory_root& directory::root() const {
  return *reinterpret_cast<directory_root*>(place_->base() + at_);
}

std::uint32_t directory::chunks() const {
  const std::uint32_t n = shared(root().chunks).load(std::memory_order_acquire);  // pairs with grow
  if (n > most_chunks)
    damaged("at most " + std::to_string(most_chunks) + " chunks of names", std::to_string(n));
  return n;
}

directory::chunk directory::chunk_at(std::uint32_t k) const {
  const std::uint32_t count = slots_of_chunk(k);
  void* const block = target_of(root().chunk[k]);
  if (!lies_inside(block, std::uint64_t{count} * (8 + sizeof(directory_slot))) ||
      reinterpret_cast<std::uintptr_t>(block) % 8 != 0)
    damaged("a chunk of names inside it", "one outside");
  auto* const hashes = static_cast<std::uint64_t*>(block);
  return {hashes, reinterpret_cast<directory_slot*>(hashes + count), count};
}

slot_place directory::find(std::string_view name, std::uint64_t hash) const {
  const std::uint32_t n = chunks();
  for (std::uint32_t k = 0; k < n; ++k) {
    const chunk c = chunk_at(k);
    for (std::uint32_t i = 0; i < c.count; ++i) {
      // Relaxed: the control word says whether the name counts.
      if (shared(c.hashes[i]).load(std::memory_order_relaxed) != hash) continue;
      directory_slot& slot = c.slots[i];
      // Acquire: pairs with claim.
      if (state_of(shared(slot.control).load(std::memory_order_acquire)) == slot_state::free)
        continue;
      if (shared(slot.name_bytes).load(std::memory_order_relaxed) != name.size()) continue;
      std::array<std::uint64_t, longest_object_name / 8> there{};
      for (std::size_t w = 0; w * 8 < name.size(); ++w)
        there[w] = shared(slot.name[w]).load(std::memory_order_relaxed);
      if (std::memcmp(there.data(), name.data(), name.size()) == 0) return {&slot, &c.hashes[i]};
    }
  }
  return {};
}

bool directory::read_slot(directory_slot& slot, object_record& into) const {
  for (patience until_steady;; until_steady.wait()) {
    const std::uint64_t sequence = shared(slot.sequence).load(std::memory_order_acquire);
    const std::uint64_t control = shared(slot.control).load(std::memory_order_acquire);
    if (!is_visible(control)) return false;
    // Relaxed: between two looks at sequence and control.
    const auto take = [](std::uint64_t& word) {
      return shared(word).load(std::memory_order_relaxed);
    };
    const std::uint64_t name_bytes = take(slot.name_bytes);
    if (name_bytes > longest_object_name)
      damaged("a name of at most " + std::to_string(longest_object_name) + " bytes",
              std::to_string(name_bytes));
    std::array<std::uint64_t, longest_object_name / 8> name{};
    for (std::size_t w = 0; w < name.size(); ++w) name[w] = take(slot.name[w]);
    into.name.assign(reinterpret_cast<const char*>(name.data()), name_bytes);
    into.type_hash = take(slot.type_hash);
    into.at = take(slot.object_at);
    into.bytes = take(slot.object_bytes);
    into.alignment = take(slot.object_alignment);
    const std::uint64_t text_bytes = take(slot.text_bytes);
    const void* const text = target_of(slot.text);
    if (text_bytes <= longest_text && lies_inside(text, text_bytes))
      into.type.assign(static_cast<const char*>(text), text_bytes);
    else
      into.type.clear();
    std::atomic_thread_fence(std::memory_order_acquire);  // pairs with claim's
    if (shared(slot.sequence).load(std::memory_order_relaxed) != sequence) continue;
    const std::uint64_t again = shared(slot.control).load(std::memory_order_relaxed);
    if (!is_visible(again)) return false;
    if (into.type.empty()) damaged("a type's description inside it", "none");
    return true;
  }
}

bool directory::read(std::string_view name, object_record& into) const {
  check_object_name(name, segment_);
  const std::uint64_t hash = hash_of_name(name);
  for (patience until_steady;; until_steady.wait()) {
    const slot_place found = find(name, hash);
    if (found.slot == nullptr) return false;
    if (!read_slot(*found.slot, into)) return false;
    if (into.name == name) return true;
  }
}

std::uint64_t directory::slots() const {
  const std::uint32_t n = chunks();
  return n == 0 ? 0 : std::uint64_t{slots_of_chunk(n)} - first_chunk_slots;
}

bool directory::read(std::uint64_t index, object_record& into) const {
  std::uint32_t k = 0;
  for (; index >= slots_of_chunk(k); ++k) index -= slots_of_chunk(k);
  const chunk c = chunk_at(k);
  return read_slot(c.slots[index], into);
}

void* directory::object_of(const object_record& found, const type_facts& type) const {
  if (found.type_hash != type.hash || found.bytes != type.bytes ||
      found.alignment != type.alignment)
    throw error(errc::wrong_type, describe(found.name), std::string(type.text), found.type,
                difference_of(type.text, found.type));
  std::byte* const object = place_->base() + found.at;
  if (found.at >= place_->capacity() || !lies_inside(object, found.bytes) ||
      reinterpret_cast<std::uintptr_t>(object) % type.alignment != 0)
    damaged("object '" + found.name + "' inside it", "it outside");
  return object;
}

// ---- making objects ----

slot_place directory::find_free() {
  const std::uint32_t n = chunks();
  for (std::uint32_t k = 0; k < n; ++k) {
    const chunk c = chunk_at(k);
    for (std::uint32_t i = 0; i < c.count; ++i) {
      // Relaxed, acquire: a slot that was freed has hash 0 before it says so; pairs with give_back.
      if (shared(c.hashes[i]).load(std::memory_order_relaxed) == 0 &&
          state_of(shared(c.slots[i].control).load(std::memory_order_acquire)) == slot_state::free)
        return {&c.slots[i], &c.hashes[i]};
    }
  }
  return {};
}

void directory::grow() {
  directory_root& r = root();
  const std::uint32_t k = chunks();
  if (k == most_chunks)
    throw error(errc::limit_reached, segment_, "a free slot among " + std::to_string(slots()),
                "as many objects with names", "put them into a container");
  const std::uint32_t count = slots_of_chunk(k);
  const std::uint64_t bytes = std::uint64_t{count} * (8 + sizeof(directory_slot));
  void* block = target_of(r.chunk[k]);
  if (block == nullptr) block = memory_->allocate_to(r.chunk[k], bytes);
  if (!lies_inside(block, bytes)) damaged("a chunk of names inside it", "one outside");
  std::memset(block, 0, bytes);
  auto* const slots = reinterpret_cast<directory_slot*>(static_cast<std::uint64_t*>(block) + count);
  for (std::uint32_t i = 0; i < count; ++i) ::new (static_cast<void*>(slots + i)) directory_slot{};
  shared(r.chunks).store(k + 1, std::memory_order_release);  // pairs with chunks()
}

slot_place directory::claim(std::string_view name, const type_facts& type) {
  check_object_name(name, segment_);
  const std::uint64_t hash = hash_of_name(name);
  for (patience until_made;; until_made.wait()) {
    lock_guard guard(*this);
    const participant_id me = memory_->participants().self();
    if (const slot_place found = find(name, hash); found.slot != nullptr) {
      const std::uint64_t control = shared(found.slot->control).load(std::memory_order_acquire);
      if (is_visible(control)) return {};
      if (state_of(control) == slot_state::free) continue;
      if (owner_of(control) == me &&
          shared(found.slot->thread).load(std::memory_order_relaxed) == this_thread())
        throw error(errc::invalid_argument, describe(name), "an object whose making is over",
                    "one that this thread is just making or destroying",
                    "give the parts of an object other names");
      if (!has_left(owner_of(control))) continue;
      (void)free_the_dead();
    }
    slot_place place = find_free();
    if (place.slot == nullptr && free_the_dead() != 0) place = find_free();
    if (place.slot == nullptr) {
      grow();
      place = find_free();
    }
    directory_slot& slot = *place.slot;
    const auto put = [](std::uint64_t& word, std::uint64_t value) {
      shared(word).store(value, std::memory_order_relaxed);  // ordered by the fence and by control
    };
    put(slot.sequence, slot.sequence + 1);
    std::atomic_thread_fence(std::memory_order_release);  // pairs with read_slot's
    std::array<std::uint64_t, longest_object_name / 8> words{};
    std::memcpy(words.data(), name.data(), name.size());
    for (std::size_t w = 0; w < words.size(); ++w) put(slot.name[w], words[w]);
    put(slot.name_bytes, name.size());
    put(slot.type_hash, type.hash);
    put(slot.text_bytes, type.text.size());
    put(slot.object_bytes, type.bytes);
    put(slot.object_alignment, type.alignment);
    put(slot.thread, this_thread());
    put(slot.ledger_valid, 0);
    put(*place.hash, hash);
    // Release: pairs with find, read_slot.
    shared(slot.control).store(pack_slot(slot_state::making, me), std::memory_order_release);
    return place;
  }
}

void* directory::furnish(slot_place claimed, const type_facts& type) {
  directory_slot& slot = *claimed.slot;
  const std::size_t extra = type.alignment > 16 ? type.alignment - 16 : 0;
  const auto allocate = [&] {
    if (target_of(slot.text) == nullptr)
      std::memcpy(memory_->allocate_to(slot.text, type.text.size()), type.text.data(),
                  type.text.size());
    return static_cast<std::byte*>(memory_->allocate_to(slot.memory, type.bytes + extra));
  };
  std::byte* block = nullptr;
  try {
    block = allocate();
  } catch (const std::bad_alloc&) {
    if (recover() == 0) throw;
    block = allocate();
  }
  const auto skew = reinterpret_cast<std::uintptr_t>(block) % type.alignment;
  if (skew != 0) block += type.alignment - skew;
  // Relaxed: published by settle.
  shared(slot.object_at)
      .store(static_cast<std::uint64_t>(block - place_->base()), std::memory_order_relaxed);
  return block;
}

void directory::settle(slot_place claimed) noexcept {
  directory_slot& slot = *claimed.slot;
  // The commit. Release: pairs with read_slot, and publishes the object.
  if (target_of(slot.ledger) == nullptr) {
    shared(slot.control).store(pack_slot(slot_state::ready, {}), std::memory_order_release);
    return;
  }
  const participant_id me = owner_of(shared(slot.control).load(std::memory_order_relaxed));  // ours
  shared(slot.control).store(pack_slot(slot_state::settling, me), std::memory_order_release);
  try {
    tidy(slot);
  } catch (...) {  // damaged by a peer: its blocks are lost, the object is not
  }
}

void directory::tidy(directory_slot& settling) {
  free_ledger(*memory_, settling, false);
  shared(settling.control).store(pack_slot(slot_state::ready, {}), std::memory_order_release);
}

void directory::free_links(directory_slot& slot, bool of_the_dead) {
  free_ledger(*memory_, slot, of_the_dead);
  memory_->free_from(slot.memory);
  memory_->free_from(slot.text);
}

void directory::free_slot(slot_place owned, bool of_the_dead) {
  free_links(*owned.slot, of_the_dead);
  shared(*owned.hash).store(0, std::memory_order_relaxed);  // before the control word
  // Release: pairs with find_free.
  shared(owned.slot->control).store(pack_slot(slot_state::free, {}), std::memory_order_release);
}

void directory::give_back(slot_place owned) noexcept {
  try {
    // In a child that was forked meanwhile it is not this process's to give back.
    const std::uint64_t control = shared(owned.slot->control).load(std::memory_order_relaxed);
    if (owner_of(control) == memory_->participants().self()) free_slot(owned, false);
  } catch (...) {  // damaged by a peer, or the table of participants is full: the name stays taken
  }
}

slot_place directory::unmake(std::string_view name, const type_facts& type, void*& object) {
  check_object_name(name, segment_);
  for (patience until_settled;; until_settled.wait()) {
    lock_guard guard(*this);
    const slot_place found = find(name, hash_of_name(name));
    object_record record;
    if (found.slot == nullptr || !read_slot(*found.slot, record)) return {};
    object = object_of(record, type);
    std::uint64_t control = shared(found.slot->control).load(std::memory_order_acquire);
    if (state_of(control) == slot_state::settling) {
      if (has_left(owner_of(control))) (void)free_the_dead();
      continue;
    }
    if (state_of(control) != slot_state::ready) return {};
    const participant_id me = memory_->participants().self();
    shared(found.slot->thread).store(this_thread(), std::memory_order_relaxed);  // for messages
    // Acquire, release: pairs with settle and with read_slot. Nobody else does this without the lock.
    if (shared(found.slot->control)
            .compare_exchange_strong(control, pack_slot(slot_state::unmaking, me),
                                     std::memory_order_acq_rel))
      return found;
  }
}

// ---- the dead ----

bool directory::has_left(participant_id who) {
  ipcpp::participants& all = memory_->participants();
  vitality now = all.probe(who);
  // The heap first finishes what the dead one was at.
  if (now == vitality::dead && all.bury(who)) now = vitality::left;
  return now == vitality::left;
}

std::size_t directory::free_the_dead() {
  std::size_t freed = 0;
  const std::uint32_t n = chunks();
  for (std::uint32_t k = 0; k < n; ++k) {
    const chunk c = chunk_at(k);
    for (std::uint32_t i = 0; i < c.count; ++i) {
      const std::uint64_t control = shared(c.slots[i].control).load(std::memory_order_acquire);
      const slot_state state = state_of(control);
      if (state != slot_state::making && state != slot_state::unmaking &&
          state != slot_state::settling)
        continue;
      if (!has_left(owner_of(control))) continue;
      if (state == slot_state::settling)
        tidy(c.slots[i]);
      else
        free_slot({&c.slots[i], &c.hashes[i]}, state == slot_state::making);
      ++freed;
    }
  }
  return freed;
}

std::size_t directory::recover() {
  lock_guard guard(*this);
  return free_the_dead();
}

// ---- small things ----

bool directory::lies_inside(const void* first, std::uint64_t bytes) const noexcept {
  const std::size_t end = place_->backed_bytes();
  const auto at = reinterpret_cast<std::uintptr_t>(first);
  const auto base = reinterpret_cast<std::uintptr_t>(place_->base());
  if (at < base || at - base > end || bytes > end - (at - base)) return false;
  if (memory_ == nullptr || bytes == 0) return true;
  return memory_->contains(first) &&
         memory_->contains(static_cast<const std::byte*>(first) + bytes - 1);
}

void directory::damaged(std::string_view expected, std::string_view found) const {
  throw error(errc::damaged, segment_, expected, found, "remove it and make a new one");
}

std::string directory::describe(std::string_view name) const {
  return "object '" + std::string(name) + "' in " + segment_;
}

}  // namespace ipcpp::detail
