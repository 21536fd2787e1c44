#!/bin/sh
# Proves that the Debian package installs and works on a Debian 12 with nothing of ipcpp's: `./dev bare package [--keep]
# [FILE.deb]`.
#
# Builds the package (release; or takes FILE.deb), makes a minimal chroot of Debian 12 from the machine's own mirror with the
# compiler and CMake that a user of modules needs, installs the package there with apt, builds the program of
# docs/first_program.md with find_package, lets its two processes talk, kills the one, looks with `ipcpp`, cleans up, and removes the
# package again. Nothing of it may be left. Says how long each step took.
#   --keep  do not remove the chroot
# Changes: the package mmdebstrap, and chroots/bare.* in the cache while it runs. Needs root; fails when a step fails.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
# shellcheck source=scripts/build.sh
. "$root/scripts/build.sh"

keep='' package=''
for argument; do
  case $argument in
    --keep) keep=yes ;;
    *.deb) package=$argument ;;
    *) warn "usage: ./dev bare package [--keep] [FILE.deb]"; exit 2 ;;
  esac
done
# shellcheck source=scripts/bare.sh
. "$root/scripts/bare.sh"

if [ -z "$package" ]; then
  configure release
  build_targets ipcpp ipcpp_tool
  place=$cache/package
  rm -rf "$place"
  step "the package" quietly "$logs/package.log" cpack -G DEB --config "$build/CPackConfig.cmake" -B "$place"
  package=$(echo "$place"/*.deb)
fi
[ -r "$package" ] || fail "no package $package"
say "   $(basename "$package"): $(wc -c <"$package") bytes"

inside_quietly() { quietly "$logs/bare_package.log" "$root/scripts/chroot.sh" enter "$chroot" "$@"; }

step "a minimal Debian 12 with Clang 19" bare_debian \
  ca-certificates clang-19 clang-tools-19 lld-19 libc++-19-dev libc++abi-19-dev ninja-build man-db
printf 'deb %s bookworm-backports main\n' "$(debian_mirror "$(os_field VERSION_CODENAME)" uri)" \
  >"$chroot/etc/apt/sources.list.d/backports.list"
# shellcheck disable=SC2016  # for the shell inside
apt='DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 -o Acquire::Retries=3 -o Acquire::Check-Valid-Until=false'
step "its CMake, of the backports" inside_quietly sh -c "$apt update && $apt install --no-install-recommends cmake/bookworm-backports cmake-data/bookworm-backports"

cp "$package" "$chroot/root/ipcpp.deb"
inside sh -c 'find / -xdev -name "*ipcpp*" | sort' >"$chroot/before"
step "apt-get install ./ipcpp.deb" inside_quietly sh -c "$apt install --no-install-recommends /root/ipcpp.deb"

# The program of the document, as it stands there, and its CMakeLists.
mkdir "$chroot/root/shop"
block cpp "$root/docs/first_program.md" >"$chroot/root/shop/shop.cpp"
block cmake "$root/docs/first_program.md" >"$chroot/root/shop/CMakeLists.txt"
step "docs/first_program.md with find_package" inside_quietly sh -c 'cd /root/shop && cmake -G Ninja -B build \
  -DCMAKE_CXX_COMPILER=clang++-19 -DCMAKE_CXX_FLAGS=-stdlib=libc++ && cmake --build build'

say "== two processes, one of them killed, and the tool"
# shellcheck disable=SC2016  # for the shell inside
inside sh -euc '
  cd /root
  stdbuf -oL shop/build/shop >received & receiver=$!
  sleep 1
  { sleep 3; echo; } | shop/build/shop send & sender=$!
  sleep 1
  ipcpp ls
  kill -9 $receiver
  ipcpp show shop --interval 0 | head -n 12
  ipcpp check shop
  wait $sender
  cat received
  ipcpp clean
  [ -z "$(ls /dev/shm)" ] || { ls -l /dev/shm; echo "FAIL: something is left in /dev/shm"; exit 1; }
  man -P cat ipcpp >manual
  grep -q "look into shared memory segments" manual
  ipcpp --version
' >"$chroot/said" 2>&1 || { sed 's/^/   | /' "$chroot/said"; fail "see above"; }
sed 's/^/   | /' "$chroot/said"
grep -q "^order 3 for 29.97$" "$chroot/root/received" || fail "the order did not arrive: $(cat "$chroot/root/received")"
grep -q 'shop: sound' "$chroot/said" || fail "ipcpp check did not say: sound"

step "apt-get remove ipcpp" inside_quietly sh -c "$apt remove ipcpp"
inside sh -c 'find / -xdev -name "*ipcpp*" -not -path "/root/shop/*" -not -path "/var/lib/dpkg/*" -not -path "/var/cache/man/*" | sort' >"$chroot/after"
left=$(comm -13 "$chroot/before" "$chroot/after")
[ -z "$left" ] || fail "left by the package: $left"
say "ok: installs, works, and leaves nothing"
if [ -n "$keep" ]; then say "== kept: $chroot"; fi
