// malloc_worker_ipcpp: a heap over a shared object, used through ipcpp::heap (--via heap) or through
// ipcpp::allocator<std::byte> (--via allocator).
//
// Through the allocator, and for the workload pair4, four heaps are in use in the process.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include <unistd.h>

#include "worker.hpp"

import ipcpp;
import ipcpp.platform;

namespace platform = ipcpp::platform;
using malloc_bench::run_plan;

// One heap with what it lies in.
class shared_heap {
 public:
  static constexpr int none = -1;

  shared_heap(std::size_t capacity, int received)
      : place_(platform::mapping::map(
            received == none ? platform::shared_object::create({.capacity_bytes = capacity})
                             : platform::shared_object::from_handle(received))),
        source_(place_),
        heap_(received == none ? ipcpp::heap::create(source_) : ipcpp::heap::open(source_)) {}

  [[nodiscard]] ipcpp::heap& heap() { return heap_; }
  [[nodiscard]] std::byte* base() const { return place_.base(); }
  [[nodiscard]] int handle() const { return place_.object().native_handle(); }

 private:
  platform::mapping place_;
  ipcpp::object_source source_;
  ipcpp::heap heap_;
};

// What both ways have in common.
struct shared_names {
  std::byte* base;

  [[nodiscard]] std::uint64_t number_of(void* block) const {
    return static_cast<std::uint64_t>(static_cast<std::byte*>(block) - base);
  }
  [[nodiscard]] void* block_of(std::uint64_t number) const { return base + number; }
};

class backend_base {
 public:
  static constexpr bool shared = true;

  backend_base(const run_plan& plan, bool several)
      : first_(plan.capacity, plan.heap.empty() ? shared_heap::none : std::stoi(plan.heap)) {
    if (!several) return;
    for (int i = 1; i < 4; ++i)
      more_.push_back(std::make_unique<shared_heap>(plan.capacity, shared_heap::none));
  }
  void hand_on(std::vector<std::string>& arguments) {
    if (inherited_ < 0) inherited_ = dup(first_.handle());  // not close-on-exec
    arguments.insert(arguments.end(), {"--heap", std::to_string(inherited_)});
  }
  [[nodiscard]] std::size_t footprint() { return first_.heap().footprint(); }

 protected:
  [[nodiscard]] shared_heap& at(unsigned i) {
    return i == 0 || more_.empty() ? first_ : *more_[i - 1];
  }

 private:
  shared_heap first_;
  std::vector<std::unique_ptr<shared_heap>> more_;
  int inherited_ = -1;
};

class heap_backend : public backend_base {
 public:
  struct session : shared_names {
    ipcpp::heap* heap;
    ipcpp::heap* heaps[4];

    void* allocate(std::size_t bytes) { return heap->allocate(bytes); }
    void deallocate(void* block) { heap->deallocate(block); }
    void* reallocate(void* block, std::size_t, std::size_t bytes) {
      return heap->reallocate(block, bytes);
    }
    void* allocate_from(unsigned i, std::size_t bytes) { return heaps[i]->allocate(bytes); }
    void deallocate_to(unsigned i, void* block) { heaps[i]->deallocate(block); }
  };

  explicit heap_backend(const run_plan& plan) : backend_base(plan, plan.workload == "pair4") {}
  session enter() {
    return {{at(0).base()},
            &at(0).heap(),
            {&at(0).heap(), &at(1).heap(), &at(2).heap(), &at(3).heap()}};
  }
};

#if defined(IPCPP_HAS_ALLOCATOR)
class allocator_backend : public backend_base {
 public:
  using allocator = ipcpp::allocator<std::byte>;

  struct session : shared_names {
    allocator first;
    allocator all[4];

    void* allocate(std::size_t bytes) { return std::to_address(first.allocate(bytes)); }
    void deallocate(void* block) { give(first, block); }
    // As a container does it.
    void* reallocate(void* block, std::size_t old_bytes, std::size_t bytes) {
      void* now = allocate(bytes);
      std::memcpy(now, block, old_bytes);
      deallocate(block);
      return now;
    }
    void* allocate_from(unsigned i, std::size_t bytes) {
      return std::to_address(all[i].allocate(bytes));
    }
    void deallocate_to(unsigned i, void* block) { give(all[i], block); }

   private:
    // The workloads do not know the sizes any more; the heap does not ask.
    static void give(allocator& to, void* block) {
      using pointer = std::allocator_traits<allocator>::pointer;
      to.deallocate(std::pointer_traits<pointer>::pointer_to(*static_cast<std::byte*>(block)), 1);
    }
  };

  explicit allocator_backend(const run_plan& plan) : backend_base(plan, true) {}
  session enter() {
    session made{{at(0).base()},
                 allocator(at(0).heap()),
                 {allocator(at(0).heap()), allocator(at(1).heap()), allocator(at(2).heap()),
                  allocator(at(3).heap())}};
    for (unsigned i = 0; i < 4; ++i) made.deallocate_to(i, made.allocate_from(i, 64));
    return made;
  }
};
#endif

int main(int count, char** arguments) {
  return malloc_bench::explained([&] {
    const run_plan plan = run_plan::parse(count, arguments);
#if defined(IPCPP_HAS_ALLOCATOR)
    if (plan.via == "allocator") return malloc_bench::run<allocator_backend>(plan);
#endif
    if (plan.via != "heap") throw std::invalid_argument("no way is called " + plan.via);
    return malloc_bench::run<heap_backend>(plan);
  });
}
