"""Tests of the Python and of the gates inside the roles; none needs Docker, root or a machine."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The delay process is a package inside its image's files; plugins are found from the root.
for folder in (ROOT, ROOT / "roles/wan/files/image"):
    sys.path.insert(0, str(folder))
# A cached byte-code file in there would end up in the image.
sys.dont_write_bytecode = True
