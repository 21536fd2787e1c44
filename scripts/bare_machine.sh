#!/bin/sh
# Proves that README's two commands work on a Debian 12 with nothing installed: `./dev bare [OPTION...] [demo] [test]`.
#
# Makes a minimal chroot of Debian 12 from the machine's own mirror, with git, ca-certificates, a clone of this
# repository at HEAD, and ../shared beside it if there is one; runs `./dev demo` and `./dev test` (or the one named) in
# it, and says how long each took and what it installed.
#   --worktree  the files as they are now instead of HEAD     --keep  do not remove the chroot
# Changes: the package mmdebstrap, and chroots/bare.* in the cache while it runs. Needs root; fails when a command fails.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

keep='' worktree='' verbs=''
for argument; do
  case $argument in
    --keep) keep=yes ;;
    --worktree) worktree=yes ;;
    demo | test) verbs="$verbs $argument" ;;
    *) warn "usage: ./dev bare [--worktree] [--keep] [demo] [test]"; exit 2 ;;
  esac
done
[ -n "$verbs" ] || verbs='demo test'
# shellcheck source=scripts/bare.sh
. "$root/scripts/bare.sh"
installed() { inside dpkg-query -W | sort; }

step "a minimal Debian 12" bare_debian git ca-certificates
checkout=$chroot/root/ipcpp
if [ -n "$worktree" ]; then
  git init -q "$checkout"
  (cd "$root" && git ls-files -co --exclude-standard -z | xargs -0 sh -c 'ls -d -- "$@" 2>/dev/null' sh |
    tar -cf - --no-recursion -T -) | tar -xf - -C "$checkout"
else
  git clone -q --no-local "$root" "$checkout"
fi
if [ -d "$root/../shared" ]; then cp -R "$root/../shared" "$chroot/root/shared"; fi

installed >"$chroot/before"
status=0
for verb in $verbs; do
  say "== ./dev $verb on the bare machine"
  start=$(now)
  inside env JOBS="$jobs" sh -c "cd /root/ipcpp && ./dev $verb" </dev/null || status=1
  say "== ./dev $verb on the bare machine: $(($(now) - start)) s, $([ "$status" = 0 ] && echo succeeded || echo FAILED)"
  [ "$status" = 0 ] || break
done
say "== installed by it"
installed | comm -13 "$chroot/before" - | awk '{ printf "   %s %s\n", $1, $2 }'
if [ -n "$keep" ]; then say "== kept: $chroot"; fi
exit "$status"
