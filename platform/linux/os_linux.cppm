// ipcpp.platform:os_linux - the platform contract on Linux. What every member promises is said once,
// in :contract.
//
// How it is met here:
//   shared_object   a file in /dev/shm (or IPCPP_DIRECTORY), see :posix
//   mapping         one reservation:  | private page | the object, mapped beyond its end |
//                   Bytes that anyone commits later are valid in every process at once; adopt() has
//                   nothing to do. (With several objects: a mapping per step inside the reservation,
//                   and adopt() maps the missing ones.)
//   commit          fallocate: what it granted is there; what it refused is no SIGBUS later
//   parking_slot    a futex on the cell
//   life_hold       an open-file-description lock whose description only a VMA refers to. The VMA
//                   goes with the last thread of the process and with exec; no close(),
//                   close_range() or daemon() can drop it; and since the VMA is MADV_DONTFORK, no
//                   child, forked or raw-cloned, can keep it.
//   incarnation     a MADV_WIPEONFORK page that reads zero in any child
module;

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

export module ipcpp.platform:os_linux;

import :posix;
import :terms;

namespace ipcpp::platform {

export [[nodiscard]] std::size_t page_bytes() noexcept;
export [[nodiscard]] std::size_t default_capacity() noexcept;
export [[nodiscard]] std::uint64_t incarnation() noexcept;
export [[nodiscard]] process_identity current_process() noexcept;
export [[nodiscard]] bool same_process_lives(const process_identity& identity) noexcept;
export [[nodiscard]] bool enrol_in_heavy_fence() noexcept;
export [[nodiscard]] bool heavy_fence() noexcept;
export [[nodiscard]] void* fork_private_pages(std::size_t bytes);
export void return_fork_private_pages(void* pages, std::size_t bytes) noexcept;

export class shared_object {
 public:
  using native_handle_type = int;

  [[nodiscard]] static shared_object create(const object_options& options = {});
  void publish(std::string_view name);
  void publish_file(std::string_view path);
  [[nodiscard]] static shared_object open_file(std::string_view path,
                                               access mode = access::read_write,
                                               audience who = audience::owner);
  static bool remove_file(std::string_view path, audience who = audience::owner);
  void send(native_handle_type socket) const;
  [[nodiscard]] static native_handle_type receive(native_handle_type socket);
  [[nodiscard]] static shared_object open(std::string_view name, access mode = access::read_write,
                                          audience who = audience::owner);
  static bool remove(std::string_view name, audience who = audience::owner);
  static bool remove_if_unused(std::string_view name, audience who = audience::owner,
                               const object_id* only = nullptr);
  [[nodiscard]] static shared_object from_handle(native_handle_type received,
                                                 access mode = access::read_write);

  shared_object(shared_object&& other) noexcept;
  shared_object& operator=(shared_object&& other) noexcept;
  ~shared_object();

  [[nodiscard]] object_id id() const noexcept {
    return {stored_.prologue.id_high, stored_.prologue.id_low};
  }
  [[nodiscard]] std::size_t capacity() const noexcept { return stored_.prologue.capacity_bytes; }
  [[nodiscard]] access mode() const noexcept { return mode_; }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] native_handle_type native_handle() const noexcept {
    return stored_.memory_descriptor();
  }
  [[nodiscard]] bool reachable() const noexcept;
  [[nodiscard]] shared_object again() const;

 private:
  friend class mapping;
  friend class life_line;
  shared_object(posix::stored_object stored, access mode, std::string name);
  void remember_files();
  [[nodiscard]] std::string describe() const;
  // The descriptor if it still leads to the file it was opened for, else one reopened by name, else
  // -1.
  [[nodiscard]] int checked(bool memory) const noexcept;

  struct file_facts {
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
  };
  mutable posix::stored_object stored_;
  file_facts anchor_facts_;
  file_facts memory_facts_;
  access mode_ = access::read_write;
  std::string name_;
  bool emptied_ = false;  // moved from
};

export class mapping {
 public:
  [[nodiscard]] static mapping map(shared_object object, void* at = nullptr);

  mapping(mapping&& other) noexcept;
  mapping& operator=(mapping&& other) noexcept;
  ~mapping();

  [[nodiscard]] std::byte* base() const noexcept { return base_; }
  [[nodiscard]] std::size_t capacity() const noexcept { return object_.capacity(); }
  [[nodiscard]] const shared_object& object() const noexcept { return object_; }
  void publish(std::string_view name) { object_.publish(name); }  // the mapped object itself
  void publish_file(std::string_view path) { object_.publish_file(path); }
  [[nodiscard]] std::byte* private_area() const noexcept { return base_ - private_area_bytes; }

  [[nodiscard]] bool commit(std::size_t offset, std::size_t bytes);
  std::size_t release(std::size_t offset, std::size_t bytes);
  [[nodiscard]] bool adopt(std::size_t end) noexcept;
  bool prefer_huge_pages() noexcept;
  [[nodiscard]] std::size_t backed_bytes() const noexcept;

 private:
  mapping(shared_object object, std::byte* base) noexcept
      : object_(std::move(object)), base_(base) {}
  [[nodiscard]] bool stepped() const noexcept;
  void check_range(std::size_t offset, std::size_t bytes, std::string_view verb) const;
  [[nodiscard]] int map_step(std::uint32_t step, bool create) noexcept;

  shared_object object_;
  std::byte* base_ = nullptr;
  std::uint64_t mapped_steps_ = 1;  // bit k: step k is mapped in this process
};

export class parking_slot {
 public:
  parking_slot(const mapping&, std::uint32_t /*number*/, parking_cell& cell) noexcept
      : cell_(&cell) {}

  [[nodiscard]] std::uint32_t ticket() const noexcept;
  [[nodiscard]] park_outcome park(std::uint32_t expected, steady_time deadline) noexcept;
  void unpark() noexcept;

 private:
  parking_cell* cell_;
};

export class doorbell {
 public:
  using native_handle_type = int;

  [[nodiscard]] static doorbell make(const object_id& of, std::uint32_t number);
  static void ring(const object_id& of, std::uint32_t number) noexcept;

  doorbell(doorbell&& other) noexcept
      : socket_(std::exchange(other.socket_, -1)),
        timer_(std::exchange(other.timer_, -1)),
        both_(std::exchange(other.both_, -1)) {}
  doorbell& operator=(doorbell&& other) noexcept {
    std::swap(socket_, other.socket_);
    std::swap(timer_, other.timer_);
    std::swap(both_, other.both_);
    return *this;
  }
  ~doorbell();

  [[nodiscard]] native_handle_type native_handle() const noexcept { return both_; }
  void answer() noexcept;

 private:
  doorbell() noexcept = default;
  int socket_ = -1;
  int timer_ = -1;
  int both_ = -1;
};

export class life_hold {
 public:
  life_hold() noexcept = default;
  life_hold(life_hold&& other) noexcept
      : page_(std::exchange(other.page_, nullptr)), incarnation_(other.incarnation_) {}
  life_hold& operator=(life_hold&& other) noexcept {
    std::swap(page_, other.page_);
    std::swap(incarnation_, other.incarnation_);
    return *this;
  }
  ~life_hold();

  // In a forked child: false, the parent's proof is not its own.
  explicit operator bool() const noexcept {
    return page_ != nullptr && incarnation_ == incarnation();
  }

 private:
  friend class life_line;
  void* page_ = nullptr;
  std::uint64_t incarnation_ = 0;
};

export class life_line {
 public:
  [[nodiscard]] static life_line of(const mapping& place);

  [[nodiscard]] life_hold take(std::uint32_t slot);
  [[nodiscard]] life probe(std::uint32_t slot, const process_identity& recorded) const noexcept;

 private:
  explicit life_line(shared_object object) noexcept : object_(std::move(object)) {}
  shared_object object_;
};

}  // namespace ipcpp::platform
