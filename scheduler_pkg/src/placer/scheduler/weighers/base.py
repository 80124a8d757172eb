"""A weigher: how good a host is for a request, from 0.0 to 1.0."""

from __future__ import annotations

from typing import Protocol

from placer.model.host_view import HostView
from placer.model.request import RequestSpec


class Weigher(Protocol):
    """Pure: a request and the view of a host that fits it in, a score out."""

    def score(self, spec: RequestSpec, view: HostView) -> float: ...
