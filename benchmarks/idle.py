"""What an idle `s2d run --forever` costs: a minute of waiting with 1,000 files in the folder.

    python -m benchmarks.idle [--files 1000] [--seconds 60] [--poll 10]

Prints the share of one core, the peak and growth of memory, and what one poll takes; exits with 1 over
1 % of a core or 1 MiB of growth.  The baseline in the same run is the same process asleep.
"""

import argparse
import contextlib
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psutil

from s2d_loop.clock import SystemClock
from s2d_loop.config import SourceConfig
from s2d_loop.ledger import Ledger
from s2d_loop.report.progress import SilentProgress
from s2d_loop.sources import open_source
from s2d_loop.stages import Run, wait_for_inputs
from s2d_loop.store import LocalStore

MAX_SHARE = 0.01
MAX_GROWTH = 1 << 20


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--poll", type=float, default=10.0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(args.files):
            rows = (json.dumps({"prompt": f"question {number} {row}"}) + "\n" for row in range(10))
            Path(folder, f"{number:06d}.jsonl").write_text("".join(rows))
        time.sleep(2.5)  # files so young are left alone
        source = open_source(SourceConfig(task="t", type="directory", path=folder, name="in"))
        cursor = source.read(None, 10 * args.files).cursor
        asleep = _cost(lambda: time.sleep(args.seconds))
        run = _run(source, cursor, args, Path(folder, ".run"))
        waiting = _cost(lambda: _wait(run, args.seconds))
        started = time.process_time()
        source.read(cursor, 1)
        poll = time.process_time() - started
    print(f"{args.files} files, a look every {args.poll:g} s, {args.seconds:g} s")
    print(f"asleep    {asleep[0]:.3%} of a core, memory {asleep[1] / 2**20:+.2f} MiB")
    print(f"waiting   {waiting[0]:.3%} of a core, memory {waiting[1] / 2**20:+.2f} MiB")
    print(f"a look    {poll * 1e3:.1f} ms")
    print(f"peak      {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:.0f} MiB")
    return int(waiting[0] > MAX_SHARE or waiting[1] > MAX_GROWTH)


class _Enough(Exception):  # noqa: N818
    """The minute is over."""


def _run(source: Any, cursor: Any, args: argparse.Namespace, folder: Path) -> Any:
    settings = {"min_inputs": 1, "inputs_per_iteration": 1, "max_wait_s": 1e9, "poll_s": args.poll}
    ledger = Ledger(LocalStore(str(folder)), SystemClock())
    ledger.take_lease()
    ledger.append("stage", attempt=ledger.attempt(1, "intake"), facts={"cursors": {"in": cursor}})
    return SimpleNamespace(
        config=SimpleNamespace(run=SimpleNamespace(**settings)),
        clock=SystemClock(),
        sources=(source,),
        ledger=ledger,
        progress=SilentProgress(),
        safe_point=lambda: None,
    )


def _wait(run: Any, seconds: float) -> None:
    until = time.monotonic() + seconds

    def safe_point() -> None:
        if time.monotonic() > until:
            raise _Enough

    run.safe_point = safe_point
    with contextlib.suppress(_Enough):
        wait_for_inputs(cast(Run, run), 2)


def _cost(work: Any) -> tuple[float, int]:
    """The share of a core and the growth of memory while `work` goes on."""
    process = psutil.Process()
    memory, used, began = process.memory_info().rss, time.process_time(), time.monotonic()
    work()
    share = (time.process_time() - used) / (time.monotonic() - began)
    return share, process.memory_info().rss - memory


if __name__ == "__main__":
    sys.exit(main())
