"""./test: which suites, in which order, and the count at the end."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from types import FrameType

from suites import chaos, cluster, fast
from suites.process import end_all
from suites.result import Result

# A fast suite looks at files and gives one count; a slow one works through stages and gives a count for each.
Fast = Callable[[Sequence[str]], Result]
Slow = Callable[[Sequence[str]], Iterator[tuple[str, Result]]]

# Longest first: two run at a time, and the long ones should not be left for the end.
FAST: dict[str, Fast] = {
    "simulation": fast.simulation,
    "ansible": fast.ansible,
    "types": fast.types,
    "unit": fast.unit,
    "tooling": fast.tooling,
    "inventories": fast.inventories,
    "specs": fast.specs,
    "format": fast.layout,
    "lint": fast.lint,
    "shell": fast.shell,
    "yaml": fast.yaml_files,
}
# One after the other: each needs the machine for itself.
SLOW: dict[str, Slow] = {
    "containers": cluster.containers,
    "molecule": cluster.molecule,
    "demo": cluster.demo,
}
# As SLOW, and only when asked for by name.
ASKED: dict[str, Slow] = {"chaos": chaos.chaos}
# The suites that -k and a seed mean something to.
BY_NAME = ("unit", "simulation", "tooling")
# Of what a failed suite said, this much is said again at the end.
AGAIN_CHARS = 3000
# What is too long for the inner loop.
LONG = ("simulation", "ansible", "tooling", "inventories")

EPILOG = f"""\
  ./test                   everything, as CI calls it
  ./test fast              the inner loop: {", ".join(name for name in FAST if name not in LONG)}
  ./test unit types        these suites only
  ./test -k NAME           the unit, property, simulation and tooling tests whose name matches
  ./test containers        the agent's instances on this machine's Docker Engine
  ./test molecule default  Molecule scenarios, with the integration tests on their cluster; --keep leaves it up
  ./test molecule --all    every scenario: also those that want three nodes a cell
  ./test demo              ./demo, its report against tests/demo/bars.yml, ./demo down (also of one you started)
  ./test chaos             faults under load on a small cluster of its own; --seed N repeats one (docs/operate/faults.md)
  ./test fix               put right what a tool can: format, lint, generated READMEs

containers, molecule, demo and chaos need root and Docker, which is started where none runs; the last three also install it.
"""


def main(arguments: Sequence[str]) -> int:
    """Run what was asked for; 0 when something ran and nothing failed."""
    parser = argparse.ArgumentParser(
        prog="./test",
        description="Run the checks; one closing line a suite.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("suites", nargs="*", metavar="SUITE")
    parser.add_argument("-k", dest="name", help="only tests whose name matches")
    parser.add_argument(
        "--hypothesis-seed", dest="seed", help="repeat a random failure by the seed it printed"
    )
    parser.add_argument("--all", action="store_true", help="every Molecule scenario, not only CI's")
    parser.add_argument("--seed", dest="chaos_seed", type=int, help="repeat a chaos run")
    parser.add_argument("--keep", action="store_true", help="leave the test cluster running")
    asked = parser.parse_args(arguments)
    names: list[str] = asked.suites
    options = [f"--hypothesis-seed={asked.seed}"] if asked.seed else []
    options += ["-k", asked.name] if asked.name else []

    if names == ["fix"]:
        return fast.fix()
    if names[:1] == ["molecule"]:
        flags = [flag for flag, on in (("--keep", asked.keep), ("--all", asked.all)) if on]
        return report(staged(cluster.molecule([*flags, *names[1:]])))
    seeded = [f"--seed={asked.chaos_seed}"] if asked.chaos_seed is not None else []
    if names == ["fast"]:
        names = [name for name in FAST if name not in LONG]
        # The unit tests are most of it. Beside the other long suites both processors have work anyway.
        options += [] if options else fast.SPREAD
    elif not names:
        names = list(BY_NAME) if options else [*FAST, *SLOW]
    if unknown := [name for name in names if name not in {**FAST, **SLOW, **ASKED}]:
        parser.error(f"no such suite: {', '.join(unknown)}")

    rows = together({name: suite for name, suite in FAST.items() if name in names}, options)
    for name, suite in SLOW.items():
        if name in names:
            rows += staged(suite([]))
    for name, suite in ASKED.items():
        if name in names:
            rows += staged(suite(seeded))
    return report(rows)


Row = tuple[str, Result, float]


def together(suites: dict[str, Fast], options: Sequence[str]) -> list[Row]:
    """Two at a time, each shown when it ends; a failure never stops the others."""
    rows: list[Row] = []
    with ThreadPoolExecutor(max_workers=2) as pool:
        running = {pool.submit(timed, suite, options): name for name, suite in suites.items()}
        for future in as_completed(running):
            rows.append((running[future], *future.result()))
            show(*rows[-1])
    return rows


def timed(suite: Fast, options: Sequence[str]) -> tuple[Result, float]:
    """A suite that breaks is a suite that failed: the others still run."""
    started = time.monotonic()
    try:
        result = suite(options)
    except Exception as error:
        result = Result(0, 1, f"{type(error).__name__}: {error}\n")
    return result, time.monotonic() - started


def staged(stages: Iterator[tuple[str, Result]]) -> list[Row]:
    """Each stage shown as it ends, so that a run that is cut short has still said what it knew."""
    rows: list[Row] = []
    started = time.monotonic()

    def add(name: str, result: Result) -> None:
        nonlocal started
        rows.append((name, result, time.monotonic() - started))
        show(*rows[-1])
        started = time.monotonic()

    try:
        for name, result in stages:
            add(name, result)
    except Exception as error:
        add("broken", Result(0, 1, f"{type(error).__name__}: {error}\n"))
    return rows


def show(name: str, result: Result, seconds: float) -> None:
    """What went wrong, if anything, and the closing line."""
    if result.failed or not result.passed:
        print(f"--- {name} ({seconds:.0f} s)\n{result.output.rstrip()}")
        if not result.failed:
            print("nothing was checked: that counts as a failure")
    print(f"{name}: {result.line}", flush=True)


def report(rows: Sequence[Row]) -> int:
    """The table of all suites and, as the last line, their sum."""
    # A suite that checked nothing proves nothing. Only with -k may one of several have no match.
    total = sum((result for _, result, _ in rows), Result(0, 0))
    empty = [name for name, result, _ in rows if not result.passed + result.failed]
    if not rows or (empty and ("-k" not in sys.argv or not total.passed)):
        total += Result(0, len(empty) or 1)
    # Once more at the end: of a long run, a log that is cut off keeps the end.
    for name, result, _ in rows:
        if result.failed:
            print(f"\n--- {name}, the end of what it said\n{result.output.rstrip()[-AGAIN_CHARS:]}")
    print()
    for name, result, seconds in rows:
        print(f"  {name:<12} {seconds:6.1f} s  {result.line}")
    print(f"\n{total.line}", flush=True)
    return 1 if total.failed else 0


def interrupted(_number: int, _frame: FrameType | None) -> None:
    """Ctrl-C or the end of CI's patience: nothing goes on behind our back."""
    print("\ninterrupted", file=sys.stderr, flush=True)
    end_all()
    os._exit(130)  # not sys.exit: that waits for the suites that still run


if __name__ == "__main__":
    signal.signal(signal.SIGINT, interrupted)
    signal.signal(signal.SIGTERM, interrupted)
    sys.exit(main(sys.argv[1:]))
