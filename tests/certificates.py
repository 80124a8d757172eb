"""The certificates of agents and schedulers in tests: of an authority of their own, or a deployment's."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from placer.settings import Tls

_DAY = datetime.timedelta(days=1)


class Authority:
    """Gives certificates like the playbook's; all files are in one folder."""

    def __init__(self, directory: Path, pki: Path | None = None) -> None:
        """``pki``: a deployment's folder of certificates, for its authority instead of a new one."""
        self._directory = directory
        self._ca = (pki or directory) / "ca.crt"
        if pki is not None:
            key = serialization.load_pem_private_key((pki / "ca.key").read_bytes(), None)
            assert isinstance(key, ec.EllipticCurvePrivateKey)
            self._key = key
            self._name = x509.load_pem_x509_certificate(self._ca.read_bytes()).subject
            return
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "placer test")])
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        self._ca.write_bytes(_pem(self._signed(self._name, self._key, constraints)))

    def scheduler(self, name: str = "s1", address: str = "127.0.0.1", cell: str = "c1") -> Tls:
        """A scheduler's, at an IP address."""
        return self.give(
            name,
            [x509.UniformResourceIdentifier(f"placer://{cell}/scheduler/{name}")],
            address=address,
        )

    def agent(self, name: str, *hosts: str, cell: str = "c1") -> Tls:
        """An agent's, for hosts by name."""
        uris = [f"placer://{cell}/agent/{name}", *(f"placer://{cell}/host/{one}" for one in hosts)]
        return self.give(name, [x509.UniformResourceIdentifier(uri) for uri in uris])

    def give(
        self, name: str, names: list[x509.UniformResourceIdentifier], address: str = ""
    ) -> Tls:
        """A certificate with ``names``: a server's with an address, else a client's."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate, private = self._directory / f"{name}.crt", self._directory / f"{name}.key"
        more = [x509.IPAddress(ipaddress.ip_address(address))] if address else []
        use = ExtendedKeyUsageOID.SERVER_AUTH if address else ExtendedKeyUsageOID.CLIENT_AUTH
        signed = self._signed(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]),
            key,
            x509.BasicConstraints(ca=False, path_length=None),
            x509.SubjectAlternativeName([*names, *more]),
            x509.ExtendedKeyUsage([use]),
        )
        certificate.write_bytes(_pem(signed))
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return Tls(certificate, private, self._ca)

    def _signed(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, *extensions: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _DAY)
            .not_valid_after(now + _DAY)
        )
        for extension in extensions:
            builder = builder.add_extension(
                extension, critical=isinstance(extension, x509.BasicConstraints)
            )
        return builder.sign(self._key, hashes.SHA256())


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
