"""What stands in the place of a target, and does nothing differently."""

from __future__ import annotations

from typing import TYPE_CHECKING

from filexfer.storage.delegating import DelegatingTarget

if TYPE_CHECKING:
    from collections.abc import Callable

    from filexfer.storage.staging import Staging


def test_what_is_set_is_set_at_the_target(stage: Callable[..., Staging]) -> None:
    """Whoever settles what was identical does so for the target behind, too."""
    staging = stage(durability="batch")
    target = DelegatingTarget(staging)
    staging.found_identical = True
    assert target.found_identical
    target.found_identical = False
    assert not staging.found_identical
    assert not target.found_identical


def test_everything_else_is_passed_on(stage: Callable[..., Staging]) -> None:
    """Members are those that the target has now."""
    staging = stage(durability="batch")
    target = DelegatingTarget(staging)
    assert (target.durability, target.policy) == ("batch", staging.policy)
    before = target.folders_opened
    assert target.find("no/such") is None
    assert target.folders_opened == staging.folders_opened >= before
