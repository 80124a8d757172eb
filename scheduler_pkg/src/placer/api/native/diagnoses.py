"""What processes say of themselves: this one from memory, others by one bounded call each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol
from urllib.parse import quote

import httpx
import msgspec
import structlog
from litestar import get
from litestar.datastructures import State

from placer import diagnosis
from placer.api.native.cells_heard import CellsHeard
from placer.api.native.intake import Intake
from placer.diagnosis import Diagnosis
from placer.directory import Directory
from placer.errors import AgentSilent, NoAgent, NotFound, PlacerError, Unreachable
from placer.model.service import Service, ServiceKind
from placer.settings import Settings, read_secret

log = structlog.get_logger(__name__)

_PATH: Final = "/internal/v1/diagnosis"
_TIMEOUT_S: Final = 10.0
_AGENT_ERRORS: Final[dict[str, type[PlacerError]]] = {
    NoAgent.code: NoAgent,
    AgentSilent.code: AgentSilent,
}


class _Stores(Protocol):
    def nodes(self) -> dict[str, dict[str, str]]: ...


class Diagnoses:
    """One per process. All calls read only and can be repeated."""

    def __init__(
        self,
        settings: Settings,
        stores: _Stores,
        directory: Directory,
        intake: Intake,
        heard: CellsHeard,
        client: httpx.AsyncClient,
    ) -> None:
        """``client`` speaks to schedulers by their token; API servers have the one of this server."""
        self._settings = settings
        self._stores = stores
        self._directory = directory
        self._intake = intake
        self._heard = heard
        self._client = client
        assert settings.api is not None
        self._api_token = read_secret(settings.api.token_file)

    def own(self) -> Diagnosis:
        """This process now."""
        cells = [cell.name for cell in self._settings.cluster.cells]
        views: Mapping[str, object] = {
            "schedulers": {cell: self._directory.schedulers(cell) for cell in cells},
            "services": self._directory.services,
            "cassandra": self._stores.nodes(),
            "cells_cut_off_since_ms": self._heard.cut_off(),
        }
        return diagnosis.diagnosis(self._settings, self._intake.depths(), views)

    async def of(self, name: str) -> Diagnosis:
        """That of the process called ``name``; raises NotFound, Unreachable."""
        if name == self._settings.process:
            return self.own()
        await self._directory.look()
        for one in self._directory.services:
            if one.name == name:
                return await self._ask(one)
        raise NotFound(
            f"There is no process {name[:100]!r}.", remedy="GET /v1/services lists those there are."
        )

    async def of_agent(self, scheduler: str, agent: str) -> Diagnosis:
        """That of an agent connected to the process called ``scheduler``; raises as ``of``, NoAgent,
        AgentSilent."""
        await self._directory.look()
        for one in self._directory.services:
            if one.name == scheduler and one.kind is ServiceKind.SCHEDULER:
                path = f"/internal/v1/agents/{quote(agent, safe='')}/diagnosis"
                return await self._ask(one, path)
        raise NotFound(
            f"There is no scheduler {scheduler[:100]!r}.",
            remedy="GET /v1/services?kind=scheduler lists those there are.",
        )

    async def _ask(self, service: Service, path: str = _PATH) -> Diagnosis:
        address = service.address_from(self._settings.home.region)
        if not address:
            raise Unreachable(
                f"{service.name} has no address that is reached from region "
                f"{self._settings.home.region}.",
                remedy=f"Ask an API server of region {service.region}.",
            )
        own_kind = service.kind is ServiceKind.API
        headers = {"Authorization": f"Bearer {self._api_token}"} if own_kind else {}
        try:
            answer = await self._client.get(f"{address}{path}", headers=headers, timeout=_TIMEOUT_S)
            if answer.is_error and (said := _said_of_an_agent(answer)):
                raise said
            answer.raise_for_status()
            return msgspec.json.decode(answer.content, type=Diagnosis)
        except (httpx.HTTPError, msgspec.DecodeError) as error:
            log.warning("no_diagnosis", service=service.name, error=type(error).__name__)
            raise Unreachable(
                f"{service.name} at {address} gives no diagnosis ({type(error).__name__}).",
                remedy="See whether it runs; on its machine SIGUSR1 writes its stacks to its log.",
            ) from error


def _said_of_an_agent(answer: httpx.Response) -> PlacerError | None:
    """The error if a scheduler says that it cannot ask an agent; None for any other."""
    try:
        problem = answer.json()["errors"][0]
        kind = _AGENT_ERRORS.get(problem["code"])
        return kind(problem["detail"], remedy=problem.get("remedy", "")) if kind else None
    except (ValueError, LookupError, TypeError):
        return None


@get(_PATH, include_in_schema=False)
async def show_own_diagnosis(state: State) -> Diagnosis:
    """This process, for API servers of other cells."""
    diagnoses: Diagnoses = state.service.diagnoses
    return diagnoses.own()
