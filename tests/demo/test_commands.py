"""The demo's other commands and its second run, on the deployment that ./demo brought up."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml

from deployment import ROOT, Deployment

BARS = yaml.safe_load((Path(__file__).parent / "command_bars.yml").read_text())


@pytest.fixture(scope="module")
def exports() -> dict[str, str]:
    """What a shell has after eval "$(./demo env)"."""
    said = command("./demo", "env")
    assert all(line.startswith("export ") for line in said.splitlines()), said
    return dict(re.findall(r"^export (\w+)='([^']*)'$", said, re.MULTILINE))


def command(*arguments: str, seconds: float = 120) -> str:
    done = subprocess.run(
        arguments,
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1", "ANSIBLE_STDOUT_CALLBACK": "default"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def get(url: str, token: str | None) -> tuple[int, dict[str, object]]:
    request = urllib.request.Request(url)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_env_leads_to_every_api(exports: dict[str, str], deployment: Deployment) -> None:
    """Address and token of each cell work as printed."""
    addresses = {name: url for name, url in exports.items() if name.startswith("PLACER_URL")}
    assert len(addresses) == len(deployment.cells) + 1
    assert exports["PLACER_CELL"] in deployment.cells
    for url in addresses.values():
        status, body = get(f"{url}/v1/hosts?limit=1", exports["PLACER_TOKEN"])
        assert status == 200
        assert body["hosts"]


def test_env_leads_to_the_command_line() -> None:
    """A shell that has eval'ed it runs ``placer`` against the first cell."""
    said = command("sh", "-c", 'eval "$(./demo env)" && placer host list --limit 2 --json')
    assert len(json.loads(said)) == 2


def test_api_refuses_without_token(exports: dict[str, str]) -> None:
    """No token and a wrong token get nothing but an error with a code."""
    for token in (None, "not-the-token"):
        status, body = get(f"{exports['PLACER_URL']}/v1/hosts", token)
        assert status == 401
        assert body["errors"]


def test_report_can_be_printed_again() -> None:
    """./demo report needs no deployment, only the run's files."""
    assert "double bookings" in command("./demo", "report").lower()


def test_second_deployment_changes_nothing() -> None:
    """deploy.yml on what it has just deployed: changed=0, in the time it may take."""
    started = time.monotonic()
    said = command(
        "ansible-playbook", "-i", "inventories/local", "playbooks/deploy.yml", seconds=300
    )
    seconds = time.monotonic() - started
    assert re.findall(r"changed=(\d+)", said)
    assert set(re.findall(r"changed=(\d+)", said)) == {"0"}, said[-3000:]
    assert seconds <= BARS["second_deployment_seconds"]["max"], f"took {seconds:.1f} s"
