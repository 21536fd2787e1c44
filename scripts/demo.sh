#!/bin/sh
# Builds the demonstration with the release preset and runs it: `./dev demo [FILE...]`.
#
# Changes: what setup.sh installs, and build/. Without FILEs the program finds texts in the checkout (--root).
# Fails when building or the program fails, with the program's status.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
# shellcheck source=scripts/build.sh
. "$root/scripts/build.sh"

"$root/scripts/setup.sh"
configure release
build_targets demo
say "== demo"
exec "$build/examples/demo" --root "$root" "$@"
