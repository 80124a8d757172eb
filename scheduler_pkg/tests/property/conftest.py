"""How long the search is. A failure prints how to replay it, also where no example database is kept."""

from __future__ import annotations

from hypothesis import settings

# No deadline for one example: on a busy machine that would only measure the machine.
settings.register_profile("placer", max_examples=60, deadline=None, print_blob=True)
settings.load_profile("placer")
