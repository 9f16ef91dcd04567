"""What happens to a file whose name is taken: the whole table."""

from __future__ import annotations

from itertools import product

import pytest

from filexfer.entry import FILE, FOLDER, LINK, SPECIAL, Entry, same_time
from filexfer.errors import Code
from filexfer.storage.policy import Choice, Policy
from filexfer.wire.protocol import IF_EXISTS

NOW = 1_700_000_000_123_456_789
SECOND = 1_000_000_000
OURS, THEIRS = "xxh3_128:" + "1" * 32, "xxh3_128:" + "2" * 32

# What becomes of a file that differs: if it is newer, and if it is older or as old.
DIFFERENT = {
    "error": ("exists", "exists"),
    "overwrite": ("replace", "replace"),
    "update": ("replace", "skip"),
    "skip": ("skip", "skip"),
    "keep-both": ("keep both", "keep both"),
}


def outcome(policy: Policy, offered: Entry, existing: Entry | None, digest: str = "") -> str:
    """Return the choice, or for a refusal its code; the digest of what exists may be asked for."""

    def ask() -> str:
        assert digest, "the digest of what is there was asked for"
        return digest

    decision = policy.decide(offered, existing, ask)
    if decision.choice is Choice.REFUSE:
        assert decision.text
        return decision.code
    assert not decision.code
    return str(decision.choice.value)


def different(if_exists: str, *, newer: bool, may_overwrite: bool) -> str:
    word = DIFFERENT[if_exists][0 if newer else 1]
    return Code.DENIED if word == "replace" and not may_overwrite else word


def policies() -> list[Policy]:
    return [
        Policy(if_exists, checksum=checksum, may_overwrite=may_overwrite, may_read=may_read)
        for if_exists, checksum, may_overwrite, may_read in product(
            IF_EXISTS, (False, True), (False, True), (False, True)
        )
    ]


def described(policy: Policy) -> str:
    flags = ("checksum", "may_overwrite", "may_read")
    return "-".join([policy.if_exists, *(flag for flag in flags if getattr(policy, flag))])


every_policy = pytest.mark.parametrize("policy", policies(), ids=described)


def file(size: int = 5, time: int = NOW, digest: str = "") -> Entry:
    return Entry("name", FILE, size, time, 0o644, digest)


@every_policy
@pytest.mark.parametrize("kind", [FILE, FOLDER, LINK])
def test_a_free_name_is_taken(policy: Policy, kind: str) -> None:
    assert outcome(policy, Entry("name", kind, extra="target"), None) == "take"


@every_policy
@pytest.mark.parametrize("later", [-SECOND * 10, 0, SECOND * 10], ids=["older", "same", "newer"])
@pytest.mark.parametrize("digest", ["", OURS])
def test_a_file_of_another_size_differs(policy: Policy, later: int, digest: str) -> None:
    """Whatever the times and digests are; no digest is computed for that."""
    offered = file(6, NOW + later, digest)
    expected = different(policy.if_exists, newer=later > 0, may_overwrite=policy.may_overwrite)
    assert outcome(policy, offered, file(5)) == expected


@every_policy
def test_the_same_size_and_time_are_identical_unless_digests_are_wanted(policy: Policy) -> None:
    """Before anything was read; the digest then follows, if it may be known."""
    expected = different(policy.if_exists, newer=False, may_overwrite=policy.may_overwrite)
    if not policy.checksum:
        assert outcome(policy, file(), file()) == "identical"
    elif policy.if_exists == "skip" or not policy.may_read:
        assert outcome(policy, file(), file()) == expected
    else:
        assert outcome(policy, file(), file()) == "want digest"


@every_policy
def test_a_digest_that_is_known_decides_whatever_the_times_are(policy: Policy) -> None:
    """As when a file has come whole and its name was taken meanwhile."""
    expected = different(policy.if_exists, newer=False, may_overwrite=policy.may_overwrite)
    offered = file(digest=OURS)
    if policy.if_exists == "skip" or not policy.may_read:
        assert outcome(policy, offered, file()) == expected
    else:
        assert outcome(policy, offered, file(), OURS) == "identical"
        assert outcome(policy, offered, file(), THEIRS) == expected


@every_policy
@pytest.mark.parametrize("later", [-SECOND * 10, SECOND * 10], ids=["older", "newer"])
@pytest.mark.parametrize("digest", ["", OURS])
def test_the_same_size_at_another_time_is_settled_by_digests(
    policy: Policy, later: int, digest: str
) -> None:
    """Not where the digest may not be known, nor where it makes no difference."""
    offered = file(5, NOW + later, digest)
    expected = different(policy.if_exists, newer=later > 0, may_overwrite=policy.may_overwrite)
    if policy.if_exists == "skip" or not policy.may_read:
        assert outcome(policy, offered, file()) == expected
    elif not digest:
        assert outcome(policy, offered, file()) == "want digest"
    else:
        assert outcome(policy, offered, file(), OURS) == "identical"
        assert outcome(policy, offered, file(), THEIRS) == expected


def test_without_the_right_to_read_no_digest_is_ever_computed_or_asked_for() -> None:
    """Else a peer could learn what a file holds by guessing."""
    for if_exists, checksum, size, time, digest in product(
        IF_EXISTS, (False, True), (5, 6), (NOW - SECOND, NOW, NOW + SECOND), ("", OURS)
    ):
        policy = Policy(if_exists, checksum=checksum, may_read=False)
        offered = file(size, time, digest)
        assert outcome(policy, offered, file()) != "want digest"  # and none was computed


# Other kinds


@every_policy
@pytest.mark.parametrize("kind", [FILE, LINK, SPECIAL])
def test_a_folder_is_never_replaced_and_replaces_nothing(policy: Policy, kind: str) -> None:
    folder, other = Entry("name", FOLDER, 0, NOW), Entry("name", kind, 0, NOW, extra="target")
    assert outcome(policy, other, folder) == Code.IS_A_FOLDER
    assert outcome(policy, folder, other) == Code.NOT_A_FOLDER


@every_policy
def test_a_folder_that_is_there_is_as_good_as_made(policy: Policy) -> None:
    assert outcome(policy, Entry("n", FOLDER, 0, 1), Entry("n", FOLDER, 0, NOW)) == "identical"


@every_policy
@pytest.mark.parametrize("later", [-SECOND, SECOND], ids=["older", "newer"])
def test_links_are_identical_if_they_lead_to_the_same(policy: Policy, later: int) -> None:
    offered, existing = Entry("n", LINK, 0, NOW + later, 0o777, "to"), Entry("n", LINK, 0, NOW)
    expected = different(policy.if_exists, newer=later > 0, may_overwrite=policy.may_overwrite)
    existing.extra = "to"
    assert outcome(policy, offered, existing) == "identical"
    existing.extra = "elsewhere"
    assert outcome(policy, offered, existing) == expected


@every_policy
@pytest.mark.parametrize("kinds", [(FILE, LINK), (LINK, FILE), (FILE, SPECIAL)])
def test_different_kinds_differ(policy: Policy, kinds: tuple[str, str]) -> None:
    """Also where size and time are the same."""
    offered, existing = (Entry("n", kind, 0, NOW, 0o777, "") for kind in kinds)
    expected = different(policy.if_exists, newer=False, may_overwrite=policy.may_overwrite)
    assert outcome(policy, offered, existing) == expected


# Times


@pytest.mark.parametrize(
    ("kept", "step"),
    [
        (NOW // 1_000 * 1_000, 1_000),
        (NOW // 1_000_000 * 1_000_000, 1_000_000),
        (NOW // SECOND * SECOND, SECOND),
    ],
    ids=["microseconds", "milliseconds", "seconds"],
)
def test_times_are_compared_at_the_coarser_sides_resolution(kept: int, step: int) -> None:
    """A file system that cuts times cuts them down, never up, and the sides may be turned."""
    assert same_time(NOW, kept)
    assert same_time(kept, NOW)
    assert same_time(kept + step - 1, kept)
    assert not same_time(kept - 1, kept)
    for policy in (Policy("error"), Policy("update")):
        assert outcome(policy, file(5, NOW), file(5, kept)) == "identical"
        assert outcome(policy, file(5, kept), file(5, NOW)) == "identical"


def test_times_of_full_resolution_must_be_equal() -> None:
    assert same_time(NOW, NOW)
    assert not same_time(NOW, NOW + 1)
    assert not same_time(NOW, NOW - 1)


def test_an_even_second_is_not_taken_for_a_coarse_one() -> None:
    """FAT keeps no odd seconds; but a file that was edited a second later is another file."""
    even = NOW // (2 * SECOND) * 2 * SECOND
    assert not same_time(even + SECOND, even)
    assert not same_time(even + SECOND + 1, even)


def test_times_before_1970_are_compared_the_same() -> None:
    """The cut goes down, towards the past."""
    assert same_time(-1, -SECOND)
    assert not same_time(-SECOND - 1, -SECOND)


def test_an_update_at_a_coarser_time_is_no_update() -> None:
    """Else each run over such a file system would send everything again."""
    cut = NOW // SECOND * SECOND
    assert outcome(Policy("update"), file(6, NOW), file(5, cut)) == "skip"
    assert outcome(Policy("update"), file(6, NOW + 2 * SECOND), file(5, cut)) == "replace"
