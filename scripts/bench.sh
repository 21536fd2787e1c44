#!/bin/sh
# Builds the benchmarks with the release preset and runs them: `./dev bench [CATCH2 ARGUMENTS]`.
#
# Changes: what setup.sh installs, and build/. Fails when building or the program fails, with the program's status.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
# shellcheck source=scripts/build.sh
. "$root/scripts/build.sh"

"$root/scripts/setup.sh"
configure release -DIPCPP_BUILD_BENCHMARKS=ON
build_targets benchmarks
say "== benchmarks"
program=$build/benchmarks
if [ -d "$program" ]; then program=$program/benchmarks; fi
exec "$program" "$@"
