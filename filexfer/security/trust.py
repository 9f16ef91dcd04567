"""What a server must show before it hears a word, and what it is shown then.

A server is recognised by its certificate: by the fingerprint that came with the connect string, by
the one that was stored when it was first met, or by an authority. It is looked at right after the
TLS handshake, when nothing of ours has been sent yet. TLS is never given up for plain text: where
a certificate is expected, and something else answers, that is the end.

This module must not know sockets, or how people are asked.
"""

from __future__ import annotations

from filexfer.errors import LocalError, TrustError, UsageError
from filexfer.names import shown
from filexfer.security.connect_string import SecretRemote, is_fingerprint, is_token

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

SYSTEM = "system"  # the authorities that this machine trusts


class Trust:
    """How a client knows its server, one server, and who it says that it is.

    Without a fingerprint, an authority or *insecure*, a server on this machine is talked to in
    the clear; one on another machine must be known from before, or be accepted.

    Args:
        token: What the server is shown, if it asks who comes; ``""`` for nothing.
        fingerprint: What the server's certificate must have, in 43 characters.
        ca: A PEM file of the authorities, one of which must vouch for the server's name, or
            ``"system"`` for those that this machine trusts.
        insecure: Talk in the clear to another machine, where anybody on the way can read
            along, change what is sent, and take the token.
        accept_new: Store the certificate of a server on another machine that is not known yet,
            and take it for its own from then on.
        context: A context of the caller's own, to talk TLS by whatever it checks.

    Attributes:
        ask: Is called for such a server, unless *accept_new* is set, with its address and
            fingerprint; returns whether it is to be stored.
        tell: Is called with a sentence that the user should read.
        mend: What to do if the certificate is not the expected one, for the error's text.
        general_token: A token that is not meant for this server alone; goes over TLS only.
        seen: The fingerprint of the server's certificate, when it was looked at.
        certificate: The certificate itself, in DER; the same.

    Raises:
        LocalError: if the file of authorities cannot be used.
        UsageError: if the arguments contradict each other or make no sense.

    """

    def __init__(
        self,
        *,
        token: str = "",
        fingerprint: str = "",
        ca: str = "",
        insecure: bool = False,
        accept_new: bool = False,
        context: ssl.SSLContext | None = None,
    ) -> None:
        if token and not is_token(token):
            raise UsageError("a token has letters, digits, - and _ only")
        if fingerprint and not is_fingerprint(fingerprint):
            raise UsageError("a fingerprint has 43 letters, digits, - and _")
        if insecure and (fingerprint or ca or context or accept_new):
            raise UsageError(
                "--insecure means no encryption, so no certificate can be asked for: "
                "leave out --insecure, or the fingerprint, --ca and --accept-new"
            )
        self.ask: Callable[[str, str], bool] | None = None
        self.tell: Callable[[str], None] = _say_nothing
        self.mend = ""
        self.general_token = self.seen = ""
        self.certificate = b""
        self._token = token
        self._pin = fingerprint
        self._insecure = insecure
        self._accept_new = accept_new
        self._is_stored = False  # whether the fingerprint is that of a server met before
        self._was_told = False
        self._context = _verifying(ca) if ca else context
        self._is_vouched = self._context is not None  # whether the handshake finds out who it is

    @classmethod
    def of(
        cls,
        remote: SecretRemote,
        *,
        token: str = "",
        ca: str = "",
        insecure: bool = False,
        accept_new: bool = False,
    ) -> Trust:
        """Return how to know the server of a connect string, or a stored one.

        Args:
            remote: As it was given or stored.
            token: In the place of the one in it.
            ca: In the place of the fingerprint in it.
            insecure: As of the class; fails where there is a fingerprint.
            accept_new: As of the class.

        """
        ca = ca or remote.ca
        made = cls(
            token=token or remote.token,
            fingerprint="" if ca else remote.fingerprint,
            ca=ca,
            insecure=insecure,
            accept_new=accept_new,
        )
        if remote.name:
            made.mend = f"filexfer login {remote.name}, with the connect string it shows now"
        return made

    def context_for(self, host: str, port: int, *, is_loopback: bool) -> ssl.SSLContext | None:
        """Return what to talk TLS by to the server, or None to talk in the clear.

        Args:
            host: As the user wrote it.
            port: Its TCP port.
            is_loopback: Whether the address it has is this machine's own.

        Raises:
            LocalError: if what is stored of servers cannot be read.
            TrustError: if it must not be talked to like that.

        """
        if self._context:
            return self._context
        if not self._pin and not is_loopback:
            from filexfer.security import stored  # noqa: PLC0415 - only other machines need it

            self._pin = stored.known(host, port)
            self._is_stored = bool(self._pin)
        if self._insecure and self._pin:
            raise TrustError(
                "the server was met before, with encryption; it is not talked to without: leave "
                f"out --insecure, or forget it: {_forget(host, port)}"
            )
        if self._pin or not (is_loopback or self._insecure):
            self._context = _unverified()
            return self._context
        if self._insecure and not is_loopback and not self._was_told:
            self._was_told = True
            self.tell(_warning(has_token=bool(self._token)))
        return None

    def check(self, certificate: bytes, host: str, port: int) -> bool:
        """Find out whether the certificate, of a finished handshake, is the server's.

        Returns:
            Whether that took no time: a server does not wait while somebody thinks.

        Raises:
            LocalError: if it cannot be stored.
            TrustError: if it is not, or nobody knows.

        """
        from filexfer.security.certificate import fingerprint  # noqa: PLC0415 - only TLS needs it

        found = self.seen = fingerprint(certificate)
        self.certificate = certificate
        if self._pin:
            if found != self._pin:  # both are public, so it may take what time it likes
                raise TrustError(self._changed(found, host, port))
        elif not self._is_vouched:
            self._meet(found, host, port)
            return self._accept_new
        return True

    @property
    def is_pinned(self) -> bool:
        """Whether the server is known by its fingerprint, whoever else vouches for it."""
        return bool(self._pin)

    def token(self, *, over_tls: bool) -> str:
        """Return what the server is shown."""
        return self._token or (self.general_token if over_tls else "")

    def _meet(self, found: str, host: str, port: int) -> None:
        """Store the fingerprint of a server that nobody knows yet, if that is wanted."""
        from filexfer.security import stored  # noqa: PLC0415 - once for each server

        if not self._accept_new:
            if self.ask is None:
                raise TrustError(
                    f"it is not known yet. Its certificate has the fingerprint {found}. Get the "
                    "connect string from whoever runs the server, and hand it to 'filexfer login "
                    "NAME'; or compare the fingerprint, and repeat with --accept-new"
                )
            if not self.ask(f"{shown(host)} port {port}", found):
                raise TrustError("its certificate was not accepted")
        stored.remember(host, port, found)
        self._pin, self._is_stored = found, True
        self.tell(f"the certificate of {shown(host)} port {port} is stored: {found}")

    def _changed(self, found: str, host: str, port: int) -> str:
        if self.mend:
            mend = self.mend
        elif self._is_stored:
            mend = f"{_forget(host, port)}, then connect again"
        else:
            mend = "use the connect string that it shows now"
        return (
            "THE SERVER'S CERTIFICATE IS NOT THE ONE THAT IS EXPECTED. Somebody may be in between, "
            f"or it is another server. Expected was {self._pin}, it showed {found}. Nothing was "
            f"sent. Only if whoever runs the server has given it a new certificate: {mend}"
        )


def server_of(text: str) -> tuple[str, int, Trust | None]:
    """Return host, port, and how to know the server that is stored, or has a connect string.

    Args:
        text: ``NAME:``, a connect string, or any other address of a server.

    Raises:
        UsageError: if it names no server, or a path on one.

    """
    from filexfer.security import stored  # noqa: PLC0415 - seldom needed

    remote = stored.resolve(text)
    if remote.path:
        raise UsageError(
            f"{shown(remote.path)} is a path on a server; only the server is asked for here"
        )
    trust = Trust.of(remote) if isinstance(remote, SecretRemote) else None
    return remote.host, remote.port, trust


def _unverified() -> ssl.SSLContext:
    """Return a context that takes any certificate; ``Trust.check`` compares its fingerprint.

    Whose it is says the fingerprint alone: neither name nor date, so a wrong clock does no harm.
    """
    import ssl  # noqa: PLC0415 - costs 11 ms that only TLS needs

    context = _client_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _verifying(ca: str) -> ssl.SSLContext:
    """Return a context that takes what an authority vouches for, by the server's name."""
    context = _client_context()
    try:
        if ca == SYSTEM:
            context.load_default_certs()
        else:
            context.load_verify_locations(ca)
    except OSError as error:  # an ssl.SSLError is one
        reason = error.strerror if error.errno else "no certificates as PEM"
        raise LocalError(f"cannot use the authorities in {shown(ca)}: {reason}") from None
    return context


def _client_context() -> ssl.SSLContext:
    import ssl  # noqa: PLC0415 - costs 11 ms that only TLS needs

    from filexfer.wire.transport import ALPN  # noqa: PLC0415 - as above

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([ALPN])
    return context


def _forget(host: str, port: int) -> str:
    from filexfer.address import written  # noqa: PLC0415 - for this text only

    return f"filexfer logout {shown(written(host))}:{port}"


def _warning(*, has_token: bool) -> str:
    what = "files and the token" if has_token else "files"
    return (
        f"WARNING: no encryption (--insecure): everybody on the way can read the {what}, and "
        "change what arrives"
    )


def _say_nothing(text: str) -> None:
    """Keep the sentence for oneself."""
