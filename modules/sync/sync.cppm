// ipcpp.sync - who takes part and who still lives; on that, locks that survive their owner.
//
//   participants   the table of processes and handles that everything shared keeps
//   address_map    which mapping of this process does an address lie in?
//   waiting        sleep until shared memory has changed, wake whoever sleeps (for the layers above)
//
//   mutex, recursive_mutex, shared_mutex, condition_variable, counting_semaphore, latch, barrier,
//   once_flag, synchronized<T>: docs/locks.md
module;

// GCC 16.0 (MinGW's) cannot read std::array and std::string back from a module that got them from its partitions
// alone: "failed to read compiled module cluster: Bad file data".
#if defined(__GNUC__) && !defined(__clang__)
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>
#endif

export module ipcpp.sync;

export import :participants;
export import :participants_picture;
export import :lock_picture;
export import :address_map;
export import :fork_safe_lock;
export import :waiting;
export import :mutex;
export import :recursive_mutex;
export import :shared_mutex;
export import :condition_variable;
export import :semaphore;
export import :latch;
export import :barrier;
export import :once;
export import :synchronized;
