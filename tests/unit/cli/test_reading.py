"""The commands that only read: runs, show, history, experiments."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.unit.cli.conftest import NASTY_NAME, Invoke, Place

from localtrack.api.store import Store
from localtrack.errors import NotFoundError
from localtrack.store.runs import RunReport
from localtrack.types import RunRow


def names(lines: str) -> list[str]:
    """Return the names in the second column of a table of runs."""
    return [line.split()[1] for line in lines.splitlines()[1:]]


def test_runs_lists_what_is_not_deleted_latest_first(first_place: Place, invoke: Invoke) -> None:
    answer = invoke("runs", "--store", first_place.path)
    assert answer.exit_code == 0
    assert answer.stderr == ""
    ids = first_place.ids
    assert [line.split()[0] for line in answer.stdout.splitlines()[1:]] == [
        ids.silent,
        ids.dead,
        ids.nasty,
        ids.better,
        ids.good,
    ]


def test_runs_cannot_steer_the_terminal(first_place: Place, invoke: Invoke) -> None:
    table = invoke("runs", "--store", first_place.path).stdout
    assert "\x1b" not in table
    assert r"red\x1b[31m\nname 漢字" in table
    assert len(table.splitlines()) == 6


def test_runs_filter_order_and_count(first_place: Place, invoke: Invoke) -> None:
    answer = invoke(
        "runs", "metrics.loss < 2 AND params.optimizer = 'adam'", "-o", "metrics.loss ASC", "--store", first_place.path
    )
    assert names(answer.stdout) == ["better", "good"]
    answer = invoke("runs", "metrics.loss < 2", "-o", "metrics.loss", "-n", 1, "--store", first_place.path)
    assert names(answer.stdout) == ["better"]
    assert answer.stderr == "Only the first 1 runs are shown; --max shows more.\n"


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ([], {"good", "better", "dies"}),
        (["--deleted"], {"gone"}),
        (["--all"], {"good", "better", "gone", "dies"}),
    ],
)
def test_runs_of_an_experiment_and_a_stage(
    first_place: Place, invoke: Invoke, options: list[str], shown: set[str]
) -> None:
    answer = invoke("runs", "-e", "team/a", *options, "--store", first_place.path)
    assert set(names(answer.stdout)) == shown
    assert "EXPERIMENT" not in answer.stdout


def test_experiments_of_runs_are_named_by_id_too_and_add_up(first_place: Place, invoke: Invoke) -> None:
    with first_place.open() as store:
        other = store.get_experiment_by_name("other")
    assert other is not None
    one = invoke("runs", "-e", other.experiment_id, "--json", "--store", first_place.path)
    assert [run["run_name"] for run in one.documents] == [NASTY_NAME]
    two = invoke("runs", "-e", other.experiment_id, "-e", "team/a", "--json", "--store", first_place.path)
    assert len(two.documents) == 5


def test_runs_show_chosen_columns(first_place: Place, invoke: Invoke) -> None:
    answer = invoke("runs", "-c", "tags.team", "-c", "metrics.odd", "--store", first_place.path, "run_name = 'better'")
    assert answer.stdout.splitlines()[0].split()[-2:] == ["team", "odd"]
    assert answer.stdout.splitlines()[1].split()[-2:] == ["a", "NaN"]


def test_runs_tell_the_living_from_the_dead(place: Place, invoke: Invoke) -> None:
    with place.open() as store, store.start_run("team/a", run_name="goes-on", context=False) as run:
        answer = invoke("runs", "--json", "--store", place.path)
    found = {document["run_id"]: document for document in answer.documents}
    assert found[run.run_id]["liveness"] == "alive"
    assert found[place.ids.dead]["liveness"] == "dead"
    assert found[place.ids.silent]["liveness"] == "silent"
    assert found[place.ids.silent]["silent_since_ms"] > found[place.ids.silent]["start_time_ms"] - 60_000
    assert found[place.ids.good]["liveness"] == "ended"
    table = invoke("runs", "--store", place.path).stdout
    assert "RUNNING (dead)" in table
    assert "RUNNING (silent " in table


def test_a_run_that_vanishes_after_the_search_hides_no_other(
    place: Place, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = Store.describe_run

    def describe(store: Store, run_id: str) -> RunReport:
        if run_id == place.ids.dead:
            raise NotFoundError("It is gone.")
        return described(store, run_id)

    monkeypatch.setattr(Store, "describe_run", describe)
    found = {d["run_id"]: d for d in invoke("runs", "--json", "--store", place.path).documents}
    assert (found[place.ids.dead]["liveness"], found[place.ids.dead]["silent_since_ms"]) == ("silent", None)
    assert len(found) == 5
    assert "RUNNING (silent)" in invoke("runs", "--store", place.path).stdout


def test_runs_without_a_match_say_so_on_stderr_alone(first_place: Place, invoke: Invoke) -> None:
    answer = invoke("runs", "run_name = 'nobody'", "--store", first_place.path)
    assert (answer.exit_code, answer.stdout, answer.stderr) == (0, "", "No runs match.\n")
    answer = invoke("runs", "run_name = 'nobody'", "--json", "--store", first_place.path)
    assert (answer.exit_code, answer.stdout, answer.stderr) == (0, "", "")


def test_runs_as_json_are_what_the_store_says(first_place: Place, invoke: Invoke) -> None:
    (document,) = invoke("runs", "run_name = 'better'", "--json", "--store", first_place.path).documents
    with first_place.open() as store:
        row: RunRow = store.describe_run(first_place.ids.better).row
    assert document["run_id"] == row.info.run_id
    assert document["experiment_name"] == "team/a"
    assert document["start_time_ms"] == row.info.start_time
    assert document["duration_ms"] == document["end_time_ms"] - document["start_time_ms"]
    assert document["params"] == {"lr": "0.01", "optimizer": "adam"}
    assert document["tags"]["note"] == "first\nsecond"
    assert document["metrics"]["loss"] == {
        "value": 0.25,
        "step": 1,
        "timestamp_ms": 1_700_000_000_001,
        "min": 0.25,
        "max": 2.0,
        "count": 2,
    }
    assert document["metrics"]["odd"]["value"] == "NaN"
    assert document["metrics"]["far"]["value"] == "Infinity"


def test_show_prints_all_of_a_run(first_place: Place, invoke: Invoke) -> None:
    answer = invoke("show", first_place.ids.good, "--store", first_place.path)
    assert answer.exit_code == 0
    lines = answer.stdout.splitlines()
    assert lines[0] == f"Run:          {first_place.ids.good}"
    assert "Name:         good" in lines
    assert "Status:       FINISHED" in lines
    # Last, step of the last, least, greatest, count.
    assert "  loss     1     2  0.5    3      3" in lines
    assert "  optimizer  adam" in lines
    assert r"  note            first\nsecond" in lines
    assert any(line.split() == ["notes/hello.txt", "5", "B"] for line in lines)


def test_show_says_since_when_a_run_is_silent(first_place: Place, invoke: Invoke) -> None:
    text = invoke("show", first_place.ids.silent, "--store", first_place.path).stdout
    assert "Status:       RUNNING (silent " in text
    assert "Silent since: 2" in text
    text = invoke("show", first_place.ids.dead, "--store", first_place.path).stdout
    assert "Status:       RUNNING (dead)" in text
    assert "Silent since" not in text


def test_show_says_that_a_run_is_deleted(first_place: Place, invoke: Invoke) -> None:
    text = invoke("show", first_place.ids.deleted, "--store", first_place.path).stdout
    assert "Stage:        deleted" in text


def test_show_as_json_has_artifacts_and_findings(first_place: Place, invoke: Invoke) -> None:
    document = invoke("show", first_place.ids.good, "--json", "--store", first_place.path).document
    assert document["artifacts"] == [
        {"path": "notes", "is_dir": True, "size_bytes": None},
        {"path": "notes/hello.txt", "is_dir": False, "size_bytes": 5},
    ]
    assert document["findings"] == []


def test_show_lists_so_many_artifacts_and_says_that_there_are_more(place: Place, invoke: Invoke) -> None:
    with place.open() as store, store.start_run(context=False) as run:
        for number in range(101):
            run.log_text("", f"{number:03d}.txt")
    text = invoke("show", run.run_id, "--store", place.path).stdout
    assert "099.txt" in text
    assert "100.txt" not in text
    assert text.splitlines()[-1] == "  … and more; --json lists all"
    assert len(invoke("show", run.run_id, "--json", "--store", place.path).document["artifacts"]) == 101


@pytest.mark.parametrize(
    ("path", "lines"),
    [
        ([], ["PATH             SIZE", "notes/", "notes/hello.txt   5 B"]),
        (["notes"], ["PATH             SIZE", "notes/hello.txt   5 B"]),
        (["notes/"], ["PATH             SIZE", "notes/hello.txt   5 B"]),
        (["notes/hello.txt"], ["PATH             SIZE", "notes/hello.txt   5 B"]),
    ],
)
def test_artifacts_are_listed(first_place: Place, invoke: Invoke, path: list[str], lines: list[str]) -> None:
    answer = invoke("artifacts", first_place.ids.good[:12], *path, "--store", first_place.path)
    assert [line.rstrip() for line in answer.stdout.splitlines()] == lines


@pytest.mark.parametrize(("path", "copied"), [([], ""), (["notes"], "notes"), (["notes/hello.txt"], "notes/hello.txt")])
def test_artifacts_are_copied(first_place: Place, invoke: Invoke, tmp_path: Path, path: list[str], copied: str) -> None:
    to = tmp_path / "new" / "folder"
    answer = invoke("artifacts", first_place.ids.good, *path, "--to", to, "--store", first_place.path)
    assert answer.stderr == f"Copied to {to / copied}.\n"
    assert (to / "notes" / "hello.txt").read_text() == "hello"
    again = invoke("artifacts", first_place.ids.good, *path, "--to", to, "--store", first_place.path, "--json")
    assert again.document == {"path": str(to / copied)}


@pytest.mark.parametrize("more", [[], ["--to", "copies"]])
@pytest.mark.parametrize("path", ["nothing", "notes/nothing", "nothing/at/all"])
def test_an_artifact_that_is_not_there(first_place: Place, invoke: Invoke, path: str, more: list[str]) -> None:
    answer = invoke("artifacts", first_place.ids.good, path, *more, "--store", first_place.path)
    assert answer.exit_code == 3
    assert "no artifact" in answer.stderr
    assert not Path("copies").exists()


def test_a_run_without_artifacts(first_place: Place, invoke: Invoke) -> None:
    answer = invoke("artifacts", first_place.ids.nasty, "--store", first_place.path)
    assert (answer.exit_code, answer.stdout) == (0, "")
    assert answer.stderr == f"Run {first_place.ids.nasty} has no artifacts.\n"


def test_history_prints_the_points_in_order(first_place: Place, invoke: Invoke) -> None:
    answer = invoke("history", first_place.ids.good, "loss", "--store", first_place.path)
    cells = [line.split() for line in answer.stdout.splitlines()]
    assert cells[0] == ["STEP", "TIME", "VALUE"]
    assert [(line[0], line[-1]) for line in cells[1:]] == [("0", "3.0"), ("1", "0.5"), ("2", "1.0")]


def test_history_of_all_metrics_names_them(first_place: Place, invoke: Invoke) -> None:
    answer = invoke("history", first_place.ids.better, "--json", "--store", first_place.path)
    points = [(point["key"], point["step"], point["value"]) for point in answer.documents]
    assert points == [("far", 0, "Infinity"), ("loss", 0, 2.0), ("loss", 1, 0.25), ("odd", 0, "NaN")]
    table = invoke("history", first_place.ids.better, "--store", first_place.path).stdout
    assert [line.split()[0] for line in table.splitlines()] == ["KEY", "far", "loss", "loss", "odd"]


def test_a_long_history_has_its_titles_once(place: Place, invoke: Invoke) -> None:
    with place.open() as store, store.start_run(context=False) as run:
        for step in range(10_050):
            run.log_metric("x", 0.5, step=step)
    lines = invoke("history", run.run_id, "--store", place.path).stdout.splitlines()
    assert len(lines) == 10_051
    assert sum("VALUE" in line for line in lines) == 1
    assert [line.split()[1] for line in lines[1:]] == [str(step) for step in range(10_050)]


def test_history_of_an_unknown_metric_names_the_known_ones(first_place: Place, invoke: Invoke) -> None:
    answer = invoke("history", first_place.ids.better, "los", "--store", first_place.path)
    assert answer.exit_code == 2
    assert answer.stdout == ""
    assert answer.stderr.endswith("has no metric 'los'. It has far, loss, odd.\n")


def test_history_of_a_run_without_metrics(first_place: Place, invoke: Invoke) -> None:
    answer = invoke("history", first_place.ids.nasty, "--store", first_place.path)
    assert (answer.exit_code, answer.stdout, answer.stderr) == (0, "", "The run has no metrics.\n")
    answer = invoke("history", first_place.ids.nasty, "x", "--store", first_place.path)
    assert answer.exit_code == 2
    assert "It has no metrics." in answer.stderr


def test_experiments_are_listed_by_stage_and_prefix(place: Place, invoke: Invoke) -> None:
    with place.open() as store:
        gone = store.create_experiment("team/gone", tags={"why": "test"})
        store.delete_experiment(gone)

    def found(*options: str) -> set[str]:
        return {e["name"] for e in invoke("experiments", *options, "--json", "--store", place.path).documents}

    assert found() == {"Default", "team/a", "other"}
    assert found("--prefix", "team/") == {"team/a"}
    assert found("--prefix", "team/", "--all") == {"team/a", "team/gone"}
    (document,) = invoke("experiments", "--deleted", "--json", "--store", place.path).documents
    assert document["experiment_id"] == gone
    assert document["lifecycle_stage"] == "deleted"
    assert document["tags"] == {"why": "test"}
    table = invoke("experiments", "--all", "--store", place.path).stdout.splitlines()
    assert table[0].split() == ["EXPERIMENT", "ID", "NAME", "STAGE", "CREATED"]
    assert len(table) == 5


def test_no_experiments_say_so(first_place: Place, invoke: Invoke) -> None:
    answer = invoke("experiments", "--prefix", "x", "--store", first_place.path)
    assert (answer.exit_code, answer.stdout, answer.stderr) == (0, "", "No experiments match.\n")


def test_reading_writes_nothing_into_the_store(place: Place, invoke: Invoke) -> None:
    def files() -> dict[str, tuple[int, int]]:
        found = [path for path in place.path.rglob("*") if path.is_file()]
        return {os.fspath(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in found}

    before = files()
    for arguments in (["runs"], ["show", place.ids.good], ["history", place.ids.good], ["experiments"], ["env"]):
        assert invoke(*arguments, "--store", place.path).exit_code == 0
    assert files() == before


def test_damage_is_a_warning_that_names_the_file(place: Place, invoke: Invoke) -> None:
    (log,) = Path(place.path).glob(f"runs/*/{place.ids.good}/*.jsonl")
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([lines[0], b"\x00damaged\n", *lines[1:]]))
    for command in (["runs"], ["show", place.ids.good]):
        answer = invoke(*command, "--store", place.path)
        assert answer.exit_code == 0
        assert "good" in answer.stdout
        assert answer.stderr.startswith(f"Warning: {log.relative_to(place.path)}: ")
    document = invoke("show", place.ids.good, "--json", "--store", place.path).document
    assert document["findings"][0]["key"] == str(log.relative_to(place.path))


def test_a_metric_of_several_runs_stands_side_by_side(place: Place, invoke: Invoke) -> None:
    arguments = ("history", place.ids.good, "loss", "--with", place.ids.better, "--store", place.path)
    answer = invoke(*arguments)
    assert answer.exit_code == 0, answer.stderr
    assert answer.stdout.split() == [
        *("STEP", place.ids.good, place.ids.better),
        *("0", "3.0", "2.0"),
        *("1", "0.5", "0.25"),
        *("2", "1.0", "-"),
    ]
    documents = invoke(*arguments, "--by", "time", "--interval", 1, "--json").documents
    assert documents[0] == {"timestamp_ms": 1_700_000_000_000, place.ids.good: 3.0, place.ids.better: 2.0}
    assert "2023-11-14" in invoke(*arguments, "--by", "time").stdout
    assert invoke("history", place.ids.good, "--with", place.ids.better, "--store", place.path).exit_code == 2
    assert invoke("history", place.ids.good, "--by", "time", "--store", place.path).exit_code == 2
    missing = invoke("history", place.ids.good, "nothing", "--with", place.ids.better, "--store", place.path)
    assert missing.exit_code == 2
    assert "has no metric 'nothing'" in missing.stderr


def test_a_history_can_be_thinned_out(place: Place, invoke: Invoke) -> None:
    with place.open() as store, store.start_run(context=False) as run:
        for step in range(100):
            run.log_metric("loss", step % 7, step=step)
    lines = invoke("history", run.run_id, "loss", "--max-points", 10, "--json", "--store", place.path).documents
    assert 4 <= len(lines) <= 10
    assert [lines[0]["step"], lines[-1]["step"]] == [0, 99]


def test_experiments_are_listed_like_a_directory(place: Place, invoke: Invoke) -> None:
    answer = invoke("experiments", "/", "--store", place.path)
    assert answer.exit_code == 0, answer.stderr
    lines = answer.stdout.splitlines()
    assert [line.split() for line in lines[:3]] == [["FOLDER", "EXPERIMENTS"], ["team/", "1"], []]
    assert lines[3].startswith("EXPERIMENT ID")
    assert {line.split()[1] for line in lines[4:]} == {"Default", "other"}
    documents = invoke("experiments", "/", "--json", "--store", place.path).documents
    assert documents[0] == {"folder": "team", "experiments_count": 1}
    assert [d["name"] for d in invoke("experiments", "team/", "--json", "--store", place.path).documents] == ["team/a"]
    assert "No experiments match" in invoke("experiments", "/nothing", "--store", place.path).stderr
    assert invoke("experiments", "team", "--prefix", "team", "--store", place.path).exit_code == 2
