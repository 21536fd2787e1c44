// `ipcpp`: looks into the segments of this machine, and cleans up after the dead. The command line;
// each command has a file of its own.
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <new>
#include <string>
#include <vector>

#if defined(_WIN32)
#define NOMINMAX 1
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#else
#include <csignal>
#endif

#include <CLI/CLI.hpp>

#include "tool.hpp"

import ipcpp;

namespace {

[[nodiscard]] const char* name_of(ipcpp::errc kind) {
  switch (kind) {
    case ipcpp::errc::not_found:
      return "not_found";
    case ipcpp::errc::access_denied:
      return "access_denied";
    case ipcpp::errc::invalid_argument:
      return "invalid_argument";
    case ipcpp::errc::wrong_layout:
      return "wrong_layout";
    case ipcpp::errc::damaged:
      return "damaged";
    case ipcpp::errc::limit_reached:
      return "limit_reached";
    case ipcpp::errc::no_address_space:
      return "no_address_space";
    case ipcpp::errc::not_supported:
      return "not_supported";
    default:
      return "other";
  }
}

int run(const tool::options& how, const std::function<int()>& command) {
  try {
    return command();
  } catch (const ipcpp::error& e) {
    const tool::status status = e.kind() == ipcpp::errc::not_found          ? tool::missing
                                : e.kind() == ipcpp::errc::invalid_argument ? tool::misused
                                                                            : tool::refused;
    return tool::fail(how, name_of(e.kind()), e.what(), status);
  } catch (const std::bad_alloc&) {
    return tool::fail(how, "no_memory", "the system has no memory left", tool::refused);
  } catch (const std::exception& e) {
    return tool::fail(how, "other", e.what(), tool::refused);
  }
}

void prepare_terminal() {
#if defined(_WIN32)
  ::SetConsoleOutputCP(CP_UTF8);
  const HANDLE out = ::GetStdHandle(STD_OUTPUT_HANDLE);
  DWORD mode = 0;
  if (::GetConsoleMode(out, &mode) != FALSE)
    (void)::SetConsoleMode(out, mode | ENABLE_VIRTUAL_TERMINAL_PROCESSING);
#else
  ::signal(SIGPIPE, SIG_DFL);  // `ipcpp ls | head` ends quietly
#endif
}

}  // namespace

int main(int argc, char** argv) {
  prepare_terminal();
  tool::options how;
  std::string colour = "auto";
  std::function<int()> command;

  CLI::App app{
      "Looks into the shared memory segments of this machine, without disturbing their users.",
      "ipcpp"};
  app.set_version_flag("--version", "ipcpp " IPCPP_VERSION);
  app.require_subcommand(1);
  app.set_help_all_flag("--help-all", "Help for every command");
  app.footer(
      "\nNAME is a segment's name, or the path of a segment's file or of a copy of one.\n"
      "Ends with 0: fine, 1: damage found, or not everything done, 2: wrong command line,\n"
      "3: no such segment or object, 4: refused by the system or the segment's state.\n"
      "\nExamples:\n"
      "  ipcpp ls                        what is there\n"
      "  ipcpp show shop                 what is in it, who uses it\n"
      "  ipcpp check shop && echo sound  verify everything\n"
      "  ipcpp map shop --svg shop.svg   a picture of its heap\n"
      "  ipcpp clean                     remove what killed programs left\n");

  const auto common = [&](CLI::App* of, const char* examples) {
    of->add_flag("--json", how.json, "Write JSON");
    of->add_option("--color,--colour", colour, "When to use colours")
        ->check(CLI::IsMember({"auto", "always", "never"}))
        ->capture_default_str();
    of->footer(std::string("\nExamples:\n") + examples);
    return of;
  };
  std::string name;
  const auto with_name = [&](CLI::App* of) {
    of->add_option("NAME", name, "Segment")->required();
    return of;
  };

  auto* const list = common(app.add_subcommand("ls", "List the segments"),
                            "  ipcpp ls\n  ipcpp ls --json | jq '.segments[].name'\n");
  list->callback([&] { command = [&] { return tool::ls(how); }; });

  double interval = 0.5;
  auto* const shown = with_name(
      common(app.add_subcommand("show", "Show a segment: processes, objects, queues, locks, heap"),
             "  ipcpp show shop\n  ipcpp show --wide shop        types in full\n"
             "  ipcpp show /tmp/copy-of-shop  a copy of /dev/shm/ipcpp.shop\n"));
  shown->add_flag("-w,--wide", how.wide, "Do not shorten types");
  shown->add_option("-i,--interval", interval, "Seconds over which rates are measured; 0: no rates")
      ->check(CLI::Range(0.0, 3600.0))
      ->capture_default_str();
  shown->callback([&] { command = [&] { return tool::show(how, name, interval); }; });

  tool::top_options live;
  auto* const topped =
      common(app.add_subcommand("top", "Watch the segments (q quits, h helps)"),
             "  ipcpp top\n  ipcpp top -d 0.5 -s growth\n  ipcpp top -b -n 3 > log\n");
  topped->add_option("-d,--delay", live.seconds, "Seconds between looks")
      ->check(CLI::Range(0.1, 3600.0))
      ->capture_default_str();
  topped->add_option("-n,--iterations", live.rounds, "Looks before it ends; 0: until q")
      ->capture_default_str();
  topped->add_flag("-b,--batch", live.batch, "Plain text, for files and pipes");
  topped->add_option("-s,--sort", live.sort, "By which column")
      ->check(CLI::IsMember({"name", "memory", "use", "processes", "growth"}))
      ->capture_default_str();
  topped->callback([&] { command = [&] { return tool::top(how, live); }; });

  bool exact = false;
  auto* const checked = with_name(common(
      app.add_subcommand("check", "Verify everything that ipcpp keeps in a segment"),
      "  ipcpp check shop && echo sound\n  ipcpp check --exact shop   takes part for a moment\n"));
  checked->add_flag("--exact", exact,
                    "Also take part, and check the heap while nobody changes its pages");
  checked->callback([&] { command = [&] { return tool::check(how, name, exact); }; });

  tool::dump_options bytes;
  std::string offset;
  auto* const dumped =
      common(app.add_subcommand("dump", "Dump bytes: headers, an object, or any range"),
             "  ipcpp dump shop                   the headers, field by field\n"
             "  ipcpp dump shop inbox             an object's bytes\n"
             "  ipcpp dump shop -o 0x1000 -b 64   any bytes, and what they belong to\n");
  dumped->add_option("NAME", bytes.name, "Segment")->required();
  dumped->add_option("OBJECT", bytes.object, "Named object");
  dumped->add_option("-o,--offset", offset, "From this byte of the segment or object on");
  dumped->add_option("-b,--bytes", bytes.bytes, "How many");
  dumped->callback([&] {
    command = [&] {
      if (!offset.empty()) {
        char* end = nullptr;
        bytes.offset = std::strtoull(offset.c_str(), &end, 0);
        bytes.range = true;
        if (*end != 0)
          return tool::fail(how, "invalid_argument", "--offset: '" + offset + "' is no number",
                            tool::misused);
      }
      return tool::dump(how, bytes);
    };
  });

  tool::map_options picture;
  auto* const mapped = common(
      app.add_subcommand("map", "Draw a segment's heap"),
      "  ipcpp map shop\n  ipcpp map shop --svg shop.svg\n  ipcpp map shop --svg - | display\n");
  mapped->add_option("NAME", picture.name, "Segment")->required();
  mapped->add_option("--svg", picture.svg, "Write an SVG picture to this file; -: standard output");
  mapped->add_option("--width", picture.width, "Cells in a row")->check(CLI::Range(8, 1000));
  mapped->add_option("--rows", picture.rows, "Rows at most")->check(CLI::Range(1, 10000));
  mapped->callback([&] { command = [&] { return tool::map(how, picture); }; });

  auto* const limited =
      common(app.add_subcommand("limits", "What this machine allows, and how to raise it"),
             "  ipcpp limits\n  ipcpp limits --json | jq '.limits[] | select(.tight)'\n");
  limited->callback([&] { command = [&] { return tool::limits(how); }; });

  bool only_tell = false;
  auto* const cleaned =
      common(app.add_subcommand("clean", "Remove what dead programs left, and say what"),
             "  ipcpp clean --dry-run\n  ipcpp clean\n");
  cleaned->add_flag("-n,--dry-run", only_tell, "Only say what would go");
  cleaned->callback([&] { command = [&] { return tool::clean(how, only_tell); }; });

  std::vector<std::string> names;
  bool force = false;
  auto* const removed =
      common(app.add_subcommand("rm", "Remove segments by name"),
             "  ipcpp rm shop\n  ipcpp rm --force shop   also if it is in use: its users go on\n");
  removed->add_option("NAME", names, "Segments")->required();
  removed->add_flag("-f,--force", force, "Also if somebody uses it");
  removed->callback([&] { command = [&] { return tool::rm(how, names, force); }; });

  auto* const reclaimed =
      with_name(common(app.add_subcommand("reclaim", "Free what dead processes hold in a segment"),
                       "  ipcpp reclaim shop\n"));
  reclaimed->callback([&] { command = [&] { return tool::reclaim(how, name); }; });

  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& e) {
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    (void)app.exit(e);
    return tool::misused;
  }
  const char* const no_colour = std::getenv("NO_COLOR");
  how.colours = colour == "always" || (colour == "auto" && tool::stdout_is_terminal() &&
                                       (no_colour == nullptr || *no_colour == 0));
  return run(how, command);
}
