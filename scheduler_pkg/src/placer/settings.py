"""All knobs in one place: read once at start from a TOML file, checked, then passed as an argument.

``Cluster`` is what all processes of a deployment must agree on; the rest a process may choose.
Units come last in a name: ``_s`` seconds, ``_ms`` milliseconds, ``_bytes``, ``_max`` a bound.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct, field

from placer import redaction
from placer.errors import InvalidInput, UnknownCell

_DAY_S: Final = 86_400
#: Cassandra's longest TTL is twenty years.
_KEEP_DAYS_MAX: Final = 7_000

_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,30}")


class Cell(Struct, frozen=True, forbid_unknown_fields=True):
    """A cell as its peers see it: exactly one Cassandra datacenter and its schedulers.

    ``contact_points`` are some of its nodes, of several racks: private addresses for the process's own
    region, WAN addresses for others. An agent has none.
    ``host_buckets`` is the number of ``host_view`` partitions: at least hosts / 256. It cannot be
    changed later. ``schedulers`` are base URLs of the scheduler processes.
    """

    name: str
    region: str
    datacenter: str
    contact_points: tuple[str, ...] = ()
    host_buckets: int = 16
    schedulers: tuple[str, ...] = ()
    replication: int = 3


class Keep(Struct, frozen=True, forbid_unknown_fields=True):
    """How long is kept what nobody needs for ever; raise it where auditors ask for more.

    ``ended_days``: instances that were deleted or failed, in lists. ``events_days``: the feed of
    events; a reader that was away longer must list again. ``history_days``: an instance's own events.
    """

    ended_days: int = 7
    events_days: int = 7
    history_days: int = 400

    @property
    def ended_s(self) -> int:
        return self.ended_days * _DAY_S

    @property
    def events_s(self) -> int:
        return self.events_days * _DAY_S

    @property
    def history_s(self) -> int:
        return self.history_days * _DAY_S

    @property
    def pulses_s(self) -> int:
        """As long as the events whose order they vouch for."""
        return self.events_s


class Cluster(Struct, frozen=True, forbid_unknown_fields=True):
    """What all processes of one deployment agree on.

    ``claim_lease_s``: how long a claim waits for its agent; raise it when agents are often away
    longer than this. It must outlive ``claim_deadline_s``, or a claim could lapse while its own
    claimer still tries. A write set that is still open ``writeset_timeout_s`` after its making is
    aborted by whoever meets it: raise it when write sets over a slow WAN are. The record of a decided
    one stays for ``record_retention_s`` when its coordinator did not delete it: longer than any
    coordinator waits for its own answer. ``work_shards`` partitions share the work rows of a cell: raise it above a
    thousand requests a second; it cannot be changed while requests are open. Each cell says every
    ``pulse_every_s`` that it is there; one that is silent for three of them is listed as cut off.
    Each API server and scheduler says every ``announce_every_s`` that it runs and where: that long others
    take to hear of a new one, and three times that long to call it silent.
    ``move_deadline_s``: how long a move of an instance may take that says nothing else; raise it where
    builds are slow.
    """

    deployment: str
    cells: tuple[Cell, ...]
    claim_lease_s: float = 120.0
    claim_deadline_s: float = 10.0
    work_shards: int = 2
    writeset_timeout_s: float = 5.0
    record_retention_s: float = 600.0
    keep: Keep = field(default_factory=Keep)
    pulse_every_s: float = 5.0
    announce_every_s: float = 10.0
    move_deadline_s: float = 600.0

    def cell(self, name: str) -> Cell:
        """The cell called ``name``; raises UnknownCell."""
        for cell in self.cells:
            if cell.name == name:
                return cell
        raise UnknownCell(
            f"Unknown cell {name!r}.",
            remedy="Known cells: " + ", ".join(sorted(c.name for c in self.cells)) + ".",
            cell=name,
        )


class Store(Struct, frozen=True, forbid_unknown_fields=True):
    """Connection to Cassandra. ``address_map``: WAN to private addresses of the own region.

    ``request_timeout_s`` bounds one statement; raise it on a WAN with RTTs over a second, and
    ``reach_timeout_s``, within which a node's socket opens: one RTT. Login included, a connection has
    ``connect_timeout_s``; one that fails is tried again after ``reconnect_s``. A connection on which a
    node acknowledges nothing of what it was sent for ``tcp_user_timeout_s`` is dead: the kernel sends
    lost packets again after ever longer pauses, which would outlast a cut. Keep it above a few RTTs.
    ``inflight_max`` statements to one cell are under way at once, and as many may wait for that; more
    are refused. 1024 keeps the 128 threads of each of a cell's nodes busy, over a WAN too, and what
    waits in memory small; the driver itself would take 32,768 for each node.
    """

    username: str
    password_file: Path
    address_map: dict[str, str] = {}
    request_timeout_s: float = 5.0
    connect_timeout_s: float = 10.0
    reach_timeout_s: float = 2.0
    reconnect_s: float = 0.5
    tcp_user_timeout_s: float = 3.0
    inflight_max: int = 1024


class Api(Struct, frozen=True, forbid_unknown_fields=True):
    """The HTTP API. ``wait_max_s`` bounds ``?wait=``; ``inflight_max`` requests are served at once,
    ``followers_max`` of them streams of events.
    """

    token_file: Path
    listen: str = "0.0.0.0"
    port: int = 8700
    advertise: str = ""
    advertise_wan: str = ""
    body_bytes_max: int = 1_048_576
    wait_max_s: float = 30.0
    inflight_max: int = 256
    page_max: int = 1000
    followers_max: int = 32


class Tls(Struct, frozen=True, forbid_unknown_fields=True):
    """Who this process is, by PEM files: its ``certificate`` and ``key``, and the authority ``ca`` whose
    certificates it believes. Schedulers and agents need it (placer.identity).
    """

    certificate: Path
    key: Path
    ca: Path


class Scheduler(Struct, frozen=True, forbid_unknown_fields=True):
    """Choosing and claiming.

    ``advertise`` is this process's base URL for others of its region, ``advertise_wan`` the one for
    other regions; the name service tells them. Agents connect to ``agents_port`` by TLS;
    ``agents_advertise`` is its URL, as wss://10.0.1.5:8890.
    ``sample_buckets`` partitions of ``host_view`` are read for a decision, in parallel; when nothing
    fits, more, up to ``buckets_max``. One of the ``pick_from`` best is picked at random: raise it
    when many schedulers collide. ``attempts_max`` bounds the tries of one request.
    ``decisions_max`` requests are decided at once, up to ``queue_max`` wait for their turn by
    priority; more are refused. ``parked_max`` wait here for room or for an agent.
    Every ``scan_every_s`` the cell's open requests are looked through, by one process or another; one older
    than ``stale_s`` that no process works on is taken over. After a start, requests up to ``horizon_s`` old
    are found: those of the last hour at once, older ones slowly.
    ``network_slice``: free addresses of a network that a host in use keeps, so that most claims find
    one; lower it where addresses are scarce. When a network has none left, up to
    ``network_donors_max`` hosts are asked for unused ones.
    ``settle_timeout_s`` bounds the settling of one row of a decided write set, in the background.
    At most ``moves_per_host_max`` instances leave a host at once that is drained or evacuated.
    Quotas are read again every ``quota_refresh_s``: that long a new one takes to be heeded.
    Changes of instances are listed by ``list_writers`` at once, each taking what waits: raise it on a
    slow store. ``list_queue_max`` may wait; more are refused, and agents bring them again. A build is
    listed as such when it takes longer than ``list_building_after_s``.
    An event that a webhook does not take within ``webhook_timeout_s`` is tried ``webhook_tries_max`` times
    in all, after ``webhook_retry_s`` first and then after twice as long each time, up to a minute.
    """

    listen: str = "0.0.0.0"
    port: int = 8790
    advertise: str = ""
    advertise_wan: str = ""
    agents_port: int = 8890
    agents_advertise: str = ""
    sample_buckets: int = 1
    buckets_max: int = 64
    pick_from: int = 12
    attempts_max: int = 8
    queue_max: int = 512
    decisions_max: int = 64
    parked_max: int = 1024
    scan_every_s: float = 2.0
    stale_s: float = 3.0
    horizon_s: float = 86_400.0
    host_queue_max: int = 256
    group_max: int = 64
    sweep_every_s: float = 15.0
    quota_refresh_s: float = 5.0
    agent_grace_s: float = 4.0
    background_writes_max: int = 1024
    view_writers: int = 16
    network_slice: int = 8
    network_donors_max: int = 8
    filters: tuple[str, ...] = ()
    weights: dict[str, float] = {}
    score_max: int = 48
    doubted_buckets_max: int = 16
    builds_per_host_max: int = 64
    build_failures_max: int = 5
    build_failures_forget_s: float = 600.0
    settle_timeout_s: float = 10.0
    moves_per_host_max: int = 4
    list_writers: int = 4
    list_queue_max: int = 4096
    list_building_after_s: float = 1.0
    webhook_tries_max: int = 8
    webhook_retry_s: float = 1.0
    webhook_timeout_s: float = 10.0


class Docker(Struct, frozen=True, forbid_unknown_fields=True):
    """The agent's ``docker`` driver: hosts whose instances are containers of one Docker Engine.

    ``hosts_file``: a JSON list that divides the machine into hosts (name, share of the machine, traits,
    aggregates; or inventories of its own); without it the machine is one host named like the agent.
    ``image`` is run for a claim that names none, with ``command`` instead of its own, if given.
    ``images``: an image of Placer -> what the engine calls it; others have the same name there. An
    image that is not on the machine is pulled within ``pull_timeout_s``, or refused when ``pull`` is false.
    ``networks``: a network of Placer -> the engine's network its addresses lie in; an instance whose
    claim holds no address has no network.
    ``cpus_unclaimed`` and ``memory_unclaimed_mib`` are what an instance may use whose claim holds no
    VCPU or MEMORY_MB; ``processes_max`` and ``log_mib_max`` bound every instance.
    ``call_timeout_s`` bounds one answer of the engine, ``calls_max`` are asked at once: raise it with
    ``builds_max``. A stopping instance has ``stop_timeout_s`` between SIGTERM and SIGKILL.
    """

    url: str = "unix:///var/run/docker.sock"
    hosts_file: Path | None = None
    image: str = ""
    command: tuple[str, ...] = ()
    images: dict[str, str] = {}
    networks: dict[str, str] = {}
    pull: bool = True
    pull_timeout_s: float = 300.0
    call_timeout_s: float = 30.0
    calls_max: int = 8
    stop_timeout_s: float = 5.0
    cpus_unclaimed: float = 0.1
    memory_unclaimed_mib: int = 64
    processes_max: int = 256
    log_mib_max: int = 4


class Agent(Struct, frozen=True, forbid_unknown_fields=True):
    """An agent process. ``driver`` names a driver of placer.agents.drivers.

    ``schedulers`` are the URLs for agents of its cell's schedulers: the way in; they tell it of others.

    ``sim_*`` configure the ``sim`` driver: the hosts it plays (a JSON file written by
    ``placer workload``), how long a build takes, and which share of the builds fails.

    ``builds_max`` claims are worked on at once: raise it when builds queue on an idle machine.
    ``answer_timeout_s`` bounds one answer of the scheduler and must exceed
    ``cluster.claim_deadline_s``; ``build_timeout_s`` bounds one build or destruction,
    ``command_timeout_s`` a start, stop or reboot.
    After a lost connection the agent waits up to twice ``reconnect_s``, so that the thousands of a
    scheduler that died do not come at once, and after each fruitless round of all schedulers
    ``reconnect_s`` (jittered; doubled from round to round, up to ``reconnect_max_s``); keep twice ``reconnect_s`` at
    half of ``scheduler.agent_grace_s`` or less, or a short interruption marks its hosts down.
    A connection must be made within ``connect_timeout_s``, doubled with each fruitless round up to
    ``connect_timeout_max_s``.
    """

    name: str
    journal_dir: Path
    schedulers: tuple[str, ...] = ()
    driver: str = "sim"
    sim_hosts_file: Path | None = None
    sim_build_s: float = 0.2
    sim_failure_rate: float = 0.0
    sim_seed: int = 0
    builds_max: int = 64
    report_batch: int = 64
    reconcile_every_s: float = 60.0
    reconnect_s: float = 1.0
    reconnect_max_s: float = 15.0
    connect_timeout_s: float = 5.0
    connect_timeout_max_s: float = 30.0
    answer_timeout_s: float = 15.0
    build_timeout_s: float = 600.0
    command_timeout_s: float = 60.0
    shutdown_grace_s: float = 8.0
    docker: Docker = field(default_factory=Docker)


class History(Struct, frozen=True, forbid_unknown_fields=True):
    """Histories for ``placer check``. Off when ``dir`` is not given."""

    dir: Path | None = None


class Telemetry(Struct, frozen=True, forbid_unknown_fields=True):
    """Spans for OpenTelemetry: off without ``otlp_endpoint``, the base URL of a collector (OTLP over HTTP).

    Sent every ``every_s``; of more than ``queue_max`` that wait the newest are dropped. One sending may
    take ``timeout_s``. Needs the package's extra ``telemetry``.
    """

    otlp_endpoint: str = ""
    queue_max: int = 2048
    every_s: float = 5.0
    timeout_s: float = 5.0


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything a process needs to know. ``process`` is its unique name, e.g. nyc1-scheduler-1.

    API servers and schedulers know each other by the token in ``service_token_file``; agents have none.
    """

    process: str
    cell: str
    cluster: Cluster
    service_token_file: Path | None = None
    tls: Tls | None = None
    store: Store | None = None
    api: Api | None = None
    scheduler: Scheduler = field(default_factory=Scheduler)
    agent: Agent | None = None
    history: History = field(default_factory=History)
    telemetry: Telemetry = field(default_factory=Telemetry)

    @property
    def home(self) -> Cell:
        return self.cluster.cell(self.cell)


def load(path: Path) -> Settings:
    """Settings from a TOML file; raises InvalidInput that names the file and what is wrong in it."""
    try:
        settings = msgspec.toml.decode(path.read_bytes(), type=Settings, dec_hook=_path)
    except OSError as error:
        raise InvalidInput(
            f"Cannot read the settings file {path}: {error.strerror}.",
            remedy="Give its path with --settings.",
        ) from error
    except msgspec.DecodeError as error:
        raise InvalidInput(
            f"The settings file {path} is wrong: {error}.",
            remedy="Compare it with docs/reference/settings.md.",
        ) from error
    check(settings)
    return settings


def _path(wanted: type, value: object) -> object:
    """Paths are strings in TOML; nothing else here needs help."""
    if wanted is Path and isinstance(value, str):
        return Path(value)
    raise msgspec.ValidationError(f"Expected `{wanted.__name__}`, got {value!r}")


def check(settings: Settings) -> None:
    """Relations between settings; raises InvalidInput."""
    cluster = settings.cluster
    problems = [
        (
            not _NAME.fullmatch(cell.name),
            f"cell name {cell.name!r}: use lower-case, digits, hyphens",
        )
        for cell in cluster.cells
    ]
    problems += [
        (len({c.name for c in cluster.cells}) != len(cluster.cells), "two cells have one name"),
        (
            cluster.claim_lease_s < 2 * cluster.claim_deadline_s,
            "cluster.claim_lease_s must be at least twice cluster.claim_deadline_s",
        ),
        (
            cluster.record_retention_s
            < 10 * max(cluster.claim_deadline_s, cluster.writeset_timeout_s),
            "cluster.record_retention_s must be at least ten times claim_deadline_s and "
            "writeset_timeout_s",
        ),
        (
            any(not 1 <= cell.host_buckets <= 4096 for cell in cluster.cells),
            "host_buckets must be 1 to 4096",
        ),
        (
            any(
                not 1 <= days <= _KEEP_DAYS_MAX
                for days in (
                    cluster.keep.ended_days,
                    cluster.keep.events_days,
                    cluster.keep.history_days,
                )
            ),
            f"cluster.keep.*_days must be 1 to {_KEEP_DAYS_MAX}",
        ),
        (
            not 1 <= cluster.pulse_every_s <= 60,
            "cluster.pulse_every_s must be 1 to 60",
        ),
        (
            not 1 <= cluster.announce_every_s <= 60,
            "cluster.announce_every_s must be 1 to 60",
        ),
        (
            min(settings.scheduler.list_writers, settings.scheduler.list_queue_max) < 1,
            "scheduler.list_writers and list_queue_max must be at least 1",
        ),
        (
            not 1 <= settings.scheduler.webhook_tries_max <= 20
            or not 0 < settings.scheduler.webhook_timeout_s <= 15,
            "scheduler.webhook_tries_max must be 1 to 20, webhook_timeout_s at most 15",
        ),
        (
            not 1 <= settings.scheduler.network_slice <= 256,
            "scheduler.network_slice must be 1 to 256",
        ),
        (
            not 0 <= settings.scheduler.network_donors_max <= 256,
            "scheduler.network_donors_max must be 0 to 256",
        ),
        (
            min(
                settings.scheduler.pick_from,
                settings.scheduler.sample_buckets,
                settings.scheduler.builds_per_host_max,
                settings.scheduler.build_failures_max,
            )
            < 1,
            "scheduler.pick_from, sample_buckets, builds_per_host_max and build_failures_max must be "
            "at least 1",
        ),
        (
            not 0.5 <= settings.scheduler.quota_refresh_s <= 60,
            "scheduler.quota_refresh_s must be 0.5 to 60",
        ),
        (
            settings.scheduler.score_max < settings.scheduler.pick_from,
            "scheduler.score_max must be at least scheduler.pick_from",
        ),
        (
            any(not -1000 <= factor <= 1000 for factor in settings.scheduler.weights.values()),
            "scheduler.weights must be -1000 to 1000",
        ),
        (
            settings.scheduler.sample_buckets > settings.scheduler.buckets_max,
            "scheduler.sample_buckets must not exceed scheduler.buckets_max",
        ),
        (
            not re.fullmatch(r"(https?://[^\s/?#]+[^\s?#]*)?", settings.telemetry.otlp_endpoint),
            "telemetry.otlp_endpoint must be a base URL, as http://collector:4318",
        ),
        (
            not 1 <= settings.telemetry.queue_max <= 65_536
            or not 0.1 <= settings.telemetry.every_s <= 60
            or not 0.1 <= settings.telemetry.timeout_s <= 60,
            "telemetry.queue_max must be 1 to 65536, every_s and timeout_s 0.1 to 60",
        ),
        (
            settings.store is not None
            and settings.store.request_timeout_s >= cluster.claim_deadline_s,
            "store.request_timeout_s must be below cluster.claim_deadline_s",
        ),
        (
            settings.store is not None
            and not 0 < settings.store.reach_timeout_s <= settings.store.connect_timeout_s,
            "store.reach_timeout_s must be above 0 and at most store.connect_timeout_s",
        ),
        (
            settings.store is not None and not 0.1 <= settings.store.tcp_user_timeout_s <= 3600,
            "store.tcp_user_timeout_s must be 0.1 to 3600",
        ),
        (
            settings.store is not None and any(not cell.contact_points for cell in cluster.cells),
            "each cell needs contact_points where there is a [store]",
        ),
        (
            settings.store is not None and not 16 <= settings.store.inflight_max <= 16_384,
            "store.inflight_max must be 16 to 16384",
        ),
    ]
    wrong = [text for bad, text in problems if bad]
    if wrong:
        raise InvalidInput("Settings contradict each other: " + "; ".join(wrong) + ".")
    cluster.cell(settings.cell)


def read_service_token(settings: Settings) -> str:
    """The secret that API servers and schedulers share; raises InvalidInput."""
    if settings.service_token_file is None:
        raise InvalidInput(
            "The settings have no service_token_file.",
            remedy="Name the file of the deployment's service token; only agents do without.",
        )
    return read_secret(settings.service_token_file)


def read_secret(path: Path) -> str:
    """Content of a secret's file without the newline; raises InvalidInput when it is not there."""
    try:
        secret = path.read_text().strip()
    except OSError as error:
        raise InvalidInput(
            f"Cannot read the secret {path}: {error.strerror}.",
            remedy="The playbook writes it; run it again.",
        ) from error
    if not secret:
        raise InvalidInput(f"The secret {path} is empty.", remedy="Delete it and deploy again.")
    redaction.remember(secret)
    return secret
