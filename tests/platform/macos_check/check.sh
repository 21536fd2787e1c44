#!/bin/sh
# Compiles the platform for macOS without a Mac, and links and runs nothing: the target is Apple's, the C++ library is
# libc++, Apple's interfaces are declared in include/ (see README.md there), and the machine's C library stands in for
# what all systems have. Shows that the code is C++ and that each call exists with those types; not that it works.
#
#   check.sh SOURCE WORK CXX LIBCXX
#
# LIBCXX: the folder of libc++'s headers. Changes only the folder WORK. Fails when a file does not compile.
set -eu
source=$1
work=$2
cxx=$3
libcxx=$4
mkdir -p "$work"
cd "$work"
machine=$("$cxx" -print-target-triple | sed 's/-pc-/-/')

compile() {
  "$cxx" --target=x86_64-apple-macos14 -std=c++20 -stdlib=libc++ -nostdlibinc -fprebuilt-module-path=. \
    -U__nonnull -D_DEFAULT_SOURCE -D_XOPEN_SOURCE=700 -D__NO_CTYPE \
    -isystem "$source/tests/platform/macos_check/include" -isystem "$libcxx" \
    -isystem "/usr/include/$machine" -isystem /usr/include \
    -Wall -Wextra -Wpedantic -Wconversion -Wgnu -Werror "$@"
}

# Interfaces in the order of their imports; partitions of other systems are not among the files.
: >files
: >pairs
for file in "$source"/modules/platform/*.cppm "$source"/platform/posix/*.cppm "$source"/platform/macos/*.cppm; do
  name=$(sed -n 's/^export module ipcpp\.platform\(.*\);/\1/p' "$file")
  echo "ipcpp.platform$name $file" >>files
  sed -n 's/^\(export \)\{0,1\}import \(:[a-z_]*\);.*/\2/p' "$file" |
    while read -r import; do echo "ipcpp.platform$import ipcpp.platform$name"; done >>pairs
done
interfaces=0
for name in $(tsort pairs); do
  file=$(sed -n "s/^$name //p" files)
  [ -n "$file" ] || continue
  compile --precompile "$file" -o "$(echo "$name" | tr : -).pcm"
  interfaces=$((interfaces + 1))
done
count=0
for body in "$source"/impl/platform/*.cpp "$source"/platform/posix/*.cpp "$source"/platform/macos/*.cpp; do
  compile -fsyntax-only "$body"
  count=$((count + 1))
done
echo "$interfaces interfaces and $count bodies compile for macOS; none was run"
