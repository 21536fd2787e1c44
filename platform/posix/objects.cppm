// ipcpp.platform:posix_objects - shared_object, mapping and parking_slot on Linux and macOS. What
// every member promises is said once, in :contract; how the system meets it, in :os_linux and
// :os_macos, which add proof of life.
//
//   shared_object   descriptors of an anchor and perhaps of memory, see :posix
//   mapping         one reservation:  | private page | the object, mapped beyond its end |
//                   Bytes that anyone commits later are valid in every process at once; adopt() has
//                   nothing to do. With several objects: a mapping per step inside the reservation,
//                   and adopt() maps the missing ones.
//   parking_slot    the kernel's wait on the cell's address, shared between processes
module;

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

export module ipcpp.platform:posix_objects;

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

export class life_line;

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

  [[nodiscard]] inline object_id id() const noexcept {
    return {stored_.prologue.id_high, stored_.prologue.id_low};
  }
  [[nodiscard]] inline std::size_t capacity() const noexcept {
    return stored_.prologue.capacity_bytes;
  }
  [[nodiscard]] inline access mode() const noexcept { return mode_; }
  [[nodiscard]] inline const std::string& name() const noexcept { return name_; }
  [[nodiscard]] inline native_handle_type native_handle() const noexcept {
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

  mutable posix::stored_object stored_;
  posix::file_facts anchor_facts_;
  posix::file_facts memory_facts_;
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

  [[nodiscard]] inline std::byte* base() const noexcept { return base_; }
  [[nodiscard]] inline std::size_t capacity() const noexcept { return object_.capacity(); }
  [[nodiscard]] inline const shared_object& object() const noexcept { return object_; }
  inline void publish(std::string_view name) { object_.publish(name); }  // the mapped object itself
  inline void publish_file(std::string_view path) { object_.publish_file(path); }
  [[nodiscard]] inline std::byte* private_area() const noexcept {
    return base_ - private_area_bytes;
  }

  [[nodiscard]] bool commit(std::size_t offset, std::size_t bytes);
  std::size_t release(std::size_t offset, std::size_t bytes);
  [[nodiscard]] bool adopt(std::size_t end) noexcept;
  [[nodiscard]] bool grows_by_mappings() const noexcept;
  bool prefer_huge_pages() noexcept;
  [[nodiscard]] std::size_t backed_bytes() const noexcept;

 private:
  inline mapping(shared_object object, std::byte* base) noexcept
      : object_(std::move(object)), base_(base) {}
  void check_range(std::size_t offset, std::size_t bytes, std::string_view verb) const;
  [[nodiscard]] int map_step(std::uint32_t step, bool create) noexcept;

  shared_object object_;
  std::byte* base_ = nullptr;
  std::uint64_t mapped_steps_ = 1;  // bit k: step k is mapped in this process
};

export class parking_slot {
 public:
  inline parking_slot(const mapping&, std::uint32_t /*number*/, parking_cell& cell) noexcept
      : cell_(&cell) {}

  [[nodiscard]] std::uint32_t ticket() const noexcept;
  [[nodiscard]] park_outcome park(std::uint32_t expected, steady_time deadline) noexcept;
  void unpark() noexcept;

 private:
  parking_cell* cell_;
};

}  // namespace ipcpp::platform
