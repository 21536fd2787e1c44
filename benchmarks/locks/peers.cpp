// The mutexes we compare with.
#include <memory>
#include <new>
#include <vector>
#include <pthread.h>
#include <sys/mman.h>

#include "workloads.hpp"

#if __has_include(<boost/interprocess/sync/interprocess_mutex.hpp>)
#include <boost/interprocess/sync/interprocess_mutex.hpp>
#define WITH_BOOST 1
#endif

namespace locks {

namespace {

template <bool robust>
struct pthread_lock {
  pthread_lock() {
    pthread_mutexattr_t how;
    ::pthread_mutexattr_init(&how);
    ::pthread_mutexattr_setpshared(&how, PTHREAD_PROCESS_SHARED);
    if (robust) ::pthread_mutexattr_setrobust(&how, PTHREAD_MUTEX_ROBUST);
    ::pthread_mutex_init(&mutex_, &how);
  }
  void lock() { ::pthread_mutex_lock(&mutex_); }
  void unlock() { ::pthread_mutex_unlock(&mutex_); }

  pthread_mutex_t mutex_;
};

template <class T>
candidate make(const char* name) {
  void* const memory =
      ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return {name, alone<T>, contended<T>, new (memory) T};
}

}  // namespace

std::vector<candidate> peers() {
  std::vector<candidate> all{make<pthread_lock<false>>("pthread, process-shared"),
                             make<pthread_lock<true>>("pthread, robust")};
#if defined(WITH_BOOST)
  all.push_back(make<boost::interprocess::interprocess_mutex>("boost::interprocess"));
#endif
  return all;
}

}  // namespace locks
