// malloc_worker_boost: Boost.Interprocess, a managed_shared_memory with its default algorithm
// (rbtree_best_fit) and its default mutex.
//
// The object is called malloc_benchmark.PID after the first process; the driver removes the name
// should the process not come to it.
#include <cstring>
#include <string>
#include <vector>

#include <boost/interprocess/managed_shared_memory.hpp>

#include "worker.hpp"

namespace bip = boost::interprocess;

struct boost_backend {
  static constexpr bool shared = true;
  using segment = bip::managed_shared_memory;

  struct session {
    segment* memory;

    void* allocate(std::size_t bytes) { return memory->allocate(bytes); }
    void deallocate(void* block) { memory->deallocate(block); }
    void* reallocate(void* block, std::size_t old_bytes, std::size_t bytes) {
      auto* reused = static_cast<unsigned char*>(block);
      std::size_t got = bytes;
      unsigned char* now = memory->get_segment_manager()->allocation_command(
          bip::expand_fwd | bip::allocate_new, bytes, got, reused);
      if (reused != nullptr) return now;
      std::memcpy(now, block, old_bytes);
      memory->deallocate(block);
      return now;
    }
    void* allocate_from(unsigned, std::size_t bytes) { return allocate(bytes); }
    void deallocate_to(unsigned, void* block) { deallocate(block); }
    [[nodiscard]] std::uint64_t number_of(void* block) const {
      return static_cast<std::uint64_t>(memory->get_handle_from_address(block));
    }
    [[nodiscard]] void* block_of(std::uint64_t number) const {
      return memory->get_address_from_handle(static_cast<segment::handle_t>(number));
    }
  };

  explicit boost_backend(const malloc_bench::run_plan& plan)
      : name_(plan.heap.empty() ? "malloc_benchmark." + std::to_string(getpid()) : plan.heap),
        owner_(plan.heap.empty()),
        memory_(owner_ ? segment(bip::create_only, name_.c_str(),
                                 plan.capacity != 0 ? plan.capacity : std::size_t{1} << 30)
                       : segment(bip::open_only, name_.c_str())) {}
  ~boost_backend() {
    if (owner_) bip::shared_memory_object::remove(name_.c_str());
  }
  void hand_on(std::vector<std::string>& arguments) {
    arguments.insert(arguments.end(), {"--heap", name_});
  }
  session enter() { return {&memory_}; }
  [[nodiscard]] std::size_t footprint() const { return 0; }

 private:
  std::string name_;
  bool owner_;
  segment memory_;
};

int main(int count, char** arguments) {
  return malloc_bench::worker_main<boost_backend>(count, arguments);
}
