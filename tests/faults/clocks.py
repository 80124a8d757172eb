"""A process whose clock is wrong: libfaketime, from Debian, loaded into a copy of its container.

All containers share the machine's clock, so it cannot be set for one. The library answers every call for
the time of day with another, and leaves the clock alone that only grows (timeouts, pauses), as a machine
with a wrong clock does.
"""

from __future__ import annotations

from pathlib import Path

from faults import replacement
from faults.engine import docker
from faults.errors import FaultError
from faults.replacement import Difference
from faults.target import Member

IMAGE = "placer/faults-clock:bookworm"
BASE = "placer/base:bookworm"
INSIDE = "/usr/local/lib/libfaketimeMT.so.1"
SKEW_MAX_S = 86_400.0
BUILD_S = 300.0
_DOCKERFILE = """\
ARG BASE
FROM ${BASE}
RUN apt-get update \\
 && apt-get install -y --no-install-recommends libfaketime \\
 && cp -L /usr/lib/*/faketime/libfaketimeMT.so.1 /libfaketimeMT.so.1
LABEL io.placer.image=true
"""


def skew(member: Member, by_s: float, cache: Path) -> str:
    """Have the process live ``by_s`` seconds later (earlier: negative) than all others; the copy's name."""
    if not 0 < abs(by_s) <= SKEW_MAX_S:
        raise FaultError(
            f"A skew of {by_s:g} s.", f"Choose other than 0, up to {SKEW_MAX_S:g} s either way."
        )
    environment = {
        "LD_PRELOAD": INSIDE,
        "FAKETIME": f"{by_s:+g}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    mounts = {INSIDE: str(library(cache))}
    return replacement.stand_in(member, Difference("skew", environment, mounts))


def library(cache: Path) -> Path:
    """The library as a file of this machine, taken from Debian's package the first time."""
    path = cache / "libfaketimeMT.so.1"
    if path.is_file():
        return path
    cache.mkdir(parents=True, exist_ok=True)
    if not docker("images", "--quiet", IMAGE):
        folder = cache / "clock-image"
        folder.mkdir(exist_ok=True)
        (folder / "Dockerfile").write_text(_DOCKERFILE)
        docker(
            "build",
            "--quiet",
            "--build-arg",
            f"BASE={BASE}",
            "--tag",
            IMAGE,
            str(folder),
            seconds=BUILD_S,
        )
    container = docker("create", IMAGE, "true").strip()
    part = path.with_suffix(".part")
    try:
        docker("cp", f"{container}:/libfaketimeMT.so.1", str(part))
    finally:
        docker("rm", container, check=False)
    part.chmod(0o644)
    part.replace(path)
    return path
