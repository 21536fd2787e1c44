// ipcpp.platform:posix - what Linux and macOS share: descriptors, byte locks, and the store that
// names lead into.
//
// A shared object on disk (tmpfs or the like), all in one directory D:
//
//   D/ipcpp.<name>       the public name: a hard link to the anchor
//   D/.ipcpp.<id>        a second link to the anchor ("hidden name"), kept only where an object
//                        cannot be made without a name, or has more files than one
//   D/.ipcpp.<id>.<k>    growth step k >= 1, with growth::several_objects
//   D/i<id><kk>          the memory of step kk (30 characters with the slash), with registry names
//
// The anchor is what everybody opens and locks. It holds the memory itself, or, with registry names,
// only the prologue. Locks on the anchor, far behind any content, all of the open-file-description
// kind:
//
//   byte 2^62 - 1        shared: somebody has the object open or mapped
//                        exclusive: somebody is removing it
//   byte 2^62 + i        exclusive: life i, see life_line
//
// Invariants: a public name leads to a complete object. Every other file belongs to an anchor that
// has a hidden name and is reachable from its id, so whoever finds an anchor that nobody uses and
// that has no public name may sweep it. Crash story: see name_store.cpp, beside each step.
module;

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

export module ipcpp.platform:posix;

import :terms;

namespace ipcpp::platform::posix {

// Owns one file descriptor, close-on-exec. Atomic, because a descriptor that somebody else closed
// is replaced in use; relaxed, because the number alone says everything.
class file_handle {
 public:
  file_handle() noexcept = default;
  explicit file_handle(int descriptor) noexcept : descriptor_(descriptor) {}
  file_handle(file_handle&& other) noexcept : descriptor_(other.release()) {}
  file_handle& operator=(file_handle&& other) noexcept {
    const int mine = release();
    descriptor_.store(other.release(), std::memory_order_relaxed);
    const file_handle closes_it(mine);
    return *this;
  }
  ~file_handle();

  [[nodiscard]] int get() const noexcept { return descriptor_.load(std::memory_order_relaxed); }
  [[nodiscard]] int release() noexcept {
    return descriptor_.exchange(-1, std::memory_order_relaxed);
  }
  // Takes `next` instead of `lost`, which is not ours any more; false if somebody else was faster.
  [[nodiscard]] bool replace(int lost, file_handle& next) noexcept {
    const int taken = next.release();
    if (descriptor_.compare_exchange_strong(lost, taken, std::memory_order_relaxed)) return true;
    next.descriptor_.store(taken, std::memory_order_relaxed);
    return false;
  }
  explicit operator bool() const noexcept { return get() >= 0; }

 private:
  std::atomic<int> descriptor_{-1};
};

// What Linux can be told to do as macOS must, for tests (environment variable
// IPCPP_PLATFORM_VARIANT, a comma-separated list of `several_objects` and `registry_names`,
// honoured by builds with IPCPP_PLATFORM_VARIANTS).
struct variant {
  bool several_objects = false;
  bool registry_names = false;
};
[[nodiscard]] variant active_variant() noexcept;

// ---- byte locks ----

inline constexpr std::int64_t users_byte = (std::int64_t{1} << 62) - 1;
[[nodiscard]] constexpr std::int64_t life_byte(std::uint32_t life) noexcept {
  return users_byte + 1 + life;
}

enum class lock_kind : std::uint8_t { shared, exclusive };

// 0: held by this description now. EAGAIN: somebody else's lock forbids it. Otherwise errno. Never
// blocks.
[[nodiscard]] int try_lock(int descriptor, std::int64_t byte, lock_kind kind) noexcept;
void unlock(int descriptor, std::int64_t byte) noexcept;

// 0: another description's lock forbids an exclusive one. ENOENT: nobody's does. Otherwise errno.
// Leaves no trace, so it cannot be in anyone's way. An acquire fence on the way out pairs with the
// dying process's way through the kernel: what it wrote to shared memory before the lock fell is
// visible to whoever gets ENOENT.
[[nodiscard]] int find_lock(int descriptor, std::int64_t byte) noexcept;

// A second description of the same file, nobody else's: by /proc, else by `path` if it still leads
// there. Empty and errno if neither works.
[[nodiscard]] file_handle reopen(int descriptor, access mode, const std::string& path) noexcept;

// Do both lead to the same file?
[[nodiscard]] bool same_file(int a, int b) noexcept;

// ---- the store ----

struct stored_object {
  file_handle anchor;
  file_handle memory;  // empty where the anchor holds the memory
  object_prologue prologue{};
  bool hidden = false;  // the anchor has a hidden name

  [[nodiscard]] int memory_descriptor() const noexcept {
    return memory ? memory.get() : anchor.get();
  }
};

// The directory of names: IPCPP_DIRECTORY if set (and the program is not set-user-id), else
// /dev/shm.
[[nodiscard]] std::string directory();
[[nodiscard]] std::string public_path(std::string_view name);
[[nodiscard]] std::string hidden_path(object_id id);
[[nodiscard]] std::string step_path(object_id id, std::uint32_t step, bool registry_names);

// A complete object without a public name; with `directory`, a file there to be. Throws
// std::bad_alloc when memory is refused, ipcpp::error otherwise. In all of these a name that begins
// with a slash is a file's path.
[[nodiscard]] stored_object store_create(const object_prologue& prologue, audience who,
                                         const std::string& directory = {});
// Throws already_exists. The name appears in one step, or not at all.
void store_publish(const stored_object& object, std::string_view name);
[[nodiscard]] stored_object store_open(std::string_view name, access mode, audience who);
// false: there was none, or another object than `only`. With `only_unused` also: somebody uses it.
bool store_remove(std::string_view name, audience who, bool only_unused,
                  const object_id* only = nullptr);
// Removes every file of an anchor that has lost its public name and its last user. Harmless
// otherwise.
void store_sweep(object_id id) noexcept;
// The same for whatever the dead left in the directory.
void store_sweep_all() noexcept;

// Creates growth step `step` of `bytes` if it does not exist, and opens it. Empty and errno on
// refusal.
[[nodiscard]] file_handle store_open_step(object_id id, std::uint32_t step, std::uint64_t bytes,
                                          access mode, bool create, unsigned permissions) noexcept;

// Passes a descriptor over a connected Unix socket, with one byte of data. 0 or errno; ENOMSG: what
// came was something else, or the end.
[[nodiscard]] int send_descriptor(int socket, int descriptor) noexcept;
[[nodiscard]] int receive_descriptor(int socket, int& descriptor) noexcept;

// Backs [offset, offset + bytes) of a file with memory. 0, or errno of the refusal. Never raises
// SIGXFSZ.
[[nodiscard]] int allocate_range(int descriptor, std::uint64_t offset,
                                 std::uint64_t bytes) noexcept;

}  // namespace ipcpp::platform::posix
