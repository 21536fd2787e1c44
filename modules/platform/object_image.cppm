// ipcpp.platform:object_image - a shared object as an outsider sees it, who takes no part in it: the
// ground that tools stand on.
//
// An image is read by offset, each time anew, and every read says whether there was something to
// read. Nothing is mapped for good, locked, counted as a use, or written, so users of the object
// notice nothing, and an object that is truncated, overwritten or only a copy in a file can be
// looked at like any other. What was read is a moment of something that goes on changing.
//
// Roles: any number of threads may read one image. Failure model: what cannot be opened at all is an
// ipcpp::error; what cannot be read is `false`, never a signal.
module;

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

export module ipcpp.platform:object_image;

import :terms;

namespace ipcpp::platform {

// What the system says of an object, whatever its bytes say.
export struct object_facts {
  std::string where;                  // path, or the system's name of it
  std::uint64_t apparent_bytes = 0;   // bytes that can be read
  std::uint64_t committed_bytes = 0;  // memory that it takes
  std::uint32_t owner = 0;            // user, where users are numbers
  std::uint32_t group = 0;
  std::uint32_t mode = 0;            // permission bits, where there are such
  std::int64_t changed_seconds = 0;  // since 1970; 0: unknown
  bool used = false;                 // somebody has it open or mapped
  bool stale = false;                // a copy: nobody can be using it
};

export class object_image {
 public:
  // Throws not_found, access_denied, damaged (no object at all), limit_reached.
  [[nodiscard]] static object_image open(std::string_view name);
  // An object's file by its path: one that keeps its memory there, or a copy.
  [[nodiscard]] static object_image open_file(const std::string& path);

  object_image(object_image&&) noexcept;
  object_image& operator=(object_image&&) noexcept;
  ~object_image();

  // Copies bytes; those never committed are zero. false: some lie beyond what can be read.
  [[nodiscard]] bool read(std::uint64_t offset, void* into, std::size_t bytes) const noexcept;
  template <class T>
    requires std::is_trivially_copyable_v<T>
  [[nodiscard]] std::optional<T> get(std::uint64_t offset) const noexcept {
    T found;
    if (!read(offset, static_cast<void*>(&found), sizeof found)) return std::nullopt;
    return found;
  }

  // What stands at the beginning; zeros if there is not as much. Not checked.
  [[nodiscard]] inline const object_prologue& prologue() const noexcept { return prologue_; }
  [[nodiscard]] inline std::size_t prologue_bytes() const noexcept { return prologue_bytes_; }
  [[nodiscard]] inline object_id id() const noexcept {
    return {prologue_.id_high, prologue_.id_low};
  }
  [[nodiscard]] inline const std::string& name() const noexcept { return name_; }
  [[nodiscard]] object_facts facts() const;
  // As life_line::probe.
  [[nodiscard]] life probe(std::uint32_t slot, const process_identity& recorded) const noexcept;

 private:
  struct source;
  object_image(std::string name, std::unique_ptr<source> from);

  std::string name_;
  std::unique_ptr<source> from_;
  object_prologue prologue_{};
  std::size_t prologue_bytes_ = 0;
};

// The names of this machine's shared objects, sorted. What may not be listed is not there. Throws
// access_denied, not_supported.
export [[nodiscard]] std::vector<std::string> object_names();

// Nameless remains of dead processes that a sweep would remove now.
export struct object_remains {
  std::string where;
  std::uint64_t bytes = 0;
};
export [[nodiscard]] std::vector<object_remains> find_remains();
// Removes them. They go by themselves with the next object that is made.
export void sweep_remains() noexcept;

// Where names are kept, for messages.
export [[nodiscard]] std::string place_of_names();

}  // namespace ipcpp::platform
