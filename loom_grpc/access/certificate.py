"""Callers who show a client certificate (mutual TLS)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from loom_grpc.access.identity import Identity, is_name
from loom_grpc.config import CertificateConfig
from loom_grpc.core.errors import UNAUTHENTICATED, LlmError
from loom_grpc.core.principal import Need

_MOST_REMEMBERED: Final = 1_000
_ROLES: Final = {"user": Need.USER, "admin": Need.ADMIN}
_UNMAPPED: Final = CertificateConfig()


class CertificateReader:
    """Tells whom a certificate stands for that the TLS library has verified.

    Its name is the first URI of its subject's alternative names (as SPIFFE has it), else the first DNS name there, else the common name
    of its subject. The configuration says whom the name stands for; a name that is not there is a user of that name.
    """

    def __init__(self, config: Mapping[str, CertificateConfig]) -> None:
        self._config = dict(config)
        self._remembered: dict[bytes, Identity] = {}

    def identify(self, pem: str) -> Identity:
        """Returns whom a certificate stands for; raises `LlmError` UNAUTHENTICATED where it cannot be read or has no name."""
        digest = hashlib.sha256(pem.encode(errors="replace")).digest()
        known = self._remembered.get(digest)
        if known is not None:
            return known
        identity = self._mapped(_name(pem))
        if len(self._remembered) >= _MOST_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[digest] = identity
        return identity

    def _mapped(self, name: str) -> Identity:
        row = self._config.get(name, _UNMAPPED)
        return Identity(row.user or name, row.team, row.organization, _ROLES[row.role])


def _name(pem: str) -> str:
    from cryptography import x509

    try:
        names = _names(x509.load_pem_x509_certificate(pem.encode()))
    except (ValueError, x509.DuplicateExtension):
        raise _refusal("cannot be read") from None
    if not names:
        raise _refusal("has no name: no URI or DNS name, and no common name")
    if not is_name(names[0]):
        raise _refusal("has a name that is too long or has invisible characters")
    return names[0]


def _names(certificate: Any) -> list[str]:
    """Returns a certificate's names, the one that counts first."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    try:
        others = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        others = x509.SubjectAlternativeName([])
    uris = others.get_values_for_type(x509.UniformResourceIdentifier)
    common = [str(name.value) for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return [*uris, *others.get_values_for_type(x509.DNSName), *common]


def _refusal(words: str) -> LlmError:
    return LlmError(UNAUTHENTICATED, f"The client certificate {words}.")
