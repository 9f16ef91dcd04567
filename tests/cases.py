"""The catalogue of what must not harm a transfer, by theme; a test of a case carries its number.

A test is bound to its cases by ``@pytest.mark.case("A1", "A3")``. ``test_cases.py`` holds that every
case here has a test or stands in ``UNTESTED`` with the reason, and that no test names another.
"""

from __future__ import annotations

MALFORMED: dict[str, str] = {  # A: bytes that are not the protocol, at both ends
}

CLIENT: dict[str, str] = {  # B: a hostile client
    "B18": "a body that comes a byte a second",
    "B24": "a greeting that asks for other limits, buffers or numbers of processes",
}

SERVER: dict[str, str] = {  # C: a hostile server
}

FILES: dict[str, str] = {  # D: attacks through the file system, and odd files
}

NETWORK: dict[str, str] = {  # E: faults of the network
}

DISK: dict[str, str] = {  # F: faults of the disk
}

CRASHES: dict[str, str] = {  # G: crashes and signals
}

EXHAUSTION: dict[str, str] = {  # H: attempts to use up what the server has
    "H1": "thousands of connections that say nothing",
    "H2": "a first header that comes byte by byte",
    "H3": "a TLS handshake that stops in the middle",
    "H4": "hundreds of connections from one address, one network, or both its spellings",
    "H5": "one token on too many connections",
    "H6": "no more threads for new clients",
    "H7": "thousands of connections that are closed or reset at once",
    "H8": "a thousand headers of the largest size at the same time",
    "H9": "a million empty files",
    "H10": "a flood of requests for listings and digests",
    "H12": "a flood of events that are worth a line in the log",
    "H13": "a thousand connections at the same moment",
    "H14": "a flood of TLS handshakes",
    "H15": "two and four times as many files, names or questions",
    "H16": "patterns that take exponential time to match",
    "H17": "a flood of tiny TLS records",
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
UNTESTED: dict[str, str] = {
    "H9": "there is no limit of the number of files yet",
    "H16": "no request of the protocol has patterns",
}
