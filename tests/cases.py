"""The catalogue of what must not harm a transfer, by theme; a test of a case carries its number.

A test is bound to its cases by ``@pytest.mark.case("A1", "A3")``. ``test_cases.py`` holds that every
case here has a test or stands in ``UNTESTED`` with the reason, and that no test names another.
"""

from __future__ import annotations

MALFORMED: dict[str, str] = {  # A: bytes that are not the protocol, at both ends
}

CLIENT: dict[str, str] = {  # B: a hostile client
    "B8": "each operation with each set of rights",
    "B9": "other spellings of names above or beside a token's root, and links on the way to it",
    "B10": "a share of one file: what lies beside it, and another file under its name later",
    "B11": "names and roots of tokens that could be paths",
    "B13": "what is there and what is not, asked about without the right",
    "B14": "a guess at the digest of a file that may not be read",
    "B15": "other bytes of the same digest, or a claimed one, in the way of somebody's upload",
    "B19": "guesses at tokens",
    "B23": "removing without the right: a file, a full folder",
    "B25": "another request that leads to the same data",
}

SERVER: dict[str, str] = {  # C: a hostile server
    "C24": "another certificate when the client comes again in the middle of a batch",
}

FILES: dict[str, str] = {  # D: attacks through the file system, and odd files
}

NETWORK: dict[str, str] = {  # E: faults of the network
}

DISK: dict[str, str] = {  # F: faults of the disk
}

CRASHES: dict[str, str] = {  # G: crashes and signals
    "G16": "a kill while the server's first key is made",
}

EXHAUSTION: dict[str, str] = {  # H: attempts to use up what the server has
    "H3": "a TLS handshake that stalls, or comes a byte at a time",
    "H11": "temporary files that are left behind, to get round a quota",
}

RACES: dict[str, str] = {  # I: several at the same name
    "I11": "uploads at the same moment, each of which would fit into the quota",
}

LOAD: dict[str, str] = {  # J: many, much, long
}

TRUST: dict[str, str] = {  # K: TLS, tokens, rights
    "K1": "somebody in between who answers in plain text",
    "K2": "older versions of TLS",
    "K3": "a server whose certificate has not the fingerprint that is expected",
    "K4": "a server on another machine that is not known",
    "K5": "a known server with another certificate",
    "K6": "a certificate that has expired or is not valid yet, and a wrong clock",
    "K7": "wrong tokens: empty, enormous, with a NUL, nearly right",
    "K8": "secrets in messages, logs, errors, representations and the list of processes",
    "K10": "a TLS connection that is cut without a goodbye",
    "K13": "a token that is revoked, or a store that breaks, during a session",
    "K14": "a file with a key or a token that others may read, or that is another user's",
    "K15": "one TLS connection used by two threads",
    "K16": "plain text in the place of a TLS handshake, to a server that talks TLS",
    "K19": "a server for all addresses without encryption or tokens",
    "K20": "other ways to write an address that is not this machine's own",
    "K21": "writing to a server that is read-only",
    "K22": "a client or server of another protocol over TLS",
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
    "B10": "a token's root is a folder: there is no share of one file",
}
