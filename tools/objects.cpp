// What the tool knows to say of named objects: plain values, locks and queues, told by their type's
// description. A kind of ipcpp's own is added here, by the looking function its module offers.
#include <array>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>

#include "look.hpp"

namespace tool {

namespace {

template <class T>
bool value(const ipcpp::platform::object_image& image, std::uint64_t at, object_view& into) {
  const auto found = image.get<T>(at);
  if (!found) return false;
  into.kind = "value";
  into.facts = *found;
  if constexpr (std::is_floating_point_v<T>) {
    std::array<char, 40> text{};
    std::snprintf(text.data(), text.size(), "%.17g", static_cast<double>(*found));
    into.text = "= " + std::string(text.data());
  } else {
    into.text = "= " + std::to_string(*found);
  }
  return true;
}

// "std::atomic<u64>:8/8" is as good as "u64".
[[nodiscard]] std::string_view plain(std::string_view type) {
  constexpr std::string_view atomic = "std::atomic<";
  if (type.starts_with(atomic)) {
    type.remove_prefix(atomic.size());
    type = type.substr(0, type.find('>'));
  }
  return type;
}

// "4711 (writer), dead"
[[nodiscard]] std::string who_is(const ipcpp::segment_picture& seen, ipcpp::participant_id id) {
  const auto* const process = seen.participants.find(id);
  if (process == nullptr) return "a process that has left";
  return process_text(process->identity) + (process->alive ? "" : ", dead");
}

[[nodiscard]] json id_of(const ipcpp::segment_picture& seen, ipcpp::participant_id id) {
  const auto* const process = seen.participants.find(id);
  if (process == nullptr) return nullptr;
  return {{"pid", process->identity.pid}, {"alive", process->alive}};
}

void view_lock(const ipcpp::platform::object_image& image, const ipcpp::segment_picture& seen,
               const ipcpp::segment_picture::object& of, object_view& view) {
  const ipcpp::lock_picture lock = ipcpp::look_at_lock(image, seen.participants, of.at);
  view.kind = "lock";
  std::string& text = view.text;
  if (lock.at_the_gate)
    text = "wanted by " + who_is(seen, lock.owner) + ", waits for readers";
  else if (lock.handed)
    text = "handed to " + who_is(seen, lock.owner);
  else if (lock.held)
    text = "held by " + who_is(seen, lock.owner);
  else
    text = lock.readers.empty() ? "free" : "shared";
  if (!lock.readers.empty()) text += ", " + std::to_string(lock.readers.size()) + " readers";
  if (!lock.waiting.empty()) text += ", " + std::to_string(lock.waiting.size()) + " waiting";
  if (lock.owner_died) text += ", AN OWNER DIED IN IT";
  view.facts = {{"held", lock.held},
                {"owner", lock.held ? id_of(seen, lock.owner) : json(nullptr)},
                {"handed_over", lock.handed},
                {"owner_died", lock.owner_died},
                {"readers", lock.readers.size()},
                {"waiting", lock.waiting.size()}};
}

void view_queue(const ipcpp::platform::object_image& image, const ipcpp::segment_picture& seen,
                const ipcpp::segment_picture::object& of, object_view& view) {
  const auto queue = ipcpp::look_at_queue(image, seen.heap, seen.participants, of.at);
  if (!queue) return;
  view.kind = "queue";
  std::size_t senders = 0;
  std::size_t receivers = 0;
  std::size_t dead = 0;
  json attached = json::array();
  for (const auto& end : queue->attached) {
    (end.alive ? (end.sends ? senders : receivers) : dead) += 1;
    json one = id_of(seen, end.owner);
    attached.push_back({{"process", std::move(one)}, {"sends", end.sends}, {"alive", end.alive}});
  }
  const auto amount = [&](std::uint64_t n) {
    return queue->in_bytes ? bytes_text(n) : std::to_string(n);
  };
  std::string& text = view.text;
  if (queue->size) text = amount(*queue->size) + " of " + amount(queue->capacity) + ", ";
  if (queue->state != "open") text += std::string(queue->state) + ", ";
  text += std::to_string(senders) + " senders, " + std::to_string(receivers) + " receivers";
  if (dead != 0) text += ", " + std::to_string(dead) + " dead";
  if (queue->sent) text += ", " + std::to_string(*queue->sent) + " sent";
  if (queue->lost != 0) text += ", " + std::to_string(queue->lost) + " lost";
  view.sent = queue->sent;
  view.received = queue->received;
  const auto number = [](const std::optional<std::uint64_t>& value) {
    return value ? json(*value) : json(nullptr);
  };
  view.facts = {{"kind", queue->kind},
                {"state", queue->state},
                {"capacity", queue->capacity},
                {"unit", queue->in_bytes ? "bytes" : "messages"},
                {"size", number(queue->size)},
                {"sent", number(queue->sent)},
                {"received", number(queue->received)},
                {"lost", queue->lost},
                {"repairs", queue->repairs},
                {"message_bytes", queue->message_bytes},
                {"senders", senders},
                {"receivers", receivers},
                {"dead", dead},
                {"endpoints", std::move(attached)}};
}

[[nodiscard]] bool is_queue(std::string_view type) {
  for (const std::string_view kind :
       {"spsc_queue", "mpmc_queue", "mpsc_queue", "latest", "broadcast_queue", "message_queue",
        "loan_queue", "call_queue"})
    if (type.starts_with(kind)) return true;
  return false;
}
[[nodiscard]] bool is_lock(std::string_view type) {
  for (const std::string_view kind : {"mutex", "shared_mutex", "recursive_mutex", "synchronized"})
    if (type.starts_with(kind)) return true;
  return false;
}

}  // namespace

object_view view_of(const ipcpp::platform::object_image& image, const ipcpp::segment_picture& seen,
                    const ipcpp::segment_picture::object& of) {
  object_view view;
  if (!of.inside) return view;
  constexpr std::string_view ours = "ipcpp::";
  if (of.type.starts_with(ours)) {
    const std::string_view kind = std::string_view(of.type).substr(ours.size());
    if (is_lock(kind) && of.bytes >= 16) view_lock(image, seen, of, view);
    if (is_queue(kind) && of.bytes >= 16) view_queue(image, seen, of, view);
    return view;
  }
  const std::string_view type = plain(of.type);
  if (type == "i8" && of.bytes == 1) value<std::int8_t>(image, of.at, view);
  if (type == "u8" && of.bytes == 1) value<std::uint8_t>(image, of.at, view);
  if (type == "i16" && of.bytes == 2) value<std::int16_t>(image, of.at, view);
  if (type == "u16" && of.bytes == 2) value<std::uint16_t>(image, of.at, view);
  if (type == "i32" && of.bytes == 4) value<std::int32_t>(image, of.at, view);
  if (type == "u32" && of.bytes == 4) value<std::uint32_t>(image, of.at, view);
  if (type == "i64" && of.bytes == 8) value<std::int64_t>(image, of.at, view);
  if (type == "u64" && of.bytes == 8) value<std::uint64_t>(image, of.at, view);
  if (type == "f32" && of.bytes == 4) value<float>(image, of.at, view);
  if (type == "f64" && of.bytes == 8) value<double>(image, of.at, view);
  if (type == "bool" && of.bytes == 1 && value<std::uint8_t>(image, of.at, view)) {
    const bool is = view.facts != 0;
    view.facts = is;
    view.text = is ? "= true" : "= false";
  }
  return view;
}

}  // namespace tool
