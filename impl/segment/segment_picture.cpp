// Bodies of ipcpp.segment:segment_picture.
//
// Race story. A slot of the directory is read like directory::read_slot does: sequence and control,
// the rest, then both again. The heap is read first, the directory afterwards: an object that comes
// in between may seem to lie in a free block, which the next look puts right.
module;

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

module ipcpp.segment;

import ipcpp.platform;
import ipcpp.sync;
import ipcpp.malloc;
import :directory;
import :segment_picture;
import :state;
import :type_description;

namespace ipcpp {

using namespace detail;

namespace {

constexpr std::uint64_t longest_text = std::uint64_t{1} << 20;

using slot_words = std::array<std::uint64_t, sizeof(directory_slot) / 8>;

[[nodiscard]] std::uint64_t word_at(const slot_words& slot, std::size_t offset) noexcept {
  return slot[offset / 8];
}

// Where an offset_ptr that lies at `at` leads; 0: null or out of range.
[[nodiscard]] std::uint64_t target(std::uint64_t at, std::uint64_t distance,
                                   std::uint64_t capacity) noexcept {
  if (distance == 1) return 0;
  const std::uint64_t there = at + distance;  // modulo 2^64: distances are signed
  return there < capacity ? there : 0;
}

[[nodiscard]] std::string_view text_of(slot_state state) noexcept {
  switch (state) {
    case slot_state::free:
      return "free";
    case slot_state::making:
      return "making";
    case slot_state::ready:
      return "ready";
    case slot_state::settling:
      return "settling";
    case slot_state::unmaking:
      return "unmaking";
  }
  return "";
}

struct directory_painter {
  const platform::object_image& image;
  segment_picture& seen;

  void fault(const std::string& what) {
    if (seen.faults.size() < 300) seen.faults.push_back("directory: " + what);
  }

  // The block around that byte is in use and holds as many more.
  [[nodiscard]] bool in_block(std::uint64_t at, std::uint64_t bytes) const {
    const auto block = seen.heap.find(at);
    return block && block->in_use && bytes <= block->bytes &&
           at - block->at <= block->bytes - bytes;
  }

  void paint() {
    const std::uint64_t at = seen.directory_at;
    struct root_words {
      std::uint64_t magic;
      std::uint32_t version;
      std::uint32_t chunks;
      std::uint64_t lock;
      std::uint64_t reserved[5];
      std::uint64_t chunk[most_chunks];
    };
    static_assert(sizeof(root_words) == sizeof(directory_root) &&
                  offsetof(root_words, lock) == offsetof(directory_root, lock) &&
                  offsetof(root_words, chunk) == offsetof(directory_root, chunk));
    const auto root = image.get<root_words>(at);
    if (!root || at % 8 != 0 || !in_block(at, sizeof(directory_root)))
      return fault("its root lies at byte " + std::to_string(at) + ", outside the heap's blocks");
    if (root->magic != directory_magic) return fault("something else in its place");
    if (root->version != directory_version)
      return fault("version " + std::to_string(root->version) + ", this program knows " +
                   std::to_string(directory_version));
    if (root->chunks > most_chunks)
      return fault(std::to_string(root->chunks) + " chunks of names, at most " +
                   std::to_string(most_chunks) + " can be");
    if (root->lock != 0)
      seen.directory_holder = {static_cast<std::uint32_t>(root->lock & 0xffff'ffff) - 1,
                               static_cast<std::uint32_t>(root->lock >> 32)};
    std::set<std::string, std::less<>> names;
    for (std::uint32_t k = 0; k < root->chunks; ++k) {
      const std::uint32_t count = slots_of_chunk(k);
      const std::uint64_t bytes = std::uint64_t{count} * (8 + sizeof(directory_slot));
      const std::uint64_t chunk =
          target(at + offsetof(directory_root, chunk) + k * 8, root->chunk[k], seen.capacity_bytes);
      if (chunk == 0 || !in_block(chunk, bytes)) {
        fault("chunk " + std::to_string(k) + " of names lies outside the heap's blocks");
        continue;
      }
      // Most slots of large tables are free: told in pieces, the others one by one.
      constexpr std::uint32_t piece = 1024;
      std::vector<slot_words> some(std::min(count, piece));
      for (std::uint32_t first = 0; first < count; first += piece) {
        const std::uint32_t n = std::min(piece, count - first);
        const std::uint64_t slots_at =
            chunk + std::uint64_t{count} * 8 + std::uint64_t{first} * sizeof(directory_slot);
        if (!image.read(slots_at, some.data(), n * sizeof(slot_words))) {
          fault("chunk " + std::to_string(k) + " of names lies beyond the object's end");
          break;
        }
        for (std::uint32_t i = 0; i < n; ++i)
          if (state_of(word_at(some[i], offsetof(directory_slot, control))) != slot_state::free)
            slot(seen.slots + first + i, chunk + std::uint64_t{first + i} * 8,
                 slots_at + std::uint64_t{i} * sizeof(directory_slot), names);
      }
      seen.slots += count;
    }
  }

  void slot(std::uint64_t index, std::uint64_t hash_at, std::uint64_t at,
            std::set<std::string, std::less<>>& names) {
    const std::string where = "slot " + std::to_string(index);
    for (int look = 0; look < 4; ++look) {
      const auto words = image.get<slot_words>(at);
      const auto hash = image.get<std::uint64_t>(hash_at);
      if (!words || !hash) return fault(where + " lies beyond the object's end");
      const std::uint64_t control = word_at(*words, offsetof(directory_slot, control));
      const slot_state state = state_of(control);
      if (state == slot_state::free) return;
      segment_picture::object one;
      one.index = index;
      one.state = text_of(state);
      if (one.state.empty())
        return fault(where + " is in a state that cannot be: " + std::to_string(control & 0xff));
      std::vector<std::string> found;
      const std::uint64_t name_bytes = word_at(*words, offsetof(directory_slot, name_bytes));
      if (name_bytes == 0 || name_bytes > longest_object_name)
        found.push_back(where + " has a name of " + std::to_string(name_bytes) + " bytes");
      one.name.assign(
          reinterpret_cast<const char*>(words->data() + offsetof(directory_slot, name) / 8),
          static_cast<std::size_t>(std::min<std::uint64_t>(name_bytes, longest_object_name)));
      const std::string what = "object '" + one.name + "' ";
      one.at = word_at(*words, offsetof(directory_slot, object_at));
      one.bytes = word_at(*words, offsetof(directory_slot, object_bytes));
      one.alignment = word_at(*words, offsetof(directory_slot, object_alignment));
      if (state != slot_state::ready) {
        one.owner = owner_of(control);
        const participants_picture::process* const owner = seen.participants.find(one.owner);
        one.left_by_dead = owner == nullptr || !owner->alive;
      }
      const bool visible = state == slot_state::ready || state == slot_state::settling;
      if (*hash != (hash_of_text(one.name) | 1) && state != slot_state::unmaking)
        found.push_back(what + "has another name's hash");
      const std::uint64_t text_bytes = word_at(*words, offsetof(directory_slot, text_bytes));
      const std::uint64_t text =
          target(at + offsetof(directory_slot, text),
                 word_at(*words, offsetof(directory_slot, text)), seen.capacity_bytes);
      const std::uint64_t memory =
          target(at + offsetof(directory_slot, memory),
                 word_at(*words, offsetof(directory_slot, memory)), seen.capacity_bytes);
      if (visible) {
        if (text == 0 || text_bytes > longest_text || !in_block(text, text_bytes)) {
          found.push_back(what + "has no type");
        } else {
          one.type.resize(static_cast<std::size_t>(text_bytes));
          (void)image.read(text, one.type.data(), one.type.size());
          if (hash_of_text(one.type) != word_at(*words, offsetof(directory_slot, type_hash)))
            found.push_back(what + "has a type with another type's hash");
        }
        one.inside = one.at < seen.capacity_bytes && in_block(one.at, one.bytes);
        if (!one.inside)
          found.push_back(what + "lies at byte " + std::to_string(one.at) +
                          ", outside the heap's blocks in use");
        if (memory == 0 || memory > one.at || !in_block(memory, one.at - memory + one.bytes))
          found.push_back(what + "does not lie in the block it has");
        if (one.alignment == 0 || (one.alignment & (one.alignment - 1)) != 0 ||
            one.alignment > 4096 || one.at % one.alignment != 0)
          found.push_back(what + "is not aligned to " + std::to_string(one.alignment));
      }
      // The same use of the slot still?
      const auto again = image.get<std::array<std::uint64_t, 2>>(at);
      static_assert(offsetof(directory_slot, control) == 0 &&
                    offsetof(directory_slot, sequence) == 8);
      if (look < 3 && again && ((*again)[0] != control || (*again)[1] != word_at(*words, 8)))
        continue;
      // A dead one's slot may still hold a name that is free for others already.
      if (state != slot_state::unmaking && !names.insert(one.name).second)
        found.push_back(what + "is there twice");
      for (const std::string& one_fault : found) fault(one_fault);
      seen.objects.push_back(std::move(one));
      return;
    }
  }
};

void add(std::vector<std::string>& to, const std::vector<std::string>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

}  // namespace

segment_picture glance_at_segment(const platform::object_image& image) {
  segment_picture seen;
  const platform::object_prologue& prologue = image.prologue();
  seen.prologue_version = prologue.layout_version;
  try {
    platform::check_prologue(prologue, image.prologue_bytes(), "prologue");
  } catch (const error& e) {
    seen.faults.emplace_back(e.what());
    seen.other_layout = e.kind() == errc::wrong_layout;
    return seen;
  }
  seen.id = image.id().text();
  seen.capacity_bytes = prologue.capacity_bytes;
  seen.several_objects = prologue.how == platform::growth::several_objects;
  const auto header = image.get<segment_header>(segment_header_at);
  if (!header) {
    seen.faults.emplace_back("segment: the object ends before its header");
    return seen;
  }
  if (header->magic != segment_magic) {
    seen.faults.emplace_back("segment: a shared object without a segment's header");
    return seen;
  }
  seen.version = header->version;
  if (header->version != segment_version) {
    seen.other_layout = true;
    seen.faults.push_back("segment: layout " + std::to_string(header->version) +
                          ", this program knows " + std::to_string(segment_version));
    return seen;
  }
  seen.readable = true;
  seen.lifetime = header->lifetime;
  seen.pinned_at = header->pinned_at;
  seen.directory_at = header->directory_at;
  if (name_of_lifetime(seen.lifetime) == "unknown")
    seen.faults.push_back("segment: lifetime " + std::to_string(seen.lifetime) +
                          ", which cannot be");
  // The object is as long as what was committed so far; whether the heap's pages are all there, the
  // heap's picture says.
  return seen;
}

segment_picture look_at_segment(const platform::object_image& image) {
  segment_picture seen = glance_at_segment(image);
  if (!seen.readable) return seen;
  seen.heap = look_at_heap(image, heap_source_at);
  add(seen.faults, seen.heap.faults);
  if (!seen.heap.readable) return seen;
  if (seen.heap.participants_at == 0) {
    seen.faults.emplace_back("participants: the heap has none of its own");
  } else {
    seen.participants = look_at_participants(image, seen.heap.participants_at);
    add(seen.faults, seen.participants.faults);
  }
  directory_painter{image, seen}.paint();
  return seen;
}

segment_picture look_until_sure(const platform::object_image& image, unsigned looks,
                                unsigned nap_ms) {
  segment_picture seen = look_at_segment(image);
  std::vector<std::string> lasting = seen.faults;
  for (unsigned look = 1; look < looks && !lasting.empty() && image.facts().used; ++look) {
    std::this_thread::sleep_for(std::chrono::milliseconds(nap_ms));
    seen = look_at_segment(image);
    std::erase_if(lasting, [&](const std::string& fault) {
      return std::find(seen.faults.begin(), seen.faults.end(), fault) == seen.faults.end();
    });
  }
  seen.faults = std::move(lasting);
  return seen;
}

std::vector<layout_field> fields_of(const segment_picture& seen) {
  std::vector<layout_field> all;
  const auto add = [&](std::uint64_t at, std::size_t bytes, std::string_view name) {
    all.push_back({at, static_cast<std::uint32_t>(bytes), name});
  };
#define IPCPP_FIELD(from, type, member, name) \
  add((from) + offsetof(type, member), sizeof(type::member), name)
  using platform::object_prologue;
  IPCPP_FIELD(0, object_prologue, magic, "object.magic");
  IPCPP_FIELD(0, object_prologue, layout_version, "object.layout_version");
  IPCPP_FIELD(0, object_prologue, word_bytes, "object.word_bytes");
  IPCPP_FIELD(0, object_prologue, endianness, "object.endianness");
  IPCPP_FIELD(0, object_prologue, line_stride, "object.line_stride");
  IPCPP_FIELD(0, object_prologue, id_high, "object.id_high");
  IPCPP_FIELD(0, object_prologue, id_low, "object.id_low");
  IPCPP_FIELD(0, object_prologue, capacity_bytes, "object.capacity_bytes");
  IPCPP_FIELD(0, object_prologue, first_step_bytes, "object.first_step_bytes");
  IPCPP_FIELD(0, object_prologue, how, "object.growth");
  IPCPP_FIELD(segment_header_at, segment_header, magic, "segment.magic");
  IPCPP_FIELD(segment_header_at, segment_header, version, "segment.version");
  IPCPP_FIELD(segment_header_at, segment_header, lifetime, "segment.lifetime");
  IPCPP_FIELD(segment_header_at, segment_header, directory_at, "segment.directory_at");
  IPCPP_FIELD(segment_header_at, segment_header, pinned_at, "segment.pinned_at");
  if (seen.directory_at != 0) {
    IPCPP_FIELD(seen.directory_at, directory_root, magic, "directory.magic");
    IPCPP_FIELD(seen.directory_at, directory_root, version, "directory.version");
    IPCPP_FIELD(seen.directory_at, directory_root, chunks, "directory.chunks");
    IPCPP_FIELD(seen.directory_at, directory_root, lock, "directory.lock");
  }
#undef IPCPP_FIELD
  return all;
}

}  // namespace ipcpp
