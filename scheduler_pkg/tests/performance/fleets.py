"""Fleets for the measurements: the built-in profile's hosts as rows, in buckets, and its requests."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import msgspec

from placer.model import ids
from placer.model.hint import BucketHint, hint_of
from placer.model.host_view import HostView, summarize
from placer.model.records import HostRow, HostStatus, inventory_record
from placer.model.request import RequestSpec
from placer.replay import fleet, plan

CELL = "c1"
REGION = "r1"


def rows(hosts: int) -> list[HostRow]:
    """``hosts`` empty hosts at revision 1; the same each time."""
    made = []
    for report in fleet.built_in([CELL], hosts, seed=1)[CELL]:
        host = ids.host_uuid(CELL, report.name)
        record = inventory_record(host, report.inventories, report.traits)
        made.append(HostRow(host, report.name, 1, HostStatus.UP, (record,)))
    return made


def view(row: HostRow) -> HostView:
    return summarize(row, cell=CELL, region=REGION)


def buckets_for(hosts: int, hosts_per_bucket: int) -> int:
    return max(1, round(hosts / hosts_per_bucket))


def requests(count: int) -> Iterator[RequestSpec]:
    """Requests that some host can take, over and over."""
    planned = plan.requests([CELL], count, seed=1)
    return itertools.cycle(p.spec for p in planned if p.kind is not plan.Kind.IMPOSSIBLE)


class Stored:
    """Views as a store gives them: encoded, in buckets, decoded at each read."""

    def __init__(self, hosts: int, hosts_per_bucket: int) -> None:
        self.buckets = buckets_for(hosts, hosts_per_bucket)
        views: list[list[HostView]] = [[] for _ in range(self.buckets)]
        for row in rows(hosts):
            views[ids.bucket_of(row.host, self.buckets)].append(view(row))
        self.hints = [hint_of(bucket, held) for bucket, held in enumerate(views)]
        self._texts = [[msgspec.json.encode(v).decode() for v in held] for held in views]
        self._decode = msgspec.json.Decoder(HostView).decode

    async def read_views(self, bucket: int) -> list[HostView]:
        return [self._decode(text) for text in self._texts[bucket]]

    async def read_hints(self) -> list[BucketHint]:
        return self.hints

    async def write_hint(self, hint: BucketHint, at_us: int) -> None:
        self.hints[hint.bucket] = hint
