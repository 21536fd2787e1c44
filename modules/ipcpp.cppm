// ipcpp - everything a program needs, by one import: the six modules below, and of ipcpp.platform
// the few names that are documented for users. Who needs the rest (shared_object, mapping,
// parking_slot, ...) imports ipcpp.platform as well.
module;

#include <concepts>
#include <cstddef>
#include <system_error>

export module ipcpp;

export import ipcpp.sync;
export import ipcpp.malloc;
export import ipcpp.segment;
export import ipcpp.queue;
export import ipcpp.containers;
import ipcpp.platform;

namespace ipcpp {

export using ipcpp::errc;
export using ipcpp::error;
export using ipcpp::error_category;
export using ipcpp::make_error_code;
export using ipcpp::shareable;
export using ipcpp::vouched_shareable;

inline namespace literals {
export using ipcpp::literals::operator""_KiB;
export using ipcpp::literals::operator""_MiB;
export using ipcpp::literals::operator""_GiB;
export using ipcpp::literals::operator""_TiB;
}  // namespace literals

}  // namespace ipcpp
