// `ipcpp dump NAME [OBJECT]`: bytes, with what is known of them.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "look.hpp"

namespace tool {

namespace platform = ipcpp::platform;

namespace {

constexpr std::uint64_t most_bytes = std::uint64_t{64} << 20;

[[nodiscard]] std::string hex(std::uint64_t number, int digits) {
  std::array<char, 20> text{};
  std::snprintf(text.data(), text.size(), "%0*llx", digits,
                static_cast<unsigned long long>(number));
  return text.data();
}

// As hexdump -C writes it; repeated lines become one star.
[[nodiscard]] std::string hexdump(const options& how, const std::vector<unsigned char>& bytes,
                                  std::uint64_t first) {
  std::string text;
  bool starred = false;
  for (std::size_t at = 0; at < bytes.size(); at += 16) {
    const std::size_t n = std::min<std::size_t>(16, bytes.size() - at);
    const auto here = bytes.begin() + static_cast<std::ptrdiff_t>(at);
    if (at >= 16 && n == 16 && at + 16 < bytes.size() && std::equal(here, here + 16, here - 16)) {
      if (!starred) text += "*\n";
      starred = true;
      continue;
    }
    starred = false;
    std::string line = paint(how, style::faint, hex(first + at, 8)) + " ";
    std::string letters;
    for (std::size_t i = 0; i < 16; ++i) {
      if (i == 8) line += " ";
      if (i >= n) {
        line += "   ";
        continue;
      }
      const unsigned char c = bytes[at + i];
      line += " " + (c == 0 ? paint(how, style::faint, "00") : hex(c, 2));
      letters += c >= 0x20 && c < 0x7f ? static_cast<char>(c) : '.';
    }
    text += line + "  |" + letters + "|\n";
  }
  if (!bytes.empty()) text += paint(how, style::faint, hex(first + bytes.size(), 8)) + "\n";
  return text;
}

// As much as can be read of that range.
[[nodiscard]] std::vector<unsigned char> read_bytes(const platform::object_image& image,
                                                    std::uint64_t at, std::uint64_t bytes) {
  std::vector<unsigned char> found(static_cast<std::size_t>(std::min(bytes, most_bytes)));
  if (image.read(at, found.data(), found.size())) return found;
  std::size_t good = 0;
  for (std::size_t step = found.size(); step > 0; step /= 2)
    while (good + step <= found.size() && image.read(at + good, found.data() + good, step))
      good += step;
  found.resize(good);
  return found;
}

struct region {
  std::uint64_t at;
  std::uint64_t bytes;
  std::string name;
};

[[nodiscard]] std::vector<region> regions_of(const ipcpp::segment_picture& seen) {
  std::vector<region> all{{0, 256, "object prologue"}, {256, 256, "segment header"}};
  const ipcpp::heap_picture& heap = seen.heap;
  if (!heap.readable) return all;
  const auto& fields = ipcpp::fields_of(heap);
  all.push_back({heap.at, fields.back().at + fields.back().bytes - heap.at, "heap header"});
  if (heap.participants_at != 0)
    all.push_back(
        {heap.participants_at, ipcpp::participants::bytes_needed(seen.participants.limits),
         "participants: " + std::to_string(seen.participants.limits.processes) + " processes, " +
             std::to_string(seen.participants.limits.handles) + " handles"});
  all.push_back(
      {heap.words_at, heap.end_page * 8,
       "page words: " + std::to_string(heap.end_page) + " of " + std::to_string(heap.most_pages)});
  all.push_back({heap.bits_at, heap.end_page * 64, "block bits"});
  all.push_back({heap.pages_at, heap.end_page * ipcpp::heap_page_bytes, "pages of 4 KiB"});
  all.push_back({seen.directory_at, 192, "  directory of names"});
  for (const auto& object : seen.objects)
    if (object.inside)
      all.push_back({object.at, object.bytes, "  object '" + printable(object.name) + "'"});
  std::stable_sort(all.begin(), all.end(),
                   [](const region& a, const region& b) { return a.at < b.at; });
  return all;
}

[[nodiscard]] std::uint64_t number_in(const std::vector<unsigned char>& bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = bytes.size(); i-- > 0;) value = value << 8 | bytes[i];
  return value;
}

[[nodiscard]] std::string hex_of(const std::vector<unsigned char>& bytes) {
  std::string text;
  for (const unsigned char c : bytes) text += hex(c, 2);
  return text;
}

int dump_headers(const options& how, const std::string& name, const platform::object_image& image,
                 const ipcpp::segment_picture& seen) {
  std::vector<ipcpp::layout_field> fields = ipcpp::fields_of(seen);
  if (seen.heap.readable)
    for (const auto& field : ipcpp::fields_of(seen.heap)) fields.push_back(field);
  std::stable_sort(fields.begin(), fields.end(),
                   [](const auto& a, const auto& b) { return a.at < b.at; });
  json list = json::array();
  table rows({">OFFSET", ">BYTES", "FIELD", ">VALUE", "HEX"});
  for (const auto& field : fields) {
    const auto bytes = read_bytes(image, field.at, field.bytes);
    if (bytes.size() < field.bytes) break;
    const std::uint64_t value = number_in(bytes);
    list.push_back(
        {{"offset", field.at}, {"bytes", field.bytes}, {"field", field.name}, {"value", value}});
    rows.add({hex(field.at, 6), std::to_string(field.bytes), std::string(field.name),
              std::to_string(value), hex(value, static_cast<int>(field.bytes * 2))});
  }
  json parts = json::array();
  table places({">OFFSET", ">BYTES", "PART"});
  for (const region& part : regions_of(seen)) {
    parts.push_back({{"offset", part.at}, {"bytes", part.bytes}, {"part", part.name}});
    places.add({hex(part.at, 6), std::to_string(part.bytes), part.name});
  }
  if (how.json) {
    print_json(json{{"name", name}, {"parts", std::move(parts)}, {"fields", std::move(list)}});
    return fine;
  }
  print(places.text(how) + "\n" + rows.text(how) + "\n" +
        hexdump(how, read_bytes(image, 0, 1536), 0));
  return fine;
}

}  // namespace

int dump(const options& how, const dump_options& what) {
  const platform::object_image image = open_image(what.name);
  const ipcpp::segment_picture seen = ipcpp::look_until_sure(image);
  const platform::object_facts facts = image.facts();
  std::uint64_t at = what.offset;
  std::uint64_t bytes = what.bytes != 0 ? what.bytes : 256;
  std::string about;
  json report{{"name", what.name}};
  if (!what.object.empty()) {
    const auto* const object = seen.find(what.object);
    if (object == nullptr)
      throw ipcpp::error(
          ipcpp::errc::not_found, "object '" + printable(what.object) + "' in '" + what.name + "'",
          "an object of that name", "none", "`ipcpp show` lists the objects of a segment");
    if (!object->inside)
      return fail(how, "damaged", "object '" + what.object + "' lies outside the heap's blocks",
                  refused);
    const std::uint64_t begin = what.range ? std::min(what.offset, object->bytes) : 0;
    at = object->at + begin;
    bytes = object->bytes - begin;
    if (what.bytes != 0) bytes = std::min(bytes, what.bytes);
    about = paint(how, style::strong, printable(object->name)) + "  " +
            paint(how, style::accent, printable(object->type)) + "\n" +
            std::to_string(object->bytes) + " bytes, aligned to " +
            std::to_string(object->alignment) + ", at byte " + std::to_string(object->at) +
            " of the segment";
    if (const auto block = seen.heap.find(object->at))
      about += ", in a block of " + std::to_string(block->bytes);
    about += "\n";
    const object_view view = view_of(image, seen, *object);
    if (!view.kind.empty()) about += view.kind + " " + printable(view.text) + "\n";
    report["object"] = object->name;
    report["type"] = object->type;
    if (!view.kind.empty()) report[view.kind] = view.facts;
  } else if (!what.range) {
    return dump_headers(how, what.name, image, seen);
  } else if (seen.readable) {
    // What lies there.
    for (const region& part : regions_of(seen))
      if (at >= part.at && at - part.at < part.bytes)
        about += part.name + " + " + std::to_string(at - part.at) + "\n";
    if (const auto block = seen.heap.find(at))
      about += std::string(block->in_use ? "block in use" : "free") + ", " +
               std::to_string(block->bytes) + " bytes at " + std::to_string(block->at) + "\n";
  }
  const auto found = read_bytes(image, at, bytes);
  report["offset"] = at;
  report["bytes"] = found.size();
  report["hex"] = hex_of(found);
  if (!how.json) print(about + hexdump(how, found, at));
  if (found.size() < std::min(bytes, most_bytes))
    return fail(how, "damaged", "the object ends at byte " + std::to_string(facts.apparent_bytes),
                refused, {}, std::move(report));
  if (how.json) print_json(report);
  return fine;
}

}  // namespace tool
