"""The report for people: on a terminal with colour, elsewhere the same as plain text."""

from __future__ import annotations

from collections import defaultdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from placer.report.parts import Times
from placer.report.report import Report

#: Columns where there is no terminal to ask.
WIDTH_PLAIN = 100


def console() -> Console:
    """Where to print. Rich leaves colour out for NO_COLOR and where there is no terminal."""
    probe = Console()
    return probe if probe.is_terminal else Console(width=WIDTH_PLAIN)


def show(report: Report, to: Console) -> None:
    """Print ``report`` on ``to``: what was asked, what it took, what is proved."""
    _cluster(report, to)
    _requests(report, to)
    _latencies(report, to)
    _special(report, to)
    _booked(report, to)
    _times(report, to)
    _proof(report, to)


def _head(title: str, to: Console) -> None:
    to.print()
    to.print(Text(title, style="bold"))


def _table(*columns: str) -> Table:
    """The first column is words, the others are numbers."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number else "left", no_wrap=True)
    return table


def _cluster(report: Report, to: Console) -> None:
    _head(f"Cassandra: {report.nodes_up} of {len(report.nodes)} nodes up", to)
    racks: dict[str, list[str]] = defaultdict(list)
    for node in report.nodes:
        racks[node.dc].append(f"{node.name} {node.status}")
    for datacenter, nodes in sorted(racks.items()):
        to.print(Text(f"  {datacenter}:  " + "   ".join(nodes)))
    if report.wan_backend != "none":
        to.print(Text(f"  WAN delay by {report.wan_backend}"))


def _requests(report: Report, to: Console) -> None:
    _head(f"Requests: {report.requests:,} on {report.hosts:,} hosts", to)
    table = _table("", "requests")
    table.add_row("placed", f"{report.placed:,}")
    causes = report.refused_because or report.refused
    for cause, count in sorted(causes.items(), key=lambda item: -item[1]):
        table.add_row(f"refused: {cause}", f"{count:,}")
    for code, count in report.error_codes.items():
        table.add_row(Text(f"error: {code}", style="red"), f"{count:,}")
    to.print(table)
    if report.by_kind:
        kinds = (
            f"{kind.replace('_', ' ')} {tally.placed:,} of {tally.requests:,}"
            for kind, tally in report.by_kind.items()
        )
        to.print(Text("placed by kind: " + ", ".join(kinds)))
    conflicts = report.conflicts_per_success
    to.print(
        Text(
            f"{report.claims_per_second:g} claims/s in {report.replay_seconds:.0f} s by "
            f"{report.concurrency} clients; conflicts per success: "
            + ("-" if conflicts is None else f"{conflicts:.3f}")
        )
    )


def _latencies(report: Report, to: Console) -> None:
    _head("Time of a claim, ms", to)
    table = _table("from > to", "RTT", "p50", "p95", "p99", "claims")
    table.add_row("own cell", "", *_spread(report.local_ms))
    for cell, times in report.local_by_cell.items():
        table.add_row(f"  {cell}", "", *_spread(times))
    for pair in report.cross_cell:
        times = Times(pair.p50, pair.p95, pair.p99, pair.count)
        table.add_row(f"{pair.from_cell} > {pair.to_cell}", _number(pair.rtt_ms), *_spread(times))
    to.print(table)


def _special(report: Report, to: Console) -> None:
    race, burst = report.race, report.burst
    if race or burst:
        _head("At one instant", to)
    if race:
        to.print(
            Text(
                f"  race: {race.contenders} requests from all regions for the last unit of "
                f"{race.host}: {race.winners} won",
                style="" if race.winners == 1 else "bold red",
            )
        )
    if burst:
        to.print(
            Text(
                f"  burst: {burst.requests} requests on {burst.host}: {burst.placed} placed in "
                f"{burst.seconds:.2f} s, {burst.claims_per_second:g} claims/s"
            )
        )


def _booked(report: Report, to: Console) -> None:
    _head("Booked share of the capacity", to)
    classes = sorted({name for shares in report.booked.values() for name in shares})
    table = _table("region", *classes)
    for region, shares in report.booked.items():
        table.add_row(region, *(f"{shares[n]:.1%}" if n in shares else "-" for n in classes))
    to.print(table)


def _times(report: Report, to: Console) -> None:
    seconds = report.seconds
    steps = {
        "image": seconds.image,
        "cluster": seconds.cluster,
        "services": seconds.services,
        "replay": seconds.replay,
        "total": seconds.total,
    }
    known = [f"{name} {value:.0f} s" for name, value in steps.items() if value is not None]
    if known:
        _head("Time taken: " + ", ".join(known), to)


def _proof(report: Report, to: Console) -> None:
    good = report.verdict == "passed"
    _head("Proof", to)
    to.print(
        Text(
            f"  {report.verdict}: {report.double_bookings} double bookings in "
            f"{report.revisions_checked:,} host revisions; {report.violations} violations",
            style="bold green" if good else "bold red",
        )
    )
    claims = report.claims
    to.print(
        Text(
            f"  {claims.acknowledged:,} claims acknowledged: {claims.built:,} built, "
            f"{claims.pending:,} pending, {claims.released:,} released, "
            f"{claims.expired:,} expired, {claims.lost:,} lost"
        )
    )
    if report.stories:
        to.print(Text("  " + min(report.stories, key=len), style="red"))


def _spread(times: Times) -> tuple[str, str, str, str]:
    return _number(times.p50), _number(times.p95), _number(times.p99), f"{times.count:,}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
