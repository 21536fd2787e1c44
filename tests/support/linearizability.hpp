// Was this history of calls, some of them overlapping, some cut off by a death, possible one after the
// other?
//
//   history<call> h;             each with the instants it began and ended, on one clock of all threads
//   linearizable(h, state, apply)
//
// apply(state&, const call&): does the call's recorded result fit the state, and then the state after
// it. A call that never ended (its process was killed) may have taken effect at any instant after its
// beginning, or never; its result is not known, which apply has to allow.
//
// The search is Wing and Gong's (1993) with Lowe's memory of what was tried (2017): depth first over
// which call takes effect next; a set of calls done that led to the same state before is not tried
// again. Exponential in the worst case: for histories of some dozens of calls (at most 64), in which few
// overlap. Objects that do not depend on each other (keys of a map) are checked each by themselves: a
// history is linearizable exactly if each object's part of it is (Herlihy and Wing 1990).
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <set>
#include <stdexcept>
#include <utility>
#include <vector>

namespace test {

inline constexpr std::uint64_t never_ended = std::numeric_limits<std::uint64_t>::max();

template <class Call>
struct timed {
  Call call;
  std::uint64_t began = 0;
  std::uint64_t ended = never_ended;
};

template <class Call>
using history = std::vector<timed<Call>>;

namespace detail {

template <class Call, class State, class Apply>
class search {
 public:
  search(const history<Call>& calls, Apply& apply) : calls_(calls), apply_(apply) {
    for (std::size_t i = 0; i < calls.size(); ++i)
      if (calls[i].ended != never_ended) must_ |= std::uint64_t{1} << i;
  }

  bool from(std::uint64_t done, const State& state) {
    if ((done & must_) == must_) return true;
    if (!tried_.emplace(done, state).second) return false;
    // Whatever takes effect next began before each call that is not done yet ended.
    std::uint64_t first_end = never_ended;
    for (std::size_t i = 0; i < calls_.size(); ++i)
      if ((done >> i & 1) == 0 && calls_[i].ended < first_end) first_end = calls_[i].ended;
    for (std::size_t i = 0; i < calls_.size(); ++i) {
      if ((done >> i & 1) != 0 || calls_[i].began > first_end) continue;
      State after = state;
      if (apply_(after, calls_[i]) && from(done | std::uint64_t{1} << i, after)) return true;
    }
    return false;
  }

 private:
  const history<Call>& calls_;
  Apply& apply_;
  std::uint64_t must_ = 0;
  std::set<std::pair<std::uint64_t, State>> tried_;
};

}  // namespace detail

// State has operator<. apply(State&, const timed<Call>&) -> bool.
template <class Call, class State, class Apply>
bool linearizable(const history<Call>& calls, const State& begin, Apply apply) {
  if (calls.size() > 64) throw std::invalid_argument("linearizable: at most 64 calls");
  return detail::search<Call, State, Apply>(calls, apply).from(0, begin);
}

}  // namespace test
