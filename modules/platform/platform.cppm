// ipcpp.platform - everything that differs from system to system, behind one contract, and the few
// words everybody needs.
//
//   :error :size_literals :fields :shareable    vocabulary
//   :terms                                      what the contract's words mean, the same everywhere
//   :os_linux, :os_macos or :os_windows         this system's shared_object, mapping, parking_slot,
//                                               life_line
//   :contract                                   what they promise, checked below and by
//                                               tests/platform/
//
// To port ipcpp, write one more partition and its bodies: docs/porting.md.
module;

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <new>

#if !defined(__linux__) && !defined(__APPLE__) && !defined(_WIN32)
#error "ipcpp.platform: no partition for this operating system yet; see docs/porting.md"
#endif

export module ipcpp.platform;

export import :error;
export import :size_literals;
export import :fields;
export import :shareable;
export import :terms;
export import :contract;
export import :object_image;
#if defined(__linux__)
export import :posix;
export import :posix_objects;
export import :os_linux;
#elif defined(__APPLE__)
export import :posix;
export import :posix_objects;
export import :os_macos;
#elif defined(_WIN32)
export import :os_windows;
#endif

// Placement new in templates that an importer instantiates, without the importer including <new>:
// GCC 14 to 16 and Clang 22 do not find it otherwise (llvm#59601, llvm#59770).
export using ::operator new;

namespace ipcpp::platform {

static_assert(shared_object_contract<shared_object>);
static_assert(mapping_contract<mapping, shared_object>);
static_assert(parking_slot_contract<parking_slot, mapping>);
static_assert(doorbell_contract<doorbell>);
static_assert(life_line_contract<life_line, life_hold, mapping>);
static_assert(requires {
  { page_bytes() } noexcept -> std::same_as<std::size_t>;
  { default_capacity() } noexcept -> std::same_as<std::size_t>;
  { incarnation() } noexcept -> std::same_as<std::uint64_t>;
  { current_process() } noexcept -> std::same_as<process_identity>;
  { enrol_in_heavy_fence() } noexcept -> std::same_as<bool>;
  { heavy_fence() } noexcept -> std::same_as<bool>;
  { fork_private_pages(std::size_t{}) } -> std::same_as<void*>;
});

}  // namespace ipcpp::platform
