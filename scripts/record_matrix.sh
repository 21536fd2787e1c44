#!/bin/sh
# Takes what runs of `./dev matrix` printed into docs/platforms.md: `scripts/record_matrix.sh FILE...`, each the output of a run.
#
# Three blocks of the document belong to this script, from a line "<!-- matrix: NAME -->" to "<!-- matrix: end -->": the legs, the
# conformance suite, and what did not run and why. The lines of legs that ran are replaced, those of the others stay; of a leg in
# several files the last counts. `./dev matrix --record` does this at the end. Changes only docs/platforms.md.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
document=$root/docs/platforms.md
[ $# -gt 0 ] || { echo "usage: record_matrix.sh FILE..." >&2; exit 2; }

made=$(mktemp)
trap 'rm -f "$made"' EXIT
awk -v legs="$("$root/scripts/matrix.sh" --list | sed 's/ .*//' | tr '\n' ' ')" -v document="$document" '
  BEGIN {
    n = split(legs, leg, " ")
    for (i = 1; i <= n; i++) known[leg[i]] = 1
    blocks = split("legs conformance missing", block_name, " ")
    while ((getline line < document) > 0) {
      if (line ~ /^<!-- matrix: /) { block = line; gsub(/^<!-- matrix: | -->.*/, "", block) }
      see(line)
    }
    close(document)
    block = ""
  }
  # A line of the present block: the heading, or one about the leg that is its first word. Others do not count.
  function see(line,   word) {
    word = line
    sub(/[: ].*/, "", word)
    if (word == "leg") heading[block] = line
    else if (word in known) lines[block, word] = lines[block, word] line "\n"
  }
  # In a report the legs come first; what was known about a leg is forgotten there.
  /^== / {
    block = /^== matrix/ ? "legs" : /^== conformance/ ? "conformance" : /^== not run/ ? "missing" : ""
    next
  }
  block == "legs" && $1 in known { for (b = 1; b <= blocks; b++) lines[block_name[b], $1] = "" }
  block != "" { see($0) }
  END {
    while ((getline line < document) > 0) {
      if (line ~ /^<!-- matrix: end -->/) inside = 0
      if (!inside) print line
      if (line !~ /^<!-- matrix: / || line ~ /: end -->/) continue
      inside = 1
      block = line
      gsub(/^<!-- matrix: | -->.*/, "", block)
      print "```"
      if (block in heading) print heading[block]
      for (i = 1; i <= n; i++) printf "%s", lines[block, leg[i]]
      print "```"
    }
  }' "$@" >"$made"
cat "$made" >"$document"
