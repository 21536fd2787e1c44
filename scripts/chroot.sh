#!/bin/sh
# The chroot of Debian's sid suite that holds the newer compilers (GCC 15 and 16, Clang 22, MinGW-w64, Wine, QEMU), and
# a way to run a command in any chroot.
#
#   chroot.sh sid                 makes it if it is not there, brings it up to date with the list below, prints its path
#   chroot.sh bookworm DIR PACKAGE...   makes a minimal Debian 12 with these packages
#   chroot.sh enter DIR COMMAND   runs COMMAND in DIR; IPCPP_BIND, lines of SOURCE:TARGET:ro (or rw),
#                                 mounts more
#
# Changes on the machine: the package mmdebstrap, and the folder chroots/ in the cache (3.3 GB; delete it at will).
# A chroot is built beside its final place and renamed when complete, so an interrupted run leaves nothing half-made.
# Everything that `enter` mounts, and every process it starts, lives in namespaces of its own and goes with it.
# Fails, with the end of the log, when a package cannot be downloaded; needs root.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

required='g++-16 g++-15 clang-22 clang-tools-22 libc++-22-dev libc++abi-22-dev libclang-rt-22-dev cmake ninja-build
googletest libgtest-dev catch2 libboost-dev g++-mingw-w64-x86-64-posix wine64'
optional='qemu-user g++-16-aarch64-linux-gnu libcli11-dev nlohmann-json3-dev libncurses-dev tmux gdb
file dpkg-dev'

chroots=$cache/chroots
sid=$chroots/sid
log=$logs/chroot.log

words() { printf '%s ' "$@" | tr -s ' \n' '  '; }

need_mmdebstrap() {
  have mmdebstrap && return 0
  say "   apt: install mmdebstrap"
  quietly "$log" apt_get install --no-install-recommends mmdebstrap && return 0
  quietly "$log" apt_update
  quietly "$log" apt_get install --no-install-recommends mmdebstrap
}

# make_chroot SUITE DIR PACKAGE...: a minimal Debian at DIR, all or nothing.
make_chroot() {
  suite=$1 dir=$2
  shift 2
  need_mmdebstrap
  mirror=$(debian_mirror "$(os_field VERSION_CODENAME)" uri)
  [ -n "$mirror" ] || fail "no apt source of this machine offers its own suite with component main; which mirror to use?"
  mkdir -p "$chroots"
  rm -rf --one-file-system "$dir".making
  proxy=
  eval "$(apt-config shell proxy Acquire::http::Proxy)"
  say "   mmdebstrap $suite into $dir"
  # A mirror may be a snapshot of some past day, whose lists have outlived their validity date.
  quietly "$log" mmdebstrap --variant=minbase --aptopt='Acquire::Check-Valid-Until "false"' \
    ${proxy:+--aptopt="Acquire::http::Proxy \"$proxy\""} --aptopt='Acquire::Retries "3"' \
    --include="$(words "$@" | sed 's/ *$//; s/ /,/g')" "$suite" "$dir.making" "$mirror"
  rm -rf --one-file-system "$dir"
  mv "$dir.making" "$dir"
}

enter() {
  dir=$1
  shift
  # shellcheck disable=SC2016  # expanded by the inner shell
  exec unshare --mount --pid --fork --kill-child -- /bin/sh -euc '
    dir=$1
    shift
    mount -t proc proc "$dir/proc"
    mount --rbind /sys "$dir/sys"
    mount --rbind /dev "$dir/dev"
    mount -t tmpfs -o mode=1777 tmpfs "$dir/dev/shm"
    IFS="
"
    for bind in ${IPCPP_BIND:-}; do
      source=${bind%%:*} target=${bind#*:}
      mode=${target#*:} target=$dir${target%%:*}
      mkdir -p "$target"
      mount --bind "$source" "$target"
      if [ "$mode" = ro ]; then mount -o remount,bind,ro "$target"; fi
    done
    unset IFS
    # A shell stays as process 1 to collect orphans.
    exec env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 TERM="${TERM:-dumb}" \
      chroot "$dir" /bin/sh -c "trap : INT TERM; \"\$@\"; exit \$?" sh "$@"
  ' sh "$dir" "$@"
}

# In the chroot, with the machine's present name server.
apt_inside() {
  cp -L /etc/resolv.conf "$sid/etc/resolv.conf" 2>/dev/null || true
  "$0" enter "$sid" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 "$@"
}

add_optional() {
  apt_inside update
  for package in "$@"; do
    apt_inside install --no-install-recommends "$package" || say "not available: $package"
  done
  apt_inside clean
}

make_sid() {
  stamp=$sid/.ipcpp-packages
  wanted=$(words "$required" / "$optional")
  if [ -r "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then return 0; fi
  [ "$(id -u)" -eq 0 ] || fail "the sid chroot can only be made as root"
  mkdir -p "$chroots"
  exec 9>"$chroots/lock"
  flock 9
  if [ -r "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then return 0; fi
  say "== the sid chroot (about 3.3 GB; made once)"
  start=$(now)
  # shellcheck disable=SC2086  # lists of words
  if [ ! -r "$stamp" ]; then
    make_chroot sid "$sid" $required
    words "$required" / >"$stamp"
  else
    say "   the package list changed: apt inside"
    quietly "$log" apt_inside update
    quietly "$log" apt_inside install --no-install-recommends $required
  fi
  # shellcheck disable=SC2086
  quietly "$log" add_optional $optional
  printf '%s' "$wanted" >"$stamp"
  say "   sid chroot: $(($(now) - start)) s"
}

case ${1:-} in
  sid) make_sid >&2; say "$sid" ;;
  bookworm) shift; make_chroot bookworm "$@" >&2 ;;
  enter) shift; enter "$@" ;;
  *) fail "usage: chroot.sh sid | bookworm DIR PACKAGE... | enter DIR COMMAND..." ;;
esac
