#!/bin/sh
# The conformance suite's table from ctest's JUnit files: `scripts/conformance.sh NAME=junit.xml...`.
#
# The suite is what every platform runs unchanged: tests/platform/*_test.cpp without those named _posix, and the portable
# tests of participants. Each file gives a row for the platform itself and one for each of its variants. Changes nothing.
set -eu

printf '%-28s %-16s %7s %7s %8s\n' leg platform passed failed 'not run'
for argument; do
  name=${argument%%=*}
  file=${argument#*=}
  [ -r "$file" ] || { printf '%-28s NOT RUN\n' "$name"; continue; }
  tr '\n' ' ' <"$file" | sed 's/<testcase /\n&/g' | awk -v leg="$name" '
    /^<testcase / {
      if (!match($0, /name="[^"]*"/)) next
      test = substr($0, RSTART + 6, RLENGTH - 7)
      variant = "itself"
      if (match(test, /^[a-z_]+\./)) {
        variant = substr(test, 1, RLENGTH - 1)
        test = substr(test, RLENGTH + 1)
      }
      if (test !~ /^(SharedObject|Mapping|Parking|LifeLine|Process|Participants)\./) next
      if (!(variant in seen)) { seen[variant] = 1; order[++n] = variant }
      match($0, /status="[^"]*"/)
      status = substr($0, RSTART + 8, RLENGTH - 9)
      if (status == "run") passed[variant]++
      else if (status == "fail") failed[variant]++
      else missing[variant]++
    }
    END {
      for (i = 1; i <= n; i++)
        printf "%-28s %-16s %7d %7d %8d\n", leg, order[i], passed[order[i]], failed[order[i]], missing[order[i]]
    }'
done
