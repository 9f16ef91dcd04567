"""What somebody may have meant who wrote a word that is not known.

Loaded only then.

This module must not know what commands and options do.
"""

from __future__ import annotations

from difflib import get_close_matches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

_LIKE = 0.6  # of two words, from 0 to 1; what difflib itself takes
_VERY_LIKE = 0.8  # for what other programs call it

# What other programs, and people, call it. Of several that fit, the first one that exists is meant.
COMMANDS = {
    "put": "cp copy upload send push store sync rsync",
    "get": "download fetch pull receive recv retrieve",
    "ls": "list dir ll tree find",
    "rm": "delete del remove unlink rmdir erase",
    "mkdir": "md makedir mkdirs",
    "mv": "rename move ren",
    "cat": "show print type read",
    "stat": "info exists",
    "verify": "check checksum hash sum",
    "diff": "compare cmp",
    "serve": "server daemon share listen run start",
    "token": "tokens user users key invite passwd",
    "login": "connect add config configure auth",
    "logout": "forget disconnect",
    "remotes": "servers hosts remote",
    "doctor": "test speed bench benchmark ping diagnose check",
    "service": "systemd install unit units",
    "demo": "example tour try",
    "help": "man usage ?",
    "completion": "completions complete",
}
OPTIONS = {
    "--dry-run": "-n --dry --simulate --what-if --test --no-act",
    "--jobs": "-P -t --parallel --threads --connections --streams --transfers --workers",
    "--workers": "-j --jobs --parallel --threads --processes",
    "--bwlimit": "-l --limit --rate --limit-rate --max-rate --bandwidth --throttle",
    "--overwrite": "-f --force --replace --clobber",
    "--skip-existing": "-n --no-clobber --no-overwrite --ignore-existing --skip --keep",
    "--update": "-u --newer --if-newer",
    "--keep-both": "-b --backup --rename",
    "--quiet": "-s -Q --silent",
    "--verbose": "-d --debug --show",
    "--checksum": "--verify --compare",
    "--hash": "--algorithm --algo --digest",
    "--recursive": "-r -R --tree --deep --all",
    "--long": "--details",
    "--ca": "--cacert --ca-file --cafile",
    "--insecure": "-k --no-tls --plain --no-check-certificate",
    "--secure": "--tls --ssl --encrypt",
    "--token-file": "--token --password --key-file",
    "--tokens": "--token --token-file",
    "--fingerprint": "--pin",
    "--host": "--listen --bind --address --interface",
    "--port": "-p",
    "--allow": "--write --permit --rights",
    "--rights": "--allow --permissions",
    "--cert": "--certificate --crt",
    "--output": "-o --out",
    "--root": "--folder --directory",
    "--dir": "--folder --directory",
    "--access-log": "--log --log-file --logfile",
    "--timeout": "--wait --connect-timeout",
    "--durability": "--fsync --sync",
    "--expires": "--ttl --until --expiry",
    "--exclude": "--filter --ignore",
}
# What needs no option.
NOTES = {
    "folders, links, permissions and times are always kept": "-a --archive --times --perms --links",
    "nothing is compressed": "-z --compress",
    "missing parents are always made": "-p --parents",
    "a progress bar is shown on every terminal": "--progress",
    "a second run sends only what is missing": "--partial --resume --continue",
}


def command(word: str, known: Collection[str]) -> str | None:
    """Return the known command that the word most likely means, if any."""
    return _meant(word.lower(), COMMANDS, known)


def option(word: str, known: Collection[str]) -> str | None:
    """Return the known option that a word with its dashes most likely means, if any."""
    longer = [each for each in known if word.startswith("--") and each.startswith(word)]
    return longer[0] if longer else _meant(word, OPTIONS, known)


def note(word: str) -> str:
    """Return why there is no such option, if that is known."""
    return next((reason for reason, words in NOTES.items() if word in words.split()), "")


def similar(word: str, known: Collection[str], like: float = _LIKE) -> str | None:
    """Return which of the known words is most like the word, if any is."""
    found = get_close_matches(word, known, 1, like)
    return found[0] if found else None


def instead(meant: str | None) -> str:
    """Return the question that follows what is wrong; empty if nothing comes to mind."""
    return f"; did you mean '{meant}'?" if meant else ""


def _meant(word: str, table: dict[str, str], known: Collection[str]) -> str | None:
    names = {}
    for name in reversed(table):
        if name in known:
            names.update(dict.fromkeys(table[name].split(), name))
    if word in names or word in known:
        return word if word in known else names[word]
    if word[:1] == "-" and word[:2] != "--":
        return None  # a letter is as much like any other
    dashes = "--" if word[:2] == "--" else ""
    bare = word.removeprefix("--")
    for words, like in ((known, _LIKE), (names, _VERY_LIKE)):
        candidates = [each.removeprefix(dashes) for each in words if each.startswith(dashes)]
        if found := similar(bare, candidates, like):
            return names.get(dashes + found, dashes + found)
    return None
