"""Conditions on other views say which runs' points are read; the answer is the same as without that."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localtrack import Store
from localtrack.api.store_analysis import AnalysisCalls
from localtrack.query.sql.pruning import Pruner

RUNS_COUNT = 6


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store.open(tmp_path_factory.mktemp("pruning") / "store") as store:
        for number in range(RUNS_COUNT):
            with store.start_run("a", run_name=f"r{number}", context=False, tags={"half": str(number // 3)}) as run:
                run.log_params({"seed": number, "lr": 0.1 * (number % 2)})
                for step in range(3):
                    run.log_metrics({"loss": number + step / 10, "acc": 1.0 - number / 10}, step=step)
                run.log_text("x", f"note-{number}.txt")
        yield store


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the ids of the runs whose points are read, as it grows."""
    seen: list[str] = []
    original = AnalysisCalls._chosen_points

    def listen(self: AnalysisCalls, run_id: str, *rest: Any) -> Any:
        seen.append(run_id)
        return original(self, run_id, *rest)

    monkeypatch.setattr(AnalysisCalls, "_chosen_points", listen)
    return seen


def names_of(store: Store, run_ids: list[str]) -> list[str]:
    return sorted(store.get_run(run_id).info.run_name for run_id in run_ids)


def rows_of(store: Store, query: str, parameters: Any = None) -> list[str]:
    return sorted(map(str, store.sql(query, parameters).to_arrow().to_pylist()))


def without_pruning(store: Store, query: str, parameters: Any = None) -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pruner, "is_worthwhile", False)
        return rows_of(store, query, parameters)


H = "SELECT h.run_id, h.key, h.step, h.value FROM metric_history h "


@pytest.mark.parametrize(
    ("query", "parameters", "wanted"),
    [
        (H + "JOIN runs r USING (run_id) WHERE r.run_name = 'r1'", None, ["r1"]),
        (H + "JOIN runs r USING (run_id) WHERE run_name IN ('r1', 'r4') AND h.key = 'loss'", None, ["r1", "r4"]),
        (H + "JOIN runs r ON h.run_id = r.run_id AND r.run_name = $n", {"n": "r2"}, ["r2"]),
        (H + ", params p WHERE p.run_id = h.run_id AND p.key = ? AND p.value = ?", ["seed", "3"], ["r3"]),
        (
            H + "JOIN runs r ON h.run_id = r.run_id JOIN params p ON p.run_id = r.run_id WHERE p.value = '5'",
            None,
            ["r5"],
        ),
        (H + "JOIN runs USING (run_id) LEFT JOIN tags t USING (run_id) WHERE run_name = 'r1'", None, ["r1"]),
        (H + "WHERE run_id IN (SELECT run_id FROM runs WHERE run_name > 'r3')", None, ["r4", "r5"]),
        (
            H + "WHERE h.run_id IN (SELECT run_id FROM metrics WHERE key = 'loss' ORDER BY value LIMIT 2)",
            None,
            ["r0", "r1"],
        ),
        (
            "WITH best AS (SELECT run_id FROM metrics WHERE key = $k ORDER BY value DESC LIMIT 1) "
            + H
            + "WHERE h.run_id IN (FROM best) AND key = $m",
            {"k": "loss", "m": "acc"},
            ["r5"],
        ),
        (H + "WHERE run_id IN (SELECT run_id FROM runs WHERE run_name = 'nobody')", None, []),
        (H + "WHERE run_id NOT IN (SELECT run_id FROM runs WHERE run_name < 'r5')", None, ["r5"]),
        (H + "WHERE key = 'é' OR run_id IN (SELECT run_id FROM params WHERE value = '2')", None, None),
        (H + "LEFT JOIN runs r USING (run_id) WHERE r.run_name = 'r1'", None, None),
        (H + "JOIN runs r USING (run_id) WHERE r.run_name = 'r1' OR h.value > 5", None, None),
        (H + "JOIN runs r USING (run_id) WHERE r.run_name = h.key", None, None),
        (H + "JOIN runs r ON h.run_id != r.run_id WHERE r.run_name = 'r1'", None, None),
        (H + "JOIN runs r USING (run_id) JOIN metric_history i USING (run_id) WHERE r.run_name = 'r1'", None, None),
        (H + "POSITIONAL JOIN runs r WHERE r.run_id = h.run_id AND r.run_name = 'r1'", None, None),
        (H + "ASOF JOIN runs r ON h.key > r.run_name WHERE r.run_id = h.run_id AND r.run_name = 'r1'", None, None),
        ("WITH runs AS (SELECT run_id, 'r1' AS run_name FROM params) " + H + "JOIN runs USING (run_id)", None, None),
        (H + "JOIN runs r USING (run_id) WHERE r.run_name IN (SELECT 'r1')", None, None),
        (H + "JOIN runs r(run_id, status) USING (run_id) WHERE r.status = 'r1'", None, None),
        (H + "JOIN runs r USING (run_id) WHERE EXISTS (SELECT 1 FROM params p WHERE p.run_id = r.run_id)", None, None),
        (H + "WHERE EXISTS (SELECT 1 FROM runs r WHERE r.run_id = h.run_id AND r.run_name = 'r1')", None, None),
        (H + "WHERE h.run_id IN (SELECT p.run_id FROM params p WHERE p.key = h.key)", None, None),
        (H + "WHERE run_id IN (SELECT 1::VARCHAR UNION ALL SELECT NULL)", None, None),
        (H + "UNION ALL " + H + "WHERE run_id IN (SELECT run_id FROM runs)", None, None),
    ],
)
def test_what_is_read_is_what_the_conditions_leave_room_for(
    store: Store, read: list[str], query: str, parameters: Any, wanted: list[str] | None
) -> None:
    rows = rows_of(store, query, parameters)
    if wanted is not None:
        assert names_of(store, read) == wanted
    assert rows == without_pruning(store, query, parameters)


def test_names_of_columns_stay_as_they_were_written(store: Store) -> None:
    query = "SELECT step + 1, count(*) FROM metric_history WHERE run_id IN (SELECT run_id FROM runs) GROUP BY step"
    assert store.sql(query).columns == ["(step + 1)", "count_star()"]


def test_a_moment_is_the_same_in_a_query_and_before_it(store: Store) -> None:
    query = H + "JOIN runs r USING (run_id) WHERE r.start_time < now() AND r.start_time > now() - INTERVAL 1 DAY"
    assert len(rows_of(store, query)) == RUNS_COUNT * 6


def test_what_changes_each_time_is_not_asked_before(store: Store, read: list[str]) -> None:
    rows_of(store, H + "JOIN runs r USING (run_id) WHERE random() >= 0 AND r.run_name || random()::VARCHAR > 'r'")
    assert len(read) == RUNS_COUNT


def test_artifacts_are_pruned_by_joins_too(store: Store) -> None:
    query = "SELECT path FROM artifacts JOIN runs USING (run_id) WHERE run_name = 'r3'"
    assert list(store.sql(query)) == [{"path": "note-3.txt"}]


@pytest.mark.parametrize("seed", range(3))
def test_random_joins_answer_as_without_pruning(store: Store, seed: int) -> None:
    dice = random.Random(seed)
    conditions = [
        *("r.run_name = 'r1'", "run_name < 'r3'", "p.value = '0.1'", "p.key = 'seed'", "h.key = 'loss'", "h.step > 0"),
        *("h.run_id = r.run_id", "r.run_id = p.run_id", "h.run_id = p.run_id", "NOT (run_name = 'r2')", "h.value < 3"),
        *("run_name LIKE '%1' OR p.value = '5'", "r.run_id IS NOT NULL", "p.value > h.key", "r.status = 'FINISHED'"),
        *("h.run_id IN (SELECT run_id FROM tags WHERE value = '1')", "r.run_id IN (SELECT run_id FROM runs)"),
    ]
    for _ in range(12):
        kinds = [dice.choice(["JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "SEMI JOIN"]) for _ in range(2)]
        tables = dice.sample(["metric_history h", "runs r", "params p"], 3)
        source = tables[0]
        for kind, table in zip(kinds, tables[1:], strict=True):
            source += f" {kind} {table} ON {' AND '.join(dice.sample(conditions, 2))}"
        query = f"SELECT count(*) AS n FROM {source} WHERE {' AND '.join(f'({c})' for c in dice.sample(conditions, 3))}"
        try:
            expected = without_pruning(store, query)
        except ValueError:  # a condition names a table that the join does not bring
            expected = None
        if expected is None:
            with pytest.raises(ValueError, match="query failed"):
                rows_of(store, query)
        else:
            assert rows_of(store, query) == expected, query


def test_the_path_of_the_store_is_not_in_the_way(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a'b" / "store") as store, store.start_run(run_name="it's", context=False) as run:
        run.log_metric("a b/c", 1.0)
        answer = store.sql(H + "WHERE run_id IN (SELECT run_id FROM tags WHERE value = 'it''s') AND key = 'a b/c'")
        assert [row["value"] for row in answer] == [1.0]


@pytest.mark.parametrize(
    "condition", ["key = 'k3'", "key IN ('k1', 'k3')", "key >= 'k4'", "key LIKE 'k%'", "value < 5"]
)
def test_few_keys_of_a_sealed_run_and_all_of_them_are_the_same_points(tmp_path: Path, condition: str) -> None:
    with Store.open(tmp_path / "store") as store:
        with store.start_run(context=False) as run:
            for step in range(1_500):
                run.log_metrics({f"k{n}": float(step * n) for n in range(6)}, step=step)
        assert list(tmp_path.glob("store/runs/*/*/*.parquet"))
        found = store.sql(f"SELECT key, step, value FROM metric_history WHERE {condition}").to_arrow().to_pylist()
        import duckdb

        points = store.metric_history(run.run_id).to_pandas().astype({"key": str})
        assert len(points) == 9_000
        wanted = duckdb.sql(f"SELECT key, step, value FROM points WHERE {condition}").to_arrow_table().to_pylist()
        assert sorted(map(str, found)) == sorted(map(str, wanted))
