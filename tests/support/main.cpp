// The program `tests`: the whole suite, by hand or by ctest.
//
//   tests                       everything, then, on Linux, the platform's variants again with what
//   depends on them tests --gtest_filter=...    as in any GoogleTest program; then only the variant
//   of the environment runs tests --role=NAME ARGS      a child process of a test IPCPP_PROVE=full
//   tests      the crash tests at every instruction instead of at every change
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "roles.hpp"

int main(int argc, char** argv) {
  int status = 0;
  if (test::ran_as_role(argc, argv, status)) return status;
  const bool by_hand = argc == 1;
  testing::InitGoogleTest(&argc, argv);
  // Listing must not start a caretaker: it would outlive us, and who reads the list waits for the
  // end of our output.
  if (!GTEST_FLAG_GET(list_tests)) test::prepare_directory();
  status = RUN_ALL_TESTS();
#ifdef __linux__
  if (by_hand && std::getenv("IPCPP_PLATFORM_VARIANT") == nullptr) {
    for (const char* variant :
         {"several_objects", "registry_names", "several_objects,registry_names"}) {
      std::printf("\n==== the same with IPCPP_PLATFORM_VARIANT=%s\n", variant);
      std::fflush(stdout);
      ::setenv("IPCPP_PLATFORM_VARIANT", variant, 1);
      const std::string command = "'" + test::own_path() + "' --gtest_filter='" VARIANT_FILTER "'";
      if (std::system(command.c_str()) != 0) status = 1;
    }
  }
#else
  (void)by_hand;
#endif
  return status;
}
