"""Prefer hosts whose last builds went well."""

from __future__ import annotations

from placer.model.host_view import HostView
from placer.scheduler.wanted import Wanted


class BuildFailures:
    """Score 1.0 without a failure since the last good build, 1 / (1 + n) after n of them.

    Forgotten after ``build_failures_forget_s``, or one bad hour would mark a host for ever.
    """

    def applies(self, wanted: Wanted) -> bool:
        return True

    def score(self, wanted: Wanted, view: HostView) -> float:
        if not view.failures:
            return 1.0
        since_ms = wanted.now_ms - view.failed_ms
        forgotten = since_ms >= wanted.settings.build_failures_forget_s * 1000
        return 1.0 if forgotten else 1.0 / (1 + view.failures)
