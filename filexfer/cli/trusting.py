"""What the command line says about trust: options, the environment, and questions to people.

This module must not know how a certificate is checked.
"""

from __future__ import annotations

import os
import sys

from filexfer import LocalError, Trust, UsageError
from filexfer.cli import output
from filexfer.names import shown
from filexfer.security import private
from filexfer.security.connect_string import SecretRemote, is_token

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace

    from filexfer.address import Remote


def trust(remote: Remote, arguments: Namespace) -> Trust:
    """Return how the server of *remote* is known, and what it is shown.

    Raises:
        LocalError, TrustError: if a file with a token cannot be read, or others may read it.
        UsageError: if the options contradict each other.

    """
    if isinstance(remote, SecretRemote) and remote.token and not remote.name:
        _warn(
            "others on this machine can see the connect string among the running "
            "commands, and it stays in the shell's history; better: filexfer login NAME",
            arguments,
            "WARNING",
        )
    token = token_in(arguments.token_file) if arguments.token_file is not None else ""
    made = _known_by(remote, arguments, token)
    made.general_token = _token_of_environment() if not token else ""
    made.tell = lambda text: _warn(text, arguments)
    if _is_terminal(sys.stdin) and _is_terminal(sys.stderr):
        made.ask = _ask
    return made


def token_in(path: str) -> str:
    """Return the token that the file has.

    Raises:
        LocalError: if it cannot be read.
        TrustError: if others may read it.
        UsageError: if there is none in it.

    """
    data = private.read(path)
    if data is None:
        raise LocalError(f"cannot read {shown(path)}: no such file")
    text = data.decode("ascii", "replace").strip()
    if not is_token(text):
        raise UsageError(f"{shown(path)} has no token in it: letters, digits, - and _ in one line")
    return text


def _known_by(remote: Remote, arguments: Namespace, token: str) -> Trust:
    if isinstance(remote, SecretRemote) and not arguments.fingerprint:
        return Trust.of(
            remote,
            token=token,
            ca=arguments.ca or "",
            insecure=arguments.insecure,
            accept_new=arguments.accept_new,
        )
    if isinstance(remote, SecretRemote):
        token = token or remote.token
    return Trust(
        token=token,
        fingerprint=arguments.fingerprint or "",
        ca=arguments.ca or "",
        insecure=arguments.insecure,
        accept_new=arguments.accept_new,
    )


def _token_of_environment() -> str:
    token = os.environ.get("FILEXFER_TOKEN", "")
    if token:
        if not is_token(token):
            raise UsageError("FILEXFER_TOKEN is no token: letters, digits, - and _")
        return token
    path = os.environ.get("FILEXFER_TOKEN_FILE", "")
    return token_in(path) if path else ""


def _is_terminal(stream: object) -> bool:
    try:
        return stream is not None and stream.isatty()  # type: ignore[attr-defined] # a text stream
    except ValueError:  # closed
        return False


def _warn(text: str, arguments: Namespace, by: str = "filexfer") -> None:
    if "quiet" not in arguments or not arguments.quiet:
        output.say(f"{by}: {text}")
    if arguments.json:
        arguments.json.warning(text)


def _ask(where: str, fingerprint: str) -> bool:
    output.say(f"{where} is not known yet. The fingerprint of its certificate is")
    output.say(f"  {fingerprint}")
    output.say("'filexfer serve' shows it as identity where the server runs.")
    print("Is it the same? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
