"""The sim driver: its hosts file, and instances that outlive the agent."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from placer.agents import drivers
from placer.agents.drivers.base import BuildFailed, Guest, Life, NoInstance
from placer.agents.drivers.sim import Sim
from placer.errors import InvalidInput
from placer.settings import Settings

from .fakes import report, settings
from .test_journal import order


def sim(directory: Path, **change: object) -> Settings:
    """Settings of an agent with one simulated host and quick builds."""
    hosts = directory / "hosts.json"
    if not hosts.exists():
        hosts.write_bytes(msgspec.json.encode([report("h1")]))
    values: dict[str, object] = {"sim_hosts_file": hosts, "sim_build_s": 0.002, **change}
    return settings(directory, **values)


def running(guests: list[Guest]) -> set[str]:
    return {guest.order.claim for guest in guests if guest.life is Life.RUNNING}


async def test_instances_outlive_the_agent(tmp_path: Path) -> None:
    """Built ones run after a restart, destroyed ones do not."""
    driver = Sim(sim(tmp_path))
    for claim in ("c1", "c2", "c3"):
        await driver.build(order(claim))
    await driver.destroy(order("c2"))
    await driver.destroy(order("never built"))
    again = Sim(sim(tmp_path))  # the first was not closed: killed
    assert running(await again.guests()) == {"c1", "c3"}
    await again.destroy(order("c1"))
    again.close()
    driver.close()
    third = Sim(sim(tmp_path))
    assert running(await third.guests()) == {"c3"}
    third.close()


async def test_a_line_cut_short_never_happened(tmp_path: Path) -> None:
    """A crash in the middle of a write leaves a line without its end."""
    (tmp_path / "sim-instances").write_text("+c1\n+c2\n-c1\n+c3")
    driver = Sim(sim(tmp_path))
    assert running(await driver.guests()) == {"c2"}
    driver.close()


async def test_stopped_instances_stay_stopped(tmp_path: Path) -> None:
    """Power outlives the agent too, and so does the host that an instance is on."""
    driver = Sim(sim(tmp_path))
    await driver.build(order("c1"))
    await driver.build(order("c2"))
    await driver.stop("c1")
    await driver.stop("c2")
    await driver.reboot("c2")
    again = Sim(sim(tmp_path))
    found = {guest.order.claim: (guest.life, guest.order.host) for guest in await again.guests()}
    assert found == {"c1": (Life.STOPPED, "h1"), "c2": (Life.RUNNING, "h1")}
    assert "c1" in await again.logs("c1", 10)
    with pytest.raises(NoInstance):
        await again.start("c3")
    again.close()
    driver.close()


async def test_failures_depend_on_seed_and_claim_alone(tmp_path: Path) -> None:
    """About the asked share fails, and the same claims every time."""

    async def failed(order_of: list[str]) -> set[str]:
        driver = Sim(sim(tmp_path, sim_failure_rate=0.3, sim_seed=7, sim_build_s=0.0))
        lost = set()
        for claim in order_of:
            try:
                await driver.build(order(claim))
            except BuildFailed:
                lost.add(claim)
        driver.close()
        return lost

    claims = [f"c{number}" for number in range(200)]
    lost = await failed(claims)
    assert 40 <= len(lost) <= 80  # 200 x 0.3 = 60, standard deviation 6.5
    assert await failed(claims[::-1]) == lost


async def test_describe_gives_the_hosts_of_the_file(tmp_path: Path) -> None:
    """Nothing is added, nothing left out."""
    driver = drivers.make(sim(tmp_path))
    assert await driver.describe() == [report("h1")]
    driver.close()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(None, "Cannot read", id="no file"),
        pytest.param("[{", "wrong", id="not JSON"),
        pytest.param('[{"name": "h1"}]', "inventories", id="a field is missing"),
        pytest.param(
            '[{"name": "h1", "inventories": {"VCPU": {"total": "x"}}}]', "wrong", id="not a number"
        ),
        pytest.param(
            '[{"name": "h1", "inventories": {}}, {"name": "h1", "inventories": {}}]',
            "twice",
            id="a name twice",
        ),
    ],
)
def test_a_wrong_hosts_file_is_refused(tmp_path: Path, text: str | None, words: str) -> None:
    """What is wrong with it is said before anything starts."""
    path = tmp_path / "elsewhere.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InvalidInput, match=words):
        Sim(sim(tmp_path, sim_hosts_file=path))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"driver": "nonsense"}, "Known drivers: docker, sim", id="unknown driver"),
        pytest.param({"sim_hosts_file": None}, "sim_hosts_file", id="no hosts file"),
        pytest.param({"sim_failure_rate": 1.5}, "0.0 to 1.0", id="more than all fail"),
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, change: dict[str, object], words: str) -> None:
    """With the remedy in the words."""
    with pytest.raises(InvalidInput, match=words):
        drivers.make(sim(tmp_path, **change))
