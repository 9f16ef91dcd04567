"""The base of what stands in the place of a storage's part, and does only some of it differently.

This module must not know what is done differently.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from filexfer.storage.contract import Target
    from filexfer.storage.policy import Policy


class Delegating:
    """Has whatever *inner* has, except for what a subclass defines.

    Every use looks the member up anew: fit for stand-ins that are seldom there.
    """

    def __init__(self, inner: object) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class DelegatingTarget(Delegating):
    """The same for a target, of which one member is also set."""

    durability: str
    policy: Policy

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._target = target

    @property
    def found_identical(self) -> bool:
        """Whether what was there counts as done, and may not be durable yet."""
        return self._target.found_identical

    @found_identical.setter
    def found_identical(self, value: bool) -> None:
        self._target.found_identical = value
