#!/bin/sh
# Models (tests/models), seeded bugs (mutants.sh), consumers of every kind, and the crash tests in full (label "prove"), with the
# release preset, those of the heap with the debug preset: `./dev prove`. With arguments for ctest: only the crash tests they name.
#
# The tests read IPCPP_PROVE=full, which makes them kill at every instruction instead of at a sample. Takes long.
# Changes: what setup.sh installs, and build/. Every part runs; fails when building or one
# of them fails, and names it; ends with ctest's summary.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
# shellcheck source=scripts/build.sh
. "$root/scripts/build.sh"

"$root/scripts/setup.sh"
failed=
# Without arguments: seeded bugs and the heap first, so that ctest's summary comes last.
if [ "$#" -eq 0 ]; then
  "$root/tests/models/run.sh" || failed="$failed models"
  "$root/scripts/mutants.sh" || failed="$failed mutants"
  # The heap's tests look at functions by name, which an optimising compiler dissolves into each other: the debug build. In
  # one process, so that it can say which instructions were a stop in any of them.
  configure debug
  build_targets tests
  IPCPP_PROVE=full "$build/tests" --gtest_filter='CrashHeap*-CrashHeapSoak*' || failed="$failed heap"
fi
configure release
build_targets tests packaging_tests segment_tests locks_tests queue_tests mail_tests containers_tests concurrent_map_tests
[ -z "$failed" ] || warn "failed so far:$failed"
IPCPP_PROVE=full
export IPCPP_PROVE
if [ "$#" -eq 0 ]; then
  # Consumers of the library in every standard and kind of build; a library is built for each.
  (run_ctest --tests-regex EveryConsumer --timeout 1800) || failed="$failed consumers"
  (run_ctest --label-regex prove --exclude-regex '^CrashHeap(Peers|Recovery|Pairs)?[.]' --timeout 7200) || failed="$failed crash"
  [ -z "$failed" ] || fail "failed:$failed"
  exit 0
fi
run_ctest --label-regex prove --timeout 7200 "$@"
