// Two programs, made by different compilers with different standard libraries, share one segment.
//
//   two_compilers PROGRAM     makes a segment, has PROGRAM (this source, from another compiler) work in it,
//                             looks at what it left; exit status 0 if all was right
//   two_compilers meet NAME   what PROGRAM is asked to do
//
// Types of ours are the same from every compiler and work from both sides: read, changed, grown, sent. What
// a standard library lays out is found by programs built with that library, and refused by the others with
// wrong_type and a message that names both libraries. `./dev matrix two-compilers` runs GCC 16 with libstdc++
// against Clang 19 with libc++, in both directions; each build also runs itself against itself.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>
#ifndef _WIN32
#include <unistd.h>
#else
#include <process.h>
#endif

import ipcpp;

using namespace ipcpp::literals;

namespace desk {

enum class side : std::uint8_t { buy, sell };

struct order {
  std::uint64_t number;
  double price;
  side what;
};

struct account {
  ipcpp::string owner;
  ipcpp::vector<order> orders;
};

}  // namespace desk

namespace {

using standard_vector = std::vector<std::uint32_t, ipcpp::allocator<std::uint32_t>>;
using book = ipcpp::map<ipcpp::string, ipcpp::vector<desk::order>>;
using index_by_name = ipcpp::unordered_map<ipcpp::string, std::uint64_t>;
using shared_counts = ipcpp::concurrent_map<std::uint64_t, std::uint64_t>;

constexpr std::string_view library =
#ifdef _LIBCPP_VERSION
    "libc++";
#else
    "libstdc++";
#endif

int failures = 0;

void check(bool good, std::string_view what) {
  if (good) return;
  std::fprintf(stderr, "two_compilers (%s): wrong: %s\n", std::string(library).c_str(),
               std::string(what).c_str());
  ++failures;
}

// Longer than any small buffer.
const char* const long_text = "a text that is longer than what any string keeps inside itself";

void make(ipcpp::segment& segment) {
  segment.construct<std::uint64_t>("count", std::uint64_t{1});
  segment.construct<desk::order>("order", desk::order{7, 1.5, desk::side::sell});
  segment.construct<ipcpp::string>("text", long_text);
  auto& orders = segment.construct<book>("book");
  orders["gcc"].push_back({1, 2.5, desk::side::buy});
  auto& numbers = segment.construct<index_by_name>("numbers");
  numbers["first"] = 1;
  auto& account = segment.construct<desk::account>("account");
  account.owner = long_text;
  account.orders.push_back({2, 3.5, desk::side::sell});
  segment.construct<shared_counts>("counts").insert(1, 10);
  segment.construct<ipcpp::mutex>("lock");
  segment.construct<ipcpp::synchronized<desk::order>>("guarded",
                                                      desk::order{9, 4.5, desk::side::buy});
  segment.construct<ipcpp::mpmc_queue<desk::order>>("queue", std::size_t{16});
  segment.construct<standard_vector>("standard").push_back(5);
  const std::string_view made_by = library;
  segment.construct<ipcpp::string>("made by", made_by);
}

int meet(const std::string& name) {
  auto segment = ipcpp::segment::open(name);
  auto* const count = segment.find<std::uint64_t>("count");
  auto* const order = segment.find<desk::order>("order");
  auto* const text = segment.find<ipcpp::string>("text");
  auto* const orders = segment.find<book>("book");
  auto* const numbers = segment.find<index_by_name>("numbers");
  auto* const account = segment.find<desk::account>("account");
  auto* const counts = segment.find<shared_counts>("counts");
  auto* const lock = segment.find<ipcpp::mutex>("lock");
  auto* const guarded = segment.find<ipcpp::synchronized<desk::order>>("guarded");
  auto* const queue = segment.find<ipcpp::mpmc_queue<desk::order>>("queue");
  check(
      count && order && text && orders && numbers && account && counts && lock && guarded && queue,
      "an object was not found");
  if (failures != 0) return 1;

  check(*count == 1, "count");
  ++*count;
  check(order->number == 7 && order->price == 1.5 && order->what == desk::side::sell, "order");
  check(std::string_view(text->data(), text->size()) == long_text, "text");
  *text += " and longer";
  check(orders->size() == 1 && (*orders)["gcc"].at(0).number == 1, "book");
  for (std::uint64_t i = 0; i < 100; ++i) {
    const std::string key = "key " + std::to_string(i);
    (*orders)[ipcpp::string(key.c_str())].push_back({i, 0.5, desk::side::buy});
    (*numbers)[ipcpp::string(key.c_str())] = i;
    counts->insert(100 + i, i);
  }
  check(numbers->at("first") == 1, "numbers");
  check(account->owner.size() == std::string_view(long_text).size() && account->orders.size() == 1,
        "account");
  account->orders.push_back({3, 1.25, desk::side::buy});
  check(counts->find(1).value_or(0) == 10, "counts");
  guarded->with([](desk::order& inside) { inside.number += 1; });
  auto sender = queue->sender();
  for (std::uint64_t i = 0; i < 5; ++i) sender.send({i, 0.25, desk::side::sell});

  const auto* const maker = segment.find<ipcpp::string>("made by");
  const bool same = maker != nullptr && std::string_view(maker->data(), maker->size()) == library;
  try {
    auto* const standard = segment.find<standard_vector>("standard");
    check(same, "a std::vector of another standard library was let in");
    if (same) {
      check(standard != nullptr && standard->at(0) == 5, "standard");
      standard->push_back(6);
    }
  } catch (const ipcpp::error& e) {
    const std::string said = e.what();
    std::printf("refused: %s\n", said.c_str());
    check(!same, "a std::vector of the same library was refused");
    check(e.code() == ipcpp::make_error_code(ipcpp::errc::wrong_type), "another error");
    check(said.find("libc++") != std::string::npos && said.find("libstdc++") != std::string::npos,
          "the message does not name both libraries");
  }
  std::fflush(stdout);
  if (failures == 0) lock->lock();
  std::_Exit(failures == 0 ? 0 : 1);  // dies with the lock held
}

int share_with(const std::string& partner) {
#ifdef _WIN32
  const std::string name = "two-compilers." + std::to_string(_getpid());
#else
  const std::string name = "two-compilers." + std::to_string(::getpid());
#endif
  auto segment = ipcpp::segment::create(name, {.max_size = 64_MiB});
  make(segment);
  const std::string command = "\"" + partner + "\" meet " + name;
  check(std::system(command.c_str()) == 0, "the other program failed");
  if (failures != 0) return 1;

  check(*segment.find<std::uint64_t>("count") == 2, "count");
  const auto& text = *segment.find<ipcpp::string>("text");
  check(std::string(text.data(), text.size()) == std::string(long_text) + " and longer", "text");
  auto& orders = *segment.find<book>("book");
  check(orders.size() == 101 && orders.at("key 42").at(0).number == 42, "book");
  auto& numbers = *segment.find<index_by_name>("numbers");
  check(numbers.size() == 101 && numbers.at("key 99") == 99, "numbers");
  check(segment.find<desk::account>("account")->orders.at(1).number == 3, "account");
  check(segment.find<shared_counts>("counts")->find(150).value_or(0) == 50, "counts");
  check(segment.find<ipcpp::synchronized<desk::order>>("guarded")->with(
            [](desk::order& inside) { return inside.number; }) == 10,
        "guarded");
  auto receiver = segment.find<ipcpp::mpmc_queue<desk::order>>("queue")->receiver();
  for (std::uint64_t i = 0; i < 5; ++i) {
    const auto got = receiver.try_receive();
    check(got && got->number == i && got->price == 0.25, "queue");
  }
  try {
    segment.find<ipcpp::mutex>("lock")->lock();
    check(false, "nobody told that the lock's owner died");
  } catch (const ipcpp::error& e) {
    check(e.code() == ipcpp::make_error_code(ipcpp::errc::owner_died), "lock: another error");
  }
  const auto report = segment.heap().check();
  check(static_cast<bool>(report), report.message());
  return failures == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc == 3 && std::string_view(argv[1]) == "meet") return meet(argv[2]);
    if (argc == 2) return share_with(argv[1]);
    std::fprintf(stderr, "usage: two_compilers PROGRAM\n");
    return 2;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "two_compilers (%s): %s\n", std::string(library).c_str(), e.what());
    return 1;
  }
}
