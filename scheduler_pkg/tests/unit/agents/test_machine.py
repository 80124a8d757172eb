"""What a machine has, from trees as kernels show them."""

from __future__ import annotations

from pathlib import Path

import pytest

from placer.agents import machine
from placer.agents.machine import Card, Gpu, Machine, Node
from placer.model.catalog import standard_traits

from .trees import TWO_SOCKETS, plant


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        pytest.param("0-3\n", (0, 1, 2, 3), id="a range"),
        pytest.param("0-1,8,10-11\n", (0, 1, 8, 10, 11), id="ranges and single ones"),
        pytest.param("5", (5,), id="one"),
        pytest.param("\n", (), id="a node of memory alone has none"),
    ],
)
def test_cpu_list(text: str, cpus: tuple[int, ...]) -> None:
    """The kernel's list format."""
    assert machine.cpu_list(text) == cpus


@pytest.mark.parametrize(
    ("text", "mib"),
    [
        pytest.param("MemTotal:       24683900 kB\nMemFree: 1 kB\n", 24105, id="of the machine"),
        pytest.param("Node 1 MemTotal:  17656012 kB\n", 17242, id="of a node"),
    ],
)
def test_memory(text: str, mib: int) -> None:
    """Whole MiB, rounded down: 24683900 / 1024 = 24105.4."""
    assert machine.memory_mib(text) == mib


def test_memory_that_is_not_told() -> None:
    """No guess is made."""
    with pytest.raises(ValueError, match="MemTotal"):
        machine.memory_mib("MemFree: 12 kB\n")


@pytest.mark.parametrize(
    ("text", "traits"),
    [
        pytest.param(
            "processor\t: 0\nflags\t\t: fpu sse4_2 avx2 aes unheard_of\nprocessor\t: 1\n",
            ("HW_CPU_X86_AESNI", "HW_CPU_X86_AVX2", "HW_CPU_X86_SSE42"),
            id="known flags",
        ),
        pytest.param("processor\t: 0\nFeatures\t: fp asimd\n", (), id="another architecture"),
    ],
)
def test_cpu_traits(text: str, traits: tuple[str, ...]) -> None:
    """Standard traits only."""
    assert machine.cpu_traits(text) == traits


def test_every_trait_of_a_flag_is_a_standard_one() -> None:
    """A trait that nobody can ask for would be of no use."""
    flags = " ".join(machine.FLAG_TRAITS)
    assert set(machine.cpu_traits(f"flags : {flags}\n")) <= standard_traits()


def test_a_server_of_two_sockets(tmp_path: Path) -> None:
    """NUMA nodes, GPUs with their files, cards with their functions; the console's chip is no GPU."""
    plant(tmp_path, TWO_SOCKETS)
    for number, name in enumerate(("0000:81:02.0", "0000:81:02.1")):
        link = tmp_path / f"sys/bus/pci/devices/0000:81:00.0/virtfn{number}"
        link.symlink_to(f"../{name}")
    found = machine.read(tmp_path, tmp_path)
    assert found.disk_gib > 0
    assert found == Machine(
        cpus=(0, 1, 2, 3, 4, 5, 6, 7),
        memory_mib=128_000,
        disk_gib=found.disk_gib,
        traits=("HW_CPU_X86_AVX2", "HW_CPU_X86_VMX"),
        nodes=(Node(0, (0, 1, 2, 3), 64_000), Node(1, (4, 5, 6, 7), 64_000)),
        gpus=(
            Gpu("0000:3b:00.0", "NVIDIA", 0, ()),
            Gpu("0000:af:00.0", "AMD", 1, ("/dev/dri/card1", "/dev/dri/renderD128")),
        ),
        cards=(Card("0000:81:00.0", 1, ("0000:81:02.0", "0000:81:02.1")),),
    )


def test_this_machine() -> None:
    """Whatever runs the tests has CPUs and memory."""
    found = machine.read(Path("/"), Path("/"))
    assert found.cpus
    assert found.memory_mib > 0


def test_a_tree_without_anything(tmp_path: Path) -> None:
    """What cannot be read at all is an error, not an empty machine."""
    with pytest.raises(OSError, match="online"):
        machine.read(tmp_path, tmp_path)
