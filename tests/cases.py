"""The catalogue of what must not harm a transfer, by theme; a test of a case carries its number.

A test is bound to its cases by ``@pytest.mark.case("A1", "A3")``. ``test_cases.py`` holds that every
case here has a test or stands in ``UNTESTED`` with the reason, and that no test names another.
"""

from __future__ import annotations

MALFORMED: dict[str, str] = {  # A: bytes that are not the protocol, at both ends
}

CLIENT: dict[str, str] = {  # B: a hostile client
    "B22": "the folder that is served holds the server's own key, tokens or configuration",
}

SERVER: dict[str, str] = {  # C: a hostile server
}

FILES: dict[str, str] = {  # D: attacks through the file system, and odd files
}

NETWORK: dict[str, str] = {  # E: faults of the network
}

DISK: dict[str, str] = {  # F: faults of the disk
    "F16": "the disk that the server writes its log to is full",
}

CRASHES: dict[str, str] = {  # G: crashes and signals
    "G13": "tokens and certificate are reloaded by SIGHUP while transfers are under way",
    "G18": "one of several workers dies by a segmentation fault",
    "G22": "the service manager kills the server while it waits for transfers to finish",
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
