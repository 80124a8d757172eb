"""The role placer's certificates: when one is made anew, and what Ansible makes, on this machine."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import subprocess
import sys
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from roles.placer.lookup_plugins import placer_certificates_due as due_plugin

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOK_TIMEOUT_S = 120
RENEW_DAYS = 90
CELLS = ("nyc1", "ams1")
FILES = {"certificate": "tls.crt", "key": "tls.key", "ca": "ca.crt"}
NAMES = ["URI:placer://nyc1/scheduler/nyc1-scheduler-1", "IP:10.0.0.1"]
PROCESS = {"name": "nyc1-scheduler-1", "names": NAMES}


class Maker:
    """A key, and the certificates that it signs."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())

    def sign(
        self, key: ec.EllipticCurvePrivateKey, days: int, names: list[x509.GeneralName]
    ) -> bytes:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "any")])
        now, own, public = datetime.now(UTC), self.key.public_key(), key.public_key()
        made = (
            x509.CertificateBuilder(subject, subject, public, x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(own), critical=False)
        )
        if names:
            made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return made.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param("", "", id="one that is fine is left alone"),
        pytest.param("no ca.crt", "no ca.crt", id="no authority yet"),
        pytest.param("no key", "no nyc1-scheduler-1.key", id="no key"),
        pytest.param("no certificate", "no nyc1-scheduler-1.crt", id="no certificate"),
        pytest.param("garbage", "cannot be read", id="a damaged file"),
        pytest.param("key", "of another key", id="a key that was made again"),
        pytest.param("authority", "of another authority", id="an authority that was made again"),
        pytest.param("names", "of other names", id="an address that changed"),
        pytest.param("end", "ends on", id="the end is near"),
    ],
)
def test_a_certificate_is_due(tmp_path: Path, change: str, reason: str) -> None:
    """When it would not be accepted, or not for long; never otherwise."""
    authority, own = Maker(), Maker()
    address = "10.0.0.2" if change == "names" else "10.0.0.1"
    names: list[x509.GeneralName] = [
        x509.IPAddress(ipaddress.ip_address(address)),
        x509.UniformResourceIdentifier(NAMES[0].removeprefix("URI:")),
    ]
    signed = authority.sign(own.key, RENEW_DAYS + (0 if change == "end" else 1), names)
    shown = Maker() if change == "authority" else authority
    files = {
        "ca.crt": shown.sign(shown.key, 3650, []),
        "nyc1-scheduler-1.key": pem(Maker().key if change == "key" else own.key),
        "nyc1-scheduler-1.crt": b"garbage" if change == "garbage" else signed,
    }
    left_out = {
        "no ca.crt": "ca.crt",
        "no key": "nyc1-scheduler-1.key",
        "no certificate": "nyc1-scheduler-1.crt",
    }
    for name, content in files.items():
        if left_out.get(change) != name:
            (tmp_path / name).write_bytes(content)
    assert due_plugin.reason(tmp_path, PROCESS, RENEW_DAYS).startswith(reason)
    assert bool(due_plugin.reason(tmp_path, PROCESS, RENEW_DAYS)) == bool(reason)


CERTIFICATES = """
- name: Certificates and settings
  hosts: placer
  gather_facts: false
  tasks:
    - name: Certificates
      ansible.builtin.import_role: {name: placer, tasks_from: certificates.yml}

    - name: Settings
      ansible.builtin.set_fact:
        placer_rendered: "{{ _placer_settings }}"

    - name: What its container would be given
      ansible.builtin.copy:
        content: "{{ {'settings': placer_rendered[placer_process.name ~ '.toml'], 'label': _placer_config, 'mounts': _placer_tls_mounts,
                      'secrets': _placer_secrets[placer_process.kind]} | to_json }}"
        dest: "{{ placer_machine_dir }}/{{ placer_process.name }}.json"
        mode: "0600"
      loop: "{{ _placer_own_processes }}"
      loop_control: {loop_var: placer_process}
      check_mode: false
      changed_when: false
"""


class Site:
    """Two cells on this machine, with an API, a scheduler and an agent each."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.pki, self.machine = folder, folder / "run/pki", folder / "machine"
        self.machine.mkdir()
        (folder / "run/secrets").mkdir(parents=True)
        (folder / "templates").symlink_to(ROOT / "roles/placer/templates")
        hosts = {f"{cell}-s1": {"placer_cell": cell, "placer_region": cell} for cell in CELLS}
        variables = {
            "ansible_become": False,
            "ansible_connection": "local",
            "ansible_python_interpreter": "{{ ansible_playbook_python }}",
            "placer_deployment": "demo",
            "placer_run_dir": str(folder / "run"),
            "placer_machine_dir": str(self.machine),
            "placer_network_mode": "host",
            "placer_uid": os.getuid(),
            "placer_scheduler_count": 1,
            "placer_address_map": {cell: {} for cell in CELLS},
            "placer_cells": [
                {
                    "name": cell,
                    "region": cell,
                    "index": index,
                    "datacenter": cell,
                    "nodes": [],
                    "services": [{"name": f"{cell}-s1", "address": f"10.0.{index}.1"}],
                }
                for index, cell in enumerate(CELLS, 1)
            ],
        }
        # The controller may have another Python, without what certificates are made with, and none who may become root.
        local = {"ansible_connection": "local", "ansible_python_interpreter": "/nonexistent/python"}
        inventory = {
            "all": {
                "hosts": {"localhost": local},
                "vars": {"ansible_become": True, "ansible_become_method": "nonexistent"},
            },
            "machines": {"hosts": {name: {} for name in hosts}},
            "placer": {"hosts": hosts, "vars": variables},
        }
        (folder / "hosts.yml").write_text(yaml.safe_dump(inventory))
        play = yaml.safe_load(CERTIFICATES)
        # The label and the mounts as the role gives them to the container.
        run = yaml.safe_load((ROOT / "roles/placer/tasks/run.yml").read_text())[0]
        play[0]["tasks"][-1]["vars"] = run["vars"]
        (folder / "play.yml").write_text(yaml.safe_dump(play))

    def play(self, *options: str) -> str:
        """Run it; returns all it said."""
        ended = subprocess.run(
            [
                str(Path(sys.executable).with_name("ansible-playbook")),
                *("-i", str(self.folder / "hosts.yml"), str(self.folder / "play.yml"), *options),
            ],
            cwd=ROOT,
            env=os.environ
            | {
                "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
                "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",
                "ANSIBLE_NOCOLOR": "1",
            },
            capture_output=True,
            text=True,
            timeout=PLAYBOOK_TIMEOUT_S,
            check=False,
        )
        said = ended.stdout + ended.stderr
        assert ended.returncode == 0, said
        assert "PRIVATE KEY" not in said
        return " ".join(said.split())

    def made(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.pki.glob("*.crt")}

    def given(self) -> dict[str, dict[str, Any]]:
        """What each process would be given, as the last run had it."""
        return {path.stem: json.loads(path.read_text()) for path in self.machine.glob("*.json")}


def changes(said: str) -> int:
    return sum(map(int, re.findall(r"changed=(\d+)", said)))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Deployed, after a check."""
    made = Site(tmp_path_factory.mktemp("site"))
    assert "would be made: nyc1-scheduler-1, nyc1-agent-1." in made.play("--check")
    assert not made.pki.exists()
    made.play()
    return made


def test_a_further_run_makes_nothing(site: Site) -> None:
    """Nor does a check see anything to do."""
    before = site.made()
    assert changes(site.play()) == 0
    assert changes(site.play("--check")) == 0
    assert site.made() == before


def test_an_end_that_is_near_is_told(site: Site) -> None:
    """Of the authority with what to do, as that is the operator's to time; certificates are made anew unasked."""
    said = site.play("--check", "-e", "placer_certificate_renew_days=4000")
    assert "Delete ca.* there and deploy all hosts again" in said
    assert "would be made: nyc1-scheduler-1, nyc1-agent-1." in said


def test_one_that_is_gone_is_made_again_and_no_other(site: Site) -> None:
    """Its process alone has another label, and so is made anew; a limit leaves out other hosts."""
    before, given = site.made(), site.given()
    (site.pki / "nyc1-agent-1.key").unlink()
    assert changes(site.play("--limit", "ams1-s1")) == 0
    assert changes(site.play("--limit", "nyc1-s1")) > 0
    after = site.given()
    assert {name for name, held in site.made().items() if held != before[name]} == {
        "nyc1-agent-1.crt"
    }
    assert {name for name in after if after[name]["label"] != given[name]["label"]} == {
        "nyc1-agent-1"
    }


def test_another_authority_makes_all_anew(site: Site) -> None:
    """It is what the warning asks for; an API has no part in it."""
    before, given = site.made(), site.given()
    for path in site.pki.glob("ca.*"):
        path.unlink()
    site.play()
    after = site.given()
    assert not set(site.made().values()) & set(before.values())
    assert {name for name in after if after[name]["label"] == given[name]["label"]} == {
        f"{cell}-api-1" for cell in CELLS
    }


def test_the_files(site: Site) -> None:
    """The authority's key stays; a host has what its own processes need, for them alone."""
    assert site.pki.stat().st_mode & 0o777 == 0o700
    for key in site.pki.glob("*.key"):
        assert key.stat().st_mode & 0o777 == 0o600, key.name
    tls = site.machine / "services/tls"
    processes = {f"{cell}-{kind}-1" for cell in CELLS for kind in ("scheduler", "agent")}
    assert {path.name for path in tls.iterdir()} == {"ca.crt"} | {
        f"{name}.{end}" for name in processes for end in ("crt", "key")
    }
    for path in tls.iterdir():
        assert path.stat().st_mode & 0o777 == 0o400, path.name
        assert path.read_bytes() == (site.pki / path.name).read_bytes()


@pytest.mark.parametrize(
    ("name", "purpose", "names"),
    [
        pytest.param(
            "nyc1-scheduler-1",
            ExtendedKeyUsageOID.SERVER_AUTH,
            {"placer://nyc1/scheduler/nyc1-scheduler-1", ipaddress.ip_address("10.0.1.1")},
            id="a scheduler",
        ),
        pytest.param(
            "ams1-agent-1",
            ExtendedKeyUsageOID.CLIENT_AUTH,
            {"placer://ams1/agent/ams1-agent-1", "placer://ams1/host/ams1-h*"},
            id="an agent",
        ),
    ],
)
def test_a_certificate(
    site: Site, name: str, purpose: x509.ObjectIdentifier, names: set[object]
) -> None:
    """Good for one end of a connection, for as long as the settings say, and for signing nothing."""
    ca = x509.load_pem_x509_certificate((site.pki / "ca.crt").read_bytes())
    own = x509.load_pem_x509_certificate((site.pki / f"{name}.crt").read_bytes())
    own.verify_directly_issued_by(ca)
    assert [ca.subject.rfc4514_string(), own.subject.rfc4514_string()] == [
        "CN=placer demo",
        f"CN={name}",
    ]
    assert [(c.not_valid_after_utc - datetime.now(UTC)).days for c in (ca, own)] == [3649, 824]
    assert {value.value for value in extension(own, x509.SubjectAlternativeName)} == names
    assert list(extension(own, x509.ExtendedKeyUsage)) == [purpose]
    assert not extension(own, x509.BasicConstraints, critical=True).ca
    usage = extension(own, x509.KeyUsage, critical=True)
    assert usage.digital_signature
    assert not usage.key_cert_sign
    constraints = extension(ca, x509.BasicConstraints, critical=True)
    assert (constraints.ca, constraints.path_length) == (True, 0)
    usage = extension(ca, x509.KeyUsage, critical=True)
    assert usage.key_cert_sign
    assert usage.crl_sign
    assert not usage.digital_signature


def extension(certificate: x509.Certificate, kind: Any, *, critical: bool = False) -> Any:
    found = certificate.extensions.get_extension_for_class(kind)
    assert found.critical == critical
    return found.value


def test_what_processes_are_given(site: Site) -> None:
    """An agent has no token and knows its own cell alone; it and schedulers have a certificate, an API has none."""
    given = site.given()
    settings = {name: tomllib.loads(found["settings"]) for name, found in given.items()}
    tls = {part: f"/run/placer/tls/{file}" for part, file in FILES.items()}
    agent = settings["nyc1-agent-1"]
    assert "service_token_file" not in agent
    assert given["nyc1-agent-1"]["secrets"] == {}
    assert agent["agent"]["schedulers"] == ["wss://10.0.1.1:8890"]
    assert agent["agent"]["sim_hosts_file"] == "/etc/placer/hosts.json"
    assert agent["tls"] == tls
    assert agent["cluster"]["cells"] == [{"name": "nyc1", "region": "nyc1", "datacenter": "nyc1"}]
    scheduler = settings["nyc1-scheduler-1"]
    assert scheduler["service_token_file"] == "/run/placer/secrets/service_token"
    assert scheduler["scheduler"]["agents_port"] == 8890
    assert scheduler["scheduler"]["agents_advertise"] == "wss://10.0.1.1:8890"
    assert scheduler["tls"] == tls
    assert [cell["name"] for cell in scheduler["cluster"]["cells"]] == list(CELLS)
    assert "tls" not in settings["nyc1-api-1"]
    assert given["nyc1-api-1"]["mounts"] == []
    folder = site.machine / "services/tls"
    assert {m["target"]: m["source"] for m in given["nyc1-agent-1"]["mounts"]} == {
        "/run/placer/tls/ca.crt": f"{folder}/ca.crt",
        "/run/placer/tls/tls.crt": f"{folder}/nyc1-agent-1.crt",
        "/run/placer/tls/tls.key": f"{folder}/nyc1-agent-1.key",
    }
