#!/bin/sh
# One leg of the matrix, on the machine itself or in a chroot: configure, build, ctest.
#
#   leg.sh SOURCE WORK PRESET [CMAKE ARGUMENT...]
#
# Changes only the folder WORK: WORK/build, WORK/junit.xml and WORK/result, which has one NAME=VALUE each line (stage,
# compiler, build_seconds, passed, failed, not_run, test_seconds) and is complete as far as the leg came.
# With TARGETS or TESTS (a regular expression) in the environment only these are built or run. With WINEPREFIX in it a Wine server is
# kept for the leg. Fails when a stage fails.
set -eu
source=$1
work=$2
preset=$3
shift 3
jobs=${JOBS:-$(nproc)}
build=$work/build
now() { date +%s; }
note() { printf '%s\n' "$1" >>"$work/result"; }

mkdir -p "$work"
rm -f "$work/junit.xml"
: >"$work/result"

stop_wine=:
if [ -n "${WINEPREFIX:-}" ]; then
  note stage=wine
  wineserver=$(command -v wineserver || echo /usr/lib/x86_64-linux-gnu/wine/wineserver)
  # One leg at a time: the processes of another one's server would be out of reach, in another namespace.
  mkdir -p "$WINEPREFIX"
  exec 7>"$WINEPREFIX.lock"
  flock 7
  # An interrupted first start leaves half a prefix.
  if [ ! -f "$WINEPREFIX/complete" ]; then
    rm -rf "${WINEPREFIX:?}"/*
    wine64 wineboot --init
    "$wineserver" --wait
    touch "$WINEPREFIX/complete"
  fi
  "$wineserver" --persistent
  # Wine's services inherit the output of the program that starts them, and whoever reads that to its end (CMake, ctest)
  # would wait for ever; so they are started here, with a file.
  wine64 cmd /c exit </dev/null >"$work/wine.log" 2>&1
  stop_wine="$wineserver --kill"
  trap '$stop_wine' EXIT
fi

note stage=configure
cmake -S "$source" -B "$build" --preset "$preset" -DIPCPP_BUILD_BENCHMARKS=OFF "$@"
compiler_file=$(ls "$build"/CMakeFiles/*/CMakeCXXCompiler.cmake)
note "compiler=$(sed -n 's/^set(CMAKE_CXX_COMPILER_ID "\(.*\)")/\1/p; s/^set(CMAKE_CXX_COMPILER_VERSION "\(.*\)")/\1/p' \
  "$compiler_file" | tr '\n' ' ')"

note stage=build
start=$(now)
# shellcheck disable=SC2086  # a list of words
cmake --build "$build" --parallel "$jobs" ${TARGETS:+--target $TARGETS}
note "build_seconds=$(($(now) - start))"

note stage=test
start=$(now)
status=0
UBSAN_OPTIONS=print_stacktrace=1 ctest --test-dir "$build" --output-on-failure --no-tests=error --timeout 600 \
  --parallel "$jobs" --tests-regex "${TESTS:-.}" --output-junit "$work/junit.xml" || status=$?
note "test_seconds=$(($(now) - start))"
if [ -f "$work/junit.xml" ]; then
  attribute() { sed -n "/<testsuite /,/>/s/.*[[:space:]]$1=\"\([0-9]*\)\".*/\1/p" "$work/junit.xml" | head -n 1; }
  tests=$(attribute tests) failed=$(attribute failures)
  not_run=$(($(attribute skipped) + $(attribute disabled)))
  note "passed=$((tests - failed - not_run))"
  note "failed=$failed"
  note "not_run=$not_run"
fi
[ "$status" -ne 0 ] || note stage=done
exit "$status"
