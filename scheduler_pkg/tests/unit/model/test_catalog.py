"""Flavors and images: what may be one, and what they add to a request."""

from __future__ import annotations

from typing import Any

import pytest

from placer.errors import InvalidInput, UnknownTrait
from placer.model.catalog import (
    Flavor,
    FlavorSpec,
    Image,
    ImageSpec,
    check_traits,
    merge,
    new_flavor,
    new_image,
)
from placer.model.request import GroupPolicy, GroupSpec, RequestSpec, Strategy

FLAVOR = Flavor(
    name="m1",
    resources={"VCPU": 2, "MEMORY_MB": 512},
    required_traits=("HW_CPU_X86_AVX2",),
    groups={"disk": GroupSpec({"DISK_GB": 10})},
    group_policy=GroupPolicy.ISOLATE,
    strategy=Strategy.PACK,
    weights={"ram": 2.0, "cpu": 1.0},
)
IMAGE = Image(
    name="debian", min_disk_gb=5, min_ram_mb=256, required_traits=("COMPUTE_STORAGE_BUS_VIRTIO",)
)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(
            RequestSpec(),
            {"resources": {"VCPU": 2, "MEMORY_MB": 512}, "strategy": Strategy.PACK},
            id="nothing of its own: the flavor's",
        ),
        pytest.param(
            RequestSpec(resources={"PCPU": 1}),
            {"resources": {"VCPU": 2, "MEMORY_MB": 512, "PCPU": 1}},
            id="further classes are added",
        ),
        pytest.param(
            RequestSpec(resources={"VCPU": 2}),
            {"resources": {"VCPU": 2, "MEMORY_MB": 512}},
            id="the same amount is no contradiction",
        ),
        pytest.param(
            RequestSpec(required_traits=("CUSTOM_A",)),
            {"required_traits": ("CUSTOM_A", "HW_CPU_X86_AVX2")},
            id="traits are joined",
        ),
        pytest.param(
            RequestSpec(groups={"net": GroupSpec({"SRIOV_NET_VF": 1})}),
            {
                "groups": {
                    "disk": GroupSpec({"DISK_GB": 10}),
                    "net": GroupSpec({"SRIOV_NET_VF": 1}),
                },
                "group_policy": GroupPolicy.ISOLATE,
            },
            id="groups are joined, and the stricter policy holds",
        ),
        pytest.param(
            RequestSpec(strategy=Strategy.SPREAD, weights={"ram": -1.0}),
            {"strategy": Strategy.SPREAD, "weights": {"ram": -1.0, "cpu": 1.0}},
            id="the request's own preferences come first",
        ),
    ],
)
def test_what_a_flavor_adds(given: RequestSpec, expected: dict[str, Any]) -> None:
    """And merged once more nothing changes, so that a stored request can be sent again."""
    merged = merge(given, FLAVOR, None)
    assert {field: getattr(merged, field) for field in expected} == expected
    assert merge(merged, FLAVOR, None) == merged


@pytest.mark.parametrize(
    ("given", "resources"),
    [
        pytest.param({"VCPU": 1}, {"VCPU": 1, "DISK_GB": 5, "MEMORY_MB": 256}, id="least amounts"),
        pytest.param({"DISK_GB": 9}, {"DISK_GB": 9, "MEMORY_MB": 256}, id="more than the least"),
        pytest.param({"DISK_GB": 5}, {"DISK_GB": 5, "MEMORY_MB": 256}, id="just the least"),
    ],
)
def test_what_an_image_adds(given: dict[str, int], resources: dict[str, int]) -> None:
    """The amounts that were not asked for, and the traits that it needs."""
    merged = merge(RequestSpec(resources=given), None, IMAGE)
    assert merged.resources == resources
    assert merged.required_traits == ("COMPUTE_STORAGE_BUS_VIRTIO",)
    assert merge(merged, None, IMAGE) == merged


def test_a_group_may_hold_what_an_image_needs() -> None:
    """FLAVOR's disk is in a group: 10 GB are more than 5, and none is added beside it."""
    merged = merge(RequestSpec(), FLAVOR, IMAGE)
    assert merged.resources == {"VCPU": 2, "MEMORY_MB": 512}


@pytest.mark.parametrize(
    ("given", "field"),
    [
        pytest.param(RequestSpec(resources={"VCPU": 4}), "resources.VCPU", id="another amount"),
        pytest.param(
            RequestSpec(groups={"disk": GroupSpec({"DISK_GB": 9})}),
            "groups.disk",
            id="another group",
        ),
        pytest.param(
            RequestSpec(resources={"DISK_GB": 4}), "resources.DISK_GB", id="less than the image's"
        ),
    ],
)
def test_contradictions_name_the_part(given: RequestSpec, field: str) -> None:
    """Nothing is silently chosen. 4 GB beside the 10 of FLAVOR's group are less than 50."""
    with pytest.raises(InvalidInput) as refused:
        merge(given, FLAVOR, Image(name="large", min_disk_gb=50))
    assert refused.value.fields["field"] == field


@pytest.mark.parametrize(
    ("properties", "required", "forbidden"),
    [
        pytest.param({}, (), (), id="none"),
        pytest.param({"hw_disk_bus": "virtio"}, ("COMPUTE_STORAGE_BUS_VIRTIO",), (), id="a bus"),
        pytest.param({"disk_format": "QCOW2"}, ("COMPUTE_IMAGE_TYPE_QCOW2",), (), id="capitals"),
        pytest.param({"hw_tpm_version": "2.0"}, ("COMPUTE_SECURITY_TPM_2_0",), (), id="a dot"),
        pytest.param({"os_secure_boot": "optional"}, (), (), id="what needs nothing"),
        pytest.param(
            {"os_secure_boot": "required"},
            ("COMPUTE_SECURITY_UEFI_SECURE_BOOT",),
            (),
            id="a word of its own",
        ),
        pytest.param(
            {"trait:CUSTOM_A": "required", "trait:CUSTOM_B": "forbidden"},
            ("CUSTOM_A",),
            ("CUSTOM_B",),
            id="traits by name",
        ),
    ],
)
def test_properties_mean_traits(
    properties: dict[str, str], required: tuple[str, ...], forbidden: tuple[str, ...]
) -> None:
    """By the names that Glance gives them."""
    image = new_image("i", ImageSpec(properties=properties))
    assert (image.required_traits, image.forbidden_traits) == (required, forbidden)


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        pytest.param(ImageSpec(properties={"hw_colour": "red"}), "properties.hw_colour", id="name"),
        pytest.param(
            ImageSpec(properties={"hw_disk_bus": "warp"}), "properties.hw_disk_bus", id="value"
        ),
        pytest.param(
            ImageSpec(properties={"trait:CUSTOM_A": "yes"}), "properties.trait:CUSTOM_A", id="word"
        ),
        pytest.param(
            ImageSpec(properties={"trait:FAST": "required"}), "properties.trait:FAST", id="trait"
        ),
        pytest.param(ImageSpec(min_disk_gb=-1), "min_disk_gb", id="negative"),
        pytest.param(ImageSpec(min_ram_mb=2**31), "min_ram_mb", id="too large"),
        pytest.param(
            ImageSpec(properties={f"trait:CUSTOM_{n}": "required" for n in range(65)}),
            "properties",
            id="too many",
        ),
    ],
)
def test_what_no_image_can_be(spec: ImageSpec, field: str) -> None:
    """It is refused when it is put, not when a request names it."""
    with pytest.raises(InvalidInput) as refused:
        new_image("i", spec)
    assert refused.value.fields["field"] == field
    assert refused.value.remedy


@pytest.mark.parametrize(
    ("name", "spec", "field"),
    [
        pytest.param("m1", FlavorSpec(), "resources", id="nothing"),
        pytest.param("", FlavorSpec({"VCPU": 1}), "name", id="no name"),
        pytest.param("m 1", FlavorSpec({"VCPU": 1}), "name", id="a blank"),
        pytest.param("m" * 101, FlavorSpec({"VCPU": 1}), "name", id="a long name"),
        pytest.param("m1", FlavorSpec({"VCPU": 0}), "resources.VCPU", id="amount 0"),
        pytest.param("m1", FlavorSpec({"VCPU": 1}, ("FAST",)), "required_traits", id="trait"),
        pytest.param(
            "m1", FlavorSpec({"VCPU": 1}, description="x" * 501), "description", id="text"
        ),
    ],
)
def test_what_no_flavor_can_be(name: str, spec: FlavorSpec, field: str) -> None:
    """It is refused when it is put, not when a request names it."""
    with pytest.raises(InvalidInput) as refused:
        new_flavor(name, spec)
    assert refused.value.fields["field"] == field


@pytest.mark.parametrize("trait", ["FAST", "custom_a", "CUSTOM_", "CUSTOM_a", "CUSTOM_A-B", ""])
def test_traits_nobody_knows(trait: str) -> None:
    """Wherever they are."""
    with pytest.raises(UnknownTrait):
        check_traits(RequestSpec(groups={"g": GroupSpec({"VCPU": 1}, any_traits=((trait,),))}))
