"""The gates as Ansible runs them: what is refused stops the playbook, and says so."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ANSIBLE_PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
PLAYBOOK_TIMEOUT_S = 120


def play(playbook: str, inventory: Path, **variables: object) -> tuple[int, str]:
    """Run a playbook; returns its exit code and all it said, as one line."""
    command = [str(ANSIBLE_PLAYBOOK), "-i", str(inventory), f"playbooks/{playbook}.yml"]
    for name, value in variables.items():
        command += ["-e", f"{name}={value}"]
    # An engine that does not answer: the machine's own deployments are none of these tests' business.
    environment = os.environ | {
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "DOCKER_HOST": "unix:///nonexistent/docker.sock",
        "ANSIBLE_NOCOLOR": "1",
    }
    ended = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PLAYBOOK_TIMEOUT_S,
        check=False,
    )
    return ended.returncode, " ".join((ended.stdout + ended.stderr).split())


def test_a_copy_of_a_sample_inventory_passes(tmp_path: Path) -> None:
    """Wherever the copy is; none of its machines is asked."""
    shutil.copytree(ROOT / "inventories/droplets", tmp_path / "mine")
    status, said = play("validate", tmp_path / "mine")
    assert status == 0, said


def test_an_inventory_with_mistakes_is_refused_with_all_of_them(tmp_path: Path) -> None:
    """A duplicate index, a misspelt variable and a missing round-trip time, in one go."""
    shutil.copytree(ROOT / "inventories/local", tmp_path / "mine")
    hosts = tmp_path / "mine/hosts.yml"
    text = hosts.read_text()
    assert "placer_region: sgp, placer_cell_index: 3" in text
    hosts.write_text(
        text.replace(
            "placer_region: sgp, placer_cell_index: 3", "placer_region: syd, placer_cell_index: 2"
        )
    )
    (tmp_path / "mine/group_vars/all/more.yml").write_text("cassandra_heep_mib: 192\n")
    status, said = play("validate", tmp_path / "mine")
    assert status != 0
    for expected in (
        "ams1 and sgp1 both have placer_cell_index 2",
        "did you mean cassandra_heap_mib?",
        "no round-trip times for ams and syd",
        "wan_rtt_ms has nyc-sgp, which is no pair",
        "nothing was changed",
    ):
        assert expected in said, said


def test_a_machine_is_refused_with_all_that_it_lacks(tmp_path: Path) -> None:
    """Memory, disk, open files and a port that somebody listens on, in one go."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        status, said = play(
            "preflight",
            ROOT / "inventories/local",
            demo_size="small",
            placer_run_dir=tmp_path,
            placer_net_base=98,
            # Cell 2's port is the one that is taken.
            placer_api_port_base=port - 2,
            preflight_memory_reserve_mib=100_000_000,
            preflight_disk_images_mib=100_000_000,
            preflight_nofile_min=2_000_000_000,
        )
    assert status != 0
    for expected in (
        "memory: 100003136 MiB needed",
        f"port {port} on 127.0.0.1, wanted by the api of cell ams1, is taken by",
        "disk: 100001800 MiB needed on the file system of /var/lib/docker",
        "the engine's limit of open files is",
        "nothing was changed",
    ):
        assert expected in said, said


def test_whoever_insists_may_go_on(tmp_path: Path) -> None:
    """The problems are printed all the same."""
    status, said = play(
        "preflight",
        ROOT / "inventories/local",
        placer_run_dir=tmp_path,
        placer_net_base=98,
        preflight_memory_reserve_mib=100_000_000,
        preflight_enforce="false",
    )
    assert status == 0, said
    assert "memory: 100006592 MiB needed" in said
