"""Who may do what: the rights of a client, and who gives them.

This module must not know connections, or how secrets are kept.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from filexfer.storage.folder import Folder
    from filexfer.storage.limited import Allowance

    class Access(Protocol):
        """Decides about clients, for all sessions of a server."""

        def admit(self, token: str) -> Grant:
            """Return what the bearer of *token* may do; RefusedError if that is nobody known."""

        def use_slot(self, slot: int) -> None:
            """In a worker: count what is promised in this slot, from 0 on."""

        def close(self) -> None:
            """Let go of what is open."""


READ, LIST, CREATE, OVERWRITE, DELETE = "read", "list", "create", "overwrite", "delete"
RIGHTS = (READ, LIST, CREATE, OVERWRITE, DELETE)


class Grant:
    """What one client may do.

    Args:
        folder: Where; all names are relative to it.
        rights: Some of ``RIGHTS``. With the right to create, but neither to list nor to read, it
            is a drop box: nothing is ever replaced, and no answer tells what is there.
        name: Whose it is, for logs; ``""`` for anybody.
        limits: What may be stored; None for no limits.

    """

    def __init__(
        self,
        folder: Folder,
        rights: frozenset[str],
        name: str = "",
        limits: Allowance | None = None,
    ) -> None:
        self.folder = folder
        self.rights = rights
        self.name = name
        self.limits = limits

    @property
    def is_drop_box(self) -> bool:
        """Whether files may be put here, and nothing may be known of what is there."""
        return CREATE in self.rights and not self.rights & {LIST, READ}

    def check(self) -> None:
        """Do nothing: what anybody may do cannot be taken back.

        Raises:
            RefusedError: in other grants, if this one does not hold any more.

        """


class Anybody:
    """Gives the same rights to all, whatever they show.

    Args:
        folder: Where.
        rights: Some of ``RIGHTS``.

    """

    def __init__(self, folder: Folder, rights: frozenset[str]) -> None:
        self._grant = Grant(folder, rights)

    def admit(self, token: str) -> Grant:  # noqa: ARG002 - as Access says
        """Return what anybody may do."""
        return self._grant

    def use_slot(self, slot: int) -> None:
        """Do nothing: there is no quota."""

    def close(self) -> None:
        """Do nothing: the folder is the caller's."""
