"""``python -m chaos``: faults and load on a running deployment, by a seed; 0 when every promise held.

cd tests; python -m chaos --deployment demo --run-dir ../.demo          # 20 short cycles
python -m chaos ... --seed 1234                                         # the same plan again
python -m chaos ... --hours 2 --long                                    # as long as there is patience
python -m chaos ... --kind partition --kind kill-api --plan             # say what would be done
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

from chaos import inject, plan
from chaos.run import Options, Record, run, write
from client import Api
from deployment import Deployment
from faults import Cluster, FaultError, clocks

CYCLES = 20
CYCLES_MAX = 100_000


def main() -> int:
    asked = _parser().parse_args()
    seed = asked.seed if asked.seed is not None else random.SystemRandom().randrange(2**32)
    run_dir = asked.run_dir.resolve()
    deployment = Deployment(asked.deployment, run_dir, 0)
    cluster = Cluster(deployment)
    options = Options(
        seed=seed,
        cycles=CYCLES_MAX if asked.hours else asked.cycles,
        clients=asked.clients,
        kinds=tuple(asked.kind),
        long=asked.long,
        within_s=asked.within,
        seconds=asked.hours * 3600,
    )
    # So that what is broken is healed, and clients end, also at the end of somebody's patience.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print(f"seed {seed}; to repeat: --seed {seed}", flush=True)
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:5.0f} s] {text}", flush=True)

    try:
        if asked.plan:
            site = inject.site(cluster)
            for cycle in plan.cycles(
                seed, site, asked.cycles, kinds=options.kinds, long=options.long
            ):
                print(json.dumps(plan.story(cycle)))
            return 0
        for what in cluster.heal():
            say(f"an earlier run left: {what}")
        # Built from a package the first time: not in the middle of a cycle.
        clocks.library(cluster.cache)
        say(f"whole after {cluster.wait_healthy():.0f} s")
        os.environ["PLACER_TEST_HISTORY"] = str(histories(run_dir))
        record = run(cluster, Api(deployment, deployment.secret("api_token")), options, say)
    except (FaultError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    finally:
        if not asked.plan:
            cluster.heal()
    out = asked.out or run_dir / "parts" / "chaos.json"
    write(record, out)
    tell(record)
    print(f"the record: {out}")
    return 1 if record.broken else 0


def histories(run_dir: Path) -> Path:
    """An empty folder for what the clients of this run record (tests/client.py)."""
    folder = run_dir / "chaos" / "clients"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def tell(record: Record) -> None:
    """The table of kinds, and what did not hold."""
    print(
        f"\n{'fault':<32} {'cycles':>6} {'longest s':>10} {'elsewhere s':>12} {'failed there':>13}"
    )
    for row in record.faults:
        failed = f"{row['elsewhere_failed']}/{row['elsewhere_claims']}"
        print(
            f"{row['kind']:<32} {row['cycles']:>6} {row['longest_s']:>10.2f} "
            f"{row['elsewhere_longest_s']:>12.2f} {failed:>13}"
        )
    total = sum(sum(by.values()) for by in record.operations.values())
    print(
        f"\n{record.cycles} cycles in {record.seconds:.0f} s, {total} operations, "
        f"{record.violations} violations; placer check: {record.checked.get('verdict', 'did not run')}"
    )
    for one in record.broken:
        print(f"broken: {one}")
    if record.broken:
        print(f"to repeat: --seed {record.seed}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--deployment", default="demo")
    parser.add_argument("--run-dir", type=Path, default=Path(".demo"))
    parser.add_argument("--seed", type=int, help="repeat the plan of a run by what it printed")
    parser.add_argument("--cycles", type=int, default=CYCLES)
    parser.add_argument("--hours", type=float, default=0.0, help="as many cycles as fit")
    parser.add_argument("--clients", type=int, default=2, help="threads a cell")
    parser.add_argument("--kind", action="append", default=[], help="only this fault; repeat")
    parser.add_argument(
        "--within", type=float, default=5.0, help="seconds until a claim succeeds after a heal (5)"
    )
    parser.add_argument(
        "--long", action="store_true", help="also what takes its time: nodes, zombies, full disks"
    )
    parser.add_argument("--plan", action="store_true", help="print the plan and do nothing")
    parser.add_argument("--out", type=Path, help="where the record goes (parts/chaos.json)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
