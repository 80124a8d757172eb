"""What the schema's commands refuse before they ask a node."""

from __future__ import annotations

from pathlib import Path

import pytest

from placer import settings as config
from placer.errors import InvalidInput
from placer.store import bootstrap

from ..factories import BARE_SETTINGS


def test_cell_of_the_deployment_is_not_forgotten(tmp_path: Path) -> None:
    """Its keyspace holds the claims of hosts that are in use; the answer names it and says what to do first."""
    (tmp_path / "db").write_text("secret")
    path = tmp_path / "placer.toml"
    store = f'[store]\nusername = "placer_admin"\npassword_file = "{tmp_path}/db"\n'
    path.write_text(BARE_SETTINGS + 'contact_points = ["127.0.0.1"]\n' + store)
    with pytest.raises(InvalidInput, match="nyc1") as refused:
        bootstrap.forget(config.load(path), "nyc1")
    assert "inventory" in refused.value.remedy


@pytest.mark.parametrize(
    ("current", "datacenters", "kept"),
    [
        pytest.param({"a": "3", "b": "1"}, {"a", "b"}, {"b": "1"}, id="its nodes still run"),
        pytest.param({"a": "3", "b": "1"}, {"a"}, {}, id="its nodes have left"),
        pytest.param({"a": "1"}, {"a", "b"}, {}, id="one that never had any"),
        pytest.param({"replication_factor": "1"}, {"a", "b"}, {}, id="a cluster just made"),
    ],
)
def test_accounts_stay_where_nodes_are(
    current: dict[str, str], datacenters: set[str], kept: dict[str, str]
) -> None:
    """A datacenter that the deployment has no more keeps its copies while it has nodes."""
    assert bootstrap.leaving(current, {"a": "3"}, datacenters) == kept
