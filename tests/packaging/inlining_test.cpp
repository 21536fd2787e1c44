// A function that is defined in a class of a named module is not inline by itself, as it would be in a
// header: whoever imports it calls it. So every function in an interface says `inline` (or constexpr, or
// is a template), and an object file of an interface defines nothing that the linker may see only once.
#include <gtest/gtest.h>

#include <filesystem>
#include <sstream>
#include <string>

#include "roles.hpp"

namespace fs = std::filesystem;

TEST(Interfaces, DefineInlineFunctionsOnly) {
#ifdef _WIN32
  GTEST_SKIP() << "object files are another kind here, and other systems build the same interfaces";
#endif
  if (test::run({"nm", "--version"}).status != 0) GTEST_SKIP() << "no nm here";
  std::size_t objects = 0;
  const fs::path units = fs::path(IPCPP_BINARY_DIR) / "CMakeFiles" / "ipcpp.dir";
  for (const fs::path folder : {"modules", "platform"})
    for (const auto& entry : fs::recursive_directory_iterator(units / folder)) {
      if (!entry.path().filename().string().ends_with(".cppm.o")) continue;
      ++objects;
      std::istringstream lines(test::run({"nm", entry.path().string()}).output);
      for (std::string line; std::getline(lines, line);) {
        const std::size_t kind = line.find(" T _Z");
        if (kind == std::string::npos || line.find(" T _ZGI") != std::string::npos) continue;
        ADD_FAILURE() << entry.path().filename().string() << " defines " << line.substr(kind + 3)
                      << ", which is not inline: importers call it";
      }
    }
  EXPECT_GT(objects, 50u);
}
