// malloc_worker_mimalloc: mimalloc as Debian builds it, called by its own names.
#include <mimalloc.h>

#include "private_worker.hpp"

struct mimalloc_functions {
  static void* allocate(std::size_t bytes) { return mi_malloc(bytes); }
  static void deallocate(void* block) { mi_free(block); }
  static void* reallocate(void* block, std::size_t bytes) { return mi_realloc(block, bytes); }
};

int main(int count, char** arguments) {
  return malloc_bench::worker_main<malloc_bench::private_backend<mimalloc_functions>>(count,
                                                                                      arguments);
}
