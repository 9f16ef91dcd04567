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
    "E1": "a reset at any byte: in a length, a header, a body, before a confirmation, inside it; both ways",
    "E2": "the same with an orderly end, or with the end of one direction only",
    "E3": "a black hole at the same bytes: nothing comes any more, and no end",
    "E4": "the other side loses power: idle, while sending, and while its window is closed",
    "E5": "packets get lost: 5 and 30 of a hundred, each way",
    "E6": "every piece comes late",
    "E7": "one bit flips on the way, in the clear and inside TLS",
    "E8": "a line of a few thousand bytes per second, or a little more than the least rate",
    "E9": "bytes that travel one by one",
    "E10": "a download that nobody reads, or only in a trickle",
    "E11": "the file is stored and the confirmation is lost",
    "E12": "the server restarts in the middle of many files; a command is cut again and again",
    "E13": "the server refuses while the client still sends; the write fails before the reason is read",
    "E16": "the cable is out for a moment",
    "E17": "what was said comes again: a frame with its body, or a piece of one",
    "E18": "connections are ended from without, again and again, during 1,000 files",
}

DISK: dict[str, str] = {  # F: faults of the disk
}

CRASHES: dict[str, str] = {  # G: crashes and signals
    "G11": "SIGTERM under load, and a second one",
    "G12": "Ctrl-C at the client, in the middle of a file and between files",
    "G19": "the wall clock jumps by ten years, and to 1970, during transfers",
}

EXHAUSTION: dict[str, str] = {  # H: attempts to use up what the server has
}

RACES: dict[str, str] = {  # I: several at the same name
    "I1": "many clients bring different bytes under one new name",
    "I2": "many overwrite one name while many read it",
    "I3": "uploads and removals of one name meet",
    "I4": "an upload into a folder that others remove",
    "I6": "a download while the file is overwritten",
    "I7": "many clients bring the same bytes under one name",
    "I8": "two servers of one folder",
    "I10": "8 clients put, get and remove 3 names, and are cut at random",
    "I12": "many clients fill, or make, the same new folders",
}

LOAD: dict[str, str] = {  # J: many, much, long
    "J1": "1,000 clients at once with 1 MiB each, up and down (60 with 64 KiB by default)",
    "J3": "100,000 small files over 8 connections (1,000 over 4 by default)",
    "J4": "one file of 20 GiB with holes (5 GiB by default)",
    "J7": "all clients begin at the same moment",
    "J9": "500 clients that trickle beside 50 fast ones (60 beside 8 by default)",
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
