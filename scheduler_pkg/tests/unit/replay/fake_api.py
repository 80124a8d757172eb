"""APIs of a small deployment in memory, behind httpx's mock transport: honest about capacity."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from itertools import count

import httpx
import msgspec

from placer import tracing
from placer.claims.operations import AddClaim, Refusal
from placer.history import ClientHistory
from placer.model import ids
from placer.model.host_view import summarize
from placer.model.messages import HostReport
from placer.model.records import HostRow, HostStatus, inventory_record
from placer.model.request import Placement, Reason, Request, RequestSpec, Stage, Timings
from placer.replay.client import Target

TOKEN = "the-token"
#: Hosts on one page, however many are asked for: so that every list has several.
PAGE = 3

#: A request that is answered by something else than its outcome, or None.
Trouble = Callable[[str, RequestSpec], httpx.Response | None]


class Deployment:
    """Cells with hosts. ``delay_s`` lets requests overlap; ``trouble`` may answer in its stead."""

    def __init__(self, fleet: dict[str, list[HostReport]]) -> None:
        self.rows = {
            cell: {report.name: _row(cell, report) for report in reports}
            for cell, reports in fleet.items()
        }
        self.trouble: Trouble = lambda cell, spec: None
        self.posted: list[tuple[str, RequestSpec]] = []
        #: Trace ids of the posts.
        self.traces: list[str] = []
        self.requests: dict[str, Request] = {}
        self.unfinished: set[str] = set()
        self.under_way = 0
        self.under_way_max = 0
        self._numbers = count(1)

    def target(self, cell: str, token: str = TOKEN, history: ClientHistory | None = None) -> Target:
        client = httpx.AsyncClient(
            base_url=f"http://{cell}",
            headers={"Authorization": f"Bearer {token}"},
            transport=httpx.MockTransport(self._answer),
        )
        return Target(cell, client, history)

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        cell, path = request.url.host, request.url.path
        if path == "/readyz":
            return httpx.Response(200)
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return problem(401, "placer.unauthorized")
        if path == "/v1/hosts":
            return self._hosts(cell, request.url.params)
        if request.method == "GET":
            decided = self.requests[path.rsplit("/", 1)[1]]
            return httpx.Response(200, content=msgspec.json.encode(decided))
        self.traces.append(tracing.given_in(request.headers.get(tracing.HEADER, "")))
        self.under_way += 1
        self.under_way_max = max(self.under_way_max, self.under_way)
        await asyncio.sleep(0.001)
        self.under_way -= 1
        return self._post(cell, msgspec.json.decode(request.content, type=RequestSpec))

    def _hosts(self, cell: str, params: httpx.QueryParams) -> httpx.Response:
        assert params["cell"] == cell
        rows = sorted(self.rows[cell].values(), key=lambda row: row.host)
        rest = [row for row in rows if row.host > params.get("marker", "")]
        page = rest[: min(PAGE, int(params["limit"]))]
        views = [summarize(row, cell=cell, region=cell[:3]) for row in page]
        links = []
        if len(rest) > len(page):
            query = f"cell={cell}&limit={params['limit']}&marker={page[-1].host}"
            links = [{"rel": "next", "href": f"/v1/hosts?{query}"}]
        return httpx.Response(200, content=msgspec.json.encode({"hosts": views, "links": links}))

    def _post(self, cell: str, spec: RequestSpec) -> httpx.Response:
        self.posted.append((cell, spec))
        if answer := self.trouble(cell, spec):
            return answer
        decided = self._decide(cell, spec)
        self.requests[decided.id] = decided
        if decided.id in self.unfinished:
            waiting = msgspec.structs.replace(decided, stage=Stage.ACCEPTED, placements=())
            return httpx.Response(202, content=msgspec.json.encode(waiting))
        return httpx.Response(200, content=msgspec.json.encode(decided))

    def _decide(self, cell: str, spec: RequestSpec) -> Request:
        number = next(self._numbers)
        home, target = cell, spec.cell or cell
        rows = self.rows[target]
        refusals: dict[str, int] = {}
        request = Request(
            id=f"{home}.{number}",
            rev=number,
            home_cell=home,
            spec=spec,
            stage=Stage.REFUSED,
            created_ms=0,
            updated_ms=0,
            attempts=1,
            timings=Timings(claim_ms=5.0 if target == home else 100.0),
        )
        for row in [rows[spec.host]] if spec.host else list(rows.values()):
            operation = AddClaim(
                claim=f"{target}.{row.host}.{number}",
                consumer=f"instance-{number}",
                request=request.id,
                project=spec.project,
                demand=spec.demand,
                lease_until_ms=int(time.time() * 1000) + 60_000,
            )
            result = operation.apply(row, 0)
            if isinstance(result, Refusal):
                refusals[result.reason] = refusals.get(result.reason, 0) + 1
                continue
            rows[row.name] = msgspec.structs.replace(result, rev=row.rev + 1)
            placement = Placement(
                cell=target,
                host=row.host,
                host_name=row.name,
                claim=operation.claim,
                instance=operation.consumer,
            )
            return msgspec.structs.replace(request, stage=Stage.PLACED, placements=(placement,))
        reason = Reason("no_valid_host", "None can take it.", rejected=refusals)
        return msgspec.structs.replace(request, reason=reason)


def problem(status: int, code: str) -> httpx.Response:
    return httpx.Response(status, content=json.dumps({"errors": [{"code": code}]}))


def _row(cell: str, report: HostReport) -> HostRow:
    host = ids.host_uuid(cell, report.name)
    record = inventory_record(host, report.inventories, report.traits)
    return HostRow(host=host, name=report.name, rev=1, status=HostStatus.UP, records=(record,))
