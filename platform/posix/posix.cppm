// ipcpp.platform:posix - what Linux and macOS share: descriptors, byte locks, and the store that
// names lead into.
//
// A shared object, all in one directory D:
//
//   D/ipcpp.<name>       the public name: a hard link to the anchor
//   D/.ipcpp.<id>        a second link to the anchor ("hidden name"), kept only where an object
//                        cannot be made without a name, or has more files than one
//   D/.ipcpp.<id>.<k>    growth step k >= 1, with growth::several_objects
//   /i<id><kk>           with registry names: the memory of step kk, 30 characters with the slash.
//                        macOS: a name for shm_open. Linux as a variant: a file in D.
//
// The anchor is what everybody opens and locks. It holds the memory itself, or, with registry names,
// only the prologue; the memory of step 0 then has a copy of it. Locks on the anchor, far behind any
// content, all of the open-file-description kind:
//
//   byte 2^62 - 1        shared: somebody has the object open or mapped
//                        exclusive: somebody is removing it
//   byte 2^62 + i        exclusive: life i, see life_line
//
// Invariants: a public name leads to a complete object. Every other file belongs to an anchor that
// has a hidden name and is reachable from its id, so whoever finds an anchor that nobody uses and
// that has no public name may sweep it. Crash story: see name_store.cpp, beside each step.
// A public name may outlive its memory where names are on disk and memory is not: a reboot. Whoever
// comes across such a name removes it.
//
// What the two systems do differently is declared last, and defined in platform/linux and
// platform/macos: primitives.cpp, kernel_wait.cpp, and for pages in children macos/fork.cpp.
module;

#include <atomic>
#include <chrono>
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
  inline explicit file_handle(int descriptor) noexcept : descriptor_(descriptor) {}
  inline file_handle(file_handle&& other) noexcept : descriptor_(other.release()) {}
  inline file_handle& operator=(file_handle&& other) noexcept {
    const int mine = release();
    descriptor_.store(other.release(), std::memory_order_relaxed);
    const file_handle closes_it(mine);
    return *this;
  }
  ~file_handle();

  [[nodiscard]] inline int get() const noexcept {
    return descriptor_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] inline int release() noexcept {
    return descriptor_.exchange(-1, std::memory_order_relaxed);
  }
  // Takes `next` instead of `lost`, which is not ours any more; false if somebody else was faster.
  [[nodiscard]] inline bool replace(int lost, file_handle& next) noexcept {
    const int taken = next.release();
    if (descriptor_.compare_exchange_strong(lost, taken, std::memory_order_relaxed)) return true;
    next.descriptor_.store(taken, std::memory_order_relaxed);
    return false;
  }
  inline explicit operator bool() const noexcept { return get() >= 0; }

 private:
  std::atomic<int> descriptor_{-1};
};

// How objects grow and where their memory is named. macOS can do neither otherwise than by both of
// these; Linux can be told to do as macOS must, for tests (environment variable
// IPCPP_PLATFORM_VARIANT, a comma-separated list of the two, honoured by builds with
// IPCPP_PLATFORM_VARIANTS).
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

// What a descriptor leads to: two with the same facts lead to the same.
struct file_facts {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  bool operator==(const file_facts&) const = default;
};

// Do both lead to the same file or memory?
[[nodiscard]] bool same_file(int a, int b) noexcept;

// ---- the store ----

struct stored_object {
  file_handle anchor;
  file_handle memory;  // empty where the anchor holds the memory
  object_prologue prologue{};
  bool hidden = false;  // the anchor has a hidden name

  [[nodiscard]] inline int memory_descriptor() const noexcept {
    return memory ? memory.get() : anchor.get();
  }
};

// The directory of names: IPCPP_DIRECTORY if set (and the program is not set-user-id), else
// default_directory().
[[nodiscard]] std::string directory();
[[nodiscard]] std::string public_path(std::string_view name);
[[nodiscard]] std::string hidden_path(object_id id);
// A growth step where it is a file: always without registry names, never with them on macOS.
[[nodiscard]] std::string step_path(object_id id, std::uint32_t step, bool registry_names);
// "/i<id><kk>", with registry names.
[[nodiscard]] std::string memory_name(object_id id, std::uint32_t step);
// A growth step, whatever it is. Empty and errno on refusal.
[[nodiscard]] file_handle open_step(object_id id, std::uint32_t step, bool registry_names,
                                    int flags, unsigned permissions) noexcept;

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

// Reads the prologue from what holds an object's memory. How many bytes of it there were, or -1 and
// errno.
[[nodiscard]] std::int64_t read_memory_prologue(int descriptor, object_prologue& into) noexcept;

// Would a file that ends there raise SIGXFSZ?
[[nodiscard]] bool exceeds_file_limit(std::uint64_t end) noexcept;

// ---- what the two systems do differently ----

// An environment variable; nullptr in a program that is set-user-id or the like.
[[nodiscard]] const char* trusted_environment(const char* name) noexcept;
[[nodiscard]] std::string default_directory();
// Address space that is plenty for one object and leaves room for many; tried before it is used.
[[nodiscard]] std::size_t generous_capacity() noexcept;
// false: the descriptor leads to nothing.
[[nodiscard]] bool facts_of(int descriptor, file_facts& into) noexcept;

// A second description of what `descriptor` leads to, nobody else's. A file is found by its number
// where the system can, else by `path`; memory by its object's id. Empty and errno if it cannot be
// found any more.
[[nodiscard]] file_handle reopen(int descriptor, access mode, const std::string& path) noexcept;
[[nodiscard]] file_handle reopen_memory(int descriptor, access mode, object_id id) noexcept;

// Can a file be an object? It has to grow while it is mapped.
[[nodiscard]] bool files_can_be_objects() noexcept;
// A file that has no name yet, and giving it one. EOPNOTSUPP: not here.
[[nodiscard]] file_handle open_unnamed_file(const std::string& directory) noexcept;
[[nodiscard]] int name_unnamed_file(int descriptor, const std::string& path) noexcept;

// Memory under memory_name(id, step). `flags` as for open; close-on-exec is implied.
[[nodiscard]] file_handle open_memory(object_id id, std::uint32_t step, int flags,
                                      unsigned permissions) noexcept;
[[nodiscard]] int remove_memory(object_id id, std::uint32_t step) noexcept;
// Memory or a file that is empty gets its one size, and its permissions whatever the umask. 0, or
// errno. Several processes may do it at once, with the same size.
[[nodiscard]] int give_size(int descriptor, std::uint64_t bytes, unsigned permissions) noexcept;
// Backs [offset, offset + bytes) with memory. 0, or errno of the refusal. Never raises SIGXFSZ.
[[nodiscard]] int allocate_range(int descriptor, std::uint64_t offset,
                                 std::uint64_t bytes) noexcept;
// The opposite. How many bytes went back to the system.
[[nodiscard]] std::uint64_t give_back_range(int descriptor, std::uint64_t offset,
                                            std::uint64_t bytes) noexcept;

// Sleeps until woken while `word` is `seen`, at most for `at_most`, which ends at `until`. May return
// early.
void sleep_on(std::uint32_t& word, std::uint32_t seen, std::chrono::nanoseconds at_most,
              steady_time until) noexcept;
void wake_all(std::uint32_t& word) noexcept;

// Pages that read zero in a forked child, until forgotten (before they are unmapped). 0, or errno.
[[nodiscard]] int wipe_in_children(void* pages, std::size_t bytes) noexcept;
void forget_wiped(void* pages) noexcept;
void keep_out_of_core_dumps(void* start, std::size_t bytes) noexcept;
// false: there are none for it.
[[nodiscard]] bool advise_huge_pages(void* start, std::size_t bytes) noexcept;

}  // namespace ipcpp::platform::posix
