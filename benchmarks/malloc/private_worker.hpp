// The backend of allocators that serve one process: mimalloc, jemalloc, glibc. `Functions` has
// static allocate, deallocate and reallocate.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "worker.hpp"

namespace malloc_bench {

template <class Functions>
struct private_backend {
  static constexpr bool shared = false;

  struct session {
    void* allocate(std::size_t bytes) { return Functions::allocate(bytes); }
    void deallocate(void* block) { Functions::deallocate(block); }
    void* reallocate(void* block, std::size_t, std::size_t bytes) {
      return Functions::reallocate(block, bytes);
    }
    void* allocate_from(unsigned, std::size_t bytes) { return Functions::allocate(bytes); }
    void deallocate_to(unsigned, void* block) { Functions::deallocate(block); }
    [[nodiscard]] std::uint64_t number_of(void* block) const {
      return reinterpret_cast<std::uint64_t>(block);
    }
    [[nodiscard]] void* block_of(std::uint64_t number) const {
      return reinterpret_cast<void*>(number);
    }
  };

  explicit private_backend(const run_plan&) {}
  void hand_on(std::vector<std::string>&) {}
  session enter() { return {}; }
  [[nodiscard]] std::size_t footprint() const { return 0; }
};

}  // namespace malloc_bench
