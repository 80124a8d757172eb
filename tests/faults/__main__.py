"""``python -m faults``: what ``./demo fault`` calls, and the guard of a fault."""

from __future__ import annotations

import sys

from faults.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
