#!/bin/sh
# clang-tidy 19 for the library: `./dev tidy [PATTERN...]` (file names that contain a PATTERN; default: all units).
#
# Changes: what setup.sh installs, the package clang-tidy-19 on Debian 12, and build/. Builds the library first, because
# clang-tidy reads the compiled module interfaces, which must come from the compiler of its own version.
# Fails when there is a finding, or no clang-tidy 19.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
# shellcheck source=scripts/build.sh
. "$root/scripts/build.sh"

"$root/scripts/setup.sh"
tidy=clang-tidy-19
if ! have "$tidy" && [ "$(os_field VERSION_CODENAME)" = bookworm ] && can_be_root; then
  say "== tidy: install $tidy"
  quietly "$logs/tidy-apt.log" apt_get install --no-install-recommends "$tidy" || fail "$tidy cannot be installed"
fi
have "$tidy" || tidy=clang-tidy
case $("$tidy" --version 2>/dev/null | first_version) in
  19.*) ;;
  *) fail "needs clang-tidy 19; other versions find different things and cannot read Clang 19's modules" ;;
esac

configure debug
build_targets ipcpp

cd "$root"
files=$(git ls-files -co --exclude-standard -- 'modules/*.cppm' 'impl/*.cpp' 'impl/*.cppm' 'platform/posix/*' 'platform/linux/*')
wanted=
for file in $files; do
  [ -f "$file" ] || continue
  if [ $# -eq 0 ]; then wanted="$wanted $file"; continue; fi
  for pattern; do case $file in *"$pattern"*) wanted="$wanted $file"; break ;; esac; done
done
[ -n "$wanted" ] || fail "no unit's name contains: $*"

say "== tidy"
start=$(now)
# shellcheck disable=SC2086  # lists of words
if printf '%s\n' $wanted | xargs -P "$jobs" -n 1 "$tidy" -p "$build" --quiet 2>"$logs/tidy.log"; then
  # shellcheck disable=SC2086
  say "   tidy: $(printf '%s\n' $wanted | wc -l) units, nothing found, $(($(now) - start)) s"
else
  fail "clang-tidy found something (above), or could not read a unit ($logs/tidy.log)"
fi
