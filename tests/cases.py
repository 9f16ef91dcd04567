"""The catalogue of what must not harm a transfer, by theme; a test of a case carries its number.

A test is bound to its cases by ``@pytest.mark.case("A1", "A3")``. ``test_cases.py`` holds that every
case here has a test or stands in ``UNTESTED`` with the reason, and that no test names another.
"""

from __future__ import annotations

MALFORMED: dict[str, str] = {  # A: bytes that are not the protocol, at both ends
    "A1": "a frame of length 0",
    "A2": "a frame of a length far beyond the limit",
    "A3": "a connection that ends inside a header",
    "A4": "a connection that ends inside a frame's length, in order or by a reset",
    "A5": "a session that comes byte by byte",
    "A6": "a session that comes in one segment, frames and bodies glued together",
    "A7": "a header that is no JSON, or more than one value",
    "A8": "JSON in UTF-16 or UTF-32, or behind a byte order mark",
    "A9": "a header that is not UTF-8",
    "A10": "brackets nested tens of thousands deep",
    "A11": "a number of thousands of digits",
    "A12": "sizes that are negative, fractions, huge, infinite, texts, lists or missing",
    "A13": "a member that stands twice in an object",
    "A14": "members and kinds of message that nobody knows",
    "A15": "a header that is no object",
    "A16": "a name that is missing, empty, or no text",
    "A17": "a name with a zero byte or half a surrogate pair",
    "A18": "a digest that is missing, too short, no hex, or of no known algorithm",
    "A19": "a body that ends too early",
    "A20": "a body that goes on too long",
    "A21": "a body that is not what its digest says",
    "A22": "empty files, with right and wrong digests",
    "A23": "other protocols on the port; plain text to TLS, TLS to plain text",
    "A24": "messages that are legal at another time only",
    "A25": "another version of the protocol, or none",
    "A26": "the largest header, of spaces or of thousands of members",
    "A27": "ten thousand files in one go by a peer that reads no reply",
    "A28": "random bytes, and recorded sessions with random damage",
    "A29": "files of sizes around every limit, of 31 and of 32 bits",
}

CLIENT: dict[str, str] = {  # B: a hostile client
    "B1": "names that climb, are absolute or doubled, or look as if",
    "B2": "names with control, formatting or invisible characters",
    "B3": "names that other systems reserve",
    "B4": "names at and beyond the limits of length and depth",
    "B5": "names of temporary files",
    "B6": "a file onto one that exists, without the wish or the right to replace it",
    "B7": "a file where a folder is, and a folder where a file is",
    "B15": "a claimed digest, to pass for a file that is there",
    "B16": "a file announced larger than any disk",
    "B17": "many files announced that fit one by one, and not together",
    "B18": "a body of a byte now and then",
    "B20": "set-user bits, devices, and links that lead out",
    "B21": "times that no disk can keep, or that are none",
    "B23": "removing the root, or a full folder without saying so",
    "B24": "numbers by which a client would set the server's work",
    "B25": "any one request that takes a name and forgets to check it",
    "B22": "the folder that is served holds the server's own key, tokens or configuration",
}

SERVER: dict[str, str] = {  # C: a hostile server
    "C1": "another file than the one asked for",
    "C2": "an absolute name",
    "C3": "a name that climbs",
    "C4": "a way out in nested steps",
    "C5": "a folder called ..",
    "C6": "an empty name, or a dot, with a mode for the folder downloaded into",
    "C7": "more than was asked for, beside it or through ..",
    "C8": "a link, and then a file below it",
    "C9": "one name twice, with other bytes",
    "C10": "names that differ by case or by Unicode form only; a name and one below it",
    "C11": "names that are links here already",
    "C12": "a file onto one of ours",
    "C13": "files that a home folder would take for orders",
    "C14": "more bytes than were announced, or work out of few",
    "C15": "a file announced larger than any disk",
    "C16": "no digest, a weaker one than asked for, or an unknown one",
    "C17": "other contents under the name asked for, with the right digest for them",
    "C18": "escapes, line ends and endless text in whatever is said or named",
    "C19": "silence at any point, or a byte now and then",
    "C20": "time-outs and sizes that we should take over",
    "C21": "a request, as if we were the server",
    "C22": "a listing without an end, or names of endless depth",
    "C23": "being sent on to another machine",
    "C24": "another certificate after the connection was lost",
    "C25": "confirmations too early, twice, or of what was never sent",
    "C26": "no confirmation before the connection ends",
    "C27": "modes that are too wide, times in the far future",
}

FILES: dict[str, str] = {  # D: attacks through the file system, and odd files
    "D1": "a link under the name of a file, at either side",
    "D2": "a link among the folders above a file",
    "D3": "folders and links exchanged for one another while we write, make and remove there",
    "D4": "folders, files and links exchanged for one another while we read there",
    "D5": "pipes in a tree, by name and at the target",
    "D6": "devices, sockets, and files of /proc that have no size",
    "D9": "a file that shrinks while it is sent",
    "D10": "a file that grows while it is sent",
    "D11": "a file that is rewritten at the same size while it is sent",
    "D12": "a file that vanishes, is replaced or becomes unreadable while it is sent",
    "D13": "names on the disk that are no text and attack a terminal",
    "D14": "names that are legal and that programs stumble over",
    "D15": "files of gigabytes that are nothing but holes",
    "D17": "a target that takes two names of ours for one",
    "D18": "a target without a rename that refuses to replace",
    "D20": "a target folder that is moved or removed meanwhile",
    "D21": "a target that may not be written",
    "D23": "trees of great depth or width",
    "D24": "files, folders and links planted under temporary names",
    "D25": "a temporary name that is a hard link to a precious file",
    "D26": "a root that is moved or replaced after the start",
    "D27": "umasks that take everything or nothing",
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
    "F16": "the disk that the server writes its log to is full",
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
    "G13": "tokens and certificate are reloaded by SIGHUP while transfers are under way",
    "G16": "a kill while the server's first key is made",
    "G18": "one of several workers dies by a segmentation fault",
    "G20": "clients are killed again and again at random moments",
    "G21": "servers are killed again and again at random moments",
    "G22": "the service manager kills the server while it waits for transfers to finish",
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
    "K1": "somebody in between who answers in plain text",
    "K2": "older versions of TLS",
    "K3": "a server whose certificate has not the fingerprint that is expected",
    "K4": "a server on another machine that is not known",
    "K5": "a known server with another certificate",
    "K6": "a certificate that has expired or is not valid yet, and a wrong clock",
    "K8": "secrets in messages, logs, errors, representations and the list of processes",
    "K10": "a TLS connection that is cut without a goodbye",
    "K14": "a file with a key or a token that others may read, or that is another user's",
    "K15": "one TLS connection used by two threads",
    "K16": "plain text in the place of a TLS handshake, to a server that talks TLS",
    "K19": "a server for all addresses without encryption or tokens",
    "K20": "other ways to write an address that is not this machine's own",
    "K22": "a client or server of another protocol over TLS",
}

HONESTY: dict[str, str] = {  # L: exit codes and output
    "L1": "one of a thousand files that fails, and every other reason for an exit code",
    "L2": "names, of files and of servers, that attack a terminal, in any locale",
    "L4": "no home folder, or one that cannot be written",
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
    "C17": "nothing lets a user say beforehand which digest is expected",
}
