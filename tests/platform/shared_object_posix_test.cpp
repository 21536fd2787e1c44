// Objects as files: permissions, other users, foreign files under our names, descriptors,
// leftovers.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "objects.hpp"
#include "posix_process.hpp"
#include "roles.hpp"

import ipcpp.platform;

namespace platform = ipcpp::platform;
using namespace ipcpp::literals;
using platform::mapping;
using platform::shared_object;

namespace {

std::string directory() {
  return std::getenv("IPCPP_DIRECTORY");
}
std::string path_of(const std::string& name) {
  return directory() + "/ipcpp." + name;
}

// A directory of its own for one test, so that every leftover shows.
struct own_directory {
  std::string before = directory();
  std::string path = before + "." + std::to_string(::getpid()) + ".own";
  explicit own_directory(mode_t mode = 0700) {
    ::mkdir(path.c_str(), mode);
    ::chmod(path.c_str(), mode);
    ::setenv("IPCPP_DIRECTORY", path.c_str(), 1);
  }
  ~own_directory() {
    for (const auto& file : files()) ::unlink((path + "/" + file).c_str());
    ::rmdir(path.c_str());
    ::setenv("IPCPP_DIRECTORY", before.c_str(), 1);
  }
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    const test::outcome listing = test::run({"ls", "-A", path});
    for (std::size_t at = 0; at < listing.output.size();) {
      const auto end = listing.output.find('\n', at);
      names.push_back(listing.output.substr(at, end - at));
      at = end + 1;
    }
    return names;
  }
};

void write_file(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
  ::chmod(path.c_str(), 0600);
}

bool registry_names() {
  const char* const variant = std::getenv("IPCPP_PLATFORM_VARIANT");
  return variant != nullptr && std::string(variant).find("registry_names") != std::string::npos;
}

}  // namespace

// Creates, says so, and waits to be killed before it could publish.
ROLE(unfinished_creator) {
  mapping place = mapping::map(shared_object::create({.capacity_bytes = 64_MiB}));
  (void)place.commit(0, 1_MiB);
  test::say("ready");
  std::string line;
  test::hear(line);
  return 0;
}

TEST(SharedObjectFiles, PermissionsAreWhatWasAskedForWhateverTheUmask) {
  const mode_t before = ::umask(0777);
  const std::string mine = test::unique_name();
  const std::string ours = test::unique_name();
  shared_object a = shared_object::create({.capacity_bytes = 64_KiB});
  shared_object b =
      shared_object::create({.capacity_bytes = 64_KiB, .who = platform::audience::group});
  ::umask(before);
  a.publish(mine);
  b.publish(ours);
  struct stat facts{};
  ASSERT_EQ(::stat(path_of(mine).c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777, 0600u);
  ASSERT_EQ(::stat(path_of(ours).c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777, 0660u);
  ASSERT_EQ(::fstat(b.native_handle(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777, 0660u);
  shared_object::remove(mine);
  shared_object::remove(ours);
}

TEST(SharedObjectFiles, AnotherUsersObjectIsRefusedUnlessItsGroupWasMeant) {
  SKIP_UNLESS_ROOT("to become another user");
  const own_directory place(01777);
  ASSERT_EQ(test::in_forked_child([] {
              if (::setgid(65534) != 0 || ::setuid(65534) != 0) return 1;
              shared_object::create({.capacity_bytes = 64_KiB, .who = platform::audience::group})
                  .publish("theirs");
              return 0;
            }),
            0);
  std::string message;
  EXPECT_EQ(ERROR_OF(shared_object::open("theirs"), message),
            static_cast<int>(ipcpp::errc::access_denied));
  EXPECT_NE(message.find("expected user 0 as its owner, found user 65534"), std::string::npos)
      << message;
  EXPECT_ERROR(shared_object::remove("theirs"), access_denied);
  EXPECT_NO_THROW(
      (void)shared_object::open("theirs", platform::access::read_write, platform::audience::group));
  EXPECT_TRUE(shared_object::remove("theirs", platform::audience::group));

  shared_object root_only = shared_object::create({.capacity_bytes = 64_KiB});
  root_only.publish("mine");
  EXPECT_EQ(test::in_forked_child([] {
              if (::setuid(65534) != 0) return 1;
              std::string said;
              const int kind = ERROR_OF(shared_object::open("mine"), said);
              return kind == static_cast<int>(ipcpp::errc::access_denied) ? 0 : 2;
            }),
            0);
}

TEST(SharedObjectFiles, WhatIpcppDidNotMakeIsRefusedAndLeftAlone) {
  const own_directory place;
  const auto refused = [](const std::string& name, ipcpp::errc expected) {
    std::string message;
    EXPECT_EQ(ERROR_OF(shared_object::open(name), message), static_cast<int>(expected))
        << name << ": " << message;
    EXPECT_NE(message.find("'" + name + "'"), std::string::npos) << message;
  };
  write_file(path_of("empty"), "");
  write_file(path_of("short"), "ipcppobj");
  write_file(path_of("garbage"), std::string(8192, 'x'));
  ::mkdir(path_of("folder").c_str(), 0700);
  ::mkfifo(path_of("pipe").c_str(), 0600);
  ASSERT_EQ(::symlink("/etc/passwd", path_of("link").c_str()), 0);
  refused("empty", ipcpp::errc::damaged);
  refused("short", ipcpp::errc::damaged);
  refused("garbage", ipcpp::errc::damaged);
  refused("folder", ipcpp::errc::damaged);
  refused("pipe", ipcpp::errc::damaged);
  refused("link", ipcpp::errc::access_denied);
  EXPECT_EQ(place.files().size(), 6u);
  std::ifstream garbage(path_of("garbage"));
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(garbage), {}), std::string(8192, 'x'));
  EXPECT_TRUE(shared_object::remove("garbage")) << "one's own garbage can be removed";
  ::rmdir(path_of("folder").c_str());
}

TEST(SharedObjectFiles, OneOfAnotherLayoutOrTruncatedOrOpenToAllIsRefused) {
  const own_directory place;
  shared_object object = shared_object::create({.capacity_bytes = 64_KiB});
  object.publish("x");
  {
    std::fstream file(path_of("x"), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(8);
    file.put(7);
  }
  EXPECT_ERROR(shared_object::open("x"), wrong_layout);
  {
    std::fstream file(path_of("x"), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(8);
    file.put(1);
  }
  EXPECT_NO_THROW((void)shared_object::open("x"));
  ASSERT_EQ(::chmod(path_of("x").c_str(), 0666), 0);
  EXPECT_ERROR(shared_object::open("x"), access_denied);
  ASSERT_EQ(::chmod(path_of("x").c_str(), 0600), 0);
  ASSERT_EQ(::truncate(path_of("x").c_str(), 100), 0);
  EXPECT_ERROR(shared_object::open("x"), damaged);
}

TEST(SharedObjectFiles, ADirectoryThatDoesNotExistIsNamedInTheError) {
  const std::string before = directory();
  ::setenv("IPCPP_DIRECTORY", "/nonexistent", 1);
  std::string message;
  EXPECT_NE(ERROR_OF(shared_object::create({.capacity_bytes = 64_KiB}), message), 0);
  EXPECT_NE(message.find("/nonexistent"), std::string::npos) << message;
  ::setenv("IPCPP_DIRECTORY", before.c_str(), 1);
}

TEST(SharedObjectFiles, AnUnnamedOneLeavesNothingBehind) {
  const own_directory place;
  {
    mapping unnamed = mapping::map(shared_object::create({.capacity_bytes = 64_MiB}));
    ASSERT_TRUE(unnamed.commit(0, 32_MiB));
  }
  EXPECT_EQ(place.files(), std::vector<std::string>{});
}

TEST(SharedObjectFiles, ARemovedOneLeavesNothingBehindWhenItsLastUserIsGone) {
  const own_directory place;
  {
    mapping user = mapping::map(shared_object::create({.capacity_bytes = 64_MiB}));
    ASSERT_TRUE(user.commit(0, 32_MiB));
    shared_object object = user.object().again();
    object.publish("x");
    mapping second = mapping::map(shared_object::open("x"));
    EXPECT_TRUE(shared_object::remove("x"));
    ASSERT_TRUE(user.commit(32_MiB, 16_MiB)) << "a removed object still grows";
    user.base()[40_MiB] = std::byte{1};
    ASSERT_TRUE(second.adopt(48_MiB));
    EXPECT_EQ(second.base()[40_MiB], std::byte{1});
  }
  EXPECT_EQ(place.files(), std::vector<std::string>{});
}

TEST(SharedObjectFiles, WhatAKilledCreatorLeftIsSweptByTheNext) {
  const own_directory place;
  for (int i = 0; i < 3; ++i) {
    test::child creator("unfinished_creator");
    ASSERT_EQ(creator.hear(), "ready");
    creator.kill();
  }
  {
    shared_object::create({.capacity_bytes = 64_KiB}).publish("next");
  }
  EXPECT_TRUE(shared_object::remove("next"));
  EXPECT_EQ(place.files(), std::vector<std::string>{});
}

TEST(SharedObjectFiles, NamesOfMemoryFitInto31CharactersWithARegistry) {
  if (!registry_names()) GTEST_SKIP() << "only with IPCPP_PLATFORM_VARIANT=registry_names";
  const own_directory place;
  mapping user = mapping::map(shared_object::create({.capacity_bytes = 64_MiB}));
  ASSERT_TRUE(user.commit(0, 1_MiB));
  shared_object object = user.object().again();
  object.publish(std::string(128, 'n'));
  int memory_files = 0;
  for (const auto& file : place.files()) {
    if (file.starts_with("ipcpp.") || file.starts_with(".ipcpp.")) continue;
    ++memory_files;
    EXPECT_LE(file.size() + 1, 31u) << file;
  }
  EXPECT_GE(memory_files, 1);
}

TEST(SharedObjectFiles, ANameThatLostItsMemoryInARebootIsNotFoundAndMakesRoom) {
  if (!registry_names()) GTEST_SKIP() << "only with IPCPP_PLATFORM_VARIANT=registry_names";
  const own_directory place;
  const auto lose_all_memory = [&] {
    for (const auto& file : place.files())
      if (!file.starts_with("ipcpp.") && !file.starts_with(".ipcpp."))
        ::unlink((place.path + "/" + file).c_str());
  };
  shared_object::create({.capacity_bytes = 64_MiB}).publish("x");
  lose_all_memory();
  EXPECT_ERROR(shared_object::open("x"), not_found);
  EXPECT_EQ(place.files(), std::vector<std::string>{}) << "whoever finds it removes it";
  shared_object::create({.capacity_bytes = 64_MiB}).publish("x");
  lose_all_memory();
  shared_object next = shared_object::create({.capacity_bytes = 64_MiB});
  EXPECT_NO_THROW(next.publish("x"));
  EXPECT_EQ(shared_object::open("x").id(), next.id());
  EXPECT_TRUE(shared_object::remove("x"));
}

TEST(SharedObjectFiles, OnePassedOverASocketIsTheSameMemory) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  mapping place = mapping::map(shared_object::create({.capacity_bytes = 64_MiB}));
  ASSERT_TRUE(place.commit(0, 1_MiB));
  std::strcpy(reinterpret_cast<char*>(place.base() + 1000), "by socket");
  const auto message_for = [](iovec& data, char* control, std::size_t bytes) {
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = bytes;
    return message;
  };
  char byte = 'x';
  iovec data{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message = message_for(data, control, sizeof control);
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  const int sent = place.object().native_handle();
  std::memcpy(CMSG_DATA(header), &sent, sizeof sent);
  ASSERT_EQ(::sendmsg(ends[0], &message, 0), 1);
  const int status = test::in_forked_child([&] {
    iovec in{&byte, 1};
    msghdr received = message_for(in, control, sizeof control);
    if (::recvmsg(ends[1], &received, 0) != 1) return 1;
    int handle = -1;
    std::memcpy(&handle, CMSG_DATA(CMSG_FIRSTHDR(&received)), sizeof handle);
    mapping theirs = mapping::map(shared_object::from_handle(handle));
    if (theirs.object().id() != place.object().id()) return 2;
    if (std::strcmp(reinterpret_cast<char*>(theirs.base() + 1000), "by socket") != 0) return 3;
    if (!theirs.commit(1_MiB, 1_MiB)) return 4;
    std::strcpy(reinterpret_cast<char*>(theirs.base() + 2_MiB - 100), "answer");
    return 0;
  });
  EXPECT_EQ(status, 0);
  ASSERT_TRUE(place.adopt(2_MiB));
  EXPECT_STREQ(reinterpret_cast<char*>(place.base() + 2_MiB - 100), "answer");
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST(SharedObjectFiles, AHandleOfSomethingElseIsRefused) {
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  EXPECT_ERROR(shared_object::from_handle(null), damaged);
}

TEST(SharedObjectFiles, WhoeverClosesOurDescriptorsHarmsNobodysFiles) {
  const int status = test::in_forked_child([] {
    const std::string name = test::unique_name();
    const std::string victim = directory() + "/victim." + name;
    mapping named = mapping::map(shared_object::create({.capacity_bytes = 64_MiB}));
    {
      shared_object object = named.object().again();
      object.publish(name);
    }
    mapping opened = mapping::map(shared_object::open(name));
    mapping unnamed = mapping::map(shared_object::create({.capacity_bytes = 64_MiB}));
    ::syscall(SYS_close_range, 3u, ~0u, 0u);
    // The numbers now belong to the user's own files.
    for (int i = 0; i < 32; ++i)
      if (::open(victim.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600) < 0) return 1;
    if (!opened.commit(0, 8_MiB)) return 2;  // found again by its name
    std::memset(opened.base() + 4096, 1, 8_MiB - 4096);
    std::string message;
    // Found again by its hidden name where it has one; refused, and nothing harmed, where it has
    // none.
    try {
      if (!unnamed.commit(0, 8_MiB)) return 3;
    } catch (const ipcpp::error& e) {
      if (e.kind() != ipcpp::errc::system_failure) return 4;
    }
    struct stat facts{};
    if (::stat(victim.c_str(), &facts) != 0 || facts.st_size != 0) return 5;
    shared_object::remove(name);
    ::unlink(victim.c_str());
    return 0;
  });
  EXPECT_EQ(status, 0);
}

TEST(SharedObjectFiles, AForkedChildGoesOnUsingWhatItsParentMapped) {
  mapping place = mapping::map(shared_object::create({.capacity_bytes = 64_MiB}));
  ASSERT_TRUE(place.commit(0, 1_MiB));
  place.private_area()[0] = std::byte{7};
  const int status = test::in_forked_child([&] {
    if (place.private_area()[0] != std::byte{0}) return 1;
    place.private_area()[0] = std::byte{9};
    if (!place.commit(1_MiB, 1_MiB)) return 2;
    place.base()[1_MiB + 5] = std::byte{3};
    return 0;
  });
  EXPECT_EQ(status, 0);
  ASSERT_TRUE(place.adopt(2_MiB));
  EXPECT_EQ(place.base()[1_MiB + 5], std::byte{3});
  EXPECT_EQ(place.private_area()[0], std::byte{7});
}
