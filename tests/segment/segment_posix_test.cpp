// Segments where the system matters: fork, files, permissions, full memory, handles over sockets,
// and every kind of object that is no segment.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "objects.hpp"
#include "posix_process.hpp"
#include "roles.hpp"

import ipcpp;
import ipcpp.platform;

using ipcpp::lifetime;
using ipcpp::permissions;
using ipcpp::segment;
using namespace ipcpp::literals;

namespace {

std::string directory() {
  return std::getenv("IPCPP_DIRECTORY");
}
std::string path_of(const std::string& name) {
  return directory() + "/ipcpp." + name;
}

std::size_t open_files() {
  std::size_t n = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd"))
    n += entry.exists();
  return n;
}

std::size_t mappings() {
  std::ifstream maps("/proc/self/maps");
  return static_cast<std::size_t>(
      std::count(std::istreambuf_iterator<char>(maps), std::istreambuf_iterator<char>(), '\n'));
}

std::size_t files() {
  std::size_t n = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory())) n += entry.exists();
  return n;
}

// What is there before and after must be the same: descriptors, mappings, files.
class nothing_left {
 public:
  nothing_left() {
    (void)segment::anonymous({.max_size = 1_MiB});  // what this process keeps for ever is there now
    descriptors_ = open_files();
    mappings_ = mappings();
    files_ = files();
  }
  ~nothing_left() {
    EXPECT_EQ(open_files(), descriptors_);
    // The C library's heap may have grown; a sanitizer's does so all the time.
    if (!test::sanitized) EXPECT_LE(mappings(), mappings_ + 2);
    EXPECT_EQ(files(), files_);
  }

 private:
  std::size_t descriptors_ = 0;
  std::size_t mappings_ = 0;
  std::size_t files_ = 0;
};

std::string message_of(const std::string& title, auto&& call, ipcpp::errc expected) {
  std::string said;
  EXPECT_EQ(ERROR_OF(call(), said), static_cast<int>(expected)) << title << ": " << said;
  std::printf("%-40s %s\n", title.c_str(), said.c_str());
  return said;
}

bool with_registry() {
  const char* const variant = std::getenv("IPCPP_PLATFORM_VARIANT");
  return variant != nullptr && std::string_view(variant).find("registry") != std::string_view::npos;
}
bool with_steps() {
  const char* const variant = std::getenv("IPCPP_PLATFORM_VARIANT");
  return variant != nullptr && std::string_view(variant).find("several") != std::string_view::npos;
}

}  // namespace

// ---- fork ----

TEST(SegmentFork, AChildGoesOnAndIsToldApart) {
  auto one = segment::anonymous({.max_size = 1_MiB});
  auto& n = one.construct<std::uint64_t>("n", 0u);
  EXPECT_EQ(one.attached_processes(), 1u);
  const int status = test::in_forked_child([&] {
    n = one.attached_processes();  // takes part from here on
    (void)one.construct<int>("child's", 5);
    ::raise(SIGKILL);
    return 0;
  });
  EXPECT_EQ(status, 200 + SIGKILL);
  EXPECT_EQ(n, 2u);
  EXPECT_EQ(one.attached_processes(), 1u);
  EXPECT_EQ(*one.find<int>("child's"), 5);
  EXPECT_EQ(one.recover(), 1u);
  EXPECT_EQ(one.processes().size(), 1u);
}

TEST(SegmentFork, AChildGoesOnAfterItsParentsDeath) {
  const std::string name = test::unique_name();
  std::array<int, 2> pipe{};
  ASSERT_EQ(::pipe(pipe.data()), 0);
  const int status = test::in_forked_child([&] {
    auto mine = segment::create(name, {.max_size = 1_MiB});
    (void)mine.construct<int>("n", 1);
    if (::fork() == 0) {
      char go = 0;
      (void)!::read(pipe[0], &go, 1);  // the parent is dead by then
      ++*mine.find<int>("n");
      const bool alone = mine.attached_processes() == 1;
      auto same = segment::open(name);
      ::_exit(alone && *same.find<int>("n") == 2 && same.attached_processes() == 1 ? 0 : 1);
    }
    ::raise(SIGKILL);
    return 0;
  });
  EXPECT_EQ(status, 200 + SIGKILL);
  // Used by the child, which has not taken part yet: not gone.
  {
    auto here = segment::open(name);
    EXPECT_EQ(*here.find<int>("n"), 1);
  }
  EXPECT_TRUE(std::filesystem::exists(path_of(name)));
  ASSERT_EQ(::write(pipe[1], "g", 1), 1);
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while (std::filesystem::exists(path_of(name)) && std::chrono::steady_clock::now() < until) {
    try {
      (void)segment::open(name);
    } catch (const ipcpp::error&) {
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_FALSE(std::filesystem::exists(path_of(name)));
  ::close(pipe[0]);
  ::close(pipe[1]);
}

TEST(SegmentFork, AKilledLastUserIsGoneWithTheNextLook) {
  for (const bool looks_by_creating : {false, true}) {
    const std::string name = test::unique_name();
    EXPECT_EQ(test::in_forked_child([&] {
                auto mine = segment::create(name, {.max_size = 1_MiB});
                ::raise(SIGKILL);
                return 0;
              }),
              200 + SIGKILL);
    EXPECT_TRUE(std::filesystem::exists(path_of(name)));
    if (looks_by_creating) {
      EXPECT_NO_THROW((void)segment::create(name, {.max_size = 1_MiB}));
    } else {
      EXPECT_ERROR(segment::open(name), not_found);
    }
    EXPECT_FALSE(std::filesystem::exists(path_of(name)));
  }
}

// ---- growth ----

TEST(SegmentGrowth, EverybodySeesIt) {
  using text = std::vector<char, ipcpp::allocator<char>>;
  const std::string name = test::unique_name();
  auto one = segment::create(name, {.max_size = 64_MiB});
  auto& all = one.construct<text>("text");
  const auto looking = segment::open_read_only(name);
  EXPECT_EQ(test::in_forked_child([&] {
              auto mine = segment::open(name);
              mine.find<text>("text")->assign(4'000'000, 'x');
              return 0;
            }),
            0);
  ASSERT_EQ(all.size(), 4'000'000u);
  // Where a segment grows by further mappings, whoever meets new memory has to have looked.
  EXPECT_EQ((*one.find<text>("text"))[3'999'999], 'x');
  const text* const seen = looking.find<text>("text");
  EXPECT_EQ((*seen)[3'999'999], 'x');
}

// ---- handles ----

ROLE(segment_receiver) {
  auto received = segment::receive_handle(0);  // standard input is a socket
  ++*received.find<int>("n");
  return received.attached_processes() == 2 ? 0 : 1;
}

TEST(SegmentHandles, OneIsPassedOverASocketToAStranger) {
  std::array<int, 2> sockets{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets.data()), 0);
  auto one = segment::anonymous({.max_size = 1_MiB});
  (void)one.construct<int>("n", 1);
  const pid_t stranger = ::fork();
  if (stranger == 0) {
    ::dup2(sockets[1], 0);
    ::execl(test::own_path().c_str(), test::own_path().c_str(), "--role=segment_receiver", nullptr);
    ::_exit(99);
  }
  one.send_handle(sockets[0]);
  int status = 0;
  ::waitpid(stranger, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  EXPECT_EQ(*one.find<int>("n"), 2);
  one.send_handle(sockets[0]);
  {
    auto again = segment::receive_handle(sockets[1]);  // by the same process: the same mapping
    EXPECT_EQ(again.find<int>("n"), one.find<int>("n"));
  }
  ASSERT_EQ(::write(sockets[0], "x", 1), 1);
  EXPECT_ERROR(segment::receive_handle(sockets[1]), not_found);
  ::close(sockets[0]);
  EXPECT_ERROR(segment::receive_handle(sockets[1]), not_found);
  ::close(sockets[1]);
  EXPECT_ERROR(one.send_handle(-1), system_failure);
}

TEST(SegmentHandles, ADuplicateIsTheSameSegment) {
  auto one = segment::anonymous({.max_size = 1_MiB});
  (void)one.construct<int>("n", 1);
  {
    auto two = segment::from_handle(::dup(one.native_handle()));
    EXPECT_EQ(two.find<int>("n"), one.find<int>("n"));
  }
  EXPECT_EQ(*one.find<int>("n"), 1);
  const nothing_left guard;
  const int other = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  EXPECT_ERROR(segment::from_handle(other), damaged);
}

// ---- pinned, huge pages ----

TEST(SegmentPinned, EverybodyMapsItAtTheSameAddress) {
  const std::string name = test::unique_name();
  auto one = segment::create(name, {.max_size = 1_MiB, .pinned = true});
  auto& n = one.construct<int>("n", 1);
  const auto address = std::to_string(reinterpret_cast<std::uintptr_t>(&n));
  test::child other("segment_address", {name});
  EXPECT_EQ(other.hear(), address);
}

ROLE(segment_address) {
  auto there = segment::open(args.at(0));
  test::say(std::to_string(reinterpret_cast<std::uintptr_t>(there.find<int>("n"))));
  for (std::string line; test::hear(line);) test::say(line);
  return 0;
}

TEST(SegmentPinned, AnAddressThatIsTakenIsAnError) {
  const std::string name = test::unique_name();
  const nothing_left guard;
  auto one = segment::create(name, {.max_size = 1_MiB, .pinned = true});
  // This process has it there already, so a read-only opening cannot.
  message_of(
      "pinned, and the address is taken", [&] { return segment::open_read_only(name); },
      ipcpp::errc::no_address_space);
}

TEST(SegmentHugePages, TheyAreAHint) {
  auto one = segment::anonymous({.max_size = 64_MiB, .huge_pages = true});
  void* const p = one.heap().allocate(8_MiB);
  std::memset(p, 1, 8_MiB);
  EXPECT_TRUE(one.heap().check());
}

// ---- files ----

TEST(SegmentFiles, AFileStaysUntilItIsRemoved) {
  const std::string path = directory() + "/data.ipcpp";
  const nothing_left guard;
  {
    auto one = segment::create_file(path, {.max_size = 4_MiB});
    (void)one.construct<int>("n", 42);
    EXPECT_EQ(one.lifetime(), lifetime::persistent);
    EXPECT_ERROR(one.set_lifetime(lifetime::last_user), invalid_argument);
    EXPECT_EQ(one.name(), path);
    EXPECT_ERROR(segment::create_file(path), already_exists);
    auto same = segment::open_or_create_file(path);
    EXPECT_EQ(same.find<int>("n"), one.find<int>("n"));
  }
  {
    auto again = segment::open_file(path);
    EXPECT_EQ(*again.find<int>("n"), 42);
    const auto looking = segment::open_file_read_only(path);
    EXPECT_EQ(*looking.find<int>("n"), 42);
  }
  EXPECT_TRUE(segment::remove_file(path));
  EXPECT_FALSE(segment::remove_file(path));
  EXPECT_ERROR(segment::open_file(path), not_found);
}

TEST(SegmentFiles, PathsThatAreNoneAreRefused) {
  const nothing_left guard;
  for (const std::string& path : {std::string(), std::string("a/"), std::string("."),
                                  std::string("a\0b", 3), std::string(5000, 'x')}) {
    EXPECT_ERROR(segment::create_file(path), invalid_argument);
    EXPECT_ERROR(segment::open_file(path), invalid_argument);
    EXPECT_ERROR(segment::remove_file(path), invalid_argument);
  }
  EXPECT_ERROR(segment::create_file(directory() + "/no/such/file"), not_found);
  EXPECT_ERROR(segment::open_file(directory() + "/no such file"), not_found);
  EXPECT_ERROR(segment::create_file("/proc/x"), not_supported);
}

TEST(SegmentFiles, AKilledUserIsNoReasonToGo) {
  const std::string path = directory() + "/stays.ipcpp";
  EXPECT_EQ(test::in_forked_child([&] {
              auto mine = segment::create_file(path, {.max_size = 1_MiB});
              (void)mine.construct<int>("n", 42);
              ::raise(SIGKILL);
              return 0;
            }),
            200 + SIGKILL);
  {
    auto again = segment::open_file(path);
    EXPECT_EQ(*again.find<int>("n"), 42);
    EXPECT_EQ(again.attached_processes(), 1u);
  }
  EXPECT_TRUE(segment::remove_file(path));
}

// ---- permissions ----

TEST(SegmentPermissions, TheyAreTheOwnersWhateverTheUmask) {
  for (const mode_t mask : {0u, 077u, 0777u}) {
    const mode_t before = ::umask(mask);
    const std::string mine = test::unique_name();
    const std::string ours = test::unique_name();
    const auto one = segment::create(mine, {.max_size = 1_MiB});
    const auto two = segment::create(ours, {.max_size = 1_MiB, .permissions = permissions::group});
    struct stat facts{};
    ASSERT_EQ(::stat(path_of(mine).c_str(), &facts), 0);
    EXPECT_EQ(facts.st_mode & 0777u, 0600u);
    ASSERT_EQ(::stat(path_of(ours).c_str(), &facts), 0);
    EXPECT_EQ(facts.st_mode & 0777u, 0660u);
    ::umask(before);
  }
}

TEST(SegmentPermissions, AnotherUserIsRefusedAndAGroupIsLetIn) {
  SKIP_UNLESS_ROOT("becomes other users");
  if (with_registry() || with_steps()) GTEST_SKIP() << "the directory of the tests is root's";
  const std::string mine = test::unique_name();
  const std::string ours = test::unique_name();
  ::chmod(directory().c_str(), 0777);
  auto one = segment::create(mine, {.max_size = 1_MiB});
  EXPECT_EQ(test::in_forked_child([&] {
              // A member of group 4242 makes it, another one opens it.
              if (::setgid(4242) != 0 || ::setuid(4243) != 0) return 1;
              auto two = segment::create(ours, {.max_size = 1_MiB,
                                                .lifetime = lifetime::persistent,
                                                .permissions = permissions::group});
              (void)two.construct<int>("n", 7);
              return 0;
            }),
            0);
  EXPECT_EQ(test::in_forked_child([&] {
              if (::setgid(4242) != 0 || ::setuid(4244) != 0) return 1;
              std::string said;
              message_of(
                  "another user's", [&] { return segment::open(mine); },
                  ipcpp::errc::access_denied);
              message_of(
                  "another user's, group not asked for", [&] { return segment::open(ours); },
                  ipcpp::errc::access_denied);
              auto two = segment::open(ours, {.permissions = permissions::group});
              *two.find<int>("n") = 8;
              return testing::Test::HasFailure() ? 2 : 0;
            }),
            0);
  EXPECT_EQ(test::in_forked_child([&] {
              if (::setgid(4299) != 0 || ::setuid(4245) != 0) return 1;
              message_of(
                  "another group's",
                  [&] { return segment::open(ours, {.permissions = permissions::group}); },
                  ipcpp::errc::access_denied);
              message_of(
                  "another user's to remove", [&] { return segment::remove(mine); },
                  ipcpp::errc::access_denied);
              return testing::Test::HasFailure() ? 2 : 0;
            }),
            0);
  auto two = segment::open(ours, {.permissions = permissions::group});
  EXPECT_EQ(*two.find<int>("n"), 8);
  EXPECT_TRUE(segment::remove(ours, {.permissions = permissions::group}));
}

// ---- what is no segment, and what does not fit ----

TEST(SegmentBadInput, EachGetsAnErrorThatSaysWhatToDo) {
  const nothing_left guard;
  using ipcpp::errc;
  message_of("an empty name", [] { return segment::create(""); }, errc::invalid_argument);
  message_of(
      "an over-long name", [] { return segment::create(std::string(129, 'x')); },
      errc::invalid_argument);
  message_of("a relative name", [] { return segment::create("../x"); }, errc::invalid_argument);
  message_of("a slash", [] { return segment::create("a/b"); }, errc::invalid_argument);
  message_of(
      "a size beyond the address space",
      [] { return segment::create("x", {.max_size = ~std::size_t{0}}); }, errc::invalid_argument);
  EXPECT_EQ(test::in_forked_child([] {
              const struct rlimit most{8_GiB, 8_GiB};
              if (test::sanitized || ::setrlimit(RLIMIT_AS, &most) != 0) return 0;
              message_of(
                  "a size that does not fit",
                  [] { return segment::create("x", {.max_size = 1024_GiB}); },
                  errc::no_address_space);
              return testing::Test::HasFailure() ? 1 : 0;
            }),
            0);
  message_of(
      "too many participants", [] { return segment::create("x", {.participants = {1u << 20, 5}}); },
      errc::invalid_argument);
  message_of(
      "more participants than fit",
      [] { return segment::create("x", {.max_size = 64_KiB, .participants = {4096, 5}}); },
      errc::invalid_argument);
  message_of("nothing there", [] { return segment::open("nothing-there"); }, errc::not_found);
}

TEST(SegmentBadInput, WhatIsNoSegmentIsRefused) {
  if (with_registry()) GTEST_SKIP() << "the public name leads to a record";
  using ipcpp::errc;
  const nothing_left guard;
  const auto put = [](const std::string& name, const std::string& content) {
    std::ofstream(path_of(name), std::ios::binary) << content;
    ::chmod(path_of(name).c_str(), 0600);
  };
  const auto refused = [](const std::string& title, const std::string& name, errc expected) {
    message_of(title, [&] { return segment::open(name); }, expected);
    if (title.find("heap") == std::string::npos)  // who only looks does not look at that
      message_of(title, [&] { return segment::open_read_only(name); }, expected);
    message_of(title, [&] { return segment::open_or_create(name); }, expected);
    EXPECT_TRUE(std::filesystem::exists(path_of(name)) ||
                std::filesystem::is_symlink(path_of(name)))
        << "removed";
  };
  std::string name = test::unique_name();
  put(name, "");
  refused("an empty file", name, errc::damaged);
  put(name, std::string(100'000, 'x'));
  refused("garbage", name, errc::damaged);
  std::filesystem::remove(path_of(name));
  std::filesystem::create_directory(path_of(name));
  message_of("a directory", [&] { return segment::open(name); }, errc::damaged);
  std::filesystem::remove(path_of(name));
  std::filesystem::create_symlink("/dev/zero", path_of(name));
  refused("a symbolic link", name, errc::access_denied);
  std::filesystem::remove(path_of(name));
  {
    // A shared object of ours that is no segment.
    ipcpp::platform::shared_object object =
        ipcpp::platform::shared_object::create({.capacity_bytes = 64_KiB});
    object.publish(name);
    refused("another shared object of ipcpp", name, errc::damaged);
    ipcpp::platform::shared_object::remove(name);
  }
  const auto spoil = [&](const std::string& title, off_t at, const std::string& bytes,
                         errc expected) {
    name = test::unique_name();
    {
      auto made = segment::create(name, {.max_size = 1_MiB, .lifetime = lifetime::persistent});
      (void)made.construct<int>("n", 1);
    }
    const int file = ::open(path_of(name).c_str(), O_RDWR | O_CLOEXEC);
    ASSERT_GE(file, 0);
    ASSERT_EQ(::pwrite(file, bytes.data(), bytes.size(), at), static_cast<ssize_t>(bytes.size()));
    ::close(file);
    refused(title, name, expected);
    EXPECT_TRUE(segment::remove(name));
  };
  const std::string seven("\7\0\0\0", 4);
  spoil("another platform layout", 8, seven, errc::wrong_layout);
  spoil("another word size", 12, std::string("\4"), errc::wrong_layout);
  spoil("another segment layout", 256 + 8, seven, errc::wrong_layout);
  spoil("a segment header overwritten", 256, std::string(256, '\0'), errc::damaged);
  spoil("a directory elsewhere", 256 + 16, std::string("\0\0\0\7\0\0\0\0", 8), errc::damaged);
  spoil("a heap header overwritten", 512, std::string(128, '\x5a'), errc::damaged);
  if (!with_steps()) {
    name = test::unique_name();
    {
      (void)segment::create(name, {.max_size = 1_MiB, .lifetime = lifetime::persistent});
    }
    ASSERT_EQ(::truncate(path_of(name).c_str(), 8192), 0);
    refused("truncated", name, errc::damaged);
    EXPECT_TRUE(segment::remove(name));
  }
}

TEST(SegmentBadInput, AFullFileSystemIsBadAlloc) {
  SKIP_UNLESS_ROOT("mounts a small tmpfs");
  EXPECT_EQ(test::in_forked_child([] {
              const std::string place = directory() + "/small";
              std::filesystem::create_directory(place);
              if (!test::enter_mount_namespace(directory().c_str())) return 0;
              if (::mount("small", place.c_str(), "tmpfs", 0, "size=1m") != 0) return 2;
              ::setenv("IPCPP_DIRECTORY", place.c_str(), 1);
              {
                auto one = segment::create("small", {.max_size = 64_MiB});
                std::size_t made = 0;
                try {
                  for (;; ++made)
                    (void)one.construct<std::array<char, 10'000>>("n" + std::to_string(made));
                } catch (const std::bad_alloc&) {
                }
                if (made < 50 || !one.heap().check()) return 3;
                if (!one.destroy<std::array<char, 10'000>>("n0")) return 4;
                (void)one.construct<std::array<char, 10'000>>("again");
                // The file system is full: nobody can make another one, and nothing is left of the attempt.
                bool refused = false;
                try {
                  (void)segment::create("another", {.max_size = 64_MiB});
                } catch (const std::bad_alloc&) {
                  refused = true;
                }
                if (!refused || files() != (with_registry() || with_steps() ? files() : 1))
                  return 5;
              }
              return files() == 0 ? 0 : 6;
            }),
            0);
  std::filesystem::remove(directory() + "/small");
}

TEST(SegmentBadInput, ATypeWhoseFieldsChangedIsRefused) {
  struct before {
    std::uint32_t a;
    std::uint32_t b;
  };
  auto one = segment::anonymous({.max_size = 1_MiB});
  (void)one.construct<before>("point", 1u, 2u);
  {
    struct before {  // the same name, size and alignment
      std::uint32_t a;
      float b;
    };
    message_of(
        "a type whose fields changed", [&] { return one.find<before>("point"); },
        ipcpp::errc::wrong_type);
  }
  message_of("another type", [&] { return one.find<double>("point"); }, ipcpp::errc::wrong_type);
  using list = std::vector<std::uint32_t, ipcpp::allocator<std::uint32_t>>;
  using other = std::vector<std::int32_t, ipcpp::allocator<std::int32_t>>;
  (void)one.construct<list>("list");
  message_of(
      "a container of other elements", [&] { return one.find<other>("list"); },
      ipcpp::errc::wrong_type);
}
