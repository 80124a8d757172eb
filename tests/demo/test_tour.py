"""docs/start.md, typed from top to bottom on the deployment that ./demo brought up: it prints what the page shows.

Names, numbers and times differ from run to run, so texts are compared by shape; what follows a command in a block that is
marked `console any` is an example.
"""

from __future__ import annotations

import os
import re
import subprocess
from typing import NamedTuple

from deployment import ROOT

PAGE = ROOT / "docs/start.md"
SECONDS = 300
MARK = "=-=-="

#: What stands for what, in this order.
SHAPES = (
    (r"\b[a-z0-9]+\.[0-9a-f]{32}\b|\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "ID"),
    (r"\b[0-9a-f]{12,64}\b", "ID"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME"),
    (r"\b(nyc1|ams1|sgp1)-[a-z0-9-]+", r"\1-NAME"),
    (r"\d[\d,.]*", "#"),
    (r"[─━]+", "-"),
    (r"[ \t]+", " "),
)


class Step(NamedTuple):
    """A command of the page, the lines that follow it, and whether they are an example only."""

    command: str
    shown: list[str]
    example: bool


def steps(text: str) -> list[Step]:
    """What a page's consoles have a reader type, in order."""
    found: list[Step] = []
    for mark, block in re.findall(r"^```console( any)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append(Step(line[2:], [], bool(mark)))
            elif line.startswith("> "):
                last = found[-1]
                found[-1] = last._replace(command=f"{last.command}\n{line[2:]}")
            else:
                found[-1].shown.append(line)
    return found


def shape(text: str) -> str:
    for pattern, stand_in in SHAPES:
        text = re.sub(pattern, stand_in, text)
    return text.strip()


def wrong(step: Step, said: list[str]) -> bool:
    """Whether what was said has another shape than what the page shows; of an example, whether it failed."""
    if step.example:
        return any(line.startswith("placer: ") for line in said) != any(
            line.startswith("placer: ") for line in step.shown
        )
    return [shape(line) for line in said] != [shape(line) for line in step.shown]


def test_the_tour_prints_what_it_shows() -> None:
    """Each command in one shell, in order; all that does not agree is told at once."""
    tour = steps(PAGE.read_text())
    script = "".join(f"{{ {step.command}\n}} 2>&1\necho '{MARK}'\n" for step in tour)
    done = subprocess.run(
        ["sh"],
        input=script,
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    said = [part.splitlines() for part in done.stdout.split(f"{MARK}\n")][:-1]
    assert len(said) == len(tour) > 10, done.stderr
    told = [
        "\n".join([f"$ {step.command}", *heard])
        for step, heard in zip(tour, said, strict=True)
        if wrong(step, heard)
    ]
    assert not told, "\n\n".join(["This is not what docs/start.md shows:", *told])
