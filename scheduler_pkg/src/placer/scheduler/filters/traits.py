"""Required traits must be on the host, forbidden ones must not."""

from __future__ import annotations

from placer.model.host_view import HostView
from placer.model.request import RequestSpec


class TraitsFilter:
    def rejects(self, spec: RequestSpec, view: HostView) -> str | None:
        for trait in spec.required_traits:
            if trait not in view.traits:
                return f"trait_missing:{trait}"
        for trait in spec.forbidden_traits:
            if trait in view.traits:
                return f"trait_forbidden:{trait}"
        return None
