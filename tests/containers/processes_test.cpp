// One process builds each container, another one walks, changes and destroys it, at another address;
// then the first goes on with what the other left.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "roles.hpp"

#include "containers.hpp"

namespace platform = ipcpp::platform;
using ipcpp::string;
using namespace ipcpp::literals;

namespace {

// All containers, nested in each other.
struct everything {
  ipcpp::vector<string> vector;
  ipcpp::vector<char> bytes;
  ipcpp::deque<string> deque;
  ipcpp::list<string> list;
  ipcpp::forward_list<string> forward_list;
  ipcpp::map<string, string> map;
  ipcpp::multimap<string, string> multimap;
  ipcpp::set<string> set;
  ipcpp::multiset<string> multiset;
  ipcpp::unordered_map<string, string> unordered_map;
  ipcpp::unordered_multimap<string, string> unordered_multimap;
  ipcpp::unordered_set<string> unordered_set;
  ipcpp::unordered_multiset<string> unordered_multiset;
  ipcpp::map<string, ipcpp::vector<ipcpp::unordered_map<string, ipcpp::list<string>>>> deep;

  template <class F>
  void each(F f) {
    f(vector);
    f(bytes);
    f(deque);
    f(list);
    f(forward_list);
    f(map);
    f(multimap);
    f(set);
    f(multiset);
    f(unordered_map);
    f(unordered_multimap);
    f(unordered_set);
    f(unordered_multiset);
  }
};

// The same changes on all, from this seed on.
void change_all(everything& all, unsigned seed) {
  all.each([&]<class C>(C& one) {
    std::mt19937 random(seed);
    for (int i = 0; i < 200; ++i) {
      C other;
      for (std::size_t k = random() % 6, n = 0; n < k; ++n) test::add(other, random() % 60);
      const std::size_t what = random();
      test::change(one, what, random() % 60, other);
    }
  });
  for (unsigned i = 0; i < 20; ++i)
    all.deep[test::text_of(i % 5)].emplace_back()[test::text_of(seed + i)].push_back(
        test::text_of(i));
}

std::string summary(everything& all) {
  std::string text;
  all.each([&](auto& one) {
    for (const std::string& element : test::contents(one)) text += element + ",";
    text += ";";
  });
  for (const auto& [name, shelves] : all.deep)
    for (const auto& shelf : shelves)
      for (const auto& [key, texts] : shelf)
        for (const string& one : texts)
          text += std::string(name) + std::string(key) + std::string(one);
  return std::to_string(ipcpp::hash<std::string_view>{}(text)) + " " + std::to_string(text.size());
}

}  // namespace

ROLE(containers_user) {
  // Something else lies where the test has its mapping: this one is elsewhere, unless chance has it.
  const platform::mapping other =
      platform::mapping::map(platform::shared_object::create({.capacity_bytes = 64_MiB}));
  platform::mapping place = platform::mapping::map(platform::shared_object::open(args.at(0)));
  ipcpp::object_source source(place);
  ipcpp::heap heap = ipcpp::heap::open(source);
  test::say(std::to_string(reinterpret_cast<std::uintptr_t>(place.base())));
  for (std::string line; test::hear(line);) {
    ipcpp::heap_ptr<everything> reference;
    const std::uint64_t offset = std::stoull(line.substr(line.find(' ') + 1));
    std::memcpy(static_cast<void*>(&reference), &offset, sizeof offset);
    everything& all = *reference.in(heap);
    if (line.starts_with("sum")) test::say(summary(all));
    if (line.starts_with("change")) {
      change_all(all, 2);
      test::say(summary(all));
    }
    if (line.starts_with("destroy")) {
      std::destroy_at(&all);
      heap.deallocate(&all);
      test::say("destroyed");
    }
  }
  return 0;
}

TEST(ContainersInProcesses, WhatOneBuildsAnotherWalksChangesAndDestroys) {
  const std::string name = test::unique_name();
  auto object = platform::shared_object::create({.capacity_bytes = 64_MiB});
  platform::mapping place = platform::mapping::map(object.again());
  ipcpp::object_source source(place);
  ipcpp::heap heap = ipcpp::heap::create(source);
  object.publish(name);
  struct removal {
    std::string name;
    ~removal() { platform::shared_object::remove(name); }
  } const at_the_end{name};
  test::child user("containers_user", {name});
  const std::string address = user.hear();
  EXPECT_NE(address, std::to_string(reinterpret_cast<std::uintptr_t>(place.base())));

  const std::size_t blocks = heap.statistics().blocks_in_use;
  ipcpp::vector<everything> maker(heap);  // builds it with the heap's memory
  maker.emplace_back();
  everything& all = maker.front();
  EXPECT_EQ(all.unordered_map.get_allocator(), ipcpp::allocator<char>(heap));
  change_all(all, 1);
  const std::string reference = std::to_string(ipcpp::heap_ptr<everything>(heap, all).offset());
  user.say("sum " + reference);
  EXPECT_EQ(user.hear(), summary(all));

  everything here;  // the same changes in private memory
  change_all(here, 1);
  EXPECT_EQ(summary(here), summary(all));
  user.say("change " + reference);
  const std::string theirs = user.hear();
  EXPECT_EQ(theirs, summary(all));
  change_all(here, 2);
  EXPECT_EQ(theirs, summary(here));
  change_all(all, 3);
  change_all(here, 3);
  EXPECT_EQ(summary(all), summary(here));
  EXPECT_TRUE(heap.check());

  ipcpp::list<everything> other(heap);
  other.emplace_back(std::move(all));
  maker.clear();
  maker.shrink_to_fit();
  auto* const alone = new (heap.allocate(sizeof(everything))) everything(std::move(other.front()));
  other.clear();
  user.say("destroy " + std::to_string(ipcpp::heap_ptr<everything>(heap, *alone).offset()));
  EXPECT_EQ(user.hear(), "destroyed");
  EXPECT_EQ(user.wait(), 0);
  EXPECT_EQ(heap.statistics().blocks_in_use, blocks);
  EXPECT_TRUE(heap.check());
}
