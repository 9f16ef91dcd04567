"""Lets in who shows a token that the store knows, as long as it knows it.

The store is read again whenever its file has changed, which is looked at before every request: a
token that is revoked or expires is refused from its next request on, on every connection; what is
under way then is finished. If the file cannot be used, nobody is let in.

This module must not know connections, or in which process it runs.
"""

from __future__ import annotations

import logging
import os
from _thread import allocate_lock
from hmac import compare_digest

from filexfer.errors import Code, FileError, FilexferError, LocalError, RefusedError
from filexfer.names import shown
from filexfer.security.access import RIGHTS, Grant
from filexfer.security.tokens import digest
from filexfer.storage.limited import Allowance
from filexfer.storage.quotas import Quotas

TYPE_CHECKING = False
if TYPE_CHECKING:
    from filexfer.security.tokens import Store, Token
    from filexfer.storage.folder import Folder

_UNKNOWN = "the token is not one that this server knows, or there is none"
_GONE = "the token is not valid any more"

logger = logging.getLogger("filexfer")


class TokenAccess:
    """Decides about clients by their tokens.

    Args:
        folder: What is served; the roots of tokens lie in it.
        store: The tokens.
        most: The rights that any of them can have at most.

    Raises:
        LocalError, TrustError: if there is no store, or it cannot be used.

    """

    def __init__(
        self, folder: Folder, store: Store, most: frozenset[str] = frozenset(RIGHTS)
    ) -> None:
        self._folder = folder
        self._store = store
        self._most = most
        self._lock = allocate_lock()  # guards what follows
        self._roots: dict[str, Folder] = {}
        self._old_roots: list[Folder] = []  # that were replaced; somebody may still use them
        self._signature = self._looked()
        self._tokens = _by_name(store)
        self._quotas = Quotas()

    def admit(self, token: str) -> Grant:
        """Return what the bearer of *token* may do.

        Raises:
            RefusedError: if it is not known, or not valid any more, or its root cannot be used.

        """
        shown_digest = digest(token)
        found = None
        for each in self.tokens().values():  # all of them, so that time tells nothing
            if compare_digest(each.sha256, shown_digest):
                found = each
        if found is None:
            raise RefusedError(Code.AUTH_FAILED, _UNKNOWN)
        if found.has_expired:
            raise RefusedError(Code.AUTH_FAILED, _GONE)
        return _TokenGrant(self, found, self._root_of(found))

    def tokens(self) -> dict[str, Token]:
        """Return the tokens by their names, as they are now; none if the store cannot be used."""
        if self._looked() != self._signature:
            with self._lock:
                signature = self._looked()
                if signature != self._signature:
                    self._read()
                    self._signature = signature
        return self._tokens

    def rights_of(self, token: Token) -> frozenset[str]:
        """Return what a token gives here."""
        return token.rights & self._most

    def limits_of(self, token: Token, folder: Folder) -> Allowance | None:
        """Return the limits of a token.

        Raises:
            RefusedError: if there are too many folders with a quota.

        """
        if token.max_file_size is None and token.quota is None:
            return None
        try:
            account = None if token.quota is None else self._quotas.account(folder.fd)
        except OverflowError as error:
            raise RefusedError(Code.BUSY, str(error)) from None
        return Allowance(token.max_file_size, token.quota, account)

    def use_slot(self, slot: int) -> None:
        """In a worker: count what is promised in this slot, from 0 on."""
        self._quotas.use_slot(slot)

    def close(self) -> None:
        """Close the roots."""
        for folder in (*self._roots.values(), *self._old_roots):
            folder.close()
        self._quotas.close()

    def _looked(self) -> tuple[int, ...] | None:
        """Return what is different when the file has changed; None if there is none."""
        try:
            found = os.stat(self._store.path)
        except OSError:
            return None
        return (
            *(found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size),
            *(found.st_mode, found.st_uid),
        )

    def _read(self) -> None:
        try:
            self._tokens = _by_name(self._store)
        except FilexferError as error:
            self._tokens = {}
            logger.error("nobody is let in: %s", error)  # noqa: TRY400 - no traceback for people
        else:
            logger.info("%d tokens are known now", len(self._tokens))

    def _root_of(self, token: Token) -> Folder:
        """Return the root of a token: the folder that has its name now."""
        if not token.root:
            return self._folder
        try:
            folder = self._folder.below(token.root)
        except FileError as error:
            text = f"the root of the token {token.name} cannot be used: {error}"
            logger.error(text)  # noqa: TRY400 - no traceback for people
            raise RefusedError(Code.DENIED, "the folder of this token cannot be used") from None
        with self._lock:
            known = self._roots.get(token.root)
            if known and os.path.samestat(os.fstat(known.fd), os.fstat(folder.fd)):
                folder.close()
                return known
            if known:
                self._old_roots.append(known)
            self._roots[token.root] = folder
        return folder


class _TokenGrant(Grant):
    """What the bearer of one token may do, as long as it is valid."""

    def __init__(self, access: TokenAccess, token: Token, folder: Folder) -> None:
        limits = access.limits_of(token, folder)
        super().__init__(folder, access.rights_of(token), token.name, limits)
        self._access = access
        self._token = token

    def check(self) -> None:
        """Make sure that the token still holds; what it gives may have changed.

        Raises:
            RefusedError: if it does not.

        """
        now = self._access.tokens().get(self._token.name)
        if now is not self._token:
            self._change(now)
        if self._token.has_expired:
            raise RefusedError(Code.AUTH_FAILED, _GONE)

    def _change(self, now: Token | None) -> None:
        before = self._token
        if now is None or now.sha256 != before.sha256 or now.root != before.root:
            raise RefusedError(Code.AUTH_FAILED, _GONE)
        self.rights = self._access.rights_of(now)
        if (now.max_file_size, now.quota) != (before.max_file_size, before.quota):
            self.limits = self._access.limits_of(now, self.folder)
        self._token = now


def _by_name(store: Store) -> dict[str, Token]:
    tokens = store.read()
    if tokens is None:
        raise LocalError(f"there is no file of tokens {shown(store.path)}")
    return {each.name: each for each in tokens}
