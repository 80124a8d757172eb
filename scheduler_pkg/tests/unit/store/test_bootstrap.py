"""What the schema's commands refuse before they ask a node, and what they ask of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from placer import settings as config
from placer.errors import InvalidInput, StoreError
from placer.store import bootstrap

from ..factories import BARE_SETTINGS


def loaded(folder: Path) -> config.Settings:
    (folder / "db").write_text("secret")
    path = folder / "placer.toml"
    store = f'[store]\nusername = "placer_admin"\npassword_file = "{folder}/db"\n'
    path.write_text(BARE_SETTINGS + 'contact_points = ["127.0.0.1"]\n' + store)
    return config.load(path)


class Node:
    """A session whose cluster has all roles, and what they hold; it notes what is asked without waiting."""

    def __init__(self, held: dict[str, list[tuple[str, set[str]]]]) -> None:
        self.held = held
        self.asked: list[str] = []
        self.alone: list[str] = []
        self.hurried = self.down = False

    def execute(self, statement: Any, params: Any, timeout: float) -> list[Any]:
        if statement.query_string.startswith("GRANT"):
            self.alone.append(statement.query_string)
            if self.down:
                raise TimeoutError("no answer")
            return []
        asks_for_grants = "role_permissions" in statement.query_string
        return self.held.get(params[0], []) if asks_for_grants else [("there",)]

    def execute_async(self, cql: str, timeout: float) -> Node:
        self.asked.append(cql)
        return self

    def result(self) -> None:
        if self.hurried or self.down:
            raise TimeoutError("no answer")


def grants(folder: Path, node: Node) -> list[str]:
    """What the run notes as changes of grants."""
    for role in bootstrap._GRANTS:
        (folder / role).write_text("secret")
    one = bootstrap.Bootstrap(loaded(folder), folder, make=True)
    one._session = node
    one._roles()
    return one._changes


def test_cell_of_the_deployment_is_not_forgotten(tmp_path: Path) -> None:
    """Its keyspace holds the claims of hosts that are in use; the answer names it and says what to do first."""
    with pytest.raises(InvalidInput, match="nyc1") as refused:
        bootstrap.forget(loaded(tmp_path), ["gone1", "nyc1"])
    assert "inventory" in refused.value.remedy


def test_only_what_a_role_lacks_is_granted(tmp_path: Path) -> None:
    """All that it lacks of one table by one statement; of what it has nothing."""
    held = [
        ("data/placer_nyc1/host", {"SELECT"}),
        ("data/placer_nyc1/record", {"SELECT", "MODIFY"}),
    ]
    node = Node({"placer_scheduler": held})
    noted = grants(tmp_path, node)
    assert len(noted) == len(node.asked) == len(set(node.asked))
    ours = [cql for cql in node.asked if cql.endswith(" TO placer_scheduler")]
    assert "GRANT MODIFY ON TABLE placer_nyc1.host TO placer_scheduler" in ours
    assert "GRANT SELECT, MODIFY ON TABLE placer_nyc1.writeset TO placer_scheduler" in ours
    assert "GRANT SELECT, MODIFY ON KEYSPACE placer_global TO placer_scheduler" in ours
    assert not [cql for cql in ours if ".record " in cql]
    assert "grant MODIFY on data/placer_nyc1/host to placer_scheduler" in noted


def test_a_grant_that_was_too_much_at_once_is_asked_alone(tmp_path: Path) -> None:
    node = Node({})
    node.hurried = True
    assert len(grants(tmp_path, node)) == len(node.alone)
    assert node.alone == node.asked


def test_a_grant_that_fails_is_named(tmp_path: Path) -> None:
    node = Node({})
    node.down = True
    with pytest.raises(StoreError, match=r"grant .* to placer_api failed: no answer"):
        grants(tmp_path, node)


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
