# shellcheck shell=sh disable=SC2154
# Configuring and building one preset in build/PRESET; for the scripts that read this file after lib.sh.
#
# Configuring is quiet unless it fails; building shows Ninja's progress. Sets `preset` and `build`.

# Uses the preferred compiler of the presets, or what else on this machine is new enough: sets `family` (the presets'
# first words) and `overrides` (CMake arguments).
choose_compiler() {
  overrides=
  if [ "$(uname -s)" = Darwin ]; then
    family=macos-llvm
  elif have clang++-19; then
    family=linux-clang
  elif at_least "$(compiler_version clang++)" 19; then
    family=linux-clang
    overrides=-DCMAKE_CXX_COMPILER=clang++
    have ld.lld || overrides="$overrides -DCMAKE_EXE_LINKER_FLAGS="
  else
    family=linux-gcc
    have g++-16 || overrides=-DCMAKE_CXX_COMPILER=g++
  fi
}

# configure debug|release [CMAKE ARGUMENT...]
configure() {
  choose_compiler
  preset=$family-$1
  build=$root/build/$preset
  shift
  # shellcheck disable=SC2086  # overrides is a list of words
  step "configure $preset" quietly "$build/configure.log" \
    cmake -S "$root" --preset "$preset" $overrides -DIPCPP_CATCH2_SOURCE="$cache/sources/catch2" "$@"
}

# build_targets TARGET...
build_targets() { step "build $*" cmake --build "$build" --parallel "$jobs" --target "$@"; }

# run_ctest ARGUMENT...: replaces this process, so that the output ends with ctest's summary.
run_ctest() {
  say "== test $preset"
  cd "$root" || exit
  exec ctest --preset "$preset" --parallel "$jobs" "$@"
}
