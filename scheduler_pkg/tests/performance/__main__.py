"""Measure the workloads of workloads.yml and compare them with their thresholds.

python -m performance [NAME ...]   all, or those named; ends with 1 if one is over its threshold
"""

from __future__ import annotations

import sys

from .measure import load, measure


def main(names: list[str]) -> int:
    """Print a line for each workload; 1 where a threshold is passed."""
    over = 0
    for workload in load():
        if names and workload.name not in names:
            continue
        figures = measure(workload)
        value = figures.pop(workload.metric)
        good = value <= workload.threshold
        over += not good
        rest = ", ".join(f"{name} {figure:.3g}" for name, figure in figures.items())
        print(  # noqa: T201  a command prints
            f"{workload.name:<36} {workload.metric} {value:.3f} (at most {workload.threshold:g})"
            f" {'ok' if good else 'TOO HIGH'}; {rest}",
            flush=True,
        )
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
