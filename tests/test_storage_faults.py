"""The mark of a disk that lost what it had taken."""

from __future__ import annotations

import errno
import os

import pytest

from filexfer.errors import Code, RefusedError
from filexfer.storage.faults import Fault


def test_a_disk_is_trusted_until_it_fails() -> None:
    """Then it is refused with the reason."""
    fault = Fault()
    fault.check()
    told = fault.note(OSError(errno.EIO, "whatever"))
    assert (told.code, told.text) == (
        Code.IO_ERROR,
        f"the disk failed to keep it ({os.strerror(errno.EIO)})",
    )
    with pytest.raises(RefusedError, match=os.strerror(errno.EIO)) as caught:
        fault.check()
    assert caught.value.code == Code.IO_ERROR


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.case("F3")
def test_a_disk_that_is_full_is_still_trusted(number: int) -> None:
    """Room can be made."""
    fault = Fault()
    assert fault.note(OSError(number, "whatever")).code == Code.NO_SPACE
    fault.check()


@pytest.mark.parametrize("number", [errno.EIO, 100_000])
def test_what_one_worker_finds_out_holds_for_all(number: int) -> None:
    """Worker processes share the mark, also with those that are made later."""
    fault = Fault()
    fault.share()
    pid = os.fork()
    if not pid:
        try:
            fault.note(OSError(number, "whatever"))
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    with pytest.raises(RefusedError):
        fault.check()
