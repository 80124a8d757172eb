"""What ``placer check`` costs: files read, every revision replayed, every claim and client joined."""

from __future__ import annotations

import gc
import resource
import tempfile
import time
from pathlib import Path

from placer.checker import files
from placer.checker.core import check
from placer.checker.verdict import Passed

from .histories import REGIONS, Load


def _cost(operations: int) -> dict[str, float]:
    """CPU and wall-clock seconds of a check of so many operations, and lines that it read."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        rows = Load(directory, operations, seed=1).run()
        found = files.find([directory])
        gc.collect()
        gc.disable()  # as the command does
        cpu, wall = time.process_time(), time.perf_counter()
        try:
            loaded = files.load(found)
            verdict = check(
                loaded.events,
                rows,
                regions=REGIONS,
                rows_read_us=10**18,
                damage=loaded.damage,
                files=loaded.counts,
            )
        finally:
            gc.enable()
        figures = {
            "cpu_s": time.process_time() - cpu,
            "wall_s": time.perf_counter() - wall,
            "lines": float(loaded.counts.lines),
            "revisions": float(verdict.revisions_checked),
        }
        assert verdict.verdict is Passed.PASSED, (verdict.violations[:3], verdict.incomplete[:3])
        assert verdict.clients.unknown == verdict.clients.happened
    return figures


def seconds_per_million(*, operations: int) -> dict[str, float]:
    """CPU seconds that a check takes, for a million operations."""
    figures = _cost(operations)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "cpu_s_per_million": figures["cpu_s"] * 1e6 / operations,
        "peak_mib": peak,
        **figures,
    }


def growth(*, operations: int, base_operations: int, rounds: int) -> dict[str, float]:
    """CPU seconds for each operation, against a shorter history's.

    The least of several rounds, the two lengths taken in turns: what else the machine does adds to
    a round and never takes away from it, and a processor slowed down for a while slows both.
    """
    turns = [(_cost(base_operations)["cpu_s"], _cost(operations)["cpu_s"]) for _ in range(rounds)]
    base = min(short for short, _ in turns) / base_operations
    long = min(whole for _, whole in turns) / operations
    return {"growth_ratio": long / base, "base_us": base * 1e6, "us": long * 1e6}
