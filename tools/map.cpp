// `ipcpp map NAME`: a picture of the heap, for the terminal or as SVG.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "look.hpp"

namespace tool {

namespace platform = ipcpp::platform;

namespace {

// What a page is shown as. Slabs by how full they are.
enum class tint : std::uint8_t {
  free,
  away,
  large,
  slab_0,
  slab_1,
  slab_2,
  slab_3,
  slab_4,
  held,
  pending,
  unknown,
  none
};

struct look_of {
  char letter;              // without colours
  std::string_view sign;    // with
  std::string_view code;    // SGR
  std::string_view colour;  // SVG
  std::string_view name;
};

[[nodiscard]] const look_of& look(tint of) {
  static constexpr std::array<look_of, 12> all{{
      {'.', "\u00b7", "2", "#e8eaed", "free"},
      {'_', " ", "2", "#ffffff", "given back to the system"},
      {'L', "\u2588", "34", "#1f77b4", "large block"},
      {'0', "\u2591", "32", "#d5efcf", "slab, empty"},
      {'1', "\u2591", "32", "#a8dba0", "slab, up to 1/4 used"},
      {'2', "\u2592", "32", "#74c476", "slab, up to 1/2 used"},
      {'3', "\u2593", "32", "#31a354", "slab, up to 3/4 used"},
      {'4', "\u2588", "32", "#006d2c", "slab, more used"},
      {'h', "\u2588", "33", "#ff9f1c", "being made or given back"},
      {'p', "\u2592", "33", "#ffd166", "freed, not yet joined"},
      {'!', "!", "41;97", "#d62728", "damaged"},
      {' ', " ", "0", "#ffffff", ""},
  }};
  return all[static_cast<std::size_t>(of)];
}

[[nodiscard]] tint tint_of(const ipcpp::heap_run& run) {
  switch (run.kind) {
    case ipcpp::run_kind::free:
      return run.decommitted ? tint::away : tint::free;
    case ipcpp::run_kind::large:
      return tint::large;
    case ipcpp::run_kind::held:
      return tint::held;
    case ipcpp::run_kind::pending:
      return tint::pending;
    case ipcpp::run_kind::slab: {
      if (run.blocks_in_use == 0) return tint::slab_0;
      const std::uint32_t quarter =
          run.blocks == 0 ? 0 : (run.blocks_in_use * 4 + run.blocks - 1) / run.blocks;
      return static_cast<tint>(static_cast<unsigned>(tint::slab_0) + std::clamp(quarter, 1u, 4u));
    }
    case ipcpp::run_kind::unknown:
      break;
  }
  return tint::unknown;
}

// For every cell the tint of most of its pages; a damaged page shows in any case.
[[nodiscard]] std::vector<tint> cells_of(const ipcpp::heap_picture& heap, std::uint64_t per_cell) {
  std::vector<tint> cells;
  std::size_t at = 0;
  for (std::uint64_t first = 0; first < heap.end_page; first += per_cell) {
    const std::uint64_t end = std::min(first + per_cell, heap.end_page);
    std::array<std::uint64_t, 12> pages{};
    while (at < heap.runs.size()) {
      const ipcpp::heap_run& run = heap.runs[at];
      const std::uint64_t begins = std::max(run.page, first);
      const std::uint64_t ends = std::min(run.page + run.pages, end);
      if (ends > begins) pages[static_cast<std::size_t>(tint_of(run))] += ends - begins;
      if (run.page + run.pages > end) break;
      ++at;
    }
    const auto most = std::max_element(pages.begin(), pages.end()) - pages.begin();
    cells.push_back(pages[static_cast<std::size_t>(tint::unknown)] != 0 ? tint::unknown
                                                                        : static_cast<tint>(most));
  }
  return cells;
}

// 1, 2, 4, ... pages so that as many cells suffice.
[[nodiscard]] std::uint64_t pages_per_cell(std::uint64_t pages, std::uint64_t cells) {
  std::uint64_t per_cell = 1;
  while ((pages + per_cell - 1) / per_cell > cells) per_cell *= 2;
  return per_cell;
}

[[nodiscard]] std::string headline(const std::string& name, const ipcpp::segment_picture& seen,
                                   const platform::object_facts& facts) {
  const ipcpp::heap_statistics& of = seen.heap.statistics;
  return printable(name) + ": " + bytes_text(seen.capacity_bytes) + ", committed " +
         bytes_text(facts.committed_bytes) + ", in use " + bytes_text(of.bytes_in_use) + " in " +
         std::to_string(of.blocks_in_use) + " blocks, metadata " + bytes_text(of.metadata_bytes);
}

[[nodiscard]] std::string in_terminal(const options& how, const map_options& what,
                                      const ipcpp::segment_picture& seen,
                                      const platform::object_facts& facts) {
  const std::uint64_t columns =
      what.width != 0 ? what.width : std::max<std::size_t>(16, terminal_columns() - 12);
  const std::uint64_t lines =
      what.rows != 0 ? what.rows
                     : (stdout_is_terminal() ? std::max<std::size_t>(8, terminal_rows() - 8) : 32);
  const std::uint64_t per_cell = pages_per_cell(seen.heap.end_page, columns * lines);
  const std::vector<tint> cells = cells_of(seen.heap, per_cell);
  std::string text = headline(what.name, seen, facts) +
                     "\n1 cell = " + bytes_text(per_cell * ipcpp::heap_page_bytes) + "\n\n";
  std::array<bool, 12> shown{};
  for (std::size_t first = 0; first < cells.size(); first += columns) {
    std::array<char, 24> offset{};
    std::snprintf(offset.data(), offset.size(), "%9llx ",
                  static_cast<unsigned long long>(seen.heap.pages_at +
                                                  first * per_cell * ipcpp::heap_page_bytes));
    text += paint(how, style::faint, offset.data()) + " ";
    tint before = tint::none;
    for (std::size_t i = first; i < std::min<std::size_t>(first + columns, cells.size()); ++i) {
      shown[static_cast<std::size_t>(cells[i])] = true;
      if (!how.colours) {
        text += look(cells[i]).letter;
        continue;
      }
      if (cells[i] != before) {
        text += "\x1b[0m\x1b[";
        text += look(cells[i]).code;
        text += "m";
      }
      before = cells[i];
      text += look(cells[i]).sign;
    }
    if (how.colours) text += "\x1b[0m";
    text += "\n";
  }
  text += "\n";
  for (std::size_t i = 0; i < shown.size(); ++i) {
    if (!shown[i]) continue;
    const look_of& one = look(static_cast<tint>(i));
    if (how.colours)
      text += "  \x1b[" + std::string(one.code) + "m" + std::string(one.sign) + "\x1b[0m " +
              std::string(one.name) + "\n";
    else
      text += std::string("  ") + one.letter + " " + std::string(one.name) + "\n";
  }
  if (seen.heap.end_page < seen.heap.most_pages)
    text += "  beyond: " +
            bytes_text((seen.heap.most_pages - seen.heap.end_page) * ipcpp::heap_page_bytes) +
            " that were never needed\n";
  return text;
}

[[nodiscard]] std::string escaped(std::string_view text) {
  std::string safe;
  for (const char c : printable(text)) {
    switch (c) {
      case '&':
        safe += "&amp;";
        break;
      case '<':
        safe += "&lt;";
        break;
      case '>':
        safe += "&gt;";
        break;
      case '"':
        safe += "&quot;";
        break;
      default:
        safe += c;
    }
  }
  return safe;
}

// Runs as rectangles, cut where rows end.
[[nodiscard]] std::string as_svg(const map_options& what, const ipcpp::segment_picture& seen,
                                 const platform::object_facts& facts) {
  constexpr std::uint64_t side = 8;
  constexpr std::uint64_t columns = 128;
  constexpr std::uint64_t left = 88;
  constexpr std::uint64_t top = 64;
  constexpr std::uint64_t most_rows = 256;
  const std::uint64_t per_cell = pages_per_cell(seen.heap.end_page, columns * most_rows);
  const std::uint64_t cells = (seen.heap.end_page + per_cell - 1) / per_cell;
  const std::uint64_t rows = std::max<std::uint64_t>(1, (cells + columns - 1) / columns);
  const std::uint64_t width = left + columns * side + 24;
  const std::uint64_t legend_at = top + rows * side + 32;
  std::string body;
  std::array<bool, 12> shown{};
  const auto rectangle = [&](std::uint64_t first, std::uint64_t end, tint as,
                             const std::string& title) {
    shown[static_cast<std::size_t>(as)] = true;
    for (std::uint64_t at = first; at < end;) {
      const std::uint64_t upto = std::min(end, (at / columns + 1) * columns);
      body += "<rect x=\"" + std::to_string(left + at % columns * side) + "\" y=\"" +
              std::to_string(top + at / columns * side) + "\" width=\"" +
              std::to_string((upto - at) * side - (upto == end ? 1 : 0)) + "\" height=\"" +
              std::to_string(side - 1) + "\" fill=\"" + std::string(look(as).colour) +
              "\"><title>" + escaped(title) + "</title></rect>\n";
      at = upto;
    }
  };
  if (per_cell == 1) {
    for (const ipcpp::heap_run& run : seen.heap.runs) {
      std::string title = std::string(ipcpp::name_of(run.kind)) + ", " +
                          bytes_text(run.pages * ipcpp::heap_page_bytes) + " at " +
                          std::to_string(seen.heap.pages_at + run.page * ipcpp::heap_page_bytes);
      if (run.kind == ipcpp::run_kind::slab)
        title += ": " + std::to_string(run.blocks_in_use) + " of " + std::to_string(run.blocks) +
                 " blocks of " + std::to_string(run.block_bytes) + " in use";
      rectangle(run.page, run.page + run.pages, tint_of(run), title);
    }
  } else {
    const std::vector<tint> tints = cells_of(seen.heap, per_cell);
    for (std::size_t i = 0; i < tints.size();) {
      std::size_t end = i + 1;
      while (end < tints.size() && tints[end] == tints[i]) ++end;
      rectangle(i, end, tints[i],
                std::string(look(tints[i]).name) + ", " +
                    bytes_text((end - i) * per_cell * ipcpp::heap_page_bytes));
      i = end;
    }
  }
  const auto words = [](std::uint64_t x, std::uint64_t y, std::string_view text,
                        std::string_view more) {
    return "<text x=\"" + std::to_string(x) + "\" y=\"" + std::to_string(y) + "\"" +
           std::string(more) + ">" + escaped(text) + "</text>\n";
  };
  for (std::uint64_t row = 0; row < rows; row += 8) {
    std::array<char, 24> offset{};
    std::snprintf(offset.data(), offset.size(), "%llx",
                  static_cast<unsigned long long>(seen.heap.pages_at + row * columns * per_cell *
                                                                           ipcpp::heap_page_bytes));
    body +=
        words(left - 8, top + row * side + 7, offset.data(), " text-anchor=\"end\" fill=\"#666\"");
  }
  std::uint64_t legend_row = 0;
  for (std::size_t i = 0; i < shown.size(); ++i) {
    if (!shown[i]) continue;
    const std::uint64_t x = left + legend_row % 4 * 256;
    const std::uint64_t y = legend_at + legend_row / 4 * 20;
    body += "<rect x=\"" + std::to_string(x) + "\" y=\"" + std::to_string(y - 9) +
            "\" width=\"10\" height=\"10\" stroke=\"#999\" stroke-width=\"0.5\" fill=\"" +
            std::string(look(static_cast<tint>(i)).colour) + "\"/>\n";
    body += words(x + 16, y, look(static_cast<tint>(i)).name, "");
    ++legend_row;
  }
  const std::uint64_t height = legend_at + (legend_row + 3) / 4 * 20 + 16;
  return "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" "
         "width=\"" +
         std::to_string(width) + "\" height=\"" + std::to_string(height) + "\" viewBox=\"0 0 " +
         std::to_string(width) + " " + std::to_string(height) +
         "\" font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" "
         "fill=\"#fff\"/>\n" +
         words(left, 24, headline(what.name, seen, facts), " font-size=\"15\"") +
         words(left, 44, "1 cell = " + bytes_text(per_cell * ipcpp::heap_page_bytes), "") + body +
         "</svg>\n";
}

}  // namespace

int map(const options& how, const map_options& what) {
  const platform::object_image image = open_image(what.name);
  const platform::object_facts facts = image.facts();
  const ipcpp::segment_picture seen = ipcpp::look_until_sure(image);
  if (!seen.heap.readable)
    return fail(how, "damaged", "there is no heap to draw in '" + what.name + "'", refused,
                seen.faults);
  if (!what.svg.empty() && what.svg != "-") {
    std::ofstream file(what.svg, std::ios::binary);
    file << as_svg(what, seen, facts);
    file.close();
    if (!file) return fail(how, "other", "cannot write '" + what.svg + "'", refused);
    if (!how.json) print("wrote " + what.svg + "\n");
  }
  if (how.json) {
    json runs = json::array();
    for (const ipcpp::heap_run& run : seen.heap.runs) {
      json one{{"offset", seen.heap.pages_at + run.page * ipcpp::heap_page_bytes},
               {"bytes", run.pages * ipcpp::heap_page_bytes},
               {"kind", ipcpp::name_of(run.kind)},
               {"decommitted", run.decommitted}};
      if (run.kind == ipcpp::run_kind::slab) {
        one["block_bytes"] = run.block_bytes;
        one["blocks"] = run.blocks;
        one["blocks_in_use"] = run.blocks_in_use;
      }
      runs.push_back(std::move(one));
    }
    print_json(json{{"name", what.name},
                    {"pages_at", seen.heap.pages_at},
                    {"page_bytes", ipcpp::heap_page_bytes},
                    {"end_page", seen.heap.end_page},
                    {"most_pages", seen.heap.most_pages},
                    {"runs", std::move(runs)}});
    return fine;
  }
  if (what.svg.empty())
    print(in_terminal(how, what, seen, facts));
  else if (what.svg == "-")
    print(as_svg(what, seen, facts));
  return fine;
}

}  // namespace tool
