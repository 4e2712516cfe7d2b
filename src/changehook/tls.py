"""What TLS connections trust: the system's authorities, or those of a file."""

from __future__ import annotations

import os
import ssl
import stat
import threading

from changehook.errors import SetupError

__all__ = ["TLSContexts"]

_CIPHERS = "@SECLEVEL=2:ECDH+AESGCM:ECDH+CHACHA20:ECDH+AES:!aNULL:!eNULL:!aDSS:!SHA1:!AESCCM"

_Key = tuple[bool, str | None]
_Known = tuple[int, ssl.SSLContext]


class TLSContexts:
    """TLS settings, each built once: reading the system's authorities takes some 20 ms."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._contexts: dict[_Key, _Known] = {}

    def get(self, verify: bool, ca_file: str | None) -> ssl.SSLContext:
        """Return the settings; a CA file that was changed since is read again.

        Args:
            verify: whether certificates are checked.
            ca_file: a regular file of authorities in PEM; None for the system's.

        Raises:
            SetupError: the file is not a regular one, cannot be read, or holds no certificate.
        """
        key = (verify, ca_file)
        try:
            version = _version(ca_file) if ca_file else 0
            known = self._contexts.get(key)
            if known is None or known[0] != version:
                # Outside the lock: a mount that hangs holds up the webhooks that name it, only.
                known = self._kept(key, (version, self._built(verify, ca_file)))
        except OSError as error:
            reason = "holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
            raise SetupError(f"the CA file {ca_file} cannot be used: {reason}") from None
        return known[1]

    def _kept(self, key: _Key, built: _Known) -> _Known:
        """Return what another thread built meanwhile, so that connections are shared."""
        with self._lock:
            known = self._contexts.get(key)
            if known is None or known[0] != built[0]:
                known = self._contexts[key] = built
            return known

    def _built(self, verify: bool, ca_file: str | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=ca_file)
        context.set_alpn_protocols(["http/1.1"])
        # Without DHE, whose numbers the receiver chooses: OpenSSL works on large ones for seconds,
        # and each renegotiation would have it do so again.
        context.set_ciphers(_CIPHERS)
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.hostname_checks_common_name = False
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def _version(ca_file: str) -> int:
    """Return when a file was changed; one that reading could block on is refused."""
    status = os.stat(ca_file)
    if not stat.S_ISREG(status.st_mode):
        raise SetupError(f"the CA file {ca_file} cannot be used: it is not a regular file")
    return status.st_mtime_ns
