"""The built-in profile: which hosts a GPU cluster has and what it is asked for, as shares.

Rounded from the published figures of a production cluster (1,523 hosts, 8,152 requests): Weng, Yang
et al., "Beware of Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation Gradient
Descent", USENIX ATC 2023. Shapes that look alike are merged (memory to whole GiB, a slice of a GPU
to 50 thousandths) and rare ones left out; the shares are weights and need not add up to 100.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct


class HostShape(Struct, frozen=True):
    """``percent`` of the hosts have this much; ``model`` is empty where ``gpus`` is 0."""

    percent: float
    vcpus: int
    memory_mib: int
    gpus: int = 0
    model: str = ""


class RequestShape(Struct, frozen=True):
    """``percent`` of the requests ask for this. ``gpu_milli``: thousandths, 2000 is two whole GPUs.

    A class whose amount is 0 is not asked for.
    """

    percent: float
    vcpus: int
    memory_mib: int
    gpu_milli: int = 0


HOSTS: Final = (
    HostShape(36.0, 96, 393_216, 8, "G2"),
    HostShape(25.4, 104, 524_288, 2, "T4"),
    HostShape(8.5, 32, 262_144),
    HostShape(7.0, 16, 122_880, 2, "P100"),
    HostShape(3.9, 96, 524_288),
    HostShape(2.6, 128, 786_432, 8, "G3"),
    HostShape(2.0, 96, 393_216),
    HostShape(1.8, 32, 131_072, 4, "V100M16"),
    HostShape(1.5, 32, 131_072),
    HostShape(1.4, 64, 262_144, 2, "P100"),
    HostShape(1.4, 64, 524_288),
    HostShape(1.4, 96, 786_432, 8, "V100M32"),
    HostShape(1.3, 104, 524_288),
    HostShape(1.2, 8, 32_768, 1, "V100M16"),
    HostShape(1.1, 96, 393_216, 4, "T4"),
    HostShape(0.7, 32, 65_536),
    HostShape(0.6, 48, 376_832, 4, "V100M32"),
    HostShape(0.5, 64, 262_144, 8, "V100M16"),
    HostShape(0.1, 128, 1_048_576, 1, "A10"),
)

REQUESTS: Final = (
    RequestShape(19.1, 12, 49_152, 1000),
    RequestShape(12.8, 4, 4_096, 800),
    RequestShape(5.8, 4, 4_096, 1000),
    RequestShape(4.8, 12, 49_152, 450),
    RequestShape(4.5, 14, 57_344),
    RequestShape(4.4, 8, 32_768, 450),
    RequestShape(3.5, 32, 49_152),
    RequestShape(3.1, 20, 65_536, 1000),
    RequestShape(3.1, 16, 57_344, 1000),
    RequestShape(2.9, 12, 49_152, 650),
    RequestShape(2.4, 10, 40_960, 1000),
    RequestShape(2.1, 8, 32_768),
    RequestShape(2.0, 12, 24_576, 1000),
    RequestShape(1.8, 12, 16_384, 1000),
    RequestShape(1.5, 16, 49_152),
    RequestShape(1.4, 12, 81_920, 1000),
    RequestShape(1.4, 16, 32_768, 1000),
    RequestShape(1.4, 4, 24_576, 300),
    RequestShape(1.3, 8, 16_384, 1000),
    RequestShape(1.3, 4, 24_576, 1000),
    RequestShape(1.2, 18, 49_152),
    RequestShape(1.0, 4, 32_768, 250),
    RequestShape(1.0, 26, 90_112, 1000),
    RequestShape(1.0, 4, 16_384, 300),
    RequestShape(0.9, 4, 4_096, 600),
    RequestShape(0.5, 88, 327_680, 8000),
    RequestShape(0.2, 32, 131_072, 4000),
    RequestShape(0.2, 18, 57_344, 2000),
)
