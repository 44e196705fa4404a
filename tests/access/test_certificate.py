from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from loom_grpc.access.certificate import CertificateReader
from loom_grpc.access.identity import Identity
from loom_grpc.config import CertificateConfig
from loom_grpc.core.errors import UNAUTHENTICATED, LlmError
from loom_grpc.core.principal import Need

KEY = ec.generate_private_key(ec.SECP256R1())
BORN = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
URI = x509.UniformResourceIdentifier
DNS = x509.DNSName


def certificate(common: str = "", others: Sequence[x509.GeneralName] = ()) -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)] if common else [])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority")]))
        .public_key(KEY.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(BORN)
        .not_valid_after(BORN + dt.timedelta(days=3650))
    )
    if others:
        builder = builder.add_extension(x509.SubjectAlternativeName(others), critical=not common)
    return builder.sign(KEY, SHA256()).public_bytes(Encoding.PEM).decode()


@pytest.mark.parametrize(
    ("pem", "name"),
    [
        (certificate("build"), "build"),
        (certificate("build", [DNS("build.example"), DNS("other.example")]), "build.example"),
        (
            certificate("build", [DNS("build.example"), URI("spiffe://acme/a"), URI("spiffe://acme/b")]),
            "spiffe://acme/a",
        ),
        (certificate("", [URI("spiffe://acme/a")]), "spiffe://acme/a"),
        (certificate("build", [x509.RFC822Name("a@example.org")]), "build"),
    ],
)
def test_the_name_is_the_uri_else_the_dns_name_else_the_common_name(pem: str, name: str) -> None:
    assert CertificateReader({}).identify(pem) == Identity(name)


def test_the_configuration_says_whom_a_name_stands_for() -> None:
    reader = CertificateReader(
        {
            "spiffe://acme/build": CertificateConfig(user="builder", team="ci", organization="acme"),
            "root.example": CertificateConfig(role="admin"),
        }
    )

    assert reader.identify(certificate("x", [URI("spiffe://acme/build")])) == Identity("builder", "ci", "acme")
    assert reader.identify(certificate("x", [DNS("root.example")])) == Identity("root.example", role=Need.ADMIN)
    assert reader.identify(certificate("x")) == Identity("x")


def test_a_lesser_name_does_not_stand_for_whom_the_first_one_would() -> None:
    reader = CertificateReader({"root.example": CertificateConfig(role="admin")})

    assert reader.identify(certificate("root.example", [DNS("guest.example")])) == Identity("guest.example")
    assert reader.identify(certificate("", [DNS("guest.example"), DNS("root.example")])) == Identity("guest.example")


@pytest.mark.parametrize(
    ("pem", "words"),
    [
        ("", "cannot be read"),
        ("no certificate", "cannot be read"),
        ("\ud800", "cannot be read"),
        (certificate("build")[:200], "cannot be read"),
        (certificate("build").replace("A", "B"), "cannot be read"),
        (certificate(), "has no name"),
        (certificate("", [x509.RFC822Name("a@example.org")]), "has no name"),
        (certificate("bu\nild"), "invisible characters"),
        (certificate(" build"), "invisible characters"),
        (certificate("", [URI("spiffe://acme/" + "a" * 300)]), "too long"),
    ],
)
def test_a_certificate_without_a_proper_name_is_refused(pem: str, words: str) -> None:
    with pytest.raises(LlmError, match=words) as caught:
        CertificateReader({}).identify(pem)

    assert caught.value.reason == UNAUTHENTICATED


def test_certificates_are_told_apart_however_many_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loom_grpc.access.certificate._MOST_REMEMBERED", 3)
    reader = CertificateReader({})
    shown = [(f"name-{number}", certificate(f"name-{number}")) for number in range(8)] * 2

    assert [reader.identify(pem) for _, pem in shown] == [Identity(name) for name, _ in shown]
