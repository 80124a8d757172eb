"""What a machine has, read from /proc and /sys: CPUs, memory, disk, NUMA nodes, GPUs, SR-IOV cards.

Parsing is apart from reading: each function takes the text or the folder it judges, so that tests
run on trees captured elsewhere. Formats: Linux's Documentation/ABI (sysfs-devices-system-cpu,
sysfs-bus-pci) and proc(5). What cannot be read is not there.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

_KIB_PER_MIB: Final = 1024
_GIB: Final = 1024**3
#: Base and sub class of PCI functions: display controllers of the kinds that compute, network cards.
_GPU_CLASSES: Final = ("0x0300", "0x0302", "0x0380", "0x1200")
_NET_CLASS: Final = "0x02"
#: Makers of GPUs; the other display controllers are those of consoles and of virtual machines.
_GPU_VENDORS: Final = {"0x10de": "NVIDIA", "0x1002": "AMD", "0x8086": "INTEL"}
#: Flag of /proc/cpuinfo -> what the standard trait HW_CPU_X86_... calls it.
FLAG_TRAITS: Final[dict[str, str]] = {
    flag: flag.upper()
    for flag in (
        *("abm", "avx", "avx2", "bmi2", "f16c", "mmx", "pdpe1gb", "sse", "sse2", "sse4a", "ssse3"),
        *("avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl", "vmx"),
    )
} | {
    "aes": "AESNI",
    "avx512_vnni": "AVX512VNNI",
    "bmi1": "BMI",
    "fma": "FMA3",
    "pclmulqdq": "CLMUL",
    "pni": "SSE3",
    "sha_ni": "SHA",
    "sse4_1": "SSE41",
    "sse4_2": "SSE42",
    "svm": "AMD_SVM",
}


class Node(Struct, frozen=True):
    """A NUMA node: its number, CPUs and memory."""

    number: int
    cpus: tuple[int, ...]
    memory_mib: int


class Gpu(Struct, frozen=True):
    """A GPU: PCI address, maker, NUMA node (-1: not told), and its files below /dev/dri."""

    address: str
    maker: str
    node: int
    files: tuple[str, ...]


class Card(Struct, frozen=True):
    """A network card with SR-IOV: PCI address, NUMA node, addresses of the functions made now."""

    address: str
    node: int
    functions: tuple[str, ...]


class Machine(Struct, frozen=True):
    """One machine. ``nodes`` is empty where the kernel tells of no NUMA."""

    cpus: tuple[int, ...]
    memory_mib: int
    disk_gib: int
    traits: tuple[str, ...] = ()
    nodes: tuple[Node, ...] = ()
    gpus: tuple[Gpu, ...] = ()
    cards: tuple[Card, ...] = ()


def read(root: Path, disk: Path) -> Machine:
    """The machine whose /proc and /sys are below ``root``; ``disk`` is a folder on its disk.

    Raises OSError when not even CPUs and memory can be read.
    """
    system = root / "sys/devices/system"
    return Machine(
        cpus=cpu_list((system / "cpu/online").read_text()),
        memory_mib=memory_mib((root / "proc/meminfo").read_text()),
        disk_gib=shutil.disk_usage(disk).total // _GIB,
        traits=cpu_traits((root / "proc/cpuinfo").read_text()),
        nodes=tuple(_nodes(system / "node")),
        gpus=tuple(_gpus(root / "sys/bus/pci/devices")),
        cards=tuple(_cards(root / "sys/bus/pci/devices")),
    )


def cpu_list(text: str) -> tuple[int, ...]:
    """CPU numbers of a kernel list such as ``0-3,8,10-11``; raises ValueError."""
    found: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return tuple(found)


def memory_mib(text: str) -> int:
    """MiB of the line ``MemTotal: 123 kB`` of a meminfo file; raises ValueError without one."""
    for line in text.splitlines():
        name, _, rest = line.partition("MemTotal:")
        if rest and (not name or name.startswith("Node ")):
            return int(rest.split()[0]) // _KIB_PER_MIB
    raise ValueError("no line MemTotal")


def cpu_traits(text: str) -> tuple[str, ...]:
    """Standard traits of the first CPU's flags in /proc/cpuinfo; none on other architectures."""
    for line in text.splitlines():
        name, _, flags = line.partition(":")
        if name.strip() == "flags":
            known = FLAG_TRAITS.keys() & set(flags.split())
            return tuple(sorted(f"HW_CPU_X86_{FLAG_TRAITS[flag]}" for flag in known))
    return ()


def _nodes(folder: Path) -> Iterator[Node]:
    """NUMA nodes with CPUs; one that has only memory (CXL) can run nothing."""
    paths = (p for p in folder.glob("node*") if p.name.removeprefix("node").isdigit())
    for path in sorted(paths, key=lambda p: int(p.name.removeprefix("node"))):
        cpus = cpu_list(_text(path / "cpulist"))
        if cpus:
            number = int(path.name.removeprefix("node"))
            yield Node(number, cpus, memory_mib((path / "meminfo").read_text()))


def _gpus(folder: Path) -> Iterator[Gpu]:
    for path in _functions(folder):
        maker = _GPU_VENDORS.get(_text(path / "vendor"))
        if maker and _text(path / "class").startswith(_GPU_CLASSES):
            files = tuple(f"/dev/dri/{entry.name}" for entry in sorted(path.glob("drm/*[0-9]")))
            yield Gpu(path.name, maker, _node_of(path), files)


def _cards(folder: Path) -> Iterator[Card]:
    """Physical functions of network cards that can have virtual ones."""
    for path in _functions(folder):
        possible = _text(path / "sriov_totalvfs")
        if _text(path / "class").startswith(_NET_CLASS) and possible.isdigit() and int(possible):
            links = sorted(path.glob("virtfn*"), key=lambda p: int(p.name.removeprefix("virtfn")))
            yield Card(path.name, _node_of(path), tuple(link.resolve().name for link in links))


def _functions(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _node_of(function: Path) -> int:
    text = _text(function / "numa_node")
    return int(text) if text.removeprefix("-").isdigit() else -1


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
