# shellcheck shell=sh
# What every script shares: where things are kept, progress lines, quiet runs with a log, and the machine's Debian mirror.
#
# To be read with "." after `root` (the checkout) is set. Defines functions and variables only; changes nothing on the
# machine until one of them is called. A failing step prints the end of its log on standard error and returns its status.

cache=${IPCPP_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/ipcpp}
# shellcheck disable=SC2034  # used by the scripts that read this file
jobs=${JOBS:-$(nproc 2>/dev/null || echo 2)}
# shellcheck disable=SC2034
logs=$cache/logs

say() { printf '%s\n' "$*"; }
warn() { printf '%s\n' "$*" >&2; }
fail() { warn "error: $*"; exit 1; }
now() { date +%s; }
have() { command -v "$1" >/dev/null 2>&1; }

# at_least VERSION MINIMUM: true when dotted VERSION is not older than MINIMUM.
at_least() {
  [ -n "$1" ] && [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

# first_version: the first dotted number on standard input ("cmake version 3.31.2" gives 3.31.2).
first_version() { sed -n 's/^[^0-9]*\([0-9][0-9.]*\).*/\1/p' | head -n 1; }

# compiler_version COMMAND: its version, empty when there is no such compiler.
compiler_version() { "$1" -dumpfullversion -dumpversion 2>/dev/null | first_version; }

# ticker LOG: every 20 seconds one line with the last line of LOG, so that a long quiet step is seen to move.
# Ends by itself when the script that started it is gone. The sleep has its output closed: a killed ticker must not
# leave a process behind that keeps the caller's pipe open.
ticker() {
  ticker_start=$(now)
  while sleep 20 >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do
    printf '   %4d s: %s\n' $(($(now) - ticker_start)) "$(tail -n 1 "$1" 2>/dev/null | tr -d '\r' | cut -c 1-100)"
  done
}

# quietly LOG COMMAND...: runs COMMAND with its output in LOG only; on failure the end of LOG is shown.
quietly() {
  quiet_log=$1
  shift
  mkdir -p "$(dirname "$quiet_log")"
  : >"$quiet_log"
  ticker "$quiet_log" 8>&- 9>&- & # the scripts' locks are not the ticker's
  quiet_ticker=$!
  quiet_status=0
  "$@" >"$quiet_log" 2>&1 || quiet_status=$?
  kill "$quiet_ticker" 2>/dev/null || true
  wait "$quiet_ticker" 2>/dev/null || true
  if [ "$quiet_status" -ne 0 ]; then
    warn "   failed with status $quiet_status: $*"
    tail -n "${IPCPP_TAIL:-40}" "$quiet_log" | sed 's/^/   | /' >&2
    warn "   the whole output: $quiet_log"
  fi
  return "$quiet_status"
}

# step TITLE COMMAND...: "== TITLE", COMMAND with its output shown, then the seconds it took.
step() {
  step_title=$1
  shift
  say "== $step_title"
  step_start=$(now)
  "$@" || return $?
  say "   $step_title: $(($(now) - step_start)) s"
}

# os_field NAME: a field of os-release (ID, VERSION_CODENAME, ...), empty when unknown.
os_field() { sed -n "s/^$1=\"\{0,1\}\([^\"]*\)\"\{0,1\}\$/\1/p" /etc/os-release 2>/dev/null || true; }

# as_root COMMAND...: as root directly or through sudo.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  else
    sudo -- "$@"
  fi
}
can_be_root() { [ "$(id -u)" -eq 0 ] || have sudo; }

# apt_get ARGUMENTS...: apt-get as root that asks nothing, waits for another one to end, and shows no progress bar.
apt_get() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=600 \
    -o Acquire::Retries=3 "$@"
}

# apt_update: one more try after a failure. A broken source that we do not need (a third party's, say) is no reason to
# stop: what matters is whether the packages can then be found, which the following install tells.
apt_update() {
  apt_get update && return 0
  sleep 3
  apt_get update || say "apt-get update reported errors; going on, the packages may be found nevertheless"
}

# packages_missing PACKAGE...: those of them that are not installed and configured, on one line; one dpkg-query call.
packages_missing() {
  # shellcheck disable=SC2016  # dpkg-query's own fields
  dpkg-query -W -f '${Package} ${db:Status-Status}\n' "$@" 2>/dev/null | awk -v wanted="$*" '
    $2 == "installed" { installed[$1] = 1 }
    END {
      n = split(wanted, names, " ")
      for (i = 1; i <= n; i++) if (!(names[i] in installed)) line = line (line == "" ? "" : " ") names[i]
      if (line != "") print line
    }'
}

# debian_mirror SUITE FIELD: FIELD ("uri" or "signed-by") of the first apt source of this machine that offers SUITE with
# component main; reads one-line and deb822 sources. Prints nothing when there is none.
debian_mirror() {
  set -- "$1" "$2" /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources
  mirror_suite=$1
  mirror_field=$2
  shift 2
  for mirror_file; do
    [ -r "$mirror_file" ] || continue
    mirror_found=$(awk -v suite="$mirror_suite" -v want="$mirror_field" -v file="$mirror_file" '
      function offers(list, name,   parts, n, i) {
        n = split(list, parts, " ")
        for (i = 1; i <= n; i++) if (parts[i] == name) return 1
        return 0
      }
      function report(uri, signed) { print (want == "uri" ? uri : "signed-by:" signed); done = 1; exit }
      function stanza(   parts) {
        if (offers(field["types"], "deb") && offers(field["suites"], suite) && offers(field["components"], "main") &&
            tolower(field["enabled"]) !~ /^(no|false|0|off)$/) {
          split(field["uris"], parts, " ")
          report(parts[1], field["signed-by"])
        }
        split("", field)
        name = ""
      }
      file ~ /\.sources$/ {
        if ($0 ~ /^#/) next
        if ($0 ~ /^[ \t]*$/) { stanza(); next }
        if ($0 ~ /^[ \t]/) { field[name] = field[name] "\n" $0; next }
        name = tolower(substr($0, 1, index($0, ":") - 1))
        value = substr($0, index($0, ":") + 1)
        sub(/^[ \t]+/, "", value)
        sub(/[ \t]+$/, "", value)
        field[name] = value
        next
      }
      $1 == "deb" {
        line = $0
        signed = ""
        if (match(line, /\[[^]]*\]/)) {
          options = substr(line, RSTART + 1, RLENGTH - 2)
          line = substr(line, 1, RSTART - 1) substr(line, RSTART + RLENGTH)
          n = split(options, parts, " ")
          for (i = 1; i <= n; i++) if (parts[i] ~ /^signed-by=/) { signed = substr(parts[i], 11); gsub(",", " ", signed) }
        }
        sub(/#.*/, "", line)
        n = split(line, word, " ")
        if (word[3] != suite) next
        for (i = 4; i <= n; i++) if (word[i] == "main") report(word[2], signed)
      }
      END { if (!done && file ~ /\.sources$/) stanza() }
    ' "$mirror_file")
    if [ -n "$mirror_found" ]; then
      printf '%s\n' "${mirror_found#signed-by:}"
      return 0
    fi
  done
}
