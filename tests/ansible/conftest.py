"""Tests of the Python and of the gates inside the roles; none needs Docker, root or a machine."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The roles' Python lives beside what uses it: an image's files, a role's filters.
for folder in ("roles/wan/files/image", "roles/preflight/filter_plugins"):
    sys.path.insert(0, str(ROOT / folder))
# A cached byte-code file in there would end up in the image.
sys.dont_write_bytecode = True
