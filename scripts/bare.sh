# shellcheck shell=sh disable=SC2154
# What the proofs on a bare Debian 12 share (bare_machine.sh, bare_package.sh, bare_stranger.sh): a chroot that goes with the
# script, a clone of this repository in it, and a document's programs.
#
# To be read with "." after lib.sh, with `keep` set to non-empty if the chroot is to stay. Sets `chroot`, and the traps that remove
# it. Changes: the package mmdebstrap, and chroots/bare.* in the cache while the script runs. Needs root.

[ "$(id -u)" -eq 0 ] || fail "needs root to make a chroot"

# What runs that were killed left behind.
for stale in "$cache"/chroots/bare.*; do
  pid=${stale##*/bare.}
  if [ -d "$stale" ] && ! kill -0 "${pid%%.*}" 2>/dev/null; then rm -rf --one-file-system "$stale"; fi
done

chroot=$cache/chroots/bare.$$
# shellcheck disable=SC2317  # called by the trap
clean_up() { [ -n "$keep" ] || rm -rf --one-file-system "$chroot" "$chroot".making; }
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# bare_debian PACKAGE...: a minimal Debian 12 at $chroot, with this machine's name server.
bare_debian() {
  "$root/scripts/chroot.sh" bookworm "$chroot" "$@"
  cp -L /etc/resolv.conf "$chroot/etc/resolv.conf" 2>/dev/null || true
}

# inside COMMAND...: in the chroot, in namespaces and with a /dev/shm that last as long as the command.
inside() { "$root/scripts/chroot.sh" enter "$chroot" "$@"; }

# block MARK FILE: the first block ```MARK of a document.
block() { awk -v mark="\`\`\`$1" '$0 == mark { inside = 1; next } /^```/ { if (inside) exit } inside' "$2"; }
