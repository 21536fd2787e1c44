// `ipcpp ls`, `show`, `check`, `dump`, `map`, `limits`: those that look and change nothing.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "tool.hpp"

using test::holder;
using test::json;
using test::named;
using test::tool;
using test::tool_json;

namespace fs = std::filesystem;

namespace {

json listed(const std::string& name) {
  return named(tool_json({"ls"}).at("segments"), name);
}

// A copy of the segment's file, for damage.
struct copied {
  explicit copied(const std::string& name)
      : path(fs::path(std::getenv("IPCPP_DIRECTORY")) / ("copy-" + name)) {
    fs::copy_file(fs::path(std::getenv("IPCPP_DIRECTORY")) / ("ipcpp." + name), path);
  }
  ~copied() { fs::remove(path); }

  void write(std::uint64_t at, std::uint64_t word) const {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(at));
    file.write(reinterpret_cast<const char*>(&word), sizeof word);
  }
  std::string text() const { return path.string(); }

  fs::path path;
};

// Several files, or a name apart from the memory: a copy of one file is no segment.
bool memory_is_one_file() {
  const char* const variant = std::getenv("IPCPP_PLATFORM_VARIANT");
  return variant == nullptr || *variant == 0;
}

std::uint64_t field(const std::string& name, const std::string& wanted) {
  const json all = tool_json({"dump", name});  // outlives the loop
  for (const auto& one : all.at("fields"))
    if (one.at("field") == wanted) return one.at("value");
  ADD_FAILURE() << "no field " << wanted;
  return 0;
}

std::uint64_t part(const std::string& name, const std::string& wanted) {
  const json all = tool_json({"dump", name});  // outlives the loop
  for (const auto& one : all.at("parts"))
    if (one.at("part").get<std::string>().find(wanted) != std::string::npos)
      return one.at("offset");
  ADD_FAILURE() << "no part " << wanted;
  return 0;
}

}  // namespace

TEST(ToolLs, ItSaysWhoUsesASegmentAndHowMuch) {
  const std::string name = test::unique_name();
  holder one("make", name);
  const json seen = listed(name);
  EXPECT_EQ(seen.at("condition"), "used");
  EXPECT_EQ(seen.at("size_bytes"), 8u << 20);
  EXPECT_GE(seen.at("in_use_bytes"), 160'000u);
  EXPECT_GE(seen.at("committed_bytes"), seen.at("in_use_bytes"));
  EXPECT_EQ(seen.at("lifetime"), "last_user");
  ASSERT_EQ(seen.at("processes").size(), 1u);
  EXPECT_EQ(seen.at("processes")[0].at("pid"), one.pid());
  EXPECT_EQ(seen.at("processes")[0].at("alive"), true);
  holder two("open", name);
  EXPECT_EQ(listed(name).at("processes").size(), 2u);
  const test::outcome text = tool({"ls"});
  EXPECT_EQ(text.status, 0);
  EXPECT_NE(text.output.find(name), std::string::npos) << text.output;
  EXPECT_NE(text.output.find("8 MiB"), std::string::npos) << text.output;
}

TEST(ToolLs, OfASegmentWhoseOwnerWasKilledItSaysSo) {
  const std::string name = test::unique_name();
  holder one("make", name);
  one.kill();
  const json seen = listed(name);
  EXPECT_EQ(seen.at("condition"), "left over");
  ASSERT_EQ(seen.at("processes").size(), 1u);
  EXPECT_EQ(seen.at("processes")[0].at("alive"), false);
  EXPECT_TRUE(ipcpp::segment::remove(name));
}

TEST(ToolLs, WhatIsNoSegmentIsListedAsSuch) {
  const std::string name = test::unique_name();
  const fs::path path = fs::path(std::getenv("IPCPP_DIRECTORY")) / ("ipcpp." + name);
  std::ofstream(path) << "hello";
  EXPECT_EQ(listed(name).at("condition"), "no segment");
  fs::remove(path);
  fs::create_directory(path);
  EXPECT_EQ(listed(name).at("condition"), "unreadable");
  fs::remove(path);
}

TEST(ToolLs, LookingDoesNotKeepALastUserFromTakingTheNameAlong) {
  const std::string name = test::unique_name();
  std::atomic<bool> enough{false};
  std::thread looker([&] {
    while (!enough) (void)tool({"top", "--batch", "-n", "3", "-d", "0.1"});
  });
  for (int i = 0; i < 10; ++i) {
    holder one("make", name);
    EXPECT_EQ(one.leave(), 0);
    EXPECT_EQ(tool({"show", name}).status, 3) << "the name was still there in round " << i;
  }
  enough = true;
  looker.join();
}

TEST(ToolShow, ItKnowsObjectsTypesAndPlainValues) {
  const std::string name = test::unique_name();
  const holder one("make", name);
  const json seen = tool_json({"show", name});
  const json& objects = seen.at("objects");
  EXPECT_EQ(objects.size(), 6u);
  EXPECT_EQ(named(objects, "answer").at("value"), 42);
  EXPECT_EQ(named(objects, "answer").at("type"), "u64");
  EXPECT_EQ(named(objects, "ratio").at("value"), 1.5);
  EXPECT_EQ(named(objects, "order").at("bytes"), 16);
  EXPECT_NE(named(objects, "numbers").at("type").get<std::string>().find("vector"),
            std::string::npos);
  EXPECT_GE(seen.at("heap").at("blocks_in_use"), 8u);
  EXPECT_TRUE(seen.at("faults").empty()) << seen.at("faults").dump(1);
  const test::outcome text = tool({"show", name});
  EXPECT_EQ(text.status, 0);
  for (const char* word : {"answer", "= 42", "order", "processes", "heap", "live"})
    EXPECT_NE(text.output.find(word), std::string::npos) << word << "\n" << text.output;
}

TEST(ToolShow, AQueuesDepthAndItsUsersAreSeen) {
  const std::string name = test::unique_name();
  holder one("make", name);
  holder two("open", name);
  (void)one.tell("send");
  (void)two.tell("receive");
  const json queue = named(tool_json({"show", name}).at("objects"), "inbox").at("queue");
  EXPECT_EQ(queue.at("kind"), "mpmc_queue");
  EXPECT_EQ(queue.at("state"), "open");
  EXPECT_EQ(queue.at("size"), 7);
  EXPECT_EQ(queue.at("sent"), 10);
  EXPECT_EQ(queue.at("received"), 3);
  EXPECT_EQ(queue.at("capacity"), 64);
  EXPECT_EQ(queue.at("senders"), 2);
  EXPECT_EQ(queue.at("receivers"), 2);
  two.kill();
  const json later = named(tool_json({"show", name}).at("objects"), "inbox");
  EXPECT_EQ(later.at("queue").at("senders"), 1);
  EXPECT_EQ(later.at("queue").at("dead"), 2);
  EXPECT_EQ(later.at("sent_per_second"), 0);
  EXPECT_NE(tool({"show", name}).output.find("7 of 64, 1 senders"), std::string::npos);
}

TEST(ToolShow, ALocksOwnerIsSeenAliveAndDead) {
  const std::string name = test::unique_name();
  const holder one("make", name);
  holder two("open", name);
  const auto lock = [&] {
    return named(tool_json({"show", name}).at("objects"), "guard").at("lock");
  };
  EXPECT_EQ(lock().at("held"), false);
  (void)two.tell("lock");
  EXPECT_EQ(lock().at("held"), true);
  EXPECT_EQ(lock().at("owner").at("pid"), two.pid());
  EXPECT_EQ(lock().at("owner_died"), false);
  test::child waiter("segment_holder", {"open", name});
  EXPECT_EQ(waiter.hear(), "ready");
  waiter.say("lock");
  EXPECT_TRUE(test::eventually([&] { return lock().at("waiting") == 1; })) << lock().dump(1);
  waiter.kill();
  two.kill();
  EXPECT_EQ(lock().at("owner_died"), true);
  EXPECT_NE(tool({"show", name}).output.find("AN OWNER DIED"), std::string::npos);
}

TEST(ToolShow, TheHeapIsSeenAsItsOwnersSeeIt) {
  const std::string name = test::unique_name();
  const auto mine = ipcpp::segment::create(name, {.max_size = 256 << 20});
  std::vector<void*> blocks;
  for (std::size_t i = 0; i < 3000; ++i) blocks.push_back(mine.heap().allocate(i * 7 % 70'000));
  for (std::size_t i = 0; i < blocks.size(); i += 3) mine.heap().deallocate(blocks[i]);
  const ipcpp::heap_statistics of = mine.heap().statistics();
  const json seen = tool_json({"show", name}).at("heap");
  EXPECT_EQ(seen.at("bytes_in_use"), of.bytes_in_use);
  EXPECT_EQ(seen.at("blocks_in_use"), of.blocks_in_use);
  EXPECT_EQ(seen.at("large_blocks_in_use"), of.large_blocks_in_use);
  EXPECT_EQ(seen.at("footprint"), of.footprint);
  EXPECT_EQ(seen.at("metadata_bytes"), of.metadata_bytes);
  EXPECT_EQ(mine.attached_processes(), 1u);
}

TEST(ToolShow, ANameThatIsNotThereIsAClearError) {
  const test::outcome text = tool({"show", "no-such-segment"});
  EXPECT_EQ(text.status, 3);
  EXPECT_NE(text.output.find("no-such-segment"), std::string::npos) << text.output;
  EXPECT_NE(text.output.find("ipcpp ls"), std::string::npos) << text.output;
  EXPECT_EQ(tool({"show", "a b"}).status, 2);
  EXPECT_EQ(tool({"show", "/no/such/file"}).status, 3);
  const test::outcome as_json = tool({"show", "no-such-segment", "--json"});
  EXPECT_EQ(as_json.status, 3);
  EXPECT_NE(as_json.output.find("\"not_found\""), std::string::npos) << as_json.output;
}

TEST(ToolShow, NamesCannotWriteToTheTerminal) {
  const std::string name = test::unique_name();
  auto mine = ipcpp::segment::create(name, {.max_size = 1 << 20});
  (void)mine.construct<int>(
      "caf\xc3\xa9 \xff\xc2\x9b"
      "31m",
      1);
  const test::outcome text = tool({"show", name});
  EXPECT_NE(text.output.find("caf\xc3\xa9 \\xff\\xc2\\x9b31m"), std::string::npos) << text.output;
  EXPECT_EQ(tool_json({"show", name}).at("objects").size(), 1u);
}

TEST(ToolCheck, ASoundSegmentIsFoundSound) {
  const std::string name = test::unique_name();
  holder one("make", name);
  (void)one.tell("allocate");
  const json seen = tool_json({"check", name});
  EXPECT_EQ(seen.at("sound"), true);
  EXPECT_GE(seen.at("blocks_in_use"), 200u);
  EXPECT_EQ(seen.at("objects"), 6);
  const json exact = tool_json({"check", "--exact", name});
  EXPECT_EQ(exact.at("sound"), true);
  EXPECT_NE(tool({"check", name}).output.find("sound"), std::string::npos);
}

TEST(ToolCheck, WorkInProgressIsNoDamage) {
  const std::string name = test::unique_name();
  auto keeper = ipcpp::segment::create(name, {.max_size = 8 << 20});
  test::child one("segment_holder", {"open", name});
  test::child two("segment_holder", {"open", name});
  for (test::child* const process : {&one, &two}) {
    EXPECT_EQ(process->hear(), "ready");
    process->say("churn");
  }
  EXPECT_EQ(one.hear(), "churning");
  for (int i = 0; i < 10; ++i) {
    const test::outcome done = tool({"check", name});
    EXPECT_EQ(done.status, 0) << done.output;
  }
}

TEST(ToolCheck, TheDeadAreNoDamage) {
  const std::string name = test::unique_name();
  const holder one("make", name);
  holder two("open", name);
  two.kill();
  const test::outcome done = tool({"check", name});
  EXPECT_EQ(done.status, 0) << done.output;
  EXPECT_NE(done.output.find("1 dead"), std::string::npos) << done.output;
}

TEST(ToolCheck, EveryKindOfDamageIsFound) {
  if (!memory_is_one_file()) GTEST_SKIP() << "copies are of one file";
  const std::string name = test::unique_name();
  const holder one("make", name);
  ASSERT_EQ(tool({"check", name}).status, 0);
  const std::uint64_t heap = part(name, "heap header");
  const std::uint64_t words = part(name, "page words");
  const std::uint64_t bits = part(name, "block bits");
  const std::uint64_t directory = field(name, "segment.directory_at");
  const std::uint64_t participants = part(name, "participants");
  // Where the slab of the directory's root begins.
  const json seen = tool_json({"map", name});
  std::uint64_t slab = 0;
  for (const auto& run : seen.at("runs"))
    if (run.at("offset") <= directory)
      slab =
          (run.at("offset").get<std::uint64_t>() - seen.at("pages_at").get<std::uint64_t>()) / 4096;
  struct damage {
    const char* what;
    std::uint64_t at;
    std::uint64_t word;
  };
  for (const damage& one_damage :
       std::vector<damage>{{"magic", 0, 1},
                           {"layout version", 8, 99},
                           {"capacity", 32, 12345},
                           {"segment's magic", 256, 1},
                           {"directory elsewhere", 272, 4096},
                           {"heap's magic", heap, 1},
                           {"heap's sizes", heap + 32, 1 << 20},
                           {"heap's end", heap + 128, std::uint64_t{1} << 40},
                           {"first page", words, 0x77},
                           {"second page", words + 8, 0xffff'ffff'ffff'fff1},
                           {"block bits", bits + slab * 64, ~std::uint64_t{0}},
                           {"directory's magic", directory, 1},
                           {"directory's chunks", directory + 8, std::uint64_t{1000} << 32 | 1},
                           {"chunk of names", directory + 64, 1 << 20},
                           {"participants' magic", participants, 1},
                           {"process slot's state", participants + 128, 0x1fe}}) {
    const copied file(name);
    ASSERT_EQ(tool({"check", file.text()}).status, 0) << "the copy";
    file.write(one_damage.at, one_damage.word);
    const test::outcome done = tool({"check", file.text()});
    EXPECT_EQ(done.status, 1) << one_damage.what << "\n" << done.output;
    for (const char* command : {"show", "map", "dump"}) {
      const int status = tool({command, file.text()}).status;
      EXPECT_TRUE(status == 0 || status == 4)
          << command << ": " << one_damage.what << ": " << status;
    }
  }
}

TEST(ToolCheck, ATruncatedSegmentIsDamagedAndNoSignal) {
  if (!memory_is_one_file()) GTEST_SKIP() << "copies are of one file";
  const std::string name = test::unique_name();
  const holder one("make", name);
  for (const std::uint64_t bytes :
       {0u, 10u, 255u, 300u, 600u, 3000u, 20'000u, 100'000u, 300'000u}) {
    const copied file(name);
    fs::resize_file(file.path, bytes);
    for (const char* command : {"check", "show", "map", "dump"}) {
      const test::outcome done = tool({command, file.text()});
      EXPECT_GE(done.status, 0) << command << " of " << bytes;
      EXPECT_LE(done.status, 4) << command << " of " << bytes;
      if (std::string(command) == "check") EXPECT_EQ(done.status, 1) << done.output;
    }
  }
}

TEST(ToolDump, AnObjectsBytesAreShown) {
  const std::string name = test::unique_name();
  const holder one("make", name);
  const json seen = tool_json({"dump", name, "answer"});
  EXPECT_EQ(seen.at("hex"), "2a00000000000000");
  EXPECT_EQ(seen.at("value"), 42);
  const test::outcome text = tool({"dump", name, "answer"});
  EXPECT_NE(text.output.find("2a 00 00 00 00 00 00 00"), std::string::npos) << text.output;
  EXPECT_EQ(tool({"dump", name, "nothing"}).status, 3);
  const json range =
      tool_json({"dump", name, "--offset", std::to_string(seen.at("offset").get<std::uint64_t>()),
                 "--bytes", "8"});
  EXPECT_EQ(range.at("hex"), "2a00000000000000");
  EXPECT_EQ(tool({"dump", name, "--offset", "zero"}).status, 2);
  EXPECT_EQ(tool({"dump", name, "--offset", "0x7fffffffffff"}).status, 4);
}

TEST(ToolDump, HeadersAreShownFieldByField) {
  const std::string name = test::unique_name();
  const holder one("make", name);
  EXPECT_EQ(field(name, "object.capacity_bytes"), 8u << 20);
  EXPECT_EQ(field(name, "segment.version"), 1u);
  EXPECT_GT(field(name, "heap.end_page"), 40u);
  const test::outcome text = tool({"dump", name});
  EXPECT_NE(text.output.find("object 'answer'"), std::string::npos) << text.output;
}

TEST(ToolMap, EveryPageIsDrawnOnce) {
  const std::string name = test::unique_name();
  const holder one("make", name);
  const json seen = tool_json({"map", name});
  std::uint64_t next = seen.at("pages_at");
  for (const auto& run : seen.at("runs")) {
    EXPECT_EQ(run.at("offset"), next);
    next += run.at("bytes").get<std::uint64_t>();
  }
  EXPECT_EQ(next, seen.at("pages_at").get<std::uint64_t>() +
                      seen.at("end_page").get<std::uint64_t>() * 4096);
  const test::outcome text = tool({"map", name});
  EXPECT_EQ(text.status, 0);
  EXPECT_NE(text.output.find("LLLLLLLLLL"), std::string::npos) << text.output;
  EXPECT_EQ(text.output.find('\x1b'), std::string::npos) << "colours in a pipe";
  EXPECT_NE(tool({"map", name, "--color", "always"}).output.find("\x1b[34m"), std::string::npos);
}

TEST(ToolMap, TheSvgPictureIsWellFormed) {
  const std::string name = test::unique_name();
  holder one("make", name);
  (void)one.tell("allocate");
  const fs::path path = fs::path(std::getenv("IPCPP_DIRECTORY")) / "map.svg";
  ASSERT_EQ(tool({"map", name, "--svg", path.string()}).status, 0);
  std::ifstream file(path);
  const std::string picture{std::istreambuf_iterator<char>(file), {}};
  fs::remove(path);
  EXPECT_TRUE(picture.starts_with("<?xml"));
  // Elements open and close in order; attributes are quoted.
  std::vector<std::string> open;
  for (std::size_t at = picture.find('<'); at != picture.npos; at = picture.find('<', at + 1)) {
    const std::size_t end = picture.find('>', at);
    ASSERT_NE(end, picture.npos);
    const std::string tag = picture.substr(at + 1, end - at - 1);
    if (tag.starts_with('?')) continue;
    const std::string word = tag.substr(
        tag.starts_with('/') ? 1 : 0, tag.find_first_of(" /", 1) - (tag.starts_with('/') ? 1 : 0));
    if (tag.starts_with('/')) {
      ASSERT_FALSE(open.empty());
      EXPECT_EQ(open.back(), tag.substr(1));
      open.pop_back();
    } else if (!tag.ends_with('/')) {
      open.push_back(word);
    }
  }
  EXPECT_TRUE(open.empty());
  EXPECT_GT(picture.size(), 2000u);
  EXPECT_EQ(tool({"map", name, "--svg", "-"}).status, 0);
  EXPECT_EQ(tool({"map", name, "--svg", "/no/such/place.svg"}).status, 4);
}

TEST(ToolLimits, TheMachinesLimitsAreKnown) {
  const json seen = tool_json({"limits"});
  json by_key;
  for (const auto& one : seen.at("limits")) by_key[one.at("limit").get<std::string>()] = one;
  EXPECT_GT(by_key.at("shared_memory").at("bound"), 0u);
  EXPECT_GT(by_key.at("memory").at("bound"), 0u);
  EXPECT_GT(by_key.at("address_space").at("bound"), std::uint64_t{1} << 30);
  EXPECT_GT(by_key.at("open_files").at("bound"), 10u);
  for (const auto& one : seen.at("ways_to_raise"))
    for (const char* system : {"linux", "macos", "windows"}) EXPECT_FALSE(one.at(system).empty());
  EXPECT_NE(tool({"limits"}).output.find("/dev/shm"), std::string::npos);
}
