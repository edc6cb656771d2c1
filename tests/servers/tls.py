"""A certificate authority of the run's own, for servers that speak TLS."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import trustme

from servers.process import HOST
from servers.sharing import alone, folder_of

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Authority:
    """What clients trust, and what servers show them, as files."""

    path: Path
    certificate: Path
    key: Path

    @property
    def server_context(self) -> ssl.SSLContext:
        """The context of a server on the loopback interface."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certificate, self.key)
        return context

    @property
    def client_context(self) -> ssl.SSLContext:
        """The context of a client that trusts this authority alone."""
        return ssl.create_default_context(cafile=self.path)


@pytest.fixture(scope="session")
def authority(pytestconfig: pytest.Config) -> Authority:
    """An authority, and a certificate of it for 127.0.0.1 and localhost: the same for all processes of the run."""
    folder = folder_of(pytestconfig, "tls")
    made = Authority(folder / "authority.pem", folder / "certificate.pem", folder / "key.pem")
    with alone(folder):
        if not made.key.exists():
            _make(made)
    return made


def _make(made: Authority) -> None:
    root = trustme.CA()
    certificate = root.issue_cert(HOST, "localhost")
    root.cert_pem.write_to_path(made.path)
    for block in certificate.cert_chain_pems:
        block.write_to_path(made.certificate, append=True)
    certificate.private_key_pem.write_to_path(made.key)
