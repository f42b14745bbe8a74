"""The benchmarks run, compare pair by pair, and can find what they look for. Nothing here judges a time."""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tools.bench import cli, mlflow_peer
from tools.bench.crash_audit import Audit, audit_driver
from tools.bench.crash_driver import plan_call
from tools.bench.harness import Calls, Setting, Side, Syncer, find_file_system, quantile, run_in_turns, time_calls
from tools.bench.results import Bound, Comparison, Result, encode_result, format_amount, format_result, pairs

REPOSITORY = Path(__file__).resolve().parents[2]
COMPARISON_COUNTS = {
    "scalar": 3,
    "batch50": 1,
    "short300": 2,
    "import": 4,
    "history": 3,
    "aligned": 4,
    "search": 8,
    "search-large": 10,
    "plugin": 1,
    "plugin-search": 1,
    "plugin-server": 2,
    "migrate": 3,
    "quota": 2,
    "size": 11,
    "crash": 20,
}
"""Workload → how many comparisons it makes without MLflow."""


# A push needs MLflow's server, which takes longer to start than all other workloads take in their tiny form.
@pytest.mark.parametrize("name", [name for name in cli.WORKLOADS if name not in {"push", *cli.PARTS}])
def test_workload_runs_and_prints_ratios(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.json"
    arguments = ["--workload", name, "--tiny", "--no-mlflow", "--dir", str(tmp_path), "--out", str(out)]

    assert cli.main(arguments) == 0

    text = capsys.readouterr().out
    assert text.startswith("python ")
    document = json.loads(out.read_text())
    (workload,) = document["workloads"]
    assert workload["workload"] == name
    comparisons = workload["comparisons"]
    assert len(comparisons) >= COMPARISON_COUNTS[name]
    assert any(comparison["unit"] == "ratio" for comparison in comparisons)
    assert any(comparison["bound"] is not None for comparison in comparisons)
    for comparison in comparisons:
        assert f"> {comparison['what']}: " in text
        assert all(math.isfinite(value) for value in comparison["values"])
    assert not [path.name for path in tmp_path.iterdir() if path != out], "the folder is left as it was"


def test_crash_loses_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = cli.main(["-w", "crash", "--tiny", "--json", "--check", "--dir", str(tmp_path)])

    (workload,) = json.loads(capsys.readouterr().out)["workloads"]
    assert not [comparison for comparison in workload["comparisons"] if not comparison["holds"]]
    assert code == 0


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="the peer is not installed")
def test_mlflow_takes_part(tmp_path: Path) -> None:
    command = [sys.executable, "tools/bench", "-w", "batch50", "--tiny", "--json", "--dir", str(tmp_path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    (workload,) = json.loads(done.stdout)["workloads"]
    assert "localtrack / mlflow, median a call" in [comparison["what"] for comparison in workload["comparisons"]]


def test_goes_on_without_mlflow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    result = Result("some", "thing")

    assert not mlflow_peer.use_mlflow(Setting(tmp_path), result)
    assert result.notes == ["MLflow is not installed: its side is left out"]


@pytest.mark.parametrize("command", [("-m", "tools.bench"), ("tools/bench",)])
def test_help_names_every_workload(command: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, *command, "--help"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )

    lines = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")]
    assert set(cli.WORKLOADS) <= set(lines)


def test_refuses_no_rounds(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--rounds", "0"])
    assert "0 is less than 1" in capsys.readouterr().err


@pytest.mark.parametrize(("limit", "arguments", "code"), [(1, ["--check"], 1), (3, ["--check"], 0), (1, [], 0)])
def test_check_tells_a_missed_bound(
    limit: float, arguments: list[str], code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def run(setting: Setting) -> Result:
        return Result("scalar", "", comparisons=[Comparison("ours / theirs", "ratio", [2.0], Bound(limit))])

    monkeypatch.setattr(cli, "load_workload", lambda name: SimpleNamespace(SUMMARY="", run=run))

    assert cli.main(["-w", "scalar", "--dir", str(tmp_path), *arguments]) == code


def test_sides_take_turns() -> None:
    order: list[str] = []

    def side(name: str, every: int = 1) -> Side[float]:
        def turn() -> float:
            order.append(name)
            return float(len(order))

        return Side(name, turn, every)

    turns = run_in_turns([side("a"), side("b"), side("slow", every=2)], 3)

    assert order == ["a", "b", "slow", "a", "b", "a", "b", "slow"]
    assert turns == {"a": {0: 1, 1: 4, 2: 6}, "b": {0: 2, 1: 5, 2: 7}, "slow": {0: 3, 2: 8}}
    assert pairs(turns, "slow", "a") == [(3, 1), (8, 6)]


def test_ratios_are_taken_pair_by_pair() -> None:
    turns = {"ours": {0: 1.0, 1: 30.0, 2: 5.0}, "floor": {0: 2.0, 1: 20.0, 2: 10.0}}
    result = Result("some", "thing")

    result.add_ratio("time", turns, "ours", "floor", Bound(0.6))
    result.add_difference("time", turns, "ours", "floor")
    result.add_ratio("time", turns, "ours", "absent")

    ratio, difference = result.comparisons
    assert ratio.values == [0.5, 1.5, 0.5]
    assert (ratio.median, ratio.holds) == (0.5, True), "the ratio of the medians is another number: 0.5 of 10"
    assert difference.values == [-1.0, 10.0, -5.0]


def test_result_shows_bound_and_verdict() -> None:
    result = Result("some", "thing", notes=["so it is"])
    result.comparisons = [
        Comparison("low / floor", "ratio", [0.4, 0.5, 0.7], Bound(0.45)),
        Comparison("high / floor", "ratio", [0.8], Bound(0.7, at_least=True)),
    ]

    assert format_result(result).splitlines() == [
        "some: thing",
        "  > low / floor: 0.5  (0.4 to 0.7, 3 rounds)  [bound: at most 0.45; MISSED]",
        "  > high / floor: 0.8  [bound: at least 0.7; holds]",
        "  note: so it is",
    ]
    low, high = encode_result(result)["comparisons"]
    assert (low["median"], low["holds"], high["median"], high["holds"]) == (0.5, False, 0.8, True)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0000012, "s", "1.2 us"),
        (0.0306, "s", "30.6 ms"),
        (-0.002, "s", "-2 ms"),
        (0.0, "s", "0 us"),
        (12345.6, "1/s", "12346 a second"),
        (3, "count", "3"),
        (0.00123, "ratio", "0.00123"),
    ],
)
def test_amounts_are_readable(value: float, unit: str, text: str) -> None:
    assert format_amount(value, unit) == text


def test_quantile_is_a_value_that_was_seen() -> None:
    values = list(range(1, 1001))

    assert [quantile(values, share) for share in (0.0, 0.5, 0.99, 0.999, 1.0)] == [1, 500, 990, 999, 1000]
    assert quantile([7], 0.999) == 7


def test_every_call_is_timed() -> None:
    seen: list[tuple[str, int]] = []

    calls = time_calls(lambda value, step: seen.append((value, step)), ["a", "b"], first_step=5)

    assert seen == [("a", 5), ("b", 6)]
    assert len(calls.starts) == len(calls.durations) == 2
    assert calls.starts[0] + calls.durations[0] <= calls.starts[1]


def test_syncer_tells_which_calls_it_met() -> None:
    syncer = Syncer(lambda: None)
    syncer.spans = [(100, 200), (300, 400)]
    calls = Calls(starts=[10, 90, 150, 210, 250, 400, 500], durations=[5, 20, 10, 20, 100, 1, 1])

    assert syncer.met(calls) == [20, 10, 100, 1]


def test_syncer_runs_until_left_and_passes_a_failure_on() -> None:
    ran = threading.Event()
    with Syncer(ran.set) as syncer:
        assert ran.wait(timeout=30)
    assert syncer.spans

    def fail() -> None:
        ran.set()
        raise OSError("disk full")

    ran.clear()
    with pytest.raises(OSError, match="disk full"), Syncer(fail):
        assert ran.wait(timeout=30)


def test_file_system_is_that_of_the_innermost_mount(tmp_path: Path) -> None:
    inner = tmp_path.resolve() / "with space"
    inner.mkdir()
    mounts = tmp_path / "mounts"
    escaped = str(inner).replace(" ", "\\040")
    mounts.write_text(f"/dev/a / ext4 rw 0 0\nserver:/x {escaped} nfs4 rw 0 0\n/dev/b /elsewhere xfs rw 0 0\n")

    assert find_file_system(inner, mounts) == "nfs4"
    assert find_file_system(tmp_path, mounts) == "ext4"
    assert find_file_system(tmp_path, tmp_path / "none") == "unknown"


class ShownStore:
    """A store that shows what a driver with prefix "d0" logged in its first calls, and what a test changes of it."""

    def __init__(self, call_count: int) -> None:
        self.points: list[dict[str, Any]] = []
        self.params: dict[str, str] = {"d1.param5": "of another driver"}
        self.tags: dict[str, str] = {"mlflow.user": "ada"}
        self.findings: list[SimpleNamespace] = []
        for number in range(call_count):
            call = plan_call(number, "d0")
            self.points += [{"key": key, "step": number, "value": value} for key, value in call.metrics.items()]
            self.params |= call.params
            self.tags |= call.tags

    def metric_history(self, run_id: str) -> SimpleNamespace:
        return SimpleNamespace(to_pylist=lambda: self.points)

    def get_run(self, run_id: str) -> SimpleNamespace:
        return SimpleNamespace(data=SimpleNamespace(params=self.params, tags=self.tags))

    def describe_run(self, run_id: str) -> SimpleNamespace:
        return SimpleNamespace(findings=self.findings)

    def audit(self, acknowledged_count: int) -> Audit:
        audit = Audit()
        audit_driver(self, "some run", "d0", acknowledged_count, audit)
        return audit


@pytest.mark.parametrize("shown_count", [20, 21], ids=["interrupted call gone", "interrupted call there"])
def test_audit_passes_a_sound_store(shown_count: int) -> None:
    audit = ShownStore(shown_count).audit(20)

    assert (audit.lost, audit.doubled, audit.wrong, audit.findings) == (0, 0, 0, set())
    # 20 calls, of which 3, 10 and 17 log three points each.
    assert audit.acknowledged == 17 + 3 * 3


def test_audit_finds_what_was_lost() -> None:
    store = ShownStore(20)
    store.points.pop()
    del store.params["d0.param5"]
    del store.tags["d0.tag15"]

    audit = store.audit(20)

    assert (audit.lost, audit.doubled, audit.wrong) == (3, 0, 0)


def test_audit_finds_what_is_doubled_wrong_or_was_never_logged() -> None:
    store = ShownStore(22)  # one call more than a kill can leave
    store.points.append(dict(store.points[0]))
    store.params["d0.param5"] = "something else"
    store.findings.append(SimpleNamespace(key="runs/x", what="damaged line"))

    audit = store.audit(20)

    assert (audit.lost, audit.doubled, audit.wrong, audit.findings) == (0, 1, 2, {"runs/x: damaged line"})


def test_driver_logs_every_kind_of_record() -> None:
    calls = [plan_call(number, "d0") for number in range(20)]

    assert {bool(call.params) for call in calls} == {bool(call.tags) for call in calls} == {True, False}
    assert {len(call.metrics) for call in calls} == {0, 1, 3}
