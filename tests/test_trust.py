"""Tests of who a client talks to: certificates are checked before anything is said.

The scripted servers here finish the TLS handshake and then note every byte that comes.
"""

from __future__ import annotations

import datetime as dt
import os
import random
import re
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING

import pytest
from conftest import SECONDS, Raw, framed, leftovers, tcp_pair, tree_state

import filexfer
from filexfer import (
    Client,
    ConnectionLost,
    NetworkError,
    Options,
    Server,
    Trust,
    TrustError,
    UsageError,
)
from filexfer.security import certificate, stored
from filexfer.serving.limits import Limits
from filexfer.wire.connection import Connection
from filexfer.wire.dial import Door
from filexfer.wire.transport import ALPN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import ExitStack
    from pathlib import Path

    from conftest import Served

    Serve = Callable[..., Served]

TOKEN = "S3cret-S3cret_S3cret"
OTHER = "x" * 43


@pytest.fixture(autouse=True)
def homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep keys and what is stored in this test's folder; come again at once after a cut."""
    monkeypatch.setattr("filexfer.lasting.pause_before", lambda _: 0.0)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take this machine's own address for another machine's."""
    monkeypatch.setattr("filexfer.wire.dial.is_loopback", lambda _: False)


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> certificate.Identity:
    """Return what a server shows that has just been set up."""
    return made(tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="module")
def another(tmp_path_factory: pytest.TempPathFactory) -> certificate.Identity:
    """Return what another server shows."""
    return made(tmp_path_factory.mktemp("two"))


@pytest.fixture
def identities(
    identity: certificate.Identity, another: certificate.Identity
) -> tuple[certificate.Identity, certificate.Identity]:
    """Return both."""
    return identity, another


def made(folder: Path, first: int = 2000, last: int = 9999) -> certificate.Identity:
    """Return an identity that is valid in these years."""
    from cryptography import x509  # noqa: PLC0415 - costs 60 ms
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - as above

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(dt.datetime(first, 1, 1, tzinfo=dt.UTC))
        .not_valid_after(dt.datetime(last, 1, 1, tzinfo=dt.UTC))
        .sign(key, hashes.SHA256())
    )
    path = folder / "all.pem"
    path.touch(0o600)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return certificate.load(str(path))


class Recorder:
    """A server that shows a certificate and notes what it hears after the handshake.

    Attributes:
        port: Where it listens.
        shook: How many handshakes were finished.
        heard: What came inside TLS, all in all.
        raw: The first bytes of each connection that was answered in the clear.

    """

    def __init__(self, context: ssl.SSLContext | None, answer: bytes = b"") -> None:
        self._context = context
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.came = self.shook = 0
        self.heard = self.raw = b""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.came += 1
            with sock:
                sock.settimeout(SECONDS)
                try:
                    self._talk(sock)
                except OSError:
                    continue

    def _talk(self, sock: socket.socket) -> None:
        if self._context is None:
            sock.sendall(self._answer)
            while piece := sock.recv(1 << 16):
                self.raw += piece
            return
        with self._context.wrap_socket(sock, server_side=True) as wrapped:
            self.shook += 1
            while piece := wrapped.recv(1 << 16):
                self.heard += piece

    def close(self) -> None:
        """Accept no more, and wait for the end of what is noted."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()


@pytest.fixture
def recorder(cleanup: ExitStack) -> Callable[..., Recorder]:
    """Return a function that starts a server which only listens."""

    def start(context: ssl.SSLContext | None, answer: bytes = b"") -> Recorder:
        found = Recorder(context, answer)
        cleanup.callback(found._listener.close)
        return found

    return start


def pinned(served: Served, fingerprint: str, **options: object) -> Client:
    """Return a client that expects this fingerprint."""
    return served.client(trust=Trust(token=TOKEN, fingerprint=fingerprint), **options)


# Fingerprints


@pytest.mark.case("K3")
def test_a_wrong_fingerprint(
    recorder: Callable[..., Recorder], identity: certificate.Identity
) -> None:
    """The handshake is done, and then not one byte is said: no token, no hello."""
    peer = recorder(identity.context)
    trust = Trust(token=TOKEN, fingerprint=OTHER)
    with (
        pytest.raises(TrustError, match="NOT THE ONE THAT IS EXPECTED") as caught,
        Client("127.0.0.1", peer.port, trust=trust, timeout=SECONDS) as client,
    ):
        client.stat("a")
    peer.close()
    assert (peer.came, peer.shook, peer.heard) == (1, 1, b"")
    assert identity.fingerprint in str(caught.value)
    assert OTHER in str(caught.value)
    assert TOKEN not in str(caught.value)


def test_the_right_fingerprint(
    serve: Serve, identity: certificate.Identity, tmp_path: Path
) -> None:
    """Everything works as in the clear."""
    served = serve(tls=identity.context)
    (tmp_path / "a").write_bytes(b"x" * 300_000)
    client = pinned(served, identity.fingerprint)
    assert client.put([tmp_path / "a"]).files == 1
    assert client.get(["a"], tmp_path / "back").files == 1
    assert (tmp_path / "back").read_bytes() == b"x" * 300_000


@pytest.mark.case("K6")
@pytest.mark.parametrize(("first", "last"), [(1990, 1991), (2090, 9999)])
def test_dates_do_not_count(serve: Serve, tmp_path: Path, first: int, last: int) -> None:
    """A certificate of the past or of the future, with the right fingerprint, is right."""
    old = made(tmp_path, first, last)
    client = pinned(serve(tls=old.context), old.fingerprint)
    assert client.stat("a") is None


def test_the_token_is_shown(
    recorder: Callable[..., Recorder], identity: certificate.Identity
) -> None:
    """The same server hears token and hello if it has the right fingerprint."""
    peer = recorder(identity.context)
    trust = Trust(token=TOKEN, fingerprint=identity.fingerprint)
    door = Door("127.0.0.1", peer.port, trust=trust, timeout=SECONDS)
    connection = door.begin()
    connection.flush()
    connection.close()
    peer.close()
    assert TOKEN.encode() in peer.heard


# In between


@pytest.mark.case("K1")
@pytest.mark.parametrize(
    "answer",
    [
        framed({"kind": "welcome", "version": 1, "rights": ["read", "list", "create"]}),
        framed({"kind": "error", "code": "unsupported", "text": "no TLS here"}),
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"",
    ],
    ids=["welcome", "error", "http", "nothing"],
)
def test_an_answer_in_the_clear(recorder: Callable[..., Recorder], answer: bytes) -> None:
    """Where TLS is expected, the client neither goes on nor comes again without."""
    peer = recorder(None, answer)
    trust = Trust(token=TOKEN, fingerprint=OTHER)
    expected = TrustError if answer else NetworkError
    with (
        pytest.raises(expected) as caught,
        Client("127.0.0.1", peer.port, trust=trust, timeout=SECONDS if answer else 0.2) as client,
    ):
        client.stat("a")
    peer.close()
    assert peer.came == 1
    assert peer.raw[0] == 22  # a TLS handshake, and nothing else
    assert TOKEN.encode() not in peer.raw
    assert b"hello" not in peer.raw
    assert not answer or "no TLS" in str(caught.value)


@pytest.mark.case("K1")
def test_tls_to_a_server_without(served: Served) -> None:
    """A server that talks in the clear is told from one that cannot be trusted."""
    client = pinned(served, OTHER)
    with pytest.raises(TrustError, match="talks no TLS"):
        client.stat("a")


@pytest.mark.case("K1", "K16")
def test_no_tls_to_a_server_with_it(
    serve: Serve, identity: certificate.Identity, raw: Callable[[Server], Raw]
) -> None:
    """A client in the clear is answered in the clear: what to do; nothing of it is heeded."""
    served = serve(tls=identity.context)
    with pytest.raises(TrustError, match=r"talks TLS only.*filexfer login"):
        served.client().stat("a")
    peer = raw(served.server)
    peer.send(framed({"name": "a", "size": 1, "md5": "0cc175b9c0f1b6a831c399e269772661"}) + b"a")
    assert (peer.reply() or {})["code"] == "auth_failed"
    assert peer.reply() is None
    assert os.listdir(served.folder) == []


@pytest.mark.case("K2")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_2])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_older_versions_of_tls(
    serve: Serve,
    recorder: Callable[..., Recorder],
    identity: certificate.Identity,
    tls_contexts: tuple[ssl.SSLContext, ssl.SSLContext],
    version: ssl.TLSVersion,
) -> None:
    """Neither the server nor the client talks them."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    client.minimum_version = client.maximum_version = version
    served = serve(tls=identity.context)
    sock = socket.create_connection((served.server.host, served.server.port), SECONDS)
    with sock, pytest.raises((ssl.SSLError, ConnectionResetError)):
        client.wrap_socket(sock)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(_pem())
    server.set_alpn_protocols([ALPN])
    server.minimum_version = server.maximum_version = version
    peer = recorder(server)
    with (
        pytest.raises(TrustError, match="TLS failed"),
        Client("127.0.0.1", peer.port, trust=_pin_of(_pem()), timeout=SECONDS) as mine,
    ):
        mine.stat("a")
    peer.close()
    assert peer.shook == 0


@pytest.mark.case("K22")
@pytest.mark.parametrize("protocols", [[], ["http/1.1"], ["h2", "filexfer/2"]])
def test_another_protocol_over_tls(
    serve: Serve,
    recorder: Callable[..., Recorder],
    identity: certificate.Identity,
    protocols: list[str],
) -> None:
    """Neither a client nor a server that means another protocol is talked to."""
    served = serve(tls=identity.context)
    other = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    other.check_hostname = False
    other.verify_mode = ssl.CERT_NONE
    other.set_alpn_protocols(protocols)
    sock = socket.create_connection((served.server.host, served.server.port), SECONDS)
    with sock, other.wrap_socket(sock) as wrapped:
        try:
            wrapped.sendall(framed({"kind": "hello", "version": 1}))
            assert wrapped.recv(1) == b""
        except OSError:
            pass  # it was closed by then
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_pem())
    context.set_alpn_protocols(protocols)
    peer = recorder(context)
    with (
        pytest.raises(TrustError, match="no filexfer"),
        Client("127.0.0.1", peer.port, trust=_pin_of(_pem()), timeout=SECONDS) as mine,
    ):
        mine.stat("a")
    peer.close()
    assert (peer.shook, peer.heard) == (1, b"")


def _pem() -> str:
    """Return the path of this test's own certificate and key."""
    certificate.load()
    return os.path.join(os.environ["XDG_STATE_HOME"], "filexfer", certificate.FILE)


def _pin_of(path: str) -> Trust:
    return Trust(token=TOKEN, fingerprint=certificate.load(path).fingerprint)


class Route:
    """A way to a server that is cut after some bytes; the next connections go elsewhere.

    Attributes:
        port: Where it listens.
        came: Connections.

    """

    def __init__(self, first: int, later: int, cut: int, way: str = "up") -> None:
        self._ports = (first, later)
        self._cut = cut
        self._way = way
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.came = 0
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._ports[self.came > 0]), SECONDS)
            self.came += 1
            budget = self._cut if self.came == 1 else 1 << 60
            for source, target, way in ((near, far, "up"), (far, near, "down")):
                allowed = budget if way == self._way else 1 << 60
                threading.Thread(
                    target=self._pump, args=(source, target, allowed), daemon=True
                ).start()

    @staticmethod
    def _pump(source: socket.socket, target: socket.socket, budget: int) -> None:
        try:
            while budget and (piece := source.recv(min(1 << 16, budget))):
                target.sendall(piece)
                budget -= len(piece)
        except OSError:
            pass  # the other direction was cut
        for sock in (source, target):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # gone already
            sock.close()

    def close(self) -> None:
        """Accept no more."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Make a folder with some small files and a larger one."""
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(30):
        (folder / f"{number:02}").write_bytes(random.Random(number).randbytes(20_000))
    (folder / "large").write_bytes(random.Random(99).randbytes(3 << 20))
    return folder


@pytest.mark.case("C24")
@pytest.mark.parametrize("how", ["pinned", "met"])
def test_another_certificate_in_the_middle(
    serve: Serve,
    recorder: Callable[..., Recorder],
    identities: tuple[certificate.Identity, certificate.Identity],
    files: Path,
    how: str,
    request: pytest.FixtureRequest,
) -> None:
    """A batch that goes on after a cut does not do so with somebody else, who hears nothing."""
    identity, another = identities
    served, stranger = serve(tls=identity.context), recorder(another.context)
    route = Route(served.server.port, stranger.port, cut=200_000)
    if how == "pinned":
        trust = Trust(token=TOKEN, fingerprint=identity.fingerprint)
    else:
        request.getfixturevalue("elsewhere")
        trust = Trust(token=TOKEN, accept_new=True)
    with (
        pytest.raises(TrustError, match="NOT THE ONE THAT IS EXPECTED"),
        Client("127.0.0.1", route.port, trust=trust, timeout=SECONDS) as client,
    ):
        client.put([files], "", Options(jobs=1, retries=5))
    route.close()
    stranger.close()
    assert (stranger.came, stranger.shook, stranger.heard) == (1, 1, b"")
    for name, (kind, _, _, data) in tree_state(served.folder).items():
        if kind == "file" and not os.path.basename(name).startswith(".fx-"):
            assert data == (files / os.path.basename(name)).read_bytes()


@pytest.mark.case("C24")
def test_another_certificate_on_a_further_connection(
    serve: Serve,
    recorder: Callable[..., Recorder],
    identity: certificate.Identity,
    another: certificate.Identity,
    files: Path,
) -> None:
    """Every connection of a command is checked, also those that share its work."""
    served, stranger = serve(tls=identity.context), recorder(another.context)
    route = Route(served.server.port, stranger.port, cut=1 << 60)
    trust = Trust(token=TOKEN, fingerprint=identity.fingerprint)
    with (
        pytest.raises(TrustError, match="NOT THE ONE THAT IS EXPECTED"),
        Client("127.0.0.1", route.port, trust=trust, timeout=SECONDS) as client,
    ):
        client.put([files], "", Options(jobs=3))
    route.close()
    stranger.close()
    assert stranger.came
    assert stranger.heard == b""


@pytest.mark.case("K10")
@pytest.mark.parametrize("cut", [4_000, 100_000, 3_000_000])
def test_a_cut_without_a_goodbye(
    serve: Serve, identity: certificate.Identity, files: Path, tmp_path: Path, cut: int
) -> None:
    """An end of TLS in the middle of a file is no end of the file."""
    served = serve(tls=identity.context)
    (served.folder / "large").write_bytes((files / "large").read_bytes())
    route = Route(served.server.port, served.server.port, cut, way="down")
    trust = Trust(fingerprint=identity.fingerprint)
    with (
        pytest.raises(ConnectionLost),
        Client("127.0.0.1", route.port, trust=trust, timeout=SECONDS) as client,
    ):
        client.get(["large"], tmp_path / "back", Options(retries=0))
    route.close()
    assert not (tmp_path / "back").exists()
    assert leftovers(tmp_path) == []


# Servers on other machines


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.case("K4")
def test_an_unknown_server(
    recorder: Callable[..., Recorder], identity: certificate.Identity
) -> None:
    """Nobody to ask: the fingerprint is told, and the server hears nothing."""
    peer = recorder(identity.context)
    with (
        pytest.raises(TrustError, match=r"not known.*filexfer login.*--accept-new") as caught,
        Client("127.0.0.1", peer.port, timeout=SECONDS) as client,
    ):
        client.stat("a")
    peer.close()
    assert identity.fingerprint in str(caught.value)
    assert (peer.shook, peer.heard) == (1, b"")
    assert stored.all_known() == {}


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.case("K4", "K5")
@pytest.mark.parametrize("how", ["asked", "accepted"])
def test_a_server_that_is_met(
    serve: Serve, identity: certificate.Identity, another: certificate.Identity, how: str
) -> None:
    """Its certificate is stored and holds from then on; another one is refused without a question."""
    asked: list[tuple[str, str]] = []
    told: list[str] = []

    def trust() -> Trust:
        found = Trust(accept_new=how == "accepted")
        if how == "asked":
            found.ask = lambda *what: not asked.append(what)  # type: ignore[func-returns-value] # yes
        found.tell = told.append
        return found

    served = serve(tls=identity.context)
    port = served.server.port
    for _ in range(2):
        served.client(trust=trust()).stat("a")
    served.client().stat("a")
    assert asked == ([(f"127.0.0.1 port {port}", identity.fingerprint)] if how == "asked" else [])
    assert len(told) == 1
    assert identity.fingerprint in told[0]
    assert stored.all_known() == {f"127.0.0.1:{port}": identity.fingerprint}
    with Server(served.folder, port=0, tls=another.context) as changed:
        stored.remember("127.0.0.1", changed.port, identity.fingerprint)
        where = f"127.0.0.1:{changed.port}"
        with (
            pytest.raises(TrustError, match=re.escape(f"filexfer logout {where}, then")),
            Client(changed.host, changed.port, trust=trust(), timeout=SECONDS) as client,
        ):
            client.stat("a")
        assert len(asked) == (how == "asked")
        assert stored.forget_known(where)
        with Client(changed.host, changed.port, trust=trust(), timeout=SECONDS) as client:
            client.stat("a")


@pytest.mark.usefixtures("elsewhere")
def test_a_server_does_not_wait_for_an_answer(
    recorder: Callable[..., Recorder], identity: certificate.Identity
) -> None:
    """After a question the client comes again: the first connection may be gone by then."""
    peer = recorder(identity.context)
    trust = Trust(token=TOKEN)
    trust.ask = lambda *_: not peer.heard
    connection = Door("127.0.0.1", peer.port, trust=trust, timeout=SECONDS).begin()
    connection.flush()
    connection.close()
    peer.close()
    assert (peer.came, peer.shook) == (2, 2)
    assert peer.heard.count(TOKEN.encode()) == 1


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.case("K4")
def test_a_server_that_is_not_accepted(
    recorder: Callable[..., Recorder], identity: certificate.Identity
) -> None:
    """A no is a no, and nothing is stored."""
    peer = recorder(identity.context)
    trust = Trust(token=TOKEN)
    trust.ask = lambda *_: False
    with (
        pytest.raises(TrustError, match="was not accepted"),
        Client("127.0.0.1", peer.port, trust=trust, timeout=SECONDS) as client,
    ):
        client.stat("a")
    peer.close()
    assert peer.heard == b""
    assert stored.all_known() == {}


@pytest.mark.usefixtures("elsewhere")
def test_insecure(serve: Serve, served: Served, identity: certificate.Identity) -> None:
    """It talks in the clear and says so once; never to a server that is known to talk TLS."""
    told: list[str] = []
    trust = Trust(token=TOKEN, insecure=True)
    trust.tell = told.append
    client = served.client(trust=trust)
    client.stat("a")
    client.close()
    client.stat("a")
    assert len(told) == 1
    assert "WARNING" in told[0]
    secure = serve(tls=identity.context)
    stored.remember("127.0.0.1", secure.server.port, identity.fingerprint)
    with pytest.raises(TrustError, match="met before, with encryption"):
        secure.client(insecure=True).stat("a")


@pytest.mark.parametrize(
    "options",
    [
        {"insecure": True, "fingerprint": OTHER},
        {"insecure": True, "ca": "system"},
        {"insecure": True, "accept_new": True},
        {"fingerprint": OTHER[1:]},
        {"token": "a b"},
    ],
)
def test_what_makes_no_sense(options: dict[str, object]) -> None:
    """Contradictions are found before anything is done."""
    with pytest.raises(UsageError):
        Trust(**options)  # type: ignore[arg-type] # on purpose


def test_trust_is_not_taken_back() -> None:
    """A client with a fingerprint cannot be told in passing to do without."""
    with pytest.raises(UsageError, match="trust says it all"):
        Client("127.0.0.1", trust=Trust(fingerprint=OTHER), insecure=True)


def test_a_general_token_goes_over_tls_only(
    served: Served, recorder: Callable[..., Recorder], identity: certificate.Identity
) -> None:
    """A token that is not meant for this server alone is not told to whoever listens here."""
    trust = Trust()
    trust.general_token = TOKEN
    assert trust.token(over_tls=True) == TOKEN
    assert trust.token(over_tls=False) == ""
    assert served.client(trust=trust).stat("a") is None


# Authorities


def test_authorities(serve: Serve, tmp_path: Path) -> None:
    """With an authority, its word and the server's name count, and not a fingerprint."""
    import trustme  # noqa: PLC0415 - only here

    authority, stranger = trustme.CA(), trustme.CA()
    (tmp_path / "ca.pem").write_bytes(authority.cert_pem.bytes())
    (tmp_path / "stranger.pem").write_bytes(stranger.cert_pem.bytes())
    contexts = []
    for name in ("127.0.0.1", "nas.example.org"):
        path = tmp_path / f"{name}.pem"
        path.write_bytes(authority.issue_cert(name).private_key_and_cert_chain_pem.bytes())
        path.chmod(0o600)
        contexts.append(certificate.load(str(path)))
    served = serve(tls=contexts[0].context)
    right = Trust(ca=str(tmp_path / "ca.pem"))
    assert served.client(trust=right).stat("a") is None
    both = Trust(ca=str(tmp_path / "ca.pem"), fingerprint=OTHER)
    with pytest.raises(TrustError, match="NOT THE ONE"):
        served.client(trust=both).stat("a")
    with pytest.raises(TrustError, match="certificate"):
        served.client(trust=Trust(ca=str(tmp_path / "stranger.pem"))).stat("a")
    with pytest.raises(TrustError, match="certificate"):
        served.client(trust=Trust(ca="system")).stat("a")
    named = serve(tls=contexts[1].context)
    with pytest.raises(TrustError, match=r"(?i)mismatch"):
        named.client(trust=right).stat("a")


def test_authorities_that_cannot_be_read(tmp_path: Path) -> None:
    """The file is named."""
    (tmp_path / "empty.pem").write_text("nothing")
    for name in ("empty.pem", "none.pem"):
        with pytest.raises(filexfer.LocalError, match=name):
            Trust(ca=str(tmp_path / name))


# At the server


@pytest.mark.case("H3")
@pytest.mark.parametrize("trickles", [False, True])
def test_a_handshake_that_stalls(
    serve: Serve,
    identity: certificate.Identity,
    raw: Callable[[Server], Raw],
    trickles: bool,
) -> None:
    """It ends when its time is over, however it is kept alive; others are served meanwhile."""
    served = serve(tls=identity.context, limits=Limits(opening_timeout=1.0))
    peer = raw(served.server)
    client = pinned(served, identity.fingerprint)
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500)
    began = time.monotonic()
    peer.send(hello[:5])
    assert client.stat("a") is None
    ended = False
    for at in range(5, 200):
        try:
            if trickles:
                peer.send(hello[at : at + 1])
            peer.sock.settimeout(0.05)
            ended = peer.sock.recv(100) == b""
        except TimeoutError:
            continue
        except OSError:
            ended = True
        if ended:
            break
    assert ended
    assert time.monotonic() - began < SECONDS / 2


@pytest.mark.case("K19", "K20")
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "::ffff:0.0.0.0", "::ffff:192.0.2.1", ""])
def test_an_open_address_needs_encryption(tmp_path: Path, host: str) -> None:
    """Whatever other machines can reach, however it is written."""
    served = tmp_path / "served"
    served.mkdir()
    with pytest.raises((TrustError, NetworkError), match=r"other machines|cannot listen"):
        Server(served, host)
    with pytest.raises(TrustError, match="other machines"):
        Server(served, "0.0.0.0")


def test_only_one_place_takes_any_certificate() -> None:
    """What checks nothing by itself is made where its result is checked, and nowhere else."""
    package = os.path.dirname(filexfer.__file__)
    found = []
    for folder, _, names in os.walk(package):
        for name in names:
            if name.endswith(".py"):
                with open(os.path.join(folder, name), encoding="utf-8") as file:
                    text = file.read()
                found += [name] * len(
                    re.findall(r"CERT_NONE|_create_unverified|check_hostname = False", text)
                )
    assert found == ["trust.py", "trust.py"]


@pytest.mark.case("K15")
def test_no_tls_object_meets_a_socket_or_a_second_thread(cleanup: ExitStack) -> None:
    """Sockets are never wrapped; ending a connection from another thread leaves TLS alone."""
    package = os.path.dirname(filexfer.__file__)
    for folder, _, names in os.walk(package):
        for name in names:
            if name.endswith(".py"):
                with open(os.path.join(folder, name), encoding="utf-8") as file:
                    assert "wrap_socket" not in file.read(), name
    near, far = tcp_pair()
    cleanup.callback(near.close)
    connection = Connection(far, tls=certificate.load().context, server_side=True)
    cleanup.callback(connection.close)
    connection._transport = None  # type: ignore[assignment] # whatever uses it, fails
    connection.interrupt()


@pytest.mark.case("K15")
def test_both_ways_at_once(
    serve: Serve, identity: certificate.Identity, tmp_path: Path, files: Path
) -> None:
    """Bodies one way and confirmations the other, on several connections: all is right."""
    served = serve(tls=identity.context)
    for number in range(400):
        (files / f"small{number}").write_bytes(b"%d" % number)
    client = pinned(served, identity.fingerprint)
    report = client.put([f"{files}/"], "in", Options(jobs=2))
    assert (report.failed, report.files) == (0, 431)
    assert client.get(["in/"], tmp_path / "out", Options(jobs=2)).failed == 0
    contents = {name: entry[3] for name, entry in tree_state(files).items()}
    assert {name: entry[3] for name, entry in tree_state(tmp_path / "out").items()} == contents


# As in the clear


@pytest.fixture(params=["up", "down"])
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run a test for both directions."""
    return request.param  # type: ignore[no-any-return] # a text


@pytest.mark.parametrize(
    ("options", "limits"),
    [
        (Options(), {}),
        (Options(jobs=3, pieces=True), {}),
        (Options(jobs=2, checksum=True, algorithm="sha256"), {}),
        (Options(jobs=1), {"bwlimit": 40e6}),
    ],
    ids=["default", "pieces", "two", "limited"],
)
def test_trees_over_tls(
    serve: Serve,
    identity: certificate.Identity,
    files: Path,
    way: str,
    options: Options,
    limits: dict[str, float],
) -> None:
    """A tree arrives the same, over several connections, in pieces, and within a limit."""
    served, tmp_path = serve(tls=identity.context), files.parent
    (files / "sub" / "empty").mkdir(parents=True)
    (files / "link").symlink_to("00")
    client = pinned(served, identity.fingerprint, **limits)
    if way == "up":
        assert client.put([files], "", options).failed == 0
        there = served.folder / "files"
    else:
        os.rename(files, served.folder / "files")
        files = served.folder / "files"
        assert client.get(["files"], tmp_path / "out" / "", options).failed == 0
        there = tmp_path / "out" / "files"
    assert tree_state(there) == tree_state(files)


def test_errors_and_retries_over_tls(
    serve: Serve,
    identity: certificate.Identity,
    files: Path,
) -> None:
    """A file that is refused is told, the others arrive; a cut connection is opened again."""
    served = serve(tls=identity.context)
    (served.folder / "files").mkdir()
    (served.folder / "files" / "00").write_text("another")
    route = Route(served.server.port, served.server.port, cut=1_000_000)
    trust = Trust(fingerprint=identity.fingerprint)
    with Client("127.0.0.1", route.port, trust=trust, timeout=SECONDS) as client:
        report = client.put([files], "", Options(jobs=1))
    route.close()
    assert route.came == 2
    assert [failure.name for failure in report.failures] == ["files/00"]
    assert report.files == 30
    assert (served.folder / "files" / "large").read_bytes() == (files / "large").read_bytes()


def test_the_name_of_the_protocol_stays() -> None:
    """Programs of this version and later ones find one another."""
    assert ALPN == "filexfer/1"
