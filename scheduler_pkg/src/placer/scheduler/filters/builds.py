"""Hosts that are busy building, and hosts whose builds keep failing.

A host that is named by the request is not judged: whoever names it wants that one.
"""

from __future__ import annotations

from placer.model.host_view import HostView
from placer.scheduler.wanted import Wanted


class IoFilter:
    """At most ``builds_per_host_max`` claims that are not built yet: more would only wait there."""

    def applies(self, wanted: Wanted) -> bool:
        return not wanted.spec.host

    def rejects(self, wanted: Wanted, view: HostView) -> str | None:
        return "too_many_builds" if view.building >= wanted.settings.builds_per_host_max else None


class BuildFailuresFilter:
    """Left alone for ``build_failures_forget_s`` after ``build_failures_max`` failures in a row."""

    def applies(self, wanted: Wanted) -> bool:
        return not wanted.spec.host

    def rejects(self, wanted: Wanted, view: HostView) -> str | None:
        settings = wanted.settings
        if view.failures < settings.build_failures_max:
            return None
        since_ms = wanted.now_ms - view.failed_ms
        return "builds_fail" if since_ms < settings.build_failures_forget_s * 1000 else None
