"""The catalogue of what must not harm a transfer, by theme; a test of a case carries its number.

A test is bound to its cases by ``@pytest.mark.case("A1", "A3")``. ``test_cases.py`` holds that every
case here has a test or stands in ``UNTESTED`` with the reason, and that no test names another.
"""

from __future__ import annotations

MALFORMED: dict[str, str] = {  # A: bytes that are not the protocol, at both ends
}

CLIENT: dict[str, str] = {  # B: a hostile client
}

SERVER: dict[str, str] = {  # C: a hostile server
}

FILES: dict[str, str] = {  # D: attacks through the file system, and odd files
}

NETWORK: dict[str, str] = {  # E: faults of the network
}

DISK: dict[str, str] = {  # F: faults of the disk
    "F1": "no space left: at making, writing, publishing",
    "F2": "a file fails half-way for want of space, and its room is needed",
    "F3": "the disk quota is used up",
    "F4": "a limit of the process on the size of files",
    "F5": "no room for more names",
    "F6": "the disk fails at writing, flushing, publishing, or in the folder",
    "F7": "a write takes less than it is given, or is interrupted",
    "F8": "no descriptor is left, at accepting and at opening",
    "F11": "the disk cannot read a file that is being sent",
    "F13": "the client's disk is full, or that of its output",
    "F15": "the file system becomes read-only in the middle",
    "F17": "closing a file fails",
    "F18": "a temporary file cannot be removed",
}

CRASHES: dict[str, str] = {  # G: crashes and signals
    "G1": "the server is killed, at any system call",
    "G2": "the client is killed, at any system call",
    "G3": "the power is cut, at any step",
    "G4": "the tests themselves: contents that are never flushed",
    "G5": "the tests themselves: names that are never flushed",
    "G6": "the power is cut when new folders in new folders were confirmed",
    "G7": "the power is cut while a file is replaced",
    "G8": "the power is cut among groups of files",
    "G9": "two servers of one folder, one of which cleans up",
    "G20": "clients are killed again and again at random moments",
    "G21": "servers are killed again and again at random moments",
}

EXHAUSTION: dict[str, str] = {  # H: attempts to use up what the server has
}

RACES: dict[str, str] = {  # I: several at the same name
}

LOAD: dict[str, str] = {  # J: many, much, long
}

TRUST: dict[str, str] = {  # K: TLS, tokens, rights
}

HONESTY: dict[str, str] = {  # L: exit codes and output
}

CASES = {
    **MALFORMED,
    **CLIENT,
    **SERVER,
    **FILES,
    **NETWORK,
    **DISK,
    **CRASHES,
    **EXHAUSTION,
    **RACES,
    **LOAD,
    **TRUST,
    **HONESTY,
}

# What cannot be tested here, and why.
UNTESTED: dict[str, str] = {}
