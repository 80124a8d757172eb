"""What is asked: shares as stated, and the same for the same seed."""

from __future__ import annotations

from collections import Counter

import pytest

from placer.errors import InvalidInput
from placer.model.request import check_spec
from placer.model.resource_classes import BAREMETAL, GPU_MILLI
from placer.replay import fleet, plan
from placer.replay.plan import Kind
from placer.replay.shapes import HOSTS, RequestShape

CELLS = ("ams1", "nyc1", "sgp1")


def test_same_seed_same_requests() -> None:
    """A run can be repeated; another seed asks for something else."""
    assert plan.requests(CELLS, 300, 1) == plan.requests(CELLS, 300, 1)
    assert plan.requests(CELLS, 300, 1) != plan.requests(CELLS, 300, 2)


def test_order_of_cells_does_not_matter() -> None:
    """The plan depends on which cells there are, not on how they were listed."""
    assert plan.requests(CELLS, 50, 1) == plan.requests(CELLS[::-1], 50, 1)


def test_shares_are_as_stated() -> None:
    """Of 3,000: about 450 to another cell, 60 impossible, 30 whole hosts (three sigma allowed)."""
    planned = plan.requests(CELLS, 3000, 1)
    kinds = Counter(request.kind for request in planned)
    elsewhere = sum(bool(request.spec.cell) for request in planned)
    assert 450 - 60 < elsewhere < 450 + 60
    assert 60 - 24 < kinds[Kind.IMPOSSIBLE] < 60 + 24
    assert 30 - 17 < kinds[Kind.WHOLE_HOST] < 30 + 17
    assert kinds[Kind.GPU_BY_TRAIT] > 500
    assert {request.target for request in planned} == set(CELLS)


def test_every_request_is_one_that_the_api_takes() -> None:
    """Also the impossible ones are well formed: they are refused for what they want."""
    for request in [*plan.requests(CELLS, 1000, 3), *plan.warm_up(CELLS, 3)]:
        check_spec(request.spec)


def test_named_model_has_hosts_that_could_take_it() -> None:
    """A request for GPUs by trait is one that some host of that model can take when it is empty."""
    for request in plan.requests(CELLS, 2000, 1):
        if request.kind is Kind.GPU_BY_TRAIT:
            wanted = request.spec.resources
            assert any(
                host.vcpus >= wanted["VCPU"]
                and host.memory_mib >= wanted["MEMORY_MB"]
                and host.gpus * 1000 >= wanted[GPU_MILLI]
                for host in HOSTS
                if (fleet.gpu_trait(host.model),) == request.spec.required_traits
            )


def test_trace_is_taken_in_its_order_and_again_from_the_start() -> None:
    """A trace of two requests asked for five times."""
    shapes = [RequestShape(1.0, 1, 1024), RequestShape(1.0, 2, 0)]
    planned = plan.requests(CELLS, 200, 1, shapes=shapes)
    plain = [r.spec.resources for r in planned if r.kind is Kind.PLAIN]
    assert {"VCPU": 1, "MEMORY_MB": 1024} in plain
    assert {"VCPU": 2} in plain
    assert all(BAREMETAL in r.spec.resources for r in planned if r.kind is Kind.WHOLE_HOST)


def test_warm_up_goes_from_every_cell_to_every_cell() -> None:
    """Nine pairs: each is used before anything is measured."""
    pairs = {(request.target, request.spec.cell) for request in plan.warm_up(CELLS, 1)}
    assert len(pairs) == 9


def test_one_cell_names_no_other() -> None:
    """With one cell there is nowhere else to go."""
    assert not any(request.spec.cell for request in plan.requests(["nyc1"], 200, 1))
    assert {request.spec.cell for request in plan.warm_up(["nyc1"], 1)} == {"nyc1"}


def test_bounds_on_the_number() -> None:
    with pytest.raises(InvalidInput):
        plan.requests(CELLS, 0, 1)
