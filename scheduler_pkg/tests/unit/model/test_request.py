"""What may be asked for at all."""

from __future__ import annotations

import pytest

from placer.errors import InvalidInput
from placer.model.records import MAX_INT
from placer.model.request import RequestSpec, check_spec


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        pytest.param(RequestSpec(resources={}), "0 resource classes", id="nothing asked for"),
        pytest.param(RequestSpec(resources={"VCPU": 0}), "VCPU is 0", id="amount zero"),
        pytest.param(RequestSpec(resources={"VCPU": -4}), "VCPU is -4", id="negative amount"),
        pytest.param(
            RequestSpec(resources={"VCPU": MAX_INT + 1}), str(MAX_INT + 1), id="amount overflows"
        ),
        pytest.param(RequestSpec(resources={"VCPUS": 1}), "'VCPUS'", id="unknown class"),
        pytest.param(
            RequestSpec(
                resources={"VCPU": 1},
                required_traits=("CUSTOM_A",),
                forbidden_traits=("CUSTOM_A",),
            ),
            "CUSTOM_A",
            id="trait required and forbidden",
        ),
        pytest.param(RequestSpec(resources={"VCPU": 1}, alternates=11), "11", id="alternates"),
        pytest.param(RequestSpec(resources={"VCPU": 1}, project=""), "project", id="no project"),
    ],
)
def test_impossible_request_is_refused_by_name(spec: RequestSpec, named: str) -> None:
    """The message names the value, and there is a remedy."""
    with pytest.raises(InvalidInput) as caught:
        check_spec(spec)
    assert named in str(caught.value)
    assert caught.value.remedy


def test_plain_request_passes() -> None:
    """A request that can be asked for comes back as it is."""
    spec = RequestSpec(resources={"VCPU": 2, "MEMORY_MB": 4096}, cell="nyc1", alternates=2)
    assert check_spec(spec) is spec
