// What must not compile: each REFUSED_... makes one program, which the compiler has to refuse with
// our message (tests/containers/CMakeLists.txt says which). Without any of them it compiles.
#include <functional>
#include <initializer_list>
#include <list>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

import ipcpp;

void use(ipcpp::heap& heap) {
#if defined(REFUSED_STD_STRING)
  std::basic_string<char, std::char_traits<char>, ipcpp::allocator<char>> text(heap);
  text = "text";
#elif defined(REFUSED_STD_UNORDERED_MAP)
  std::unordered_map<int, int, std::hash<int>, std::equal_to<int>,
                     ipcpp::allocator<std::pair<const int, int>>>
      map(ipcpp::allocator<int>{heap});
  map[1] = 2;
#elif defined(REFUSED_STD_UNORDERED_SET)
  std::unordered_multiset<int, std::hash<int>, std::equal_to<int>, ipcpp::allocator<int>> set(
      ipcpp::allocator<int>{heap});
  set.insert(1);
#elif defined(REFUSED_POINTERS)
  ipcpp::vector<int*> pointers(heap);
#elif defined(REFUSED_STD_STRING_ELEMENTS)
  ipcpp::map<int, std::string> names(heap);
#elif defined(REFUSED_UNIQUE_PTR)
  ipcpp::list<std::unique_ptr<int>> pointers(heap);
#elif defined(REFUSED_VIEWS)
  ipcpp::unordered_set<std::string_view> views(heap);
#elif defined(REFUSED_DEQUE_OF_REFERENCES)
  ipcpp::deque<std::reference_wrapper<int>> references(heap);
#elif defined(REFUSED_STD_VECTOR_OF_POINTERS)
  std::vector<int*, ipcpp::allocator<int*>> pointers(heap);
  pointers.push_back(nullptr);
#else
  std::vector<int, ipcpp::allocator<int>> numbers(heap);
  numbers.push_back(1);
#endif
}
