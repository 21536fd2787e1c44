// ipcpp.sync:semaphore - permits that come back when their holder dies.
//
// Representation: 16 bytes, then one word for each permit there can be:
//
//   0    waiting_point
//   8    kind
//   16   permit 0 | permit 1 | ...      0 free | all ones: there is none | else the process that holds it
//
// Every change is one exchange of one word, so a death at any instruction finds it done or not done.
//
//   acquire    free -> mine (kind held) or -> none (kind consumed)
//   release    mine -> free; if this process holds none, none -> free; if there are no such, somebody
//              else's -> free: as with std::counting_semaphore anybody may release
//   a death    the dead one's -> free, by whoever waits for a permit and looks
//
// Held by a process, not by a thread: acquire in one thread, release in another.
module;

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <type_traits>

export module ipcpp.sync:semaphore;

import ipcpp.platform;
import :mutex;
import :waiting;

namespace ipcpp {

// What an acquired permit is: something held and given back, which a death gives back too; or a
// message used up, which a death does not bring back.
export enum class permit_kind : std::uint64_t { held = 0, consumed = 1 };

namespace detail {

export struct permits {
  waiting_point waiters;
  std::uint64_t kind = 0;

  static constexpr std::uint64_t none = ~std::uint64_t{0};
};
// `of` is followed by so many words.
export [[nodiscard]] bool acquire_permit(permits& of, std::uint64_t* words, std::size_t most,
                                         platform::steady_time deadline);
export [[nodiscard]] bool try_acquire_permit(permits& of, std::uint64_t* words, std::size_t most);
export void release_permits(permits& of, std::uint64_t* words, std::size_t most, std::size_t n);

}  // namespace detail

export template <std::size_t most = 64>
class counting_semaphore {
  static_assert(most >= 1 && most <= 4096, "every permit there can be takes a word");

 public:
  static constexpr bool is_ipcpp_shareable = true;

  // Precondition: initial <= most.
  constexpr explicit counting_semaphore(std::size_t initial,
                                        permit_kind kind = permit_kind::held) noexcept {
    core_.kind = static_cast<std::uint64_t>(kind);
    for (std::size_t i = 0; i < most; ++i) words_[i] = i < initial ? 0 : detail::permits::none;
  }
  counting_semaphore(const counting_semaphore&) = delete;
  counting_semaphore& operator=(const counting_semaphore&) = delete;

  [[nodiscard]] static constexpr std::size_t max() noexcept { return most; }

  // Blocks. Throws limit_reached, as locks do.
  void acquire() {
    (void)detail::acquire_permit(core_, words_, most, platform::steady_time::max());
  }
  // Does not block.
  [[nodiscard]] bool try_acquire() { return detail::try_acquire_permit(core_, words_, most); }
  template <class Rep, class Period>
  [[nodiscard]] bool try_acquire_for(const std::chrono::duration<Rep, Period>& wait) {
    return detail::acquire_permit(core_, words_, most, detail::steady_deadline(wait));
  }
  template <class Clock, class Duration>
  [[nodiscard]] bool try_acquire_until(const std::chrono::time_point<Clock, Duration>& deadline) {
    return detail::acquire_permit(core_, words_, most, detail::steady_deadline(deadline));
  }
  // Throws limit_reached when all `most` permits are free already; those before that are released.
  void release(std::size_t n = 1) { detail::release_permits(core_, words_, most, n); }

 private:
  detail::permits core_;
  std::uint64_t words_[most];
};
export using binary_semaphore = counting_semaphore<1>;
static_assert(sizeof(binary_semaphore) == 24 && std::is_standard_layout_v<binary_semaphore>);

}  // namespace ipcpp
