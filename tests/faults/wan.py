"""The control interface of the delay process of the role `wan`, which carries network faults out.

It also ends them when their time is over, so that nobody has to be there for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from faults.engine import docker
from faults.errors import FaultError


class Wan:
    """The control interface of a deployment's delay process."""

    def __init__(self, deployment: str) -> None:
        self._container = f"{deployment}-wan"

    def ask(self, *arguments: str) -> dict[str, Any]:
        """Its answer to a command; FaultError when there is none, in its own words."""
        try:
            said = docker("exec", self._container, "wan", *arguments)
        except FaultError as failed:
            _, refused, reason = failed.what.partition(" failed: wan: ")
            if refused:
                what, _, remedy = reason.partition("; ")
                raise FaultError(f"{what}.", f"{remedy.capitalize()}") from None
            raise FaultError(
                f"The delay process {self._container} does not answer: {failed.what}",
                f"Network faults need it (wan_enabled). See docker logs {self._container}.",
            ) from None
        answer: dict[str, Any] = json.loads(said)
        return answer

    def cut(
        self,
        name: str,
        seconds: float,
        source: str | None = None,
        target: str | None = None,
        *,
        one_way: bool = False,
        down_s: float = 0.0,
        up_s: float = 0.0,
    ) -> None:
        """Cut a region from all others, or from one; only what it sends with ``one_way``; by turns."""
        flapping = ["--down", f"{down_s:g}", "--up", f"{up_s:g}"] if down_s or up_s else []
        places = [place for place in (source, target) if place]
        self.ask("cut", *places, *_common(name, seconds, one_way), *flapping)

    def change(
        self,
        name: str,
        seconds: float,
        source: str,
        target: str,
        changes: Mapping[str, float],
        *,
        one_way: bool = False,
    ) -> None:
        """Give a path another delay_ms, jitter_ms, loss_percent, reorder_percent or duplicate_percent."""
        options = [f"--{key.replace('_', '-')}={value:g}" for key, value in changes.items()]
        self.ask("set", source, target, *options, *_common(name, seconds, one_way))

    def drop(
        self,
        name: str,
        seconds: float,
        sources: Iterable[str],
        destinations: Iterable[str],
        *,
        one_way: bool = False,
    ) -> None:
        """Let nothing pass between addresses, in whatever network of the machine."""
        ends = ["--from", ",".join(sources), "--to", ",".join(destinations)]
        self.ask("drop", *ends, *_common(name, seconds, one_way))

    def heal(self, name: str | None = None) -> None:
        """End what has the name; everything without one."""
        self.ask("heal", *(["--name", name] if name else []))

    def state(self) -> dict[str, Any]:
        return self.ask("status", "--wait", "10")


def _common(name: str, seconds: float, one_way: bool) -> list[str]:
    return ["--name", name, "--for", f"{seconds:g}", *(["--one-way"] if one_way else [])]
