#!/bin/sh
# A stranger's path, timed: `./dev bare stranger [--keep]`.
#
# Makes a minimal Debian 12 from the machine's own mirror, with git and ca-certificates, and does there what README.md and
# docs/first_program.md tell: clone (HEAD), ./dev demo, build and install, the document's program with find_package, its two
# processes, `ipcpp ls` and the other commands, the receiver killed. Says how long each step took, how much processor time (a machine
# with other work to do takes longer, not more), and how long it is since the beginning.
# Keeps, in stranger/ of the cache: transcript.txt, build.txt (what compilers and apt said besides), pictures of the program's segment
# (heap.svg; map.txt and top.txt with their colours: `cat` them).
#   --keep  do not remove the chroot
# Changes: the package mmdebstrap, stranger/ in the cache, and chroots/bare.* there while it runs. Needs root; fails when a step fails.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

keep=
for argument; do
  case $argument in
    --keep) keep=yes ;;
    *) warn "usage: ./dev bare stranger [--keep]"; exit 2 ;;
  esac
done
# shellcheck source=scripts/bare.sh
. "$root/scripts/bare.sh"

kept=$cache/stranger
rm -rf "$kept"
mkdir -p "$kept"

step "a minimal Debian 12" bare_debian git ca-certificates
git clone -q --bare --no-local "$root" "$chroot/srv/ipcpp.git" # stands for the server
document=$root/docs/first_program.md
block cpp "$document" >"$chroot/root/shop.cpp"
block cmake "$document" >"$chroot/root/CMakeLists.txt"

# tell: standard input to the terminal and the transcript; the lines of Ninja's and apt's progress to build.txt only.
tell() {
  tee -a "$kept/build.txt" | sed -u -E '/^\[[0-9]+\/[0-9]+\] /d; /^-- ([^I]|Installing: .*(modules|docs)\/)/d; /^(Preset CMake variables:|  CMAKE_.*|  IPCPP_.*|)$/d; s/^/   /' |
    tee -a "$kept/transcript.txt"
}
# walk TITLE COMMANDS: COMMANDS as a stranger types them, in the chroot. With JOBS of this script.
spent=0
walk() {
  printf '== %s\n' "$1" | tee -a "$kept/transcript.txt"
  printf '%s\n' "$2" | sed 's/^/   $ /' | tee -a "$kept/transcript.txt"
  walk_start=$(now)
  { status=0; inside env JOBS="$jobs" CMAKE_BUILD_PARALLEL_LEVEL="$jobs" sh -euc "cd /root; PATH=/root/.local/bin:\$PATH
    $2
    times >/root/.times" </dev/null 2>&1 || status=$?; echo "$status" >"$kept/status"; } | tell
  [ "$(cat "$kept/status")" -eq 0 ] || fail "$1: status $(cat "$kept/status"); all of it: $kept/build.txt"
  walk_spent=$(($(now) - walk_start))
  spent=$((spent + walk_spent))
  worked=$(awk 'NR == 2 { for (i = 1; i <= 2; ++i) { split($i, t, /[ms]/); n += 60 * t[1] + t[2] } printf "%d", n }' "$chroot/root/.times")
  printf '   %s: %d s, of processors %d s; %d s since the beginning\n' "$1" "$walk_spent" "$worked" "$spent" | tee -a "$kept/transcript.txt"
}

# shellcheck disable=SC2016  # all of them are for the shell inside
{
walk clone 'git clone -q file:///srv/ipcpp.git ipcpp'
walk ./dev\ demo 'cd ipcpp && ./dev demo'
walk 'build and install' 'cd ipcpp
./dev setup
cmake --preset linux-clang-release
cmake --build build/linux-clang-release --target ipcpp ipcpp_tool
cmake --install build/linux-clang-release --prefix "$HOME/.local"'
walk 'own program with find_package' 'mkdir shop && mv shop.cpp CMakeLists.txt shop && cd shop
cmake -G Ninja -B build -DCMAKE_CXX_COMPILER=clang++-19 -DCMAKE_CXX_FLAGS=-stdlib=libc++ -DCMAKE_PREFIX_PATH="$HOME/.local"
cmake --build build'
walk 'first message, look, kill' 'cd shop
stdbuf -oL build/shop >received & receiver=$!
{ sleep 8; echo; } | build/shop send & sender=$!
until grep -q "order 3" received; do sleep 0.1; done; cat received
ipcpp ls
ipcpp show shop --interval 0
ipcpp check shop
ipcpp map shop --color always >map.txt; ipcpp map shop --svg heap.svg
tmux new-session -d -x 110 -y 30 "env TERM=screen-256color ipcpp top"; sleep 2; tmux capture-pane -p -e >top.txt; tmux kill-server
kill -9 $receiver
ipcpp ls
wait $sender
ls -A /dev/shm
[ -z "$(ls -A /dev/shm)" ]'
}
for picture in heap.svg map.txt top.txt; do
  [ -s "$chroot/root/shop/$picture" ] || fail "no $picture was made"
  cp "$chroot/root/shop/$picture" "$kept/"
done
grep -q '^   order 3 for 29.97$' "$kept/transcript.txt" || fail "the order did not arrive"
grep -q '^   shop: sound' "$kept/transcript.txt" || fail "ipcpp check did not say: sound"
say "ok: kept in $kept: transcript.txt, build.txt, heap.svg, map.txt, top.txt"
if [ -n "$keep" ]; then say "== kept: $chroot"; fi
