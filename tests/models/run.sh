#!/bin/sh
# Model-checks the protocols of the heap, the queues and concurrent_map, and shows that the models can fail: `tests/models/run.sh [--quick] [MODEL...]`.
#
# Each model is run as the protocol is, which must hold, and with each of its mutations (a weaker order, a step left out
# or swapped), which must fail. Prints a line for each and the score; fails when the protocol fails or a mutation
# survives. Every run is the same: iteration n is made from the number n. To see how something fails, with every step:
#   CACHE/models/MODEL --mutation N --trace
#
# Changes: installs relacy-dev (Debian) when it is missing, and builds in the cache. --quick takes about half a minute,
# everything about ten.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

models=$root/tests/models
built=$cache/models
iterations=3000000 patience=3000000
chosen=
for argument in "$@"; do
  case $argument in
    --quick) iterations=100000 patience=1000000 ;;
    -*) fail "unknown argument $argument" ;;
    *) chosen="$chosen $argument" ;;
  esac
done
chosen=${chosen:-claim harvest recovery links runs parking lock queue_lane queue_mpmc queue_latest letters broadcast loans calls reading mending}

if ! [ -f /usr/include/relacy/relacy.hpp ]; then
  if ! have apt-get || ! can_be_root; then fail "needs relacy's headers (Debian: apt-get install relacy-dev)"; fi
  say "== models: install relacy-dev"
  quietly "$logs/apt.log" apt_get install --no-install-recommends relacy-dev ||
    { quietly "$logs/apt.log" apt_update && quietly "$logs/apt.log" apt_get install --no-install-recommends relacy-dev; }
fi

compiler=
for candidate in clang++-19 clang++ g++; do
  if have "$candidate"; then compiler=$candidate; break; fi
done
[ -n "$compiler" ] || fail "needs a C++ compiler"

# build MODEL: unless it was built from these very sources. Relacy is older than our warnings: none for its templates.
build() {
  sum=$(cat "$models/$1.cpp" "$models/model.hpp" "$models/slab.hpp" | cksum)
  if [ -x "$built/$1" ] && [ "$(cat "$built/$1.sum" 2>/dev/null)" = "$compiler $sum" ]; then return 0; fi
  quietly "$logs/models-$1.log" "$compiler" -std=c++20 -O1 -w -o "$built/$1" "$models/$1.cpp" || return 1
  printf '%s\n' "$compiler $sum" >"$built/$1.sum"
}

mkdir -p "$built" "$logs"
start=$(now)
say "== models: build with $compiler"
# As many at a time as JOBS says.
under_way=0
for model in $chosen; do
  build "$model" &
  under_way=$((under_way + 1))
  if [ "$under_way" -ge "$jobs" ]; then wait; under_way=0; fi
done
wait
for model in $chosen; do build "$model" || fail "$model does not compile"; done

say "== models: check, the protocols $iterations times, a mutation at most $patience times"
printf '%-12s %-76s %-9s %10s %8s\n' model mutation result iterations seconds
list=$(mktemp)
trap 'rm -f "$list"' EXIT
total=0 caught=0 bad=''
for model in $chosen; do
  "$built/$model" --list >"$list"
  while read -r number name; do
    most=$patience
    [ "$number" -ne 0 ] || most=$iterations
    outcome=$("$built/$model" --mutation "$number" --iterations "$most") || true
    result=$(printf '%s' "$outcome" | cut -f 1)
    case $number,$result in
      0,holds) verdict=holds ;;
      0,*) verdict=FAILS bad="$bad
   $model: $outcome" ;;
      *,fails) verdict=caught caught=$((caught + 1)) ;;
      *,holds) verdict=SURVIVED bad="$bad
   $model: $name survived" ;;
      *) verdict=CRASHED bad="$bad
   $model: $name: $outcome" ;;
    esac
    [ "$number" -eq 0 ] || total=$((total + 1))
    printf '%-12s %-76s %-9s %10s %8s\n' "$model" "$name" "$verdict" "$(printf '%s' "$outcome" | cut -f 2)" \
      "$(printf '%s' "$outcome" | cut -f 3)"
  done <"$list"
done
say "   models: $caught of $total mutations caught, $(($(now) - start)) s"
[ -z "$bad" ] || fail "$bad"
