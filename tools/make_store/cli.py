"""The command line of the generator."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tools.make_store.shapes import Shape
from tools.make_store.store_writer import write_index_only, write_store


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.make_store",
        description="Make a store of many runs: 20 params, 10 tags and 15 metrics of one point each, over some days "
        "and eight experiments. The same options give the same runs. Run folders are real and whole: about 100 µs and "
        "two inodes each. With --index-only the index has all runs and their folders are not there: that measures "
        "searches of a million runs, and nothing else; do not log to such a store.",
    )
    parser.add_argument("path", type=Path, help="a folder that is not there yet")
    parser.add_argument("--runs", type=int, default=10_000, help="how many (default: 10000)")
    parser.add_argument("--sparse-keys", type=int, default=0, help="so many more metric keys; each run has ten of them")
    parser.add_argument("--days", type=int, default=120, help="how many days they spread over (default: 120)")
    parser.add_argument("--active", type=int, default=0, help="so many runs, the last ones, have not ended")
    parser.add_argument("--inbox-files", type=int, default=0, help="so many runs leave an inbox file each")
    parser.add_argument("--index-only", action="store_true", help="write the index, and no run folders")
    parser.add_argument("--seed", type=int, default=1, help="of all values (default: 1)")
    parser.add_argument("--quiet", action="store_true", help="say nothing")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Make a store and say what it took."""
    parser = build_parser()
    chosen = parser.parse_args(arguments)
    if chosen.path.exists():
        parser.error(f"{chosen.path} is there already")
    if chosen.index_only and (chosen.active or chosen.inbox_files):
        parser.error("--index-only goes with neither --active nor --inbox-files")
    if 0 < chosen.sparse_keys < 10:
        parser.error("--sparse-keys: at least 10")
    shape = Shape(chosen.runs, sparse_keys_count=chosen.sparse_keys, days_count=chosen.days, seed=chosen.seed)
    start_s = time.perf_counter()

    def progress(done: int) -> None:
        if not chosen.quiet and (done % 5_000 == 0 or done == chosen.runs):
            print(f"\r{done} of {chosen.runs} runs", end="", file=sys.stderr, flush=True)

    if chosen.index_only:
        write_index_only(chosen.path, shape, progress=progress)
    else:
        write_store(
            chosen.path,
            shape,
            active_count=chosen.active,
            inbox_files_count=chosen.inbox_files,
            progress=progress,
        )
    if not chosen.quiet:
        print(f"\n{chosen.path}: {chosen.runs} runs in {time.perf_counter() - start_s:.1f} s", file=sys.stderr)
    return 0
