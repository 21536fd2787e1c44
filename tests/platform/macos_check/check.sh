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
interface() { compile --precompile "$source/$1" -o "$2.pcm"; }

interface modules/platform/error.cppm ipcpp.platform-error
interface modules/platform/size_literals.cppm ipcpp.platform-size_literals
interface modules/platform/fields.cppm ipcpp.platform-fields
interface modules/platform/shareable.cppm ipcpp.platform-shareable
interface modules/platform/terms.cppm ipcpp.platform-terms
interface modules/platform/contract.cppm ipcpp.platform-contract
interface platform/posix/posix.cppm ipcpp.platform-posix
interface platform/posix/objects.cppm ipcpp.platform-posix_objects
interface platform/macos/os_macos.cppm ipcpp.platform-os_macos
interface modules/platform/platform.cppm ipcpp.platform
count=0
for body in "$source"/impl/platform/*.cpp "$source"/platform/posix/*.cpp "$source"/platform/macos/*.cpp; do
  compile -fsyntax-only "$body"
  count=$((count + 1))
done
echo "10 interfaces and $count bodies compile for macOS; none was run"
