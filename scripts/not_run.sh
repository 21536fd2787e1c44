#!/bin/sh
# The tests that did not run, by reason, from ctest's JUnit files: `scripts/not_run.sh LEG=junit.xml...`.
#
# A reason is what GTEST_SKIP said, or what follows "not run here: " (tests/CMakeLists.txt). Tests of one suite stand
# together: Suite.{One,Two}. Changes nothing.
set -eu

for argument; do
  leg=${argument%%=*}
  file=${argument#*=}
  [ -r "$file" ] || continue
  awk -v leg="$leg" '
    /<testcase / {
      skipped = 0
      why = "no reason given"
      name = ""
      if (match($0, /name="[^"]*"/)) name = substr($0, RSTART + 6, RLENGTH - 7)
    }
    /<skipped/ { skipped = 1 }
    take { why = $0; take = 0 }
    /: Skipped$/ { take = 1 }
    /not run here: / { why = $0; sub(/.*not run here: /, "", why); sub(/<.*/, "", why) }
    /<\/testcase>/ && skipped {
      suite = name
      sub(/\.[^.]*$/, "", suite)
      sub(/.*\./, "", name)
      if (!(why in count)) reasons[++n] = why
      ++count[why]
      key = why SUBSEP suite
      if (!(key in tests)) { suites[why] = suites[why] SUBSEP suite; tests[key] = name } else tests[key] = tests[key] "," name
    }
    END {
      for (i = 1; i <= n; i++) {
        why = reasons[i]
        printf "%s: %d not run: %s\n", leg, count[why], why
        m = split(suites[why], list, SUBSEP)
        for (k = 2; k <= m; k++) {
          text = tests[why SUBSEP list[k]]
          printf index(text, ",") ? "   %s.{%s}\n" : "   %s.%s\n", list[k], text
        }
      }
    }' "$file"
done
