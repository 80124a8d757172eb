"""The journal: what it holds survives, and only one agent has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from placer.agents.journal import Entry, Journal, JournalError, Phase
from placer.errors import InvalidInput
from placer.model.messages import ClaimOrder
from placer.model.records import ClaimState


def lock(journal: Journal, *, locked: bool = True) -> None:
    """SQLite refuses every write, as it does when its disk is full or read-only."""
    journal._database.execute(f"PRAGMA query_only = {int(locked)}")


def order(claim: str, state: ClaimState = ClaimState.CLAIMED) -> ClaimOrder:
    return ClaimOrder(
        claim=claim, host="h1", consumer="i1", state=state, amounts={"VCPU": 1}, units={}
    )


async def test_what_was_put_is_there_after_a_restart(tmp_path: Path) -> None:
    """The last phase of each claim, with its order; forgotten claims are not there."""
    journal = Journal(tmp_path / "new" / "folder")
    await journal.put(order("c1"), Phase.BUILDING)
    await journal.put(order("c1"), Phase.BUILT)
    await journal.put(order("c2"), Phase.DESTROYING)
    await journal.put(order("c3"), Phase.BUILDING)
    await journal.forget("c3")
    await journal.forget("never heard of")
    held = dict(journal.entries)
    journal.close()
    again = Journal(tmp_path / "new" / "folder")
    assert again.entries == held
    assert held == {
        "c1": Entry(Phase.BUILT, order("c1")),
        "c2": Entry(Phase.DESTROYING, order("c2")),
    }
    assert again.phase("c1") is Phase.BUILT
    assert again.phase("c3") is None
    again.close()


def test_a_second_agent_is_refused(tmp_path: Path) -> None:
    """Two agents on one journal would both build; the second is told so."""
    first = Journal(tmp_path)
    with pytest.raises(InvalidInput, match="another agent"):
        Journal(tmp_path)
    first.close()
    Journal(tmp_path).close()


def test_a_damaged_journal_is_named(tmp_path: Path) -> None:
    """No traceback, but what to do."""
    (tmp_path / "journal.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(InvalidInput, match=r"damaged.*Move it away"):
        Journal(tmp_path)


async def test_a_disk_that_cannot_be_written(tmp_path: Path) -> None:
    """The words say what to do; memory and disk still agree, and it works again with room."""
    journal = Journal(tmp_path)
    await journal.put(order("c1"), Phase.BUILDING)
    lock(journal)
    with pytest.raises(JournalError, match=r"cannot be written.*No claim is built"):
        await journal.put(order("c2"), Phase.BUILDING)
    assert set(journal.entries) == {"c1"}
    lock(journal, locked=False)
    await journal.put(order("c2"), Phase.BUILDING)
    journal.close()
    again = Journal(tmp_path)
    assert set(again.entries) == {"c1", "c2"}
    again.close()
