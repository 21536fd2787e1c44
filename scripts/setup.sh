#!/bin/sh
# Installs what building and testing ipcpp needs, and nothing that is there already: `./dev setup`.
#
# On Debian 12 it changes: the packages named below (apt-get install), one apt source file of its own for the
# bookworm-backports suite of the mirror the machine already uses (CMake, Catch2), and Catch2's sources in the cache
# folder. Nothing is removed or upgraded beyond that. When nothing is missing it does nothing, within a second.
# On other systems it changes nothing: it accepts fitting tools or says what to install.
# It fails, with the end of apt's log, when a package cannot be had, and when neither root nor sudo is available.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

cmake_minimum=3.28
backports_file=/etc/apt/sources.list.d/ipcpp-backports.sources
catch2=$cache/sources/catch2

cmake_version() { cmake --version 2>/dev/null | first_version; }
cmake_fits() { at_least "$(cmake_version)" "$cmake_minimum"; }

# Debian 12: packages -----------------------------------------------------------------------------------------------

bookworm_packages='clang-19 clang-tools-19 libc++-19-dev libc++abi-19-dev libclang-rt-19-dev lld-19 clang-format-19
ninja-build git ca-certificates googletest libcli11-dev nlohmann-json3-dev libncurses-dev tmux'

# Writes the source file when the backports suite is not configured yet with both packages and sources.
add_backports() {
  uri=$(debian_mirror bookworm uri)
  [ -n "$uri" ] || fail "no apt source offers suite bookworm with component main; cannot tell which mirror to use"
  signed_by=$(debian_mirror bookworm signed-by)
  wanted=$(
    say "# Written by ipcpp's ./dev setup: CMake and Catch2's sources, from the mirror this machine already uses."
    say "Types: deb deb-src"
    say "URIs: $uri"
    say "Suites: bookworm-backports"
    say "Components: main"
    if [ -n "$signed_by" ]; then say "Signed-By: $signed_by"; fi
  )
  if [ -r "$backports_file" ] && [ "$(cat "$backports_file")" = "$wanted" ]; then return 0; fi
  say "   apt: add the bookworm-backports suite ($backports_file)"
  printf '%s\n' "$wanted" | as_root tee "$backports_file" >/dev/null
}

# apt verifies what it downloads; the tarball is unpacked aside and gets its final name when complete.
fetch_catch2() {
  mkdir -p "$cache/sources"
  work=$(mktemp -d "$cache/sources/.catch2.XXXXXX")
  (
    cd "$work" &&
      apt-get -q -o APT::Sandbox::User="$(id -un)" -o Acquire::Retries=3 source --download-only \
        catch2/bookworm-backports &&
      mkdir source &&
      tar -xf catch2_*.orig.tar.* -C source --strip-components=1
  ) || { rm -rf "$work"; return 1; }
  rm -rf "$catch2"
  mv "$work/source" "$catch2"
  rm -rf "$work"
}

setup_bookworm() {
  # shellcheck disable=SC2086  # a list of words
  missing=$(packages_missing $bookworm_packages)
  cmake_fits || missing="$missing cmake/bookworm-backports cmake-data/bookworm-backports"
  catch2_missing=
  [ -f "$catch2/CMakeLists.txt" ] || catch2_missing=yes
  if [ -z "$missing$catch2_missing" ]; then return 0; fi

  say "== setup"
  start=$(now)
  log=$logs/apt.log
  if [ -n "$missing" ] || ! apt-cache showsrc catch2 2>/dev/null | grep -q '^Version: 3'; then
    can_be_root || fail "needs root (or sudo) once, for apt-get install: ${missing:-the sources of Catch2}
Run ./dev setup as root."
    add_backports
    say "   apt: read the package lists"
    quietly "$log" apt_update
  fi
  if [ -n "$missing" ]; then
    # An earlier run may have been killed between unpacking and configuring.
    quietly "$log" as_root env DEBIAN_FRONTEND=noninteractive dpkg --configure -a
    say "   apt: install $missing"
    # shellcheck disable=SC2086
    quietly "$log" apt_get install --no-install-recommends $missing
    hash -r
    cmake_fits || fail "$(command -v cmake) is CMake $(cmake_version), and stands in the way of the one just installed \
($cmake_minimum or newer is needed); remove it or put /usr/bin first in PATH"
  fi
  if [ -n "$catch2_missing" ]; then
    say "   apt: Catch2's sources into $catch2"
    quietly "$log" fetch_catch2
  fi
  say "   setup: $(($(now) - start)) s"
}

# Any other system: look, install nothing ---------------------------------------------------------------------------

setup_other() {
  lacking=
  # Homebrew keeps its LLVM out of PATH; Apple's own compiler cannot scan for modules.
  if [ "$(uname -s)" = Darwin ]; then PATH=/opt/homebrew/opt/llvm/bin:/usr/local/opt/llvm/bin:$PATH; fi
  if ! at_least "$(compiler_version clang++)" 19 && ! at_least "$(compiler_version clang++-19)" 19 &&
    ! at_least "$(compiler_version g++)" 15; then
    lacking="$lacking
  a C++ compiler: Clang 19 or newer with libc++ (clang++), or GCC 15 or newer (g++)"
  fi
  cmake_fits || lacking="$lacking
  CMake $cmake_minimum or newer (found: $(cmake_version))"
  have ninja || lacking="$lacking
  Ninja 1.11 or newer"
  if [ -n "$lacking" ]; then
    warn "This system ($(os_field PRETTY_NAME)) is not Debian 12, so nothing is installed for you.
Please install:$lacking"
    warn "GoogleTest and Catch2 are taken from the system if they fit, and downloaded by CMake otherwise."
    exit 1
  fi
}

if [ "$(os_field ID)" = debian ] && [ "$(os_field VERSION_CODENAME)" = bookworm ]; then
  setup_bookworm
else
  setup_other
fi
