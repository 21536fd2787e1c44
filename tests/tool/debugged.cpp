// What the debugger's views are tested on: see debugger_test.cpp.
#include <cstdio>
#include <utility>
#include <vector>

import ipcpp;

using namespace ipcpp::literals;

int main() {
  auto place = ipcpp::segment::anonymous({.max_size = 4_MiB});
  using text = ipcpp::string;
  int target = 4711;
  ipcpp::offset_ptr<int> pointer(&target);
  ipcpp::offset_ptr<int> nowhere;
  auto& word = place.construct<text>("word", "short");
  auto& sentence =
      place.construct<text>("sentence", "a sentence longer than the inside of a string");
  auto& numbers = place.construct<ipcpp::vector<int>>("numbers");
  for (int i = 1; i <= 3; ++i) numbers.push_back(i * 11);
  auto& chain = place.construct<ipcpp::list<int>>("chain");
  for (int i = 1; i <= 3; ++i) chain.push_back(i * 7);
  auto& prices = place.construct<ipcpp::unordered_map<int, double>>("prices");
  prices.insert({42, 2.5});
  auto& sorted = place.construct<ipcpp::map<int, int>>("sorted");
  for (int i = 5; i > 0; --i) sorted.insert({i, i * 100});
  auto& known = place.construct<ipcpp::set<int>>("known");
  auto& seen = place.construct<ipcpp::unordered_set<int>>("seen");
  auto& row = place.construct<ipcpp::deque<int>>("row");
  for (int i = 1; i <= 300; ++i) row.push_back(i);  // into a second block
  for (int i = 0; i > -3; --i) row.push_front(i);   // and into one before the first
  for (int i = 4; i <= 299; ++i) row.pop_back();
  auto& line = place.construct<ipcpp::forward_list<int>>("line");
  auto& flat = place.construct<ipcpp::flat_set<int>>("flat");
  auto& few = place.construct<ipcpp::flat_map<int, double>>("few");
  for (int i = 3; i > 0; --i) {
    known.insert(i * 13);
    line.push_front(i * 17);
    flat.insert(i * 19);
    few.insert({i, i * 0.5});
  }
  seen.insert(23);
  ipcpp::heap_ptr<int> far;
  std::puts("here");  // the breakpoint
  return *pointer == target && !nowhere && !word.empty() && !sentence.empty() &&
                 numbers.size() == 3 && chain.size() == 3 && prices.size() == 1 &&
                 sorted.size() == 5 && known.size() == 3 && seen.size() == 1 && row.size() == 7 &&
                 !line.empty() && flat.size() == 3 && few.size() == 3 &&
                 far == ipcpp::heap_ptr<int>()
             ? 0
             : 1;
}
