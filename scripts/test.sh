#!/bin/sh
# Builds everything with the debug preset and runs the tests: `./dev test [CTEST ARGUMENTS]`.
#
# Changes: what setup.sh installs, and build/. Fails when building or a test fails; ends with ctest's summary.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
# shellcheck source=scripts/build.sh
. "$root/scripts/build.sh"

"$root/scripts/setup.sh"
configure debug
build_targets all
run_ctest "$@"
