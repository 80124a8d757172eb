"""What a page of the list of instances costs, against a real cluster.

python -m performance.listing SETTINGS [ROWS]   in scheduler_pkg/tests; with PLACER_URL and PLACER_TOKEN over HTTP too

SETTINGS is the settings file of a scheduler, whose role may write the list. ROWS instances of a project
of their own are written, as ended ones, so that they leave by themselves after a day. Then pages of 100
are read at the beginning, in the middle and at the end of the list, of the project and filtered. The
figures are of the store's answer and its decoding, as the API has them; where the environment names an
API server (`./demo env`), of its answers too. Not more than WRITES_AT_ONCE messages are under way, so
that others on the machine get by.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import statistics
import sys
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import httpx

from placer import settings as config
from placer.api.native.instance_pages import Filters, Key, Pages
from placer.model.event import Event
from placer.model.instance import Instance, InstanceState
from placer.settings import Keep
from placer.store import open_cells
from placer.store.base import GlobalStore
from placer.store.cassandra import CassandraGlobalStore
from placer.store.instances import Change

WRITES_AT_ONCE: Final = 4
#: Instances of one message, a partition: as many as a busy scheduler's.
_GROUP: Final = 50
_PAGE: Final = 100
#: Of one page on the way through the whole list.
_WALKED: Final = 1000
_ROUNDS: Final = 60
#: Instances are made over this time: some sixteen slots of the list.
_OVER_MS: Final = 4 * 86_400_000


def _change(number: int, rows: int, project: str, now_ms: int) -> Change:
    created_ms = now_ms - _OVER_MS + number * _OVER_MS // rows
    name = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{project}/{number}"))
    one = Instance(
        id=name,
        project=project,
        region="measured",
        cell="measured",
        host=str(uuid.uuid5(uuid.NAMESPACE_OID, f"host{number % 1000}")),
        host_name=f"host-{number % 1000:04d}",
        request=f"measured.{name}",
        claim=f"measured.host.{number:016x}",
        state=InstanceState.DELETED,
        resources={"VCPU": 2, "MEMORY_MB": 4096, "DISK_GB": 40},
        created_ms=created_ms,
        updated_ms=created_ms,
        rev=created_ms * 1000,
        name=f"web-{number}",
        image="debian-12",
        flavor="m1.small",
        tags=("rare",) if number % 100 == 0 else ("usual", "blue"),
    )
    event = Event(
        f"e{number}", "instance.deleted", created_ms, "measured", "measured", by="measure"
    )
    return Change(one.order, event, name, project, "measured", created_ms, place=one)


async def fill(store: GlobalStore, project: str, rows: int) -> None:
    """Write ``rows`` instances of ``project``."""
    now_ms = int(time.time() * 1000)
    numbers = iter(range(rows))

    async def writer() -> None:
        while group := list(itertools.islice(numbers, _GROUP)):
            await store.write_changes([_change(n, rows, project, now_ms) for n in group])

    await asyncio.gather(*(writer() for _ in range(WRITES_AT_ONCE)))


async def _walk(pages: Pages, filters: Filters) -> AsyncIterator[Key | None]:
    """Where each page begins."""
    at: Key | None = None
    while True:
        yield at
        at = (await pages.page(filters, limit=_PAGE, after=at)).rest
        if at is None:
            return


async def measure(store: GlobalStore, rows: int, project: str) -> dict[str, float]:
    """Milliseconds of a page, medians, by where it is; and the queries of the whole walk a page."""
    pages = Pages(store, ["measured"], dict, lambda: int(time.time() * 1000))
    mine = Filters(project=project)
    begins = [at async for at in _walk(pages, mine)]
    figures: dict[str, float] = {"pages": len(begins)}
    kinds = {
        "first": (mine, begins[0]),
        "middle": (mine, begins[len(begins) // 2]),
        "last": (mine, begins[-2]),
        "of_a_cell": (Filters(cells=("measured",)), begins[len(begins) // 3]),
        "by_tag_of_1_in_100": (Filters(project=project, tag="rare"), begins[len(begins) // 3]),
    }
    for _ in range(3):  # what was never read is not what is measured
        for filters, after in kinds.values():
            await pages.page(filters, limit=_PAGE, after=after)
    for name, (filters, after) in kinds.items():
        took = []
        for _ in range(_ROUNDS):
            started = time.perf_counter()
            await pages.page(filters, limit=_PAGE, after=after)
            took.append((time.perf_counter() - started) * 1000)
        figures |= _spread(name, took)
    return figures


def ask(url: str, token: str, project: str) -> dict[str, float]:
    """Milliseconds of a page that an API server answers, medians, by where it is."""
    path = "/v1/instances"
    took: dict[str, list[float]] = {}
    with httpx.Client(
        base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=30
    ) as client:

        def page(limit: int, begin: dict[str, str]) -> dict[str, str]:
            """Where the page after the one at ``begin`` starts; nothing after the last."""
            answer = client.get(path, params={"project": project, "limit": limit, **begin})
            links = answer.raise_for_status().json()["links"]
            return {"marker": httpx.URL(links[0]["href"]).params["marker"]} if links else {}

        begins: list[dict[str, str]] = [{}]
        while begin := page(_WALKED, begins[-1]):
            begins.append(begin)
        places = {"first": begins[0], "middle": begins[len(begins) // 2], "last": begins[-1]}
        for _ in range(_ROUNDS):
            for name, begin in places.items():
                started = time.perf_counter()
                page(_PAGE, begin)
                took.setdefault(name, []).append((time.perf_counter() - started) * 1000)
    figures: dict[str, float] = {}
    for name, times in took.items():
        figures |= _spread(f"http_{name}", times)
    return figures


def _spread(name: str, took: list[float]) -> dict[str, float]:
    return {
        f"{name}_p50_ms": statistics.median(took),
        f"{name}_p95_ms": sorted(took)[int(len(took) * 0.95)],
    }


async def main(path: Path, rows: int) -> None:
    """Fill, measure, print."""
    stores = await open_cells(config.load(path))
    session = stores.globals._session
    project = f"measured-{uuid.uuid4().hex[:8]}"
    try:
        store = CassandraGlobalStore(session, Keep(ended_days=1, events_days=1, history_days=1))
        started = time.perf_counter()
        await fill(store, project, rows)
        seconds = time.perf_counter() - started
        print(f"{rows} instances in {seconds:.1f} s ({rows / seconds:.0f}/s)")  # noqa: T201
        figures = await measure(store, rows, project)
        if "PLACER_URL" in os.environ:
            figures |= ask(os.environ["PLACER_URL"], os.environ["PLACER_TOKEN"], project)
        for name, figure in figures.items():
            print(f"{name:<28} {figure:.2f}")  # noqa: T201
    finally:
        await stores.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 100_000))
