"""Traces: small files of the published formats, whole and broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from placer.errors import InvalidInput
from placer.replay import traces
from placer.replay.shapes import HostShape, RequestShape
from placer.replay.traces import OnBadLine

HOSTS = "sn,cpu_milli,memory_mib,gpu,model\nn0,32000,262144,0,\nn1,96000,393216,8,G2\n"
PODS = (
    "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,"
    "deletion_time,scheduled_time\n"
    "p0,12500,16384,1,460,,LS,Running,0,9,0\n"
    "p1,4000,0,0,0,,LS,Running,1,9,1\n"
    "p2,88000,327680,8,1000,,BE,Failed,2,,\n"
)
VMS = (
    "vmId,tenantId,cores,ram,vmTypeId,starttime,endtime\n"
    "2,t,200.0,28.0,0,0.5,inf\n"
    "1,t,42.0,7.0,1,-3.0,0.25\n"
)


def files(tmp_path: Path, **contents: str) -> list[Path]:
    paths = []
    for name, content in contents.items():
        path = tmp_path / f"{name}.csv"
        path.write_text(content)
        paths.append(path)
    return paths


def test_openb(tmp_path: Path) -> None:
    """CPUs are rounded up to whole ones, a slice of a GPU stays one, several are whole."""
    parsed = traces.read("openb", files(tmp_path, hosts=HOSTS, pods=PODS), OnBadLine.STOP)
    assert parsed.hosts == [
        HostShape(1.0, 32, 262_144),
        HostShape(1.0, 96, 393_216, 8, "G2"),
    ]
    assert parsed.requests == [
        RequestShape(1.0, 13, 16_384, 460),
        RequestShape(1.0, 4, 0, 0),
        RequestShape(1.0, 88, 327_680, 8000),
    ]


def test_azure_is_sorted_by_arrival_and_scaled(tmp_path: Path) -> None:
    """100 cores are one vCPU, 1 ram is 512 MiB: 42 -> 1 vCPU, 7 -> 3,584 MiB."""
    parsed = traces.read("azure", files(tmp_path, vms=VMS), OnBadLine.STOP)
    assert parsed.requests == [RequestShape(1.0, 1, 3_584), RequestShape(1.0, 2, 14_336)]


BROKEN = [
    pytest.param("p,x,1,0,0,,,,,,\n", "cpu_milli is 'x'", id="not a number"),
    pytest.param("p,-4000,1,0,0,,,,,,\n", "cpu_milli is -4000", id="negative"),
    pytest.param("p,4000,99999999999,0,0,,,,,,\n", "memory_mib is 99999999999", id="too large"),
    pytest.param("p,4000,1,1,0,,,,,,\n", "gpu_milli is 0 of num_gpu 1", id="slice of nothing"),
    pytest.param("p,4000\n", "num_gpu is ''", id="cut off"),
    pytest.param("p,4000,1,0,0,,,,,,,extra\n", "more fields", id="too long"),
]


@pytest.mark.parametrize(("line", "says"), BROKEN)
def test_broken_line_stops_with_its_number(tmp_path: Path, line: str, says: str) -> None:
    """By default the first broken line ends it, named by file and line (PODS has 4 lines)."""
    paths = files(tmp_path, hosts=HOSTS, pods=PODS + line)
    with pytest.raises(InvalidInput, match=r"pods\.csv, line 5: ") as caught:
        traces.read("openb", paths, OnBadLine.STOP)
    assert says in caught.value.message


@pytest.mark.parametrize(("line", "says"), BROKEN)
def test_broken_line_can_be_skipped(tmp_path: Path, line: str, says: str) -> None:
    """The rest goes on; what was left out is counted and told."""
    paths = files(tmp_path, hosts=HOSTS, pods=line.join([PODS, "p4,1000,1024,0,0,,,,,,\n"]))
    parsed = traces.read("openb", paths, OnBadLine.SKIP)
    assert (len(parsed.requests), parsed.skipped) == (4, 1)
    assert says in parsed.told[0]


@pytest.mark.parametrize(
    ("name", "contents", "says"),
    [
        pytest.param("other", {"a": PODS}, "Unknown trace", id="unknown trace"),
        pytest.param("azure", {"a": VMS, "b": VMS}, "2 files", id="too many files"),
        pytest.param("azure", {"a": PODS}, "line 1: the header lacks", id="file of another trace"),
        pytest.param("azure", {"a": ""}, "line 1: the header lacks", id="empty file"),
        pytest.param("azure", {"a": VMS.splitlines()[0]}, "no request", id="header only"),
    ],
)
def test_wrong_files_are_refused(
    tmp_path: Path, name: str, contents: dict[str, str], says: str
) -> None:
    """Also where lines may be skipped: this is not a broken line but the wrong file."""
    with pytest.raises(InvalidInput, match=says):
        traces.read(name, files(tmp_path, **contents), OnBadLine.SKIP)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="Cannot read"):
        traces.read("azure", [tmp_path / "gone.csv"], OnBadLine.STOP)


DATA = Path(__file__).resolve().parents[4].parent / "shared" / "data"


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the published traces are not in {DATA}")
def test_published_traces_are_read_whole() -> None:
    """The numbers of rows that the sources state."""
    openb = DATA / "openb"
    parsed = traces.read(
        "openb",
        [openb / "openb_node_list_all_node.csv", openb / "openb_pod_list_default.csv"],
        OnBadLine.STOP,
    )
    assert (len(parsed.hosts), len(parsed.requests)) == (1_523, 8_152)
    vms = traces.read("azure", [DATA / "azure-packing" / "vm-1pcnt-batched_0.csv"], OnBadLine.STOP)
    assert len(vms.requests) == 52_314
