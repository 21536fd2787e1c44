#!/bin/sh
# Builds the benchmarks with the release preset and runs them: `./dev bench [CATCH2 ARGUMENTS]`, or
# `./dev bench malloc [ARGUMENTS]`: the heap beside other allocators (`./dev bench malloc --help`; docs/benchmarks.md), or
# `./dev bench queue [ARGUMENTS]`: the queues beside the machine and other queues (`--help`; docs/queues.md), or
# `./dev bench containers [--rounds N] [FILTER...]`: the containers beside the standard's and Boost's, or
# `./dev bench map`: concurrent_map beside maps under a lock (docs/concurrent_map.md), or
# `./dev bench locks [ROUNDS]`: locks beside pthread's and Boost's (docs/locks.md).
#
# Changes: what setup.sh installs, and build/. `malloc` also installs, on Debian 12, the allocators it compares with and
# valgrind (the packages named below), and builds the library a second time, without crash tolerance, in
# build/PRESET-without-crash-tolerance. With --update-docs it writes docs/figures/malloc_benchmark.svg and the tables in
# docs/benchmarks.md; `queue` likewise docs/figures/queue_benchmark.svg and docs/queue_benchmarks.md. Fails when building or the program fails, with the program's status.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
# shellcheck source=scripts/build.sh
. "$root/scripts/build.sh"

peer_packages='libmimalloc-dev libjemalloc-dev libboost-dev valgrind'

# Other systems: what is there is compared with, the program says what is not.
install_peers() {
  [ "$(os_field ID)" = debian ] && [ "$(os_field VERSION_CODENAME)" = bookworm ] || return 0
  # shellcheck disable=SC2086  # a list of words
  missing=$(packages_missing $peer_packages)
  [ -n "$missing" ] || return 0
  can_be_root || fail "needs root (or sudo) once, for apt-get install $missing"
  say "== peers"
  say "   apt: install $missing"
  # shellcheck disable=SC2086
  quietly "$logs/apt.log" apt_get install --no-install-recommends $missing ||
    { quietly "$logs/apt.log" apt_update &&
      quietly "$logs/apt.log" apt_get install --no-install-recommends $missing; }
}

bench_malloc() {
  for argument; do
    case $argument in -h | --help) wants_help=yes ;; esac
  done
  install_peers
  configure release -DIPCPP_BUILD_BENCHMARKS=ON
  main_build=$build
  build_targets malloc_benchmark
  if [ -z "${wants_help:-}" ]; then
    plain_build=$build-without-crash-tolerance
    # shellcheck disable=SC2086  # overrides is a list of words
    step "configure the heap without crash tolerance" quietly "$plain_build/configure.log" \
      cmake -S "$root" --preset "$preset" -B "$plain_build" $overrides -DIPCPP_WITHOUT_CRASH_TOLERANCE=ON \
      -DIPCPP_BUILD_BENCHMARKS=ON -DIPCPP_BUILD_TESTS=OFF -DIPCPP_BUILD_EXAMPLES=OFF \
      -DIPCPP_CATCH2_SOURCE="$cache/sources/catch2"
    step "build the heap without crash tolerance" \
      cmake --build "$plain_build" --parallel "$jobs" --target malloc_worker_ipcpp
    say "== malloc benchmark"
  fi
  exec "$main_build/malloc_benchmark/malloc_benchmark" --root "$root" --results "$root/build" \
    --without-crash-tolerance "${plain_build:-}/malloc_benchmark/malloc_worker_ipcpp" "$@"
}

bench_queue() {
  peer_packages='libboost-dev libatomic-queue-dev valgrind'
  install_peers
  configure release -DIPCPP_BUILD_BENCHMARKS=ON
  build_targets queue_benchmark
  say "== queue benchmark"
  exec "$build/queue_benchmark/queue_benchmark" --root "$root" --results "$root/build" "$@"
}

bench_containers() {
  peer_packages='libboost-dev'
  install_peers
  configure release -DIPCPP_BUILD_BENCHMARKS=ON
  build_targets containers_benchmark
  say "== containers benchmark"
  exec "$build/containers_benchmark" "$@"
}

"$root/scripts/setup.sh"
if [ "${1:-}" = queue ]; then
  shift
  bench_queue "$@"
fi
if [ "${1:-}" = containers ]; then
  shift
  bench_containers "$@"
fi
if [ "${1:-}" = malloc ]; then
  shift
  bench_malloc "$@"
fi
if [ "${1:-}" = map ]; then
  shift
  install_peers
  configure release -DIPCPP_BUILD_BENCHMARKS=ON
  build_targets map_benchmark
  say "== map benchmark"
  exec "$build/map_benchmark" "$@"
fi
if [ "${1:-}" = locks ]; then
  shift
  configure release -DIPCPP_BUILD_BENCHMARKS=ON
  build_targets locks_benchmark
  say "== locks benchmark"
  exec "$build/locks_benchmark/locks_benchmark" "$@"
fi
configure release -DIPCPP_BUILD_BENCHMARKS=ON
build_targets benchmarks
say "== benchmarks"
program=$build/benchmarks
if [ -d "$program" ]; then program=$program/benchmarks; fi
exec "$program" "$@"
