"""Rows in memory, columns of the index, files of the index that DuckDB reads alone: one answer, whichever way."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.index_world import read_everything
from tests.property.test_query_filters import KEYS, NUMBERS, TEXTS, Asked, Field, fields, filters
from tests.unit.query.rows import BASE_MS, data_set

from localtrack.api.store import Store
from localtrack.errors import InvalidInputError
from localtrack.format.names import validate_key
from localtrack.query.compile import compile_search
from localtrack.query.fields import RUNS
from localtrack.query.grammar import parse_filter, parse_order_by
from localtrack.query.index_direct import select_directly
from localtrack.query.index_snapshot import IndexSnapshot
from localtrack.query.snapshot import RowSnapshot
from localtrack.store.index.tables import NARROW


class Ways:
    """A store with two segments, rows in them that count no more, deleted runs, and runs that no segment has."""

    def __init__(self, root: Path) -> None:
        self._dice = random.Random(5)
        self.store = Store.open(root)
        ids = self._log_runs(40)
        self.store.compact()
        ids += self._log_runs(3)
        self.store.set_run_tags(ids[1], {"a": "zz"})
        self.store.delete_run(ids[3])
        self.store.compact()
        ids += self._log_runs(3)
        self.store.set_run_tags(ids[5], {"a": "yy"})
        self.store.delete_run(ids[44])
        rows, edits = read_everything(self.store)
        names = {e.experiment_id: e.name for e in edits.experiments.values()}
        self.rows = RowSnapshot(rows, experiment_names=names)
        self.view = self.store._index.view()
        self.index = IndexSnapshot(self.view)
        assert len(self.view.segments) == 2
        assert self.view.live
        assert any(2 in marks for marks in self.view.stages)

    def _log_runs(self, count: int) -> list[str]:
        dice, ids = self._dice, []
        for _ in range(count):
            run = self.store.start_run(
                dice.choice(["Default", "other"]),
                context=False,
                run_name=dice.choice(TEXTS[1:]),
                start_time=BASE_MS + dice.randrange(4),
            )
            for key in [key for key in KEYS if _is_key(key)]:
                is_everywhere = key == KEYS[0]
                if is_everywhere or dice.random() < 0.6:
                    for _ in range(dice.choice([1, 1, 3])):
                        run.log_metrics({key: dice.choice(NUMBERS)}, step=dice.randrange(3))
                if is_everywhere or dice.random() < 0.6:
                    run.log_params({key: dice.choice(TEXTS)})
                if dice.random() < 0.6:
                    run.set_tags({key: dice.choice(TEXTS)})
            if dice.random() < 0.3:
                run.log_inputs([data_set(dice.choice(TEXTS[1:]), "1", dice.choice([None, "train", "eval"]))])
            if dice.random() < 0.8:
                run.end(dice.choice(["FINISHED", "FAILED"]), BASE_MS + dice.randrange(1, 9))
            ids.append(run.run_id)
        return ids


def _is_key(key: str) -> bool:
    try:
        validate_key(key, "tag")
    except InvalidInputError:
        return False
    return True


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Ways:
    return Ways(tmp_path_factory.mktemp("ways") / "store")


@given(
    filters, st.lists(st.tuples(fields(), st.booleans()), max_size=3), st.sampled_from(["active", "deleted", "both"])
)
def test_each_way_gives_the_same_runs_in_the_same_order(
    ways: Ways, asked: Asked, keys: list[tuple[Field, bool]], stage: str
) -> None:
    clauses = [f"{name} {'ASC' if up else 'DESC'}" for (name, _, _), up in keys if "data" not in name]
    try:
        order = parse_order_by(clauses, RUNS)
    except InvalidInputError:
        return  # the same field twice
    named = {key.field for key in order}
    order += tuple(key for key in parse_order_by(["start_time DESC", "run_id"], RUNS) if key.field not in named)
    stages = ("active", "deleted") if stage == "both" else (stage,)
    statement = compile_search(RUNS, parse_filter(asked.text, RUNS), order, stages=stages, limit=None)
    expected = [row.info.run_id for row in ways.rows.rows(ways.rows.select(statement))]
    assert [ways.view.run_id(number) for number in ways.index.select(statement)] == expected
    if not statement.has_datasets and statement.columns <= {*NARROW, "duration_ms"}:
        assert [ways.view.run_id(number) for number in select_directly(ways.view, statement)] == expected
