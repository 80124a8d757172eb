# SPDX-License-Identifier: Apache-2.0
"""Which processes need a certificate made, and why: read on the controller, without a task for each file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ansible.plugins.lookup import LookupBase
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

DOCUMENTATION = """
name: placer_certificates_due
author: Placer authors
short_description: Processes whose certificate is missing, about to end, or not what it should be
description: Returns those of the given processes that need a certificate made, each with the C(reason).
options:
  _terms:
    description: Processes, each with the C(name) of its files and the C(names) its certificate shall have.
    required: true
  folder:
    description: Folder on the controller with C(ca.crt), and a C(.key) and a C(.crt) of each process.
    required: true
  renew_days:
    description: How many days before its end a certificate is due.
    type: int
    required: true
"""


def reason(folder: Path, process: dict[str, Any], renew_days: int) -> str:
    """Why this process needs a certificate made; empty if the one that it has is fine."""
    files = [
        folder / name for name in ("ca.crt", f"{process['name']}.key", f"{process['name']}.crt")
    ]
    missing = [file.name for file in files if not file.exists()]
    if missing:
        return f"no {missing[0]}"
    authority, key, certificate = (file.read_bytes() for file in files)
    try:
        ca = x509.load_pem_x509_certificate(authority)
        own = x509.load_pem_x509_certificate(certificate)
        public = load_pem_private_key(key, password=None).public_key()
    except ValueError:
        return "cannot be read"
    if own.public_key() != public:
        return "of another key"
    if _issuer(own) != _subject(ca):
        return "of another authority"
    if _names(own) != sorted(process["names"]):
        return "of other names"
    if own.not_valid_after_utc <= datetime.now(UTC) + timedelta(days=renew_days):
        return f"ends on {own.not_valid_after_utc:%Y-%m-%d}"
    return ""


def _issuer(certificate: x509.Certificate) -> bytes | None:
    try:
        found = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    except x509.ExtensionNotFound:
        return None
    return found.value.key_identifier


def _subject(certificate: x509.Certificate) -> bytes:
    # The authority's own extension: it is made with one, and without it nothing could be compared.
    found = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    return found.value.key_identifier


def _names(certificate: x509.Certificate) -> list[str]:
    """Written as the modules of community.crypto take them."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    kinds: dict[type, str] = {
        x509.UniformResourceIdentifier: "URI",
        x509.IPAddress: "IP",
        x509.DNSName: "DNS",
    }
    return sorted(f"{kinds.get(type(name), 'other')}:{name.value}" for name in found)


class LookupModule(LookupBase):
    """The lookup."""

    def run(
        self, terms: list[dict[str, Any]], variables: dict[str, Any] | None = None, **kwargs: Any
    ) -> list[dict[str, Any]]:
        self.set_options(var_options=variables, direct=kwargs)
        folder, renew_days = Path(self.get_option("folder")), self.get_option("renew_days")
        found = [process | {"reason": reason(folder, process, renew_days)} for process in terms]
        return [process for process in found if process["reason"]]
