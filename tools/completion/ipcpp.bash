# Completion of `ipcpp` for bash: commands, options, the names of segments and their objects.
_ipcpp_names() {
  ipcpp ls --json 2>/dev/null | sed -n 's/^      "name": "\(.*\)",\{0,1\}$/\1/p'
}

_ipcpp_objects() {
  ipcpp show --json --interval 0 "$1" 2>/dev/null |
    sed -n '/^  "objects": \[/,/^  \]/s/^      "name": "\(.*\)",\{0,1\}$/\1/p'
}

_ipcpp() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} command='' name='' word
  local commands='ls show top check dump map limits clean rm reclaim'
  COMPREPLY=()
  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case $word in
      -*) ;;
      *) if [ -z "$command" ]; then command=$word; elif [ -z "$name" ]; then name=$word; fi ;;
    esac
  done
  case $previous in
    --color | --colour) mapfile -t COMPREPLY < <(compgen -W 'auto always never' -- "$current"); return ;;
    --sort) mapfile -t COMPREPLY < <(compgen -W 'name memory use processes growth' -- "$current"); return ;;
    --svg) mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
  esac
  if [ -z "$command" ]; then
    mapfile -t COMPREPLY < <(compgen -W "$commands --help --help-all --version" -- "$current")
    return
  fi
  case $current in
    -*)
      local options='--help --json --color'
      case $command in
        show) options+=' --wide --interval' ;;
        top) options+=' --delay --iterations --batch --sort' ;;
        check) options+=' --exact' ;;
        dump) options+=' --offset --bytes' ;;
        map) options+=' --svg --width --rows' ;;
        clean) options+=' --dry-run' ;;
        rm) options+=' --force' ;;
      esac
      mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
      return
      ;;
    */*) mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
  esac
  case $command in
    show | check | map | rm | reclaim) mapfile -t COMPREPLY < <(compgen -W "$(_ipcpp_names)" -- "$current") ;;
    dump)
      if [ -z "$name" ] || [ "$name" = "$current" ]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_ipcpp_names)" -- "$current")
      else
        mapfile -t COMPREPLY < <(compgen -W "$(_ipcpp_objects "$name")" -- "$current")
      fi
      ;;
  esac
}
complete -F _ipcpp ipcpp
