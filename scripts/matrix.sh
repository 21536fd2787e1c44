#!/bin/sh
# Builds and tests with every supported compiler: `./dev matrix [--list] [--once] [--quick] [--record] [LEG...]`
# (default: all legs).
#
# Legs of the machine itself use what setup.sh installs; the others run in the sid chroot (chroot.sh), where the checkout is
# mounted read-only, with ../shared/acceptance beside it where that is there. The leg two-compilers builds only
# tests/two_compilers, with GCC 16 in the leg gcc16-debug's folder and with Clang 19 in build/, as ./dev test does, and lets
# each program work in the other's segment. The legs *-consumers run only the projects that use the library, in both
# standards, both kinds of build and all three ways.
# Changes: what those two scripts change, and matrix/, wine/ and logs/ in the cache; of the checkout only build/. --once builds
# in a new folder and removes it afterwards; --quick leaves out the crash tests and the consumers that build the library again;
# --record takes the tables into docs/platforms.md (record_matrix.sh).
# A leg whose tools cannot be had is reported as NOT RUN, loudly, and is no failure; fails when any leg failed, or
# when the compiler had a warning about the library.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

all_legs='clang19-libcxx-debug clang19-release clang19-asan clang19-tsan gcc16-debug gcc16-release gcc16-asan gcc15-debug
clang22-libstdcxx-debug clang22-libcxx-debug mingw-wine aarch64-qemu two-compilers clang19-consumers gcc16-consumers'

# describe LEG: sets where (host, sid, or pair: both), preset, tool (the compiler's command), arguments (for CMake), and what
# to build and run if it is not everything (targets, tests, prove).
describe() {
  where=sid
  arguments='' targets='' tests='' prove=''
  case $1 in
    clang19-libcxx-debug) where=host preset=linux-clang-debug tool=clang++-19 ;;
    clang19-release) where=host preset=linux-clang-release tool=clang++-19 ;;
    clang19-asan) where=host preset=linux-clang-asan tool=clang++-19 ;;
    clang19-tsan) where=host preset=linux-clang-tsan tool=clang++-19 ;;
    gcc16-debug) preset=linux-gcc-debug tool=g++-16 ;;
    gcc16-release) preset=linux-gcc-release tool=g++-16 ;;
    gcc16-asan) preset=linux-gcc-asan tool=g++-16 ;;
    gcc15-debug) preset=linux-gcc-debug tool=g++-15 arguments=-DCMAKE_CXX_COMPILER=g++-15 ;;
    clang22-libstdcxx-debug) preset=linux-clang22-libstdcxx-debug tool=clang++-22 ;;
    clang22-libcxx-debug) preset=linux-clang22-libcxx-debug tool=clang++-22 ;;
    mingw-wine) preset=mingw-debug tool=x86_64-w64-mingw32-g++-posix ;;
    aarch64-qemu) preset=linux-aarch64-debug tool=aarch64-linux-gnu-g++-16 ;;
    two-compilers) where=pair preset=linux-gcc-debug tool=g++-16 ;;
    clang19-consumers) where=host preset=linux-clang-debug tool=clang++-19 ;;
    gcc16-consumers) preset=linux-gcc-debug tool=g++-16 ;;
    *) warn "error: unknown leg \"$1\"; ./dev matrix --list names them"; exit 2 ;;
  esac
  case $1 in
    *-consumers) targets='ipcpp ipcpp_tool packaging_tests' tests=Consumer prove=full ;;
  esac
}

once=
quick=
record=
legs=
for argument; do
  case $argument in
    --list)
      for leg in $all_legs; do
        describe "$leg"
        printf '%-24s %-5s preset %s, compiler %s\n' "$leg" "$where" "$preset" "$tool"
      done
      exit 0
      ;;
    --once) once=yes ;;
    --record) record=yes ;;
    --quick) quick=-DIPCPP_CRASH_TESTS=OFF ;;
    -*) warn "usage: ./dev matrix [--list] [--once] [--quick] [--record] [LEG...]"; exit 2 ;;
    *) describe "$argument"; legs="$legs $argument" ;;
  esac
done
[ -n "$legs" ] || legs=$all_legs

# Builds belong to a checkout: two with different files must not share them.
place=$cache/matrix/$(printf '%s' "$root" | cksum | cut -d ' ' -f 1)
if [ -n "$once" ]; then
  mkdir -p "$cache/matrix"
  place=$(mktemp -d "$cache/matrix/once.XXXXXX")
  trap 'rm -rf "$place"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
fi
mkdir -p "$place"
exec 8>"$place/lock"
flock -n 8 || fail "another matrix run of this checkout is under way"
table=$place/table
: >"$table"

row() { printf '%s|%s|%s|%s|%s|%s|%s|%s|%s\n' "$@" >>"$table"; }
result() { sed -n "s/^$1=//p" "$work/result" 2>/dev/null | tail -n 1; }

# in_sid COMMAND: whether the chroot has it; links in it (alternatives) lead astray from outside.
in_sid() { [ -e "$sid/usr/bin/$1" ] || [ -L "$sid/usr/bin/$1" ]; }

# cannot LEG: prints why the leg's tools are not there, nothing when they are.
host_ready='' sid=''
cannot() {
  if [ "$where" != sid ]; then
    compiler=clang++-19
    [ "$where" = pair ] || compiler=$tool
    [ -n "$host_ready" ] || { "$root/scripts/setup.sh" >&2 || true; host_ready=yes; }
    have "$compiler" || { say "no $compiler on this machine"; return 0; }
    [ "$where" = pair ] || return 0
  fi
  if [ "$(id -u)" -ne 0 ]; then say "needs root for the chroot"; return 0; fi
  [ -n "$sid" ] || sid=$("$root/scripts/chroot.sh" sid) || sid=none
  if [ "$sid" = none ]; then
    say "the sid chroot could not be made ($logs/chroot.log)"
  elif ! in_sid "$tool"; then
    say "no $tool in the sid chroot"
  elif [ "$1" = mingw-wine ] && ! in_sid wine64; then
    say "no wine64 in the sid chroot"
  elif [ "$1" = aarch64-qemu ] && ! in_sid qemu-aarch64; then
    say "no qemu-aarch64 in the sid chroot"
  fi
}

# bind LINES: mounts these in the chroot, and the acceptance programs where the checkout has them (tests/acceptance).
bind() {
  IPCPP_BIND=$1
  [ ! -d "$root/../shared/acceptance" ] || IPCPP_BIND="$IPCPP_BIND
$root/../shared/acceptance:/shared/acceptance:ro"
  export IPCPP_BIND
}

run_on_host() {
  JOBS=$jobs TARGETS=$targets TESTS=$tests IPCPP_PROVE=$prove "$root/scripts/leg.sh" "$root" "$work" "$@"
}

run_in_sid() {
  wine=
  if [ "$leg" = mingw-wine ]; then
    mkdir -p "$cache/wine"
    wine='WINEPREFIX=/wine/prefix WINEDEBUG=-all'
  fi
  bind "$root:/src:ro
$work:/work:rw${wine:+
$cache/wine:/wine:rw}"
  # shellcheck disable=SC2086  # a list of words
  "$root/scripts/chroot.sh" enter "$sid" env JOBS="$jobs" TARGETS="$targets" TESTS="$tests" IPCPP_PROVE="$prove" $wine /src/scripts/leg.sh /src /work "$@"
}

# Builds the program twice, and has each make a segment for the other.
run_pair() (
  : >"$work/result"
  note() { say "$1" >>"$work/result"; }
  note stage=build
  note "compiler=Clang 19, GNU 16"
  start=$(now)
  # shellcheck source=scripts/build.sh
  . "$root/scripts/build.sh"
  configure debug
  build_targets two_compilers
  gcc=$place/gcc16-debug
  mkdir -p "$gcc"
  bind "$root:/src:ro
$build:/clang:ro
$gcc:/work:rw"
  # shellcheck disable=SC2016  # expanded inside
  "$root/scripts/chroot.sh" enter "$sid" sh -euc 'jobs=$1; shift
    cmake -S /src -B /work/build --preset linux-gcc-debug -DIPCPP_BUILD_BENCHMARKS=OFF "$@"
    cmake --build /work/build --parallel "$jobs" --target two_compilers' sh "$jobs" $quick
  note "build_seconds=$(($(now) - start))"
  note stage=test
  start=$(now)
  passed=0 failed=0
  for order in "/clang/two_compilers /work/build/two_compilers" "/work/build/two_compilers /clang/two_compilers"; do
    say "== ${order% *} makes, ${order#* } works in it"
    # shellcheck disable=SC2086  # two words
    if timeout 300 "$root/scripts/chroot.sh" enter "$sid" $order; then
      passed=$((passed + 1))
    else
      failed=$((failed + 1))
    fi
  done
  note "test_seconds=$(($(now) - start))"
  note "passed=$passed"
  note "failed=$failed"
  note not_run=0
  [ "$failed" -eq 0 ] || exit 1
  note stage=done
)

# Which files this was: the commit, and + where files differ from it.
commit=$(git -C "$root" describe --always --abbrev=8 --dirty=+ --exclude '*' 2>/dev/null) || commit=unknown
failed_legs=
missing_legs=
for leg in $legs; do
  describe "$leg"
  say "== leg $leg"
  reason_file=$place/reason
  cannot "$leg" >"$reason_file"
  if [ -s "$reason_file" ]; then
    say "   NOT RUN: $(cat "$reason_file")"
    missing_legs="$missing_legs $leg"
    row "$leg" "NOT RUN: $(cat "$reason_file")" '' '' '' '' '' '' ''
    continue
  fi
  work=$place/$leg
  log=$logs/matrix-$leg.log
  mkdir -p "$work"
  rm -f "$work/junit.xml"
  run=run_in_sid
  [ "$where" = sid ] || run=run_on_host
  [ "$where" != pair ] || run=run_pair
  state=ok
  # shellcheck disable=SC2086  # arguments is a list of words
  IPCPP_TAIL=80 quietly "$log" $run "$preset" $arguments $quick 8>&- || state="FAILED: $(result stage)"
  if grep -E '(^|/)(modules|impl|platform)/[^ ]*:[0-9]+:[0-9]+: warning: ' "$log"; then
    [ "$state" != ok ] || state="FAILED: warnings about the library"
  fi
  say "   $state: $(result passed) passed, $(result failed) failed, $(result not_run) not run"
  [ "$state" = ok ] || failed_legs="$failed_legs $leg"
  row "$leg" "$state" "$(result compiler)" "$(result build_seconds)" "$(result passed)" "$(result failed)" \
    "$(result not_run)" "$(result test_seconds)" "$(grep -c ': warning: ' "$log" || true)"
  # The leg two-compilers builds in gcc16-debug's folder.
  case $once,$leg,$legs in
    ,* | *,gcc16-debug,*two-compilers*) ;;
    *) rm -rf "$work/build" ;;
  esac
done

report() {
  say "== matrix"
  awk -F '|' -v day="$(date +%F)" -v commit="$commit" -v how="${quick:+, quick}" '
    BEGIN { line("leg", "compiler", "build s", "warnings", "passed", "failed", "not run", "test s", "date", "commit", "state") }
    function line(leg, compiler, build, warnings, passed, failed, not_run, test, day, commit, state) {
      printf "%-24s %-16s %7s %8s %6s %6s %7s %6s  %-10s %-9s %s\n", leg, compiler, build, warnings, passed, failed, not_run, \
        test, day, commit, state
    }
    { line($1, $3, $4, $9, $5, $6, $7, $8, day, commit, $2 ($2 ~ /^NOT/ ? "" : how)) }' "$table"
  say "== conformance suite: what every platform runs unchanged"
  set --
  for leg in $legs; do
    case $leg in
      two-compilers | *-consumers) ;;
      *) set -- "$@" "$leg=$place/$leg/junit.xml" ;;
    esac
  done
  "$root/scripts/conformance.sh" "$@"
  say "== not run, and why"
  "$root/scripts/not_run.sh" "$@"
}
report >"$place/report"
cat "$place/report"
[ -z "$record" ] || "$root/scripts/record_matrix.sh" "$place/report"
say "   logs: $logs/matrix-LEG.log"
[ -z "$missing_legs" ] || say "!! NOT RUN:$missing_legs"
if [ -n "$failed_legs" ]; then
  say "!! FAILED:$failed_legs"
  exit 1
fi
