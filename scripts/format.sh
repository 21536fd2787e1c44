#!/bin/sh
# clang-format 19 for every C++ file of the checkout that git does not ignore: `./dev format [--check]`.
#
# Changes the files in place; with --check it changes nothing, prints the differences and fails when there are any.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

case ${1:-} in
  '') check= ;;
  --check) check=yes ;;
  *) warn "usage: ./dev format [--check]"; exit 2 ;;
esac

"$root/scripts/setup.sh"
formatter=clang-format-19
have "$formatter" || formatter=clang-format
case $("$formatter" --version 2>/dev/null | first_version) in
  19.*) ;;
  *) fail "needs clang-format 19; other versions format differently" ;;
esac

cd "$root"
# Files that are deleted but still in the index do not count.
# word_index is an acceptance program and stays as it was given.
list() {
  git ls-files -co --exclude-standard -- '*.cpp' '*.cppm' '*.hpp' ':!examples/word_index/*' | sort -u |
    while IFS= read -r file; do if [ -f "$file" ]; then printf '%s\n' "$file"; fi; done
}
files=$(list)
[ -n "$files" ] || { say "== format: no C++ files"; exit 0; }

different=0
total=0
newline='
'
IFS=$newline
for file in $files; do
  total=$((total + 1))
  difference=$("$formatter" "$file" | diff -u --label "$file" --label "$file, formatted" "$file" -) && continue
  different=$((different + 1))
  if [ -n "$check" ]; then printf '%s\n' "$difference"; else "$formatter" -i "$file"; fi
done
if [ -z "$check" ]; then
  say "== format: $different of $total files changed"
elif [ "$different" -gt 0 ]; then
  warn "error: $different of $total files are not formatted; ./dev format mends them"
  exit 1
else
  say "== format: all $total files are formatted"
fi
