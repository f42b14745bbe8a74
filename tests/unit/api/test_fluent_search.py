"""The fluent search, where it is not as in MLflow or MLflow cannot be asked. The rest: tests/conformance."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

import localtrack
from localtrack.errors import InvalidInputError


@pytest.fixture
def runs(folder: Path) -> list[str]:
    """Names of three runs of the experiment `a`, latest first; one run of Default."""
    with localtrack.start_run(run_name="in Default"):
        pass
    localtrack.set_experiment("a")
    for number in range(3):
        with localtrack.start_run(run_name=f"a{number}"):
            localtrack.log_metric("m", number)
    return ["a2", "a1", "a0"]


def names(**arguments: object) -> list[str]:
    found = localtrack.search_runs(output_format="list", order_by=["metrics.m DESC"], **arguments)  # type: ignore[call-overload]
    return [run.info.run_name for run in found]


def test_one_experiment_may_be_given_without_a_list(runs: list[str]) -> None:
    assert names(experiment_ids=localtrack.get_experiment_by_name("a").experiment_id) == runs
    assert names(experiment_ids="0") == ["in Default"]
    assert names(experiment_names="Default") == ["in Default"]
    with localtrack.Store.open("ltruns") as store:
        for given in ({"experiment_names": "a"}, {"experiment_ids": store.get_experiment_by_name("a").experiment_id}):
            found = [row.info.run_name for row in store.search_runs(**given, order_by=["metrics.m DESC"])]
            assert found == runs
            assert sorted(row.info.run_name for page in store.iter_runs(**given) for row in page) == sorted(runs)
        with pytest.raises(InvalidInputError, match="list of texts"):
            store.search_runs(experiment_ids=5)  # type: ignore[arg-type]


@pytest.mark.parametrize(("asked", "count"), [(1, 1), (3, 3), (60_000, 3), (None, 3)])
def test_as_many_as_asked_for(runs: list[str], asked: int | None, count: int) -> None:
    assert names(max_results=asked) == runs[:count]
    assert len(localtrack.search_runs(max_results=asked)) == count


@pytest.mark.parametrize("asked", [0, -1, 1.5, "3"])
def test_a_count_that_is_none_is_refused(runs: list[str], asked: object) -> None:
    with pytest.raises(InvalidInputError):
        names(max_results=asked)


def test_damage_is_told_and_hides_no_other_run(runs: list[str], caplog: pytest.LogCaptureFixture) -> None:
    # Before the first search: of a run that has ended, searches remember what it came to.
    (log,) = (log for log in Path("ltruns/runs").glob("*/*/*.jsonl") if b'"a1"' in log.read_bytes())
    log.write_bytes(log.read_bytes().replace(b'"m"', b'"\xff"'))
    with caplog.at_level(logging.WARNING, "localtrack"):
        assert set(names()) >= {"a2", "a0"}
    assert log.name in caplog.text


def test_an_unknown_format_is_refused_before_searching(runs: list[str]) -> None:
    with pytest.raises(InvalidInputError, match="csv") as caught:
        localtrack.search_runs(filter_string="nonsense", output_format="csv")  # type: ignore[call-overload]
    assert "pandas" in caught.value.hint
