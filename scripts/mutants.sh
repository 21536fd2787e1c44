#!/bin/sh
# Seeded protocol bugs (tests/crash/mutants.txt), one at a time: `scripts/mutants.sh [WORD...]` runs those whose name has
# all WORDs. Part of `./dev prove`. `scripts/mutants.sh --fits` builds and runs nothing: does each fit its file still?
#
# Works on a copy of the checkout in the cache, built with the debug preset; the checkout is not touched. Each bug must
# make its tests fail, or hang: they get three times what they take on the unchanged library, which has to pass them first.
# Prints the list and the score. Fails when one survives, no longer fits its file, or does not compile.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

words='' fits_only=''
for argument; do
  case $argument in
    --fits) fits_only=yes ;;
    *) words="$words $argument" ;;
  esac
done
chosen() {
  for word in $words; do
    case $name in *"$word"*) ;; *) return 1 ;; esac
  done
}
# each FUNCTION: calls it for each of the chosen, with name, file, from, to, tests and variant set.
each() {
  name='' variant=''
  while IFS= read -r line || [ -n "$line" ]; do
    case $line in
      '#'*) ;;
      'name: '*) name=${line#name: } variant='' ;;
      'file: '*) file=${line#file: } ;;
      'from: '*) from=${line#from: } ;;
      'to: '*) to=${line#to: } ;;
      'tests: '*) tests=${line#tests: } ;;
      'variant: '*) variant=${line#variant: } ;;
      '')
        [ -z "$name" ] || ! chosen || "$1" </dev/null
        name=''
        ;;
    esac
  done <"$root/tests/crash/mutants.txt"
  [ -z "$name" ] || ! chosen || "$1" </dev/null
}
# fits FOLDER: whether `from` stands exactly once in the file.
fits() {
  [ -f "$1/$file" ] && from=$from perl -0777 -ne '
    BEGIN { $f = $ENV{from} =~ s/\\n/\n/gr } $n = () = /\Q$f\E/g; exit($n != 1)' "$1/$file"
}

total=0 bad=''
look_whether_it_fits() {
  total=$((total + 1))
  fits "$root" || bad="$bad|$name: does not stand once in $file"
}
report() {
  [ -z "$bad" ] || { warn "$1:$(printf '%s' "$bad" | tr '|' '\n' | sed 's/^/   /')"; exit 1; }
}
if [ -n "$fits_only" ]; then
  each look_whether_it_fits
  report 'do not fit'
  say "== mutants: each of $total seeded bugs fits its file"
  exit 0
fi

copy=$cache/mutants
mkdir -p "$copy/source" "$logs"
log=$logs/mutants.log
: >"$log"

# refresh: the copy becomes what the checkout is; files that did not change keep their times, so little is built again.
refresh() {
  (cd "$root" && git ls-files -co --exclude-standard) | while IFS= read -r one; do
    [ -f "$root/$one" ] || continue
    cmp -s "$root/$one" "$copy/source/$one" && continue
    mkdir -p "$copy/source/$(dirname "$one")"
    cp "$root/$one" "$copy/source/$one"
  done
}

build() { cmake --build "$copy/build" --target tests >>"$log" 2>&1; }

say "== mutants: build the unchanged library"
refresh
cmake -S "$copy/source" -B "$copy/build" --preset linux-clang-debug >>"$log" 2>&1 || { tail -n 20 "$log"; exit 1; }
build || { tail -n 40 "$log"; exit 1; }

run_tests() {
  IPCPP_PLATFORM_VARIANT=$variant timeout "$1" "$copy/build/tests" --gtest_brief=1 --gtest_filter="$tests" \
    >"$copy/output" 2>&1
}
# The seconds that the tests of this mutant may take.
limit() { sed -n "s/^$(printf '%s' "$variant:$tests" | cksum | cut -d ' ' -f 1) //p" "$copy/limits"; }
# Runs them on the unchanged library, unless that was done.
measure() {
  [ -z "$(limit)" ] || return 0
  begin=$(date +%s)
  run_tests 900 || { tail -n 20 "$copy/output"; fail "the unchanged library fails $tests"; }
  printf '%s %s\n' "$(printf '%s' "$variant:$tests" | cksum | cut -d ' ' -f 1)" \
    $((3 * ($(date +%s) - begin) + 30)) >>"$copy/limits"
}
: >"$copy/limits"

caught=0
try() {
  total=$((total + 1))
  target=$copy/source/$file
  if ! fits "$copy/source"; then
    verdict='DOES NOT FIT its file any more'
  elif ! from=$from to=$to perl -0777 -i -pe '
      BEGIN { ($f, $t) = map { s/\\n/\n/gr } @ENV{qw(from to)} } s/\Q$f\E/$t/' "$target" 2>>"$log" || ! build; then
    verdict='DOES NOT COMPILE'
  elif run_tests "$(limit)"; then
    verdict=SURVIVED
  else
    verdict=$(sed -n 's/^\[  FAILED  \] \([A-Za-z]*\.[A-Za-z0-9]*\).*/caught by \1/p' "$copy/output" | head -n 1)
    verdict=${verdict:-caught (the tests hung or crashed)}
    caught=$((caught + 1))
  fi
  case $verdict in caught*) ;; *) bad="$bad|$name" ;; esac
  printf '   %-50s %s\n' "$name" "$verdict"
  refresh
}

say "== mutants: the tests on the unchanged library"
each measure
each try

say "== mutants: $caught of $total caught"
report 'not caught'
