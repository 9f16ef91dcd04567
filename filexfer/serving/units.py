"""The systemd units of a server: what it may see and do, as little as it can work with.

This module must not know where the units are written, or how a server is started otherwise.
"""

from __future__ import annotations

import os
import re

from filexfer.errors import UsageError
from filexfer.names import shown

STATE = "/var/lib"
_LOGS = "/var/log"
_HOMES = ("/home", "/root", "/run/user")
_HIDDEN = (*_HOMES, "/tmp", "/var/tmp")  # noqa: S108 - compared, not used
_PLAIN = re.compile(r"[\w@%+=:,./-]+", re.ASCII)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,30}")

_SERVICE = """\
[Unit]
Description=filexfer, offering {description}
Wants=network-online.target
After=network-online.target
RequiresMountsFor={folder}

[Service]
Type=notify
NotifyAccess=main
ExecStart={command}
# Tokens, certificate and log are read or opened anew; transfers go on.
ExecReload=kill -HUP $MAINPID
# What is under way gets 30 s to finish.
KillMode=mixed
TimeoutStopSec=45
Restart=on-failure
RestartSec=1
# What makes no sense, or is not to be trusted, is not so at another try either.
RestartPreventExitStatus=2 4

{user}
StateDirectory={state}
StateDirectoryMode=0700
LogsDirectory={name}
LogsDirectoryMode=0750
UMask=0077

{paths}
ProtectSystem=strict
PrivateTmp=yes
PrivateDevices=yes
PrivateUsers=yes
ProtectProc=invisible
ProcSubset=pid
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes

NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
KeyringMode=private
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM

RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
{network}
# A connection is a thread and a descriptor, and some more while it stores.
LimitNOFILE=65536
TasksMax=4096
LimitCORE=0

[Install]
WantedBy=multi-user.target
"""
_SOCKET = """\
[Unit]
Description=Address of filexfer, offering {description}

[Socket]
ListenStream={address}
Accept=no
Backlog=1024

[Install]
WantedBy=sockets.target
"""


def check_name(what: str, name: str) -> None:
    """Check a name for a unit or of a user.

    Raises:
        UsageError: if systemd would not take it, or it is the user root.

    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"{what} takes letters, digits, _ and -, not {shown(name)}")
    if name == "root":
        raise UsageError(f"{what}: a server needs no rights of root; name another user")


def service_unit(
    command: list[str],
    folder: str,
    *,
    name: str = "filexfer",
    user: str = "",
    writable: bool = True,
    local: bool = True,
    needs: tuple[str, ...] = (),
    writes: tuple[str, ...] = (),
) -> str:
    """Return the unit of a service.

    Args:
        command: What is run.
        folder: What it serves, as an absolute path without links.
        name: Of the unit; its state lies in ``/var/lib/NAME``.
        user: Whom it runs as; nobody in particular, if empty.
        writable: Whether clients may create anything.
        local: Whether only this machine is to reach it.
        needs: Folders of the program, which are to be seen wherever they lie.
        writes: More folders that it writes to.

    Raises:
        UsageError: if that cannot work, or a path cannot stand in a unit.

    """
    state = f"{STATE}/{name}"
    is_in_state = folder.startswith(state + "/")
    if not (user or is_in_state or not writable):
        raise UsageError(
            f"who owns {shown(folder)}? add --user; without it only a folder below {state}, or "
            "one that is served with --read-only, can be used"
        )
    return _SERVICE.format(
        description=_word(folder).replace("$$", "$"),
        folder=_word(folder),
        command=" ".join(_word(each, variables=True) for each in command),
        user=f"User={user}" if user else "DynamicUser=yes",
        state=f"{name} {_word(folder[len(STATE) + 1 :])}" if is_in_state else name,
        name=name,
        paths=_paths(folder, state, needs, writes, is_given=is_in_state or not writable),
        network="IPAddressDeny=any\nIPAddressAllow=localhost" if local else "IPAddressAllow=any",
    )


def socket_unit(host: str, port: int, folder: str) -> str:
    """Return the unit of the socket that is handed over to the service of the same name.

    Args:
        host: A numeric address.
        port: Above 0.
        folder: What the service serves.

    """
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return _SOCKET.format(description=_word(folder), address=address)


def _paths(
    folder: str, state: str, needs: tuple[str, ...], writes: tuple[str, ...], *, is_given: bool
) -> str:
    """Return what is to be seen of the homes, and what can be written to."""
    own = (state, f"{_LOGS}/{os.path.basename(state)}")
    written = [] if is_given else [folder]
    written += [path for path in writes if not _lies_in(path, own)]
    lines = [f"ReadWritePaths={_word(path)}" for path in dict.fromkeys(written)]
    shown_there = dict.fromkeys([*written, *needs, folder])
    hidden = [path for path in shown_there if _lies_in(path, _HIDDEN)]
    lines += [
        f"{'BindPaths' if path in written else 'BindReadOnlyPaths'}={_bound(path)}"
        for path in hidden
    ]
    # With "tmpfs" homes are empty but for what is bound there.
    lines.append(f"ProtectHome={'tmpfs' if any(_lies_in(p, _HOMES) for p in hidden) else 'yes'}")
    return "\n".join(lines)


def _lies_in(path: str, folders: tuple[str, ...]) -> bool:
    return any(path == folder or path.startswith(folder + "/") for folder in folders)


def _bound(path: str) -> str:
    if ":" in path:
        raise UsageError(f"a path with a colon cannot be shown to a service: {shown(path)}")
    return _word(path)


def _word(text: str, *, variables: bool = False) -> str:
    """Return *text* as one word of a unit file."""
    if not text.isprintable():
        raise UsageError(f"this cannot stand in a unit: {shown(text)}")
    text = text.replace("%", "%%")
    if variables:
        text = text.replace("$", "$$")
    if _PLAIN.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
