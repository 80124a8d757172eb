"""Stories: what is wrong in one sentence, then the few steps that show it, in order.

A step names who did what, at which revision, with which amounts. Nothing else is told: a host's
whole history is in the files, and a reader wants to know where to look.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from placer.checker.replayer import Problem
from placer.checker.verdict import Kind
from placer.history import Operation, Write, WriteOutcome
from placer.model.records import Record


class Touch(Struct, frozen=True):
    """A write and what it made of one claim: ``record``, or None where it took it away."""

    write: Write
    before: Record | None
    record: Record | None


def story(headline: str, steps: Sequence[str] = ()) -> str:
    """One text that ends in a full stop."""
    if not steps:
        return f"{headline}."
    return f"{headline}: {'; '.join(f'({n}) {step}' for n, step in enumerate(steps, 1))}."


def touches(writes: Iterable[Write], claim: str, until: int | None = None) -> list[Touch]:
    """What ``writes`` did to a claim, in their order, up to revision ``until``."""
    found: list[Touch] = []
    before: Record | None = None
    for write in writes:
        if until is not None and write.next > until:
            break
        record = next((r for r in write.put if r.id == claim), None)
        if record is None and claim not in write.drop:
            continue
        found.append(Touch(write, before, record))
        before = record
    return found


def of_problem(where: str, problem: Problem, writes: Sequence[Write]) -> str:
    """The story of a broken bound on the row ``where``; ``writes`` are its chain."""
    headline = f"On {where}, after revision {problem.rev}{_by(writes, problem.rev)}"
    headline = f"{headline}: {problem.words}" if not problem.claims else headline
    chosen: list[Touch] = []
    for claim in problem.claims:
        chosen += _that_matter(problem, touches(writes, claim, problem.rev))
    if not chosen:
        return story(headline)
    chosen.sort(key=lambda touch: touch.write.next)
    return story(f"{headline}, {problem.words}", [words(touch) for touch in chosen])


def _that_matter(problem: Problem, all_: list[Touch]) -> list[Touch]:
    """The fewest touches of one claim that show the problem."""
    if problem.kind is Kind.DOUBLE_BOOKING:
        grown = [
            t for t in all_ if t.record and (not t.before or _took(t.before) != _took(t.record))
        ]
        return grown[-1:]
    if problem.kind is Kind.RESURRECTED:
        gone = [n for n, touch in enumerate(all_[:-1]) if touch.record is None]
        return [all_[0], *(all_[n] for n in gone[-1:]), all_[-1]] if gone else all_[-1:]
    return all_[-2:]


def _took(record: Record) -> object:
    return record.amounts, record.units


def words(touch: Touch) -> str:
    """One step."""
    write, record, before = touch.write, touch.record, touch.before
    if record is None:
        claim = before.id if before else next(iter(write.drop))
        did = f"took claim {claim} away"
    elif before is None:
        did = (
            f"put claim {record.id} of request {record.request} ({amounts(record)}), {record.state}"
        )
    else:
        did = f"made claim {record.id} {_changed(before, record)}"
    if record is not None and record.tag:
        did = f"{did}, tagged {record.tag}"
    return f"revision {write.next}, {write.process} {did}{_doubt(write)}"


def _changed(before: Record, record: Record) -> str:
    if _took(before) != _took(record):
        return f"{amounts(record)} instead of {amounts(before)}, {record.state}"
    return str(record.state)


def _doubt(write: Write) -> str:
    if write.outcome is WriteOutcome.REFUSED:
        return " and was refused"
    return "" if write.outcome is WriteOutcome.APPLIED else " and never had its answer"


def amounts(record: Record) -> str:
    """What a claim takes: ``3 of VCPU, 512 of MEMORY_MB``, with the devices that give it."""
    parts = []
    for name, amount in sorted(record.amounts.items()):
        devices = ", ".join(f"{given} from {d}" for d, given in record.units.get(name, {}).items())
        parts.append(f"{-amount} of {name}" + (f" ({devices})" if devices else ""))
    return ", ".join(parts) or "nothing"


def put(write: Write) -> str:
    """What a write did to the claims of its row, in short."""
    claims = [f"put claim {r.id} ({amounts(r)})" for r in write.put if r.is_claim]
    claims += [f"took {gone} away" for gone in write.drop]
    if not claims:
        claims = ["wrote what the host offers" if write.put else f"wrote that it is {write.status}"]
    more = len(claims) - 2
    return " and ".join(claims[:2]) + (f" and {more} more" if more > 0 else "")


def told(operation: Operation) -> str:
    """What a client asked and heard."""
    where = f" in region {operation.region}" if operation.region else ""
    asked = f"operation {operation.number} ({operation.kind}"
    if operation.request:
        asked += f" of request {operation.request}"
    heard = operation.outcome.value + (f", {operation.stage}" if operation.stage else "")
    if operation.rev:
        heard += f", at the request's revision {operation.rev}"
    if operation.code:
        heard += f", {operation.code}"
    return f"client {operation.process}{where} was told of its {asked}): {heard}"


def _by(writes: Sequence[Write], rev: int) -> str:
    process = next((write.process for write in writes if write.next == rev), "")
    return f" (written by {process})" if process else ""
