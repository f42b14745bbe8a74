"""What of a store is pushed where not all of it is wanted: runs by time, some points, some artifacts, dead runs."""

from __future__ import annotations

import dataclasses
import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from localtrack import Store
from localtrack.cli import app
from localtrack.errors import InvalidInputError
from tests.sync.comparison import compare_store
from tests.sync.front import Answer, Front, Request
from tests.sync.stand_in import StandIn
from tests.sync.stores import START_MS, make_store

DAY_MS = 86_400_000


def points_of(stand_in: StandIn, key: str = "loss") -> list[tuple[int, float]]:
    """Return step and value of each point of the only run."""
    (run,) = stand_in.runs.values()
    return [(step, value) for _, step, value in run["points"][key]]


def test_runs_are_chosen_by_the_time_of_their_start(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        for day in range(4):
            start_ms = START_MS + day * DAY_MS
            with store.start_run("e", run_name=f"day {day}", start_time=start_ms, context=False):
                pass
        with store.start_run("e", run_name="today", context=False):
            pass

    def chosen(*arguments: str) -> list[str]:
        command = ["sync", "--to", "http://127.0.0.1:9", "--store", str(tmp_path / "store"), "--dry-run", "--json"]
        answer = CliRunner().invoke(app, [*command, *arguments])
        assert answer.exit_code == 0, answer.output
        return [f"{json.loads(answer.stdout)['plan']['runs']} runs"]

    # START_MS is 2023-11-14 22:13:20 UTC.
    assert chosen() == ["5 runs"]
    assert chosen("--since", "2023-11-15") == ["4 runs"]
    assert chosen("--since", "2023-11-15", "--until", "2023-11-17") == ["2 runs"]
    assert chosen("--since", "2023-11-15T22:13:20Z") == ["4 runs"]
    assert chosen("--until", "2023-11-15T22:13:20+00:00") == ["1 runs"]
    assert chosen("--until", "2023-11-15T22:13:20+01:00") == ["1 runs"]
    assert chosen("--since", "1h") == ["1 runs"]
    assert chosen("--until", "1h") == ["4 runs"]
    refused = CliRunner().invoke(
        app, ["sync", "--to", "http://x", "--store", str(tmp_path / "store"), "--since", "soon"]
    )
    assert (refused.exit_code, "--since takes a time such as" in refused.output) == (2, True)
    with Front(StandIn()) as front, Store.open(tmp_path / "store") as store:
        report = store.sync(front.url, since_ms=START_MS + DAY_MS, until_ms=START_MS + 2 * DAY_MS)
        assert [run.outcome for run in report.runs] == ["sent"]


def test_runs_are_chosen_by_filter_experiment_id_and_status(tmp_path: Path) -> None:
    with Front(StandIn()) as front, make_store(tmp_path / "store", points=3) as store:
        ids = {row.info.run_name: row.info.run_id for row in store.search_runs()}

        def sent(**options: Any) -> set[str]:
            report = store.sync(front.url, prefix=f"{options}/", **options)
            assert report.is_complete
            chosen = {run.run_id for run in report.runs}
            assert compare_store(front.url, store, prefix=f"{options}/", run_ids=chosen) == []
            return {name for name, run_id in ids.items() if run_id in chosen}

        assert sent(statuses=["FAILED"]) == {"failed"}
        assert sent(experiment_names=["elsewhere"]) == {"failed"}
        assert sent(filter_string="metrics.loss = 0.5") == {"child 0", "child 1"}
        assert sent(run_ids=[ids["failed"], ids["child 1"]]) == {"failed", "child 1"}
        assert sent(filter_string="metrics.loss = 0.5", run_ids=[ids["child 1"]]) == {"child 1"}
        with pytest.raises(InvalidInputError):
            sent(statuses=["DONE"])


def test_requests_keep_below_a_megabyte_and_can_be_compressed(tmp_path: Path) -> None:
    """A run whose params and tags would be 1.4 MB together, and points with long names."""
    with Store.open(tmp_path / "store") as store:
        with store.start_run("e", context=False) as run:
            run.log_params({f"p{number}": "x" * 6000 for number in range(100)})
            run.set_tags({f"t{number}": "y" * 8000 for number in range(100)})
            for step in range(30):
                run.log_metrics({f"{'k' * 240} {number}": 0.5 for number in range(100)}, step=step)
        store.flush()
        stand_in = StandIn()
        with Front(stand_in) as front:
            assert store.sync(front.url).is_complete
            assert compare_store(front.url, store) == []
            sizes = [len(request.body) for request in front.requests if request.path.endswith("log-batch")]
            assert 800_000 < max(sizes) < 1_000_000

        def unpack(request: Request) -> Answer:
            body = request.body
            if request.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            return stand_in(dataclasses.replace(request, body=body))

        with Front(unpack) as front:
            assert store.sync(front.url, prefix="packed/", compress=True).is_complete
            assert compare_store(front.url, store, prefix="packed/") == []
            batches = [request for request in front.requests if request.path.endswith("log-batch")]
            assert all(request.headers["content-encoding"] == "gzip" for request in batches)
            assert sum(len(request.body) for request in batches) < sum(sizes) / 10


@pytest.mark.parametrize("appends_duplicates", [False, True])
def test_a_run_that_grows_keeps_to_the_most_points(tmp_path: Path, appends_duplicates: bool) -> None:
    """Each push sends what fits; nothing twice, evenly spread, and the ends and extremes once the run has ended."""
    stand_in = StandIn(appends_duplicates=appends_duplicates)
    with Front(stand_in) as front, Store.open(tmp_path / "store") as store:
        with store.start_run("thin", context=False) as run:
            for part in range(4):
                for step in range(part * 250, part * 250 + 250):
                    value = {333: -7.0, 778: 99.0}.get(step, step / 1000)
                    run.log_metric("loss", value, step=step, timestamp=START_MS + step)
                    run.log_metric("few", step, step=step // 200, timestamp=START_MS + step // 200)
                report = store.sync(front.url, max_points=100)
                assert report.is_complete, report
                steps = [step for step, _ in points_of(stand_in)]
                assert len(steps) == len(set(steps))
        report = store.sync(front.url, max_points=100)
        assert report.is_complete, report
        sent = dict(points_of(stand_in))
        assert len(sent) == len(points_of(stand_in))
        # 1,000 points at most 100 of which: each 16th. What was sent while it was shorter stays: each 4th of the first.
        assert set(range(0, 1000, 16)) <= sent.keys()
        assert sent.keys() - {333, 778, 999} <= set(range(0, 1000, 4))
        assert (sent[333], sent[778], sent[999]) == (-7.0, 99.0, 0.999)
        assert store.sync(front.url, max_points=100).runs == []
        assert store.metric_history(run.run_id, "loss").num_rows == 1000
        assert store.sync(front.url).is_complete
        assert compare_store(front.url, store) == []


def test_thinning_leaves_short_metrics_alone(tmp_path: Path) -> None:
    stand_in = StandIn(appends_duplicates=True)
    with Front(stand_in) as front, Store.open(tmp_path / "store") as store:
        with store.start_run("thin", context=False) as run:
            for step in range(90):
                run.log_metric("short", step, step=step, timestamp=START_MS + step)
                run.log_metrics({"long": step}, step=step, timestamp=START_MS + step)
                run.log_metrics({"long": step}, step=step + 1000, timestamp=START_MS + step)
        store.sync(front.url, max_points=100)
        assert len(points_of(stand_in, "short")) == 90
        assert len(points_of(stand_in, "long")) in range(90, 94)
        with pytest.raises(InvalidInputError, match="max_points >= 2"):
            store.sync(front.url, max_points=1)
        with pytest.raises(InvalidInputError, match="every >= 1"):
            store.sync(front.url, every=0)


def test_artifacts_are_chosen_by_globs_and_size(tmp_path: Path) -> None:
    stand_in = StandIn()
    names = ("a.txt", "model/weights.bin", "model/deep/notes.md", "näme with spaces.txt", "big.bin")
    with Front(stand_in) as front, Store.open(tmp_path / "store") as store:
        with store.start_run("e", context=False) as run:
            for name in names:
                run.log_text(name * (1000 if name == "big.bin" else 1), name)

        def there() -> set[str]:
            return {path.partition("/artifacts/")[2] for path in stand_in.artifacts}

        report = store.sync(front.url, artifacts=["model/*"], exclude_artifacts=["*.md"])
        assert (there(), report.artifacts_sent) == ({"model/weights.bin"}, 1)
        assert sorted(line.partition(": ")[2] for line in report.left_out) == [
            "a.txt: not among those chosen",
            "big.bin: not among those chosen",
            "model/deep/notes.md: excluded",
            "näme with spaces.txt: not among those chosen",
        ]
        plan = store.sync(front.url, max_artifact_bytes=1000, dry_run=True).plan
        assert plan is not None
        assert plan["artifacts"] == 4
        report = store.sync(front.url, max_artifact_bytes=1000)
        assert (there(), report.artifacts_sent) == (set(names) - {"big.bin"}, 3)
        assert [line.partition(": ")[2] for line in report.left_out] == ["big.bin: larger than 1000 bytes"]
        assert store.sync(front.url, skip_artifacts=True).artifacts_sent == 0
        assert store.sync(front.url).artifacts_sent == 1
        assert {path.partition("/artifacts/")[2]: content for path, content in stand_in.artifacts.items()} == {
            name: (name * (1000 if name == "big.bin" else 1)).encode() for name in names
        }
        assert store.sync(front.url).runs == []


def test_runs_whose_process_died_are_left_or_killed(tmp_path: Path) -> None:
    script = (
        "import os, sys, localtrack\n"
        "store = localtrack.Store.open(sys.argv[1])\n"
        "run = store.start_run('e', run_name=sys.argv[2], context=False)\n"
        f"run.log_metric('loss', 0.5, step=1, timestamp={START_MS})\n"
        "os._exit(9)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "store"), "dead"], check=False, timeout=120)
    stand_in = StandIn(appends_duplicates=True)

    def statuses() -> dict[str, str]:
        return {run["info"]["run_name"]: run["info"]["status"] for run in stand_in.runs.values()}

    with Front(stand_in) as front, Store.open(tmp_path / "store") as store:
        with store.start_run("e", run_name="alive", context=False) as alive:
            assert store.sync(front.url).is_complete
            assert statuses() == {"dead": "RUNNING", "alive": "RUNNING"}
            assert store.sync(front.url, dead_runs="killed").is_complete
            assert statuses() == {"dead": "KILLED", "alive": "RUNNING"}
            killed = next(run for run in stand_in.runs.values() if run["info"]["run_name"] == "dead")
            assert killed["info"]["end_time"] >= killed["info"]["start_time"]
            # What is as it was is asked for by nobody: a watch looks every few seconds.
            front.reset()
            report = store.sync(front.url, dead_runs="killed")
            assert (front.requests, report.unchanged_count) == ([], 2)
            alive.log_metric("loss", 1.0, step=1, timestamp=START_MS)
            assert store.sync(front.url, dead_runs="killed").count("sent") == 1
            # It is the store that knows: there the run still has no end.
            dead_id = next(row.info.run_id for row in store.search_runs() if row.info.run_name == "dead")
            assert store.get_run(dead_id).info.status == "RUNNING"
            # Somebody goes on with it.
            with store.start_run(run_id=dead_id) as run:
                run.log_metric("loss", 0.25, step=2, timestamp=START_MS)
                assert store.sync(front.url, dead_runs="killed").is_complete
                assert statuses() == {"dead": "RUNNING", "alive": "RUNNING"}
        assert store.sync(front.url, dead_runs="killed").is_complete
        assert statuses() == {"dead": "FINISHED", "alive": "FINISHED"}
        assert compare_store(front.url, store) == []
        with pytest.raises(InvalidInputError, match="dead_runs='gone'"):
            store.sync(front.url, dead_runs="gone")


def test_runs_of_other_hosts_are_killed_when_they_are_silent_for_long(tmp_path: Path) -> None:
    """A login node cannot see the processes of compute nodes: by choice silence counts, until the run goes on."""
    stand_in = StandIn(appends_duplicates=True)
    now_ms = 0
    with Front(stand_in) as front, Store.open(tmp_path / "store") as store:
        with store.start_run("e", context=False) as run:
            run.log_metric("loss", 0.5, step=1, timestamp=START_MS)
            (log,) = (tmp_path / "store" / "runs").glob("*/*/*.jsonl")
            shutil.copytree(tmp_path / "store", tmp_path / "elsewhere")
            (copied,) = (tmp_path / "elsewhere" / "runs").glob("*/*/*.jsonl")
            first, _, rest = log.read_bytes().partition(b"\n")
            header = json.loads(first)
            header[1].update({"host": "node17", "boot": "0" * 32})
            copied.write_bytes(json.dumps(header).encode() + b"\n" + rest)
        with Store.open(tmp_path / "elsewhere") as other:
            other._site.clock = lambda: now_ms  # type: ignore[method-assign]
            written_ms = copied.stat().st_mtime_ns // 1_000_000

            def push_at(ms: int) -> tuple[str, int]:
                nonlocal now_ms
                now_ms = written_ms + ms
                report = other.sync(front.url, dead_runs="killed", dead_after_ms=3_600_000)
                assert report.is_complete, report
                (run,) = stand_in.runs.values()
                return run["info"]["status"], report.requests_count

            assert push_at(1000)[0] == "RUNNING"
            assert push_at(3_500_000) == ("RUNNING", 0)
            assert push_at(3_600_001)[0] == "KILLED"
            assert push_at(3_700_000) == ("KILLED", 0)
            with copied.open("ab") as sink:  # it was alive after all
                sink.write(rest.splitlines(keepends=True)[-1] if rest.endswith(b"\n") else b"")
            written_ms = copied.stat().st_mtime_ns // 1_000_000
            assert push_at(1000)[0] == "RUNNING"
        with pytest.raises(InvalidInputError, match="dead_after_ms has no meaning"):
            store.sync(front.url, dead_after_ms=1)
