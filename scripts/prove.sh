#!/bin/sh
# Models (tests/models), seeded bugs (mutants.sh), then the crash tests in full (label "prove") with the release preset: `./dev prove [CTEST ARGUMENTS]`.
#
# The tests read IPCPP_PROVE=full, which makes them kill at every instruction instead of at a sample. Takes long.
# Changes: what setup.sh installs, and build/. Fails when building or a test fails; ends with ctest's summary.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
# shellcheck source=scripts/build.sh
. "$root/scripts/build.sh"

"$root/scripts/setup.sh"
configure release
build_targets tests packaging_tests segment_tests locks_tests queue_tests mail_tests containers_tests concurrent_map_tests
# Seeded bugs first, so that ctest's summary comes last; not when only some tests were asked for.
if [ "$#" -eq 0 ]; then
  "$root/tests/models/run.sh"
  "$root/scripts/mutants.sh"
  # Consumers of the library in every standard and kind of build; a library is built for each.
  (IPCPP_PROVE=full && export IPCPP_PROVE && run_ctest --tests-regex EveryConsumer --timeout 1800)
fi
IPCPP_PROVE=full
export IPCPP_PROVE
run_ctest --label-regex prove --timeout 7200 "$@"
