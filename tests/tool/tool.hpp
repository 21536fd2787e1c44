// The program `ipcpp` run as a subprocess, for its tests. Include it last: it imports ipcpp.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "roles.hpp"

import ipcpp;
import ipcpp.platform;

namespace test {

using json = nlohmann::json;

inline outcome tool(std::vector<std::string> words) {
  words.insert(words.begin(), IPCPP_TOOL);
  return run(words);
}

// With --json; parsed. Fails the test if it ends otherwise than `status` or writes no JSON.
inline json tool_json(std::vector<std::string> words, int status = 0) {
  words.emplace_back("--json");
  const outcome done = tool(std::move(words));
  EXPECT_EQ(done.status, status) << done.output;
  json found = json::parse(done.output, nullptr, false);
  EXPECT_FALSE(found.is_discarded()) << done.output;
  return found;
}

// The entry of that name in a list of objects with a "name".
inline json named(const json& list, const std::string& name) {
  for (const auto& one : list)
    if (one.at("name") == name) return one;
  ADD_FAILURE() << "no '" << name << "' in " << list.dump(1);
  return json::object();
}

// Looks again and again until it is so; false after half a minute.
inline bool eventually(const std::function<bool()>& is_so) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (std::chrono::steady_clock::now() < end) {
    if (is_so()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return is_so();
}

// A process that holds a segment: what it was told to do is done when this returns.
//   make, open    its segment
//   lines to it   see ROLE(segment_holder)
class holder {
 public:
  holder(const std::string& how, const std::string& name)
      : process_("segment_holder", {how, name}) {
    EXPECT_EQ(process_.hear(), "ready");
  }
  std::string tell(const std::string& what) {
    process_.say(what);
    return process_.hear();
  }
  void kill() { process_.kill(); }
  int leave() { return process_.wait(); }
  std::uint64_t pid() const { return process_.pid(); }

 private:
  child process_;
};

}  // namespace test
