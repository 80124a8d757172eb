"""Where the members of a server group may be."""

from __future__ import annotations

import pytest

from placer.errors import InvalidInput
from placer.model import groups
from placer.model.groups import Place, Policy, Scope, ServerGroupSpec

NYC_1 = Place("nyc", "nyc1", "a")
NYC_2 = Place("nyc", "nyc2", "b")
AMS_1 = Place("ams", "ams1", "c")


@pytest.mark.parametrize(
    ("policy", "scope", "members", "place", "admitted"),
    [
        pytest.param("affinity", "host", [], NYC_1, True, id="the first may be anywhere"),
        pytest.param("anti-affinity", "region", [], NYC_1, True, id="the first is near nobody"),
        pytest.param("affinity", "host", [NYC_1], NYC_1, True, id="together on one host"),
        pytest.param("affinity", "host", [NYC_1], NYC_2, False, id="another host is not together"),
        pytest.param("affinity", "region", [NYC_1], NYC_2, True, id="together in one region"),
        pytest.param("affinity", "cell", [NYC_1], NYC_2, False, id="another cell is not together"),
        pytest.param("anti-affinity", "cell", [NYC_1], NYC_2, True, id="apart by cells"),
        pytest.param(
            "anti-affinity", "region", [NYC_1], NYC_2, False, id="one region is not apart"
        ),
        pytest.param("anti-affinity", "region", [NYC_1, NYC_2], AMS_1, True, id="a third region"),
    ],
)
def test_place_is_judged_by_all_members(
    policy: str, scope: str, members: list[Place], place: Place, admitted: bool
) -> None:
    """Affinity wants every member at one place, anti-affinity none at the same."""
    assert groups.admits(Policy(policy), Scope(scope), members, place) is admitted


@pytest.mark.parametrize(
    ("policy", "scope", "has_row"),
    [
        ("anti-affinity", "host", False),
        ("anti-affinity", "cell", True),
        ("affinity", "host", True),
        ("affinity", "region", True),
    ],
)
def test_only_anti_affinity_of_hosts_needs_no_row(policy: str, scope: str, has_row: bool) -> None:
    """That rule is kept by each host's own row; every other by the group's."""
    spec = ServerGroupSpec("web", Policy(policy), Scope(scope))
    group = groups.new_group("nyc1", spec, 0)
    assert group.has_row is has_row
    assert group.max_per_host == (0 if has_row else 1)
    assert group.home_cell == "nyc1"


def test_place_survives_its_record() -> None:
    """What the group row keeps of a member is its whole place."""
    assert groups.place_of(NYC_1.data) == NYC_1


@pytest.mark.parametrize("name", ["", "x" * 201])
def test_group_without_a_usable_name_is_refused(name: str) -> None:
    """The error names the field."""
    with pytest.raises(InvalidInput) as error:
        groups.new_group("nyc1", ServerGroupSpec(name, Policy.AFFINITY), 0)
    assert error.value.fields["field"] == "name"
