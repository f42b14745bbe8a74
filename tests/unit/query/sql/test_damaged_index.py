"""A file of the search index that turns out to be damaged while a query reads: the query goes on without it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pytest
from tests.unit.query.rows import data_set, run

from localtrack.errors import DamagedIndexError
from localtrack.query.relations import RUN_COLUMNS
from localtrack.query.snapshot import RowSnapshot
from localtrack.query.sql import source as source_module
from localtrack.query.sql.result import SqlResult, run_query
from localtrack.query.sql.source import Source
from localtrack.types import Finding, RunRow

ROWS = [
    run(
        f"r{number}",
        params={"lr": "0.1"},
        metrics={"loss": number},
        datasets=(data_set("iris", f"d{number}", "train"), data_set("iris", f"e{number}")),
    )
    for number in range(4)
]


class Damaged(RowSnapshot):
    """Runs of which some parts cannot be read.

    Args:
        rows: The runs.
        fails: Given what is asked for, raises if that is damaged.
    """

    def __init__(self, rows: Sequence[RunRow], fails: Callable[[str], None]) -> None:
        super().__init__(rows, experiment_names={"0": "Default"})
        self._fails = fails

    def table(self, relation: str, *, keys: Collection[str] | None = None) -> pa.Table:
        self._fails(relation)
        return super().table(relation, keys=keys)

    def runs(self, columns: Sequence[str] = RUN_COLUMNS) -> pa.Table:
        self._fails("runs" if len(columns) > 1 else "ids")
        return super().runs(columns)

    def rows(self, numbers: Sequence[int]) -> list[RunRow]:
        self._fails("rows")
        return super().rows(numbers)


def ask(query: str, fails: Callable[[str], None], later: Sequence[RunRow] = ROWS) -> tuple[SqlResult, Counter[str]]:
    """Run a query over runs that are damaged when first taken; return its answer and how often they were taken."""
    taken: Counter[str] = Counter()

    def take() -> RowSnapshot:
        taken["times"] += 1
        if taken["times"] == 1:
            return Damaged(ROWS, fails)
        sound = RowSnapshot(later, experiment_names={"0": "Default"})
        sound.findings = (Finding("index", "x.parquet is damaged"),)
        return sound

    nothing: Any = lambda *_: ()  # noqa: E731 - for what is not asked here
    source = Source(take, experiments=nothing, models=nothing, run_ids=nothing, points=nothing, artifacts=nothing)
    return run_query(query, None, source), taken


def damage_of(part: str) -> Callable[[str], None]:
    def fails(asked: str) -> None:
        if asked == part:
            raise DamagedIndexError(f"{part} is damaged")

    return fails


def test_rows_that_were_handed_out_before_are_neither_lost_nor_doubled() -> None:
    handed_out = threading.Event()

    def fails(asked: str) -> None:
        if asked == "metrics":
            handed_out.wait(5)  # at most: it may be that nothing is handed out before all is read
            raise DamagedIndexError("metrics.parquet is damaged")

    query = "SELECT run_id, key FROM params UNION ALL SELECT run_id, key FROM metrics"
    answer, taken = ask(query, fails)
    batches = answer.batches()
    rows = next(batches).to_pylist()
    handed_out.set()
    for batch in batches:
        rows += batch.to_pylist()
    found = sorted((row["run_id"], row["key"]) for row in rows)
    assert found == sorted((row.info.run_id, key) for row in ROWS for key in ("loss", "lr"))
    assert taken["times"] == 2
    assert [finding.what for finding in answer.findings] == ["x.parquet is damaged"]


@pytest.mark.parametrize("part", ["runs", "params", "metrics", "tags", "datasets", "rows", "ids"])
def test_each_part_is_read_again(part: str) -> None:
    query = (
        "SELECT run_name, p.value, m.value, t.value, d.digest, d.source FROM runs JOIN params p USING (run_id) "
        "JOIN metrics m USING (run_id) JOIN tags t USING (run_id) JOIN datasets d USING (run_id) ORDER BY ALL"
    )
    answer, taken = ask(query, damage_of(part))
    wanted, _ = ask(query, damage_of("nothing"))
    rows = answer.to_arrow().to_pylist()
    assert rows == wanted.to_arrow().to_pylist()
    assert len(rows) == 8
    assert taken["times"] == 2


def test_data_sets_go_on_with_the_runs_that_are_still_there() -> None:
    """Half of them were read by numbers that mean nothing in the runs as they are taken anew."""
    asked: Counter[str] = Counter()

    def fails(part: str) -> None:
        asked[part] += 1
        if asked["rows"] > 2:
            raise DamagedIndexError("rows are damaged")

    with patch.object(source_module, "_BATCH_RUNS", 1):
        answer, taken = ask("SELECT run_id, digest, source FROM datasets", fails, later=[ROWS[3], ROWS[1], ROWS[0]])
        rows = answer.to_arrow().to_pylist()
    assert sorted((row["run_id"], row["digest"]) for row in rows) == [
        (f"r{number}", f"{kind}{number}") for number in (0, 1, 3) for kind in "de"
    ]
    assert {row["source"] for row in rows} == {"{}"}
    assert taken["times"] == 2


def test_an_index_that_is_damaged_again_and_again_is_told() -> None:
    def take() -> RowSnapshot:
        return Damaged(ROWS, damage_of("params"))

    nothing: Any = lambda *_: ()  # noqa: E731 - for what is not asked here
    source = Source(take, experiments=nothing, models=nothing, run_ids=nothing, points=nothing, artifacts=nothing)
    with pytest.raises(DamagedIndexError, match="params is damaged"):
        run_query("SELECT * FROM params", None, source).to_arrow()
