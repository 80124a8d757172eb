"""What the routes work with."""

from __future__ import annotations

from placer.api.native.cells_heard import CellsHeard, clock_ms
from placer.api.native.diagnoses import Diagnoses
from placer.api.native.following import Following
from placer.api.native.instance_pages import Pages
from placer.api.native.intake import Intake
from placer.api.native.schedulers import Schedulers
from placer.directory import Directory
from placer.settings import Api, Settings
from placer.store.base import Catalog, CellStores, GlobalStore
from placer.store.feed import Feed


class Service:
    """One per process, at ``app.state.service``."""

    def __init__(
        self,
        settings: Settings,
        api: Api,
        cells: CellStores,
        globals_: GlobalStore,
        catalog: Catalog,
        intake: Intake,
        schedulers: Schedulers,
        heard: CellsHeard,
        directory: Directory,
        diagnoses: Diagnoses,
    ) -> None:
        self.settings = settings
        self.api = api
        self.cells = cells
        self.globals = globals_
        self.catalog = catalog
        self.intake = intake
        self.schedulers = schedulers
        self.heard = heard
        self.directory = directory
        self.diagnoses = diagnoses
        self.pages = Pages(
            globals_, [cell.name for cell in settings.cluster.cells], heard.cut_off, clock_ms
        )
        self.feed = Feed(settings, globals_, clock_ms)
        self.following = Following(self.feed, api.page_max)
        #: Readers that follow events here.
        self.followers = 0
