"""The scripts by which shells complete command lines: made once, they only ask for stored servers.

This module must not know how it was found out what may follow.
"""

from __future__ import annotations

from filexfer.cli.offers import COMMAND, FILE, FOLDER, REMOTE, SERVER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from filexfer.cli.offers import Command, Option

_BASH = r"""# Completion of filexfer for bash 3.2 or newer.

_filexfer_servers() { # the names of the stored servers, each followed by $1
    local name rest
    filexfer remotes 2>/dev/null | while read -r name rest; do
        [[ $name == - ]] || printf '%s%s\n' "$name" "$1"
    done
}

_filexfer_value() { # what may stand behind option $2 of command $1; fails if it takes no value
    case "$1 $2" in
@VALUES@
    *) return 1 ;;
    esac
}

_filexfer_argument() { # what arguments of command $1 may be, the first one if $2 is 0
    case "$1 $2" in
@ARGUMENTS@
    esac
}

_filexfer_options() { # the options of command $1
    case $1 in
@OPTIONS@
    esac
}

_filexfer_offer() { # put what fits $1 into COMPREPLY; the rest says what may stand there
    local current=$1 each kind servers=0 IFS=$' \t\n'
    shift
    for kind in "$@"; do
        while IFS= read -r each; do
            COMPREPLY+=("$each")
            [[ $kind == remote ]] && servers=$((servers + 1))
        done < <(case $kind in
            file) compgen -f -- "$current" ;;
            folder) compgen -d -- "$current" ;;
            remote) compgen -W "$(_filexfer_servers :)" -- "$current" ;;
            server) compgen -W "$(_filexfer_servers '')" -- "$current" ;;
            *) compgen -W "$kind" -- "$current" ;;
        esac)
    done
    if ((servers && servers == ${#COMPREPLY[@]})); then
        compopt -o nospace 2>/dev/null # a path follows
    elif [[ " $* " == *' file '* || " $* " == *' folder '* ]]; then
        compopt -o filenames 2>/dev/null
    fi
}

_filexfer() {
    local words=() each i command current option='' arguments=0 dashes='' kinds
    COMPREPLY=()
    for ((i = 0; i <= COMP_CWORD; i++)); do # what bash cuts at : and = belongs together
        each=${COMP_WORDS[i]}
        if ((i > 1)) && [[ $each == [:=]* || ${COMP_WORDS[i - 1]} == [:=] ]]; then
            words[${#words[@]} - 1]+=$each
        else
            words+=("$each")
        fi
    done
    command=${words[1]}
    current=${words[${#words[@]} - 1]}
    if ((${#words[@]} <= 2)); then
        _filexfer_offer "$current" '@COMMANDS@ --help --version'
        return
    fi
    for each in "${words[@]:2:${#words[@]}-3}"; do
        if [[ $option ]]; then
            option=''
        elif [[ $dashes || $each != -?* ]]; then
            arguments=$((arguments + 1))
        elif [[ $each == -- ]]; then
            dashes=1
        elif [[ $each != *=* ]] && _filexfer_value "$command" "$each" >/dev/null; then
            option=$each
        fi
    done
    if [[ ! $option && ! $dashes && $current == --*=* ]]; then
        option=${current%%=*}
        current=${current#*=}
    fi
    if [[ $option ]]; then
        kinds=$(_filexfer_value "$command" "$option")
    elif [[ ! $dashes && $current == -* ]]; then
        kinds=$(_filexfer_options "$command")
    else
        kinds=$(_filexfer_argument "$command" $((arguments ? 1 : 0)))
        [[ $current == *:* ]] && kinds= # a path on a server
    fi
    local IFS=$'\n'
    [[ $kinds ]] && _filexfer_offer "$current" $kinds
}

complete -F _filexfer filexfer
"""

_ZSH = r"""#compdef filexfer
# Completion of filexfer for zsh.

_filexfer_server() {
    local -a names
    names=(${${(f)"$(filexfer remotes 2>/dev/null)"}%% *})
    compadd "$@" -- ${names:#-}
}

_filexfer_remote() { # a path follows
    compset -P '*:' || _filexfer_server "$@" -q -S :
}

_filexfer_command() {
    local -a commands
    commands=(
@COMMANDS@
    )
    _describe -t commands command commands
}

_filexfer() {
    local curcontext=$curcontext
    if ((CURRENT == 2)); then
        _filexfer_command
        return
    fi
    shift words
    ((CURRENT--))
    case $words[1] in
@CASES@
    esac
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _filexfer "$@"
else
    compdef _filexfer filexfer
fi
"""

_FISH = r"""# Completion of filexfer for fish.

function __filexfer_of # tell whether the command line is of command $argv[1]; with $argv[2] words
    set -l words (commandline -opc)
    test (count $words) -ge 2; and test $words[2] = $argv[1]
    and begin
        not set -q argv[2]; or test (count $words) -eq $argv[2]
    end
end

function __filexfer_servers # the names of the stored servers, each followed by $argv[1]
    string match -q '*:*' -- (commandline -ct); and return # a path on a server
    filexfer remotes 2>/dev/null | string replace -r ' .*' $argv[1] | string match -v -- "-$argv[1]"
end

complete -c filexfer -e
complete -c filexfer -f
@COMMANDS@
@OPTIONS@
"""


def bash(commands: list[Command]) -> str:
    """Return the script for bash."""
    values = []
    arguments = []
    options = []
    for command in commands:
        for option in command.options:
            if option.label:
                patterns = " | ".join(f"'{command.name} {flag}'" for flag in option.flags)
                what = " ".join(option.words) if option.words else option.kind
                values.append(f"    {patterns}) echo {_quoted(what)} ;;")
        if command.choices:
            what = " ".join(command.choices)
            arguments.append(f"    '{command.name} 0') echo {_quoted(what)} ;;")
        if command.kinds:
            kinds = [_names(commands) if kind == COMMAND else kind for kind in command.kinds]
            lines = " ".join(map(_quoted, kinds))
            arguments.append(f"    '{command.name} '*) printf '%s\\n' {lines} ;;")
        flags = " ".join(flag for option in command.options for flag in option.flags)
        options.append(f"    {command.name}) echo {_quoted(flags)} ;;")
    return _filled(_BASH, VALUES=values, ARGUMENTS=arguments, OPTIONS=options).replace(
        "@COMMANDS@", _names(commands)
    )


def zsh(commands: list[Command]) -> str:
    """Return the script for zsh."""
    names = [f"        {_quoted(f'{each.name}:{_escaped(each.text)}')}" for each in commands]
    cases = []
    for command in commands:
        specs = [_zsh_option(option) for option in command.options]
        if command.choices:
            specs.append(_quoted(f"1:what to do:({' '.join(command.choices)})"))
        if command.kinds:
            specs.append(_quoted(f"*:{' or '.join(command.kinds)}:{_zsh_kinds(command.kinds)}"))
        lines = " \\\n".join(f"            {spec}" for spec in specs)
        cases.append(f"    {command.name})\n        _arguments -s -S \\\n{lines}\n        ;;")
    return _filled(_ZSH, COMMANDS=names, CASES=cases)


def fish(commands: list[Command]) -> str:
    """Return the script for fish."""
    first = "-n 'test (count (commandline -opc)) -eq 1'"
    names = [
        f"complete -c filexfer {first} -a {each.name} -d {_fish_quoted(each.text)}"
        for each in commands
    ]
    lines = []
    for command in commands:
        start = f"complete -c filexfer -n '__filexfer_of {command.name}'"
        if command.choices:
            here = f"complete -c filexfer -n '__filexfer_of {command.name} 2'"
            lines.append(f"{here} -a {_fish_quoted(' '.join(command.choices))}")
        lines += [f"{start} {_fish_value(kind, commands)}" for kind in command.kinds]
        for option in command.options:
            flags = " ".join(
                f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}"
                for flag in option.flags
            )
            value = ""
            if option.words:
                value = f" -x -a {_fish_quoted(' '.join(option.words))}"
            elif option.label:
                value = f" -r {_fish_value(option.kind, commands)}"
            lines.append(f"{start} {flags}{value} -d {_fish_quoted(option.text)}")
    return _filled(_FISH, COMMANDS=names, OPTIONS=lines)


def _zsh_option(option: Option) -> str:
    excluded = option.without if option.repeats else [*option.flags, *option.without]
    before = f"({' '.join(excluded)})" if excluded else ""
    after = f"[{_escaped(option.text)}]"
    if option.label:
        what = f"({' '.join(option.words)})" if option.words else _zsh_kinds([option.kind])
        after += f":{_escaped(option.label)}:{what}"
    repeats = "*" if option.repeats else ""
    specs = []
    for flag in option.flags:
        takes = ("=" if flag.startswith("--") else "+") if option.label else ""
        specs.append(_quoted(f"{before}{repeats}{flag}{takes}{after}"))
    return " ".join(specs)


def _zsh_kinds(kinds: list[str]) -> str:
    actions = {
        FILE: "_files",
        FOLDER: "_files -/",
        REMOTE: "_filexfer_remote",
        SERVER: "_filexfer_server",
        COMMAND: "_filexfer_command",
    }
    found = [actions[kind] for kind in kinds if kind in actions]
    if len(found) < 2:
        return found[0] if found else ""
    each = " ".join(f'"{kind}s:{kind}:{actions[kind]}"' for kind in kinds)
    return f" _alternative {each}"  # the space keeps zsh from adding options that it does not take


def _fish_value(kind: str, commands: list[Command]) -> str:
    return {
        FILE: "-F",
        FOLDER: "-f -a '(__fish_complete_directories)'",
        REMOTE: "-f -a '(__filexfer_servers :)'",
        SERVER: "-f -a \"(__filexfer_servers '')\"",
        COMMAND: f"-f -a {_fish_quoted(_names(commands))}",
    }.get(kind, "-f")


def _names(commands: Iterable[Command]) -> str:
    return " ".join(each.name for each in commands)


def _filled(script: str, **parts: list[str]) -> str:
    for name, lines in parts.items():
        script = script.replace(f"@{name}@", "\n".join(lines))
    return script


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _escaped(text: str) -> str:
    """Return the text as it must stand in a specification of zsh."""
    return "".join(f"\\{each}" if each in "[]:\\" else each for each in text)
