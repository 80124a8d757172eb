"""``python -m placer``: the command line where the package is not installed."""

from placer.cli.main import run

run()
