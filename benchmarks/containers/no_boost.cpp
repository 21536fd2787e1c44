// In the place of boost_library.cpp where there is no Boost.
#include <vector>

#include "workloads.hpp"

namespace containers_bench {

const std::vector<workload>& boost_workloads() {
  static const std::vector<workload> none;
  return none;
}

}  // namespace containers_bench
