"""The options of the server's JVM, as the start scripts of the official image read them; those of our own image are less strict."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

ROLE = Path(__file__).resolve().parents[2] / "roles/cassandra"


def options(**variables: object) -> list[str]:
    """The lines that are options, of both files."""
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
    templates = Environment(
        loader=FileSystemLoader(ROLE / "templates"), undefined=StrictUndefined, trim_blocks=True
    )
    lines = []
    for name in ("jvm-server.options.j2", "jvm17-server.options.j2"):
        template = templates.get_template(name)
        rendered = template.render({**defaults, "ansible_managed": "managed", **variables})
        lines += [line for line in rendered.splitlines() if line.startswith("-")]
    return lines


@pytest.mark.parametrize("heap_mib", [192, 4096])
def test_the_official_scripts_have_nothing_to_add_or_to_refuse(heap_mib: int) -> None:
    """They end where -Xms comes without -Xmx or -Xmn with G1, and without a word on it turn on a log of the collector of 100 MB."""
    heap = [line for line in options(cassandra_heap_mib=heap_mib) if line.startswith("-Xm")]
    assert heap == [f"-Xms{heap_mib}m", f"-Xmx{heap_mib}m"]
    assert "-Xlog:gc" in " ".join(options(cassandra_heap_mib=heap_mib))


def test_an_option_is_one_word() -> None:
    """The official scripts take the lines apart at every space, as a shell does."""
    assert not [line for line in options() if len(line.split()) != 1]
