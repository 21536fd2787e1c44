// malloc_worker_glibc, and malloc_worker_jemalloc, which is linked with jemalloc's malloc (Debian's
// has no names of its own). Compiled with -fno-builtin: Clang knows malloc and would remove it.
#include <cstdlib>

#include "private_worker.hpp"

struct malloc_functions {
  static void* allocate(std::size_t bytes) { return std::malloc(bytes); }
  static void deallocate(void* block) { std::free(block); }
  static void* reallocate(void* block, std::size_t bytes) { return std::realloc(block, bytes); }
};

int main(int count, char** arguments) {
  return malloc_bench::worker_main<malloc_bench::private_backend<malloc_functions>>(count,
                                                                                    arguments);
}
