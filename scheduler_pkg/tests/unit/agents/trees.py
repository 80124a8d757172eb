"""Trees of /proc and /sys as kernels show them: path and text."""

from __future__ import annotations

from pathlib import Path

_PCI = "sys/bus/pci/devices"

#: A server with two NUMA nodes, an NVIDIA and an AMD GPU, a card with SR-IOV, and a console.
TWO_SOCKETS = {
    "sys/devices/system/cpu/online": "0-7\n",
    "proc/meminfo": "MemTotal:       131072000 kB\nMemFree:        1000 kB\n",
    "proc/cpuinfo": "processor\t: 0\nflags\t\t: fpu vmx avx2\n",
    "sys/devices/system/node/online": "0-2\n",
    "sys/devices/system/node/node0/cpulist": "0-3\n",
    "sys/devices/system/node/node0/meminfo": "Node 0 MemTotal:       65536000 kB\n",
    "sys/devices/system/node/node1/cpulist": "4-7\n",
    "sys/devices/system/node/node1/meminfo": "Node 1 MemTotal:       65536000 kB\n",
    # CXL memory: a node without CPUs.
    "sys/devices/system/node/node2/cpulist": "\n",
    "sys/devices/system/node/node2/meminfo": "Node 2 MemTotal:       65536000 kB\n",
    f"{_PCI}/0000:03:00.0/class": "0x030000\n",
    f"{_PCI}/0000:03:00.0/vendor": "0x1a03\n",
    f"{_PCI}/0000:03:00.0/numa_node": "0\n",
    f"{_PCI}/0000:3b:00.0/class": "0x030200\n",
    f"{_PCI}/0000:3b:00.0/vendor": "0x10de\n",
    f"{_PCI}/0000:3b:00.0/numa_node": "0\n",
    f"{_PCI}/0000:81:00.0/class": "0x020000\n",
    f"{_PCI}/0000:81:00.0/vendor": "0x8086\n",
    f"{_PCI}/0000:81:00.0/numa_node": "1\n",
    f"{_PCI}/0000:81:00.0/sriov_totalvfs": "64\n",
    f"{_PCI}/0000:81:02.0/class": "0x020000\n",
    f"{_PCI}/0000:81:02.1/class": "0x020000\n",
    f"{_PCI}/0000:82:00.0/class": "0x020000\n",
    f"{_PCI}/0000:82:00.0/sriov_totalvfs": "0\n",
    f"{_PCI}/0000:af:00.0/class": "0x038000\n",
    f"{_PCI}/0000:af:00.0/vendor": "0x1002\n",
    f"{_PCI}/0000:af:00.0/numa_node": "1\n",
    f"{_PCI}/0000:af:00.0/drm/card1/dev": "226:1\n",
    f"{_PCI}/0000:af:00.0/drm/renderD128/dev": "226:128\n",
}


def plant(root: Path, tree: dict[str, str]) -> None:
    """Make the files of ``tree`` below ``root``."""
    for path, text in tree.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
