"""The command line of the benchmarks."""

from __future__ import annotations

import argparse
import importlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from tools.bench.harness import Setting, describe_environment
from tools.bench.processes import ensure_localtrack
from tools.bench.results import Result, encode_result, format_result

WORKLOADS = {
    "scalar": "scalar",
    "batch50": "batch50",
    "short300": "short300",
    "short-jobs": "short_jobs",
    "import": "startup",
    "history": "history",
    "aligned": "aligned",
    "migrate": "migrate",
    "search": "search",
    "search-large": "search_large",
    "plugin": "plugin_calls",
    "plugin-search": "plugin_search",
    "plugin-server": "plugin_server",
    "size": "size",
    "push": "push",
    "quota": "quota",
    "crash": "crash",
}
"""Name on the command line → module, which has `SUMMARY` and `run(setting)`."""

PARTS = frozenset({"short-jobs"})
"""Parts of other workloads (of search-large), run by themselves only where they are named."""

EXIT_BOUND_MISSED = 1


def load_workload(name: str) -> ModuleType:
    """Return the module of a workload."""
    return importlib.import_module(f"tools.bench.{WORKLOADS[name]}")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    summaries = "\n".join(f"  {name:<13} {load_workload(name).SUMMARY}" for name in WORKLOADS)
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench",
        description="Measure localtrack beside a floor of plain files and beside MLflow on SQLite, in turns.\n"
        "Ratios are the result: the sides of one ran in the same round.\n\nworkloads:\n" + summaries,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--workload",
        "-w",
        action="append",
        choices=[*WORKLOADS],
        help="run only this one; may be given again (default: all; short-jobs is a part of search-large)",
    )
    parser.add_argument("--rounds", type=_positive, help="turns of each side (default: as each workload finds right)")
    parser.add_argument("--kills", type=_positive, default=50, help="how many processes crash kills (default: 50)")
    parser.add_argument("--seed", type=int, default=12, help="of made-up values and moments to kill at (default: 12)")
    parser.add_argument("--dir", type=Path, help="measure on this folder's file system (default: the temporary folder)")
    parser.add_argument("--no-mlflow", action="store_true", help="leave MLflow's side out")
    parser.add_argument("--tiny", action="store_true", help="only try that everything runs: the numbers mean nothing")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.add_argument("--out", type=Path, help="also write the results to this file, as JSON")
    parser.add_argument("--check", action="store_true", help=f"exit with {EXIT_BOUND_MISSED} if a bound is missed")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen workloads and print what they found."""
    parser = build_parser()
    chosen = parser.parse_args(arguments)
    if chosen.dir is not None and not chosen.dir.is_dir():
        parser.error(f"--dir: {chosen.dir} is no folder")
    ensure_localtrack()
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="localtrack-bench-", dir=chosen.dir) as place:
        environment = describe_environment(Path(place))
        if not chosen.json:
            print(", ".join(f"{name} {value}" for name, value in environment.items()), flush=True)
        for name in chosen.workload or [name for name in WORKLOADS if name not in PARTS]:
            folder = Path(place).resolve() / name
            folder.mkdir()
            setting = Setting(
                folder=folder,
                rounds=chosen.rounds,
                tiny=chosen.tiny,
                with_mlflow=not chosen.no_mlflow,
                kills=chosen.kills,
                seed=chosen.seed,
            )
            result = load_workload(name).run(setting)
            results.append(result)
            if not chosen.json:
                print("\n" + format_result(result), flush=True)
    document = json.dumps(
        {"environment": environment, "tiny": chosen.tiny, "workloads": [encode_result(result) for result in results]},
        indent=2,
    )
    if chosen.json:
        print(document)
    if chosen.out is not None:
        chosen.out.write_text(document + "\n", encoding="utf-8")
    missed = [comparison for result in results for comparison in result.comparisons if not comparison.holds]
    return EXIT_BOUND_MISSED if chosen.check and missed else 0


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number
