"""A store that several processes use, and what reading every run of it whole says: what the index is held against."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from localtrack.api.store import Store
from localtrack.errors import DamagedIndexError
from localtrack.format.edits import EditsState
from localtrack.format.layout import run_folder
from localtrack.query.search import search_runs
from localtrack.query.snapshot import RowSnapshot, RunSnapshot
from localtrack.store.run_reading import list_run_folders, read_folder
from localtrack.types import Dataset, DatasetInput, InputTag, RunRow, ViewType

SEARCHES: list[dict[str, Any]] = [
    {},
    {"filter_string": "metrics.loss < 0.5", "order_by": ["metrics.acc DESC"], "max_results": 3},
    {"filter_string": "params.lr = '0.1' OR tags.note LIKE 'a%'", "order_by": ["params.lr", "attributes.end_time"]},
    {"filter_string": "NOT metrics.loss > 0.2 AND status != 'FAILED'", "order_by": ["run_name DESC"]},
    {"filter_string": "MIN(metrics.loss) < 0.3 AND MAX(metrics.acc) >= 0", "run_view_type": ViewType.ALL},
    {"filter_string": "experiment_name = 'one'", "run_view_type": ViewType.DELETED_ONLY},
    {"filter_string": "duration_ms >= 0 AND user_id = ''", "order_by": ["artifact_uri"], "run_view_type": ViewType.ALL},
    {"filter_string": "lifecycle_stage = 'deleted'", "run_view_type": ViewType.ALL},
    {"filter_string": "datasets.name = 'd1'", "run_view_type": ViewType.ALL},
]


def read_everything(store: Store) -> tuple[list[RunRow], EditsState]:
    """Return every run of a store, read from its folder, as if there were no index."""
    edits = store._catalog.read()
    rows = []
    for folder in list_run_folders(store.storage):
        reading = read_folder(store.storage, folder)
        if reading is None or not reading.is_run or reading.is_newer:
            continue
        run_id = reading.state.run_id
        if run_id in edits.tombstones and edits.is_removed(run_id, reading.positions):
            continue
        rows.append(store._runs.row(reading, edits))
    return rows, edits


def shown(rows: Iterable[RunRow]) -> list[str]:
    """Return rows as texts that are equal where the rows are, NaN and -0.0 told apart; keys have no order."""
    return [
        repr(replace(row, **{name: dict(sorted(getattr(row, name).items())) for name in ("params", "tags", "metrics")}))
        for row in rows
    ]


def assert_index_agrees(store: Store) -> None:
    """Hold searches of a store against what reading all of it says, and columns against rows."""
    found = store.search_runs(max_results=None, run_view_type=ViewType.ALL)
    rows, edits = read_everything(store)
    assert sorted(shown(found)) == sorted(shown(rows))
    full = RowSnapshot(rows, experiment_names={e.experiment_id: e.name for e in edits.experiments.values()})
    for search in SEARCHES:
        options = {"view_type" if name == "run_view_type" else name: value for name, value in search.items()}
        expected = search_runs(full, **options, now_ms=store.clock())
        assert shown(store.search_runs(**search)) == shown(expected), search
    if len(rows) % 3 == 0:  # a database of its own takes as long as all the searches
        assert_views_agree(store, rows)
    try:
        assert_columns_agree(store.snapshot_runs(), rows)
    except DamagedIndexError:  # told once, and left aside from then on
        assert_columns_agree(store.snapshot_runs(), rows)


def assert_columns_agree(snapshot: RunSnapshot, rows: list[RunRow]) -> None:
    """Hold the relations that an index gives against rows."""
    ids = dict(zip(*(snapshot.runs(["run_id"]).column(name).to_pylist() for name in ("row", "run_id")), strict=True))
    by_id = {row.info.run_id: row for row in rows}
    assert sorted(ids.values()) == sorted(by_id)
    for relation, columns in (("metrics", ["value", "min", "max", "count", "step"]), ("params", ["value"])):
        table = snapshot.table(relation).to_pylist()
        held = {(ids[line["row"]], line["key"]): repr([line[name] for name in columns]) for line in table}
        wanted = {
            (run_id, key): repr([getattr(value, name) for name in columns] if relation == "metrics" else [value])
            for run_id, row in by_id.items()
            for key, value in getattr(row, relation).items()
        }
        assert held == wanted


def assert_views_agree(store: Store, rows: list[RunRow]) -> None:
    """Hold what SQL shows of runs against rows."""
    shown = store.sql(
        "SELECT 'params', run_id, key, value FROM params UNION ALL SELECT 'tags', run_id, key, value FROM tags "
        "UNION ALL SELECT 'metrics', run_id, key, count::VARCHAR FROM metrics "
        "UNION ALL SELECT 'datasets', run_id, name || digest, source || tags['why'] FROM datasets"
    )
    wanted = [("params", row.info.run_id, *item) for row in rows for item in row.params.items()]
    wanted += [("tags", row.info.run_id, *item) for row in rows for item in row.tags.items()]
    wanted += [("metrics", row.info.run_id, key, str(m.count)) for row in rows for key, m in row.metrics.items()]
    wanted += [
        ("datasets", row.info.run_id, d.dataset.name + d.dataset.digest, d.dataset.source + d.tags[0].value)
        for row in rows
        for d in row.datasets
    ]
    assert sorted(tuple(line.values()) for line in shown) == sorted(wanted)


class IndexWorld:
    """Does random things to a store, from processes that remember what they know, and from new ones.

    Args:
        root: An empty folder.
        seed: Chooses what happens.
    """

    def __init__(self, root: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.root = root
        self.path = root / "store"
        self.aside = root / "aside"
        self.aside.mkdir()
        self.stores = [self.open(), self.open()]
        self.running: list[Any] = []
        self.done: list[str] = []

    def open(self) -> Store:
        return Store.open(self.path)

    @property
    def store(self) -> Store:
        return self.random.choice(self.stores)

    def values(self) -> dict[str, float]:
        numbers = [0.0, -0.0, 0.1, 0.25, 0.3, 0.9, float("nan"), float("inf")]
        return {key: self.random.choice(numbers) for key in ("loss", "acc", "x") if self.random.random() < 0.7}

    # -- what may happen

    def start(self) -> None:
        run = self.store.start_run(self.random.choice(["one", "two"]), context=False, tags={"note": "abc"})
        self.running.append(run)
        self.change()

    def change(self) -> None:
        if self.running:
            run = self.random.choice(self.running)
            for _ in range(self.random.randint(1, 3)):
                run.log_metrics(self.values(), step=self.random.randint(0, 3))
            run.log_params({self.random.choice(["lr", "depth"]) + str(self.random.randint(0, 20)): "0.1"})
            run.set_tags({"note": self.random.choice(["a1", "b"])})

    def stream(self) -> None:
        """Log a little between searches of the same process, so that its logs grow from one to the next."""
        store = self.store
        for _ in range(self.random.randint(3, 6) if self.running else 0):
            for run in self.random.sample(self.running, self.random.randint(1, len(self.running))):
                run.log_metrics(self.values(), step=self.random.randint(0, 3))
            found = store.search_runs(max_results=None, run_view_type=ViewType.ALL)
            assert sorted(shown(found)) == sorted(shown(read_everything(store)[0]))

    def long(self) -> None:
        """Log so much that points go to chunks."""
        if self.running:
            run = self.random.choice(self.running)
            for step in range(3_000):
                run.log_metric("loss", step / 3_000, step=step)

    def end(self) -> None:
        if self.running:
            run = self.running.pop(self.random.randrange(len(self.running)))
            run.end(self.random.choice(["FINISHED", "FAILED"]))
            self.done.append(run.run_id)

    def short(self) -> None:
        for _ in range(self.random.randint(1, 5)):
            with self.store.start_run(self.random.choice(["one", "two"]), context=False) as run:
                run.log_metrics(self.values())
                run.log_params({"lr": self.random.choice(["0.1", "0.2"])})
                if self.random.random() < 0.3:
                    tag = InputTag("why", self.random.choice("xy"))
                    run.log_inputs([DatasetInput(Dataset("d1", self.random.choice("12"), "t", "s"), (tag,))])
            self.done.append(run.run_id)

    def resume(self) -> None:
        if self.done:
            run = self.store.start_run(run_id=self.done.pop(self.random.randrange(len(self.done))))
            self.running.append(run)
            self.change()

    def tag(self) -> None:
        if self.done:
            self.store.set_run_tags(self.random.choice(self.done), {"note": "from outside"})

    def rename(self) -> None:
        if self.done:
            self.store.rename_run(self.random.choice(self.done), f"name {self.random.randint(0, 9)}")

    def delete(self) -> None:
        if self.done:
            self.store.delete_run(self.done.pop())

    def restore(self) -> None:
        deleted = self.store.search_runs(run_view_type=ViewType.DELETED_ONLY, filter_string="experiment_name = 'one'")
        if deleted:
            self.store.restore_run(deleted[0].info.run_id)
            self.done.append(deleted[0].info.run_id)

    def delete_and_restore_experiment(self) -> None:
        experiment = self.store.get_experiment_by_name("two")
        if experiment is not None and not self.running:
            self.store.delete_experiment(experiment.experiment_id)
            assert_index_agrees(self.store)
            self.store.restore_experiment(experiment.experiment_id)

    def remove_folder(self) -> None:
        if self.done:
            run_id = self.done.pop()
            (folder,) = self.path.glob(f"runs/*/{run_id}")
            shutil.rmtree(self.aside / run_id, ignore_errors=True)
            shutil.move(folder, self.aside / run_id)

    def drop_folder_in(self) -> None:
        for folder in sorted(self.aside.iterdir())[:1]:
            target = self.path / run_folder(folder.name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(folder, target)
            self.done.append(folder.name)

    def merge(self) -> None:
        other = Store.open(self.root / f"other{self.random.randint(0, 1)}")
        with other.start_run("three", context=False) as run:
            run.log_metrics(self.values())
        other.close()
        self.store.merge(other.uri)

    def lose_index(self) -> None:
        shutil.rmtree(self.path / "index", ignore_errors=True)

    def lose_inbox(self) -> None:
        shutil.rmtree(self.path / "inbox", ignore_errors=True)

    def lose_both(self) -> None:
        self.lose_index()
        self.lose_inbox()

    def compact(self) -> None:
        self.store.compact()

    def damage_index(self) -> None:
        files = sorted(path for path in self.path.glob("index/v1/*") if path.stat().st_size)
        if files:
            path = self.random.choice(files)
            data = bytearray(path.read_bytes())
            data[self.random.randrange(len(data))] ^= 0xFF
            path.write_bytes(data)
            # A process that has read it already need not notice; one that has not must.
            self.stores = [self.open(), self.open()]

    def begin_process(self) -> None:
        self.stores[0] = self.open()

    def search(self) -> None:
        assert_index_agrees(self.store)

    STEPS = (
        *((start, 4), (change, 6), (stream, 3), (long, 1), (end, 5), (short, 6), (resume, 3), (tag, 3), (rename, 2)),
        *((delete, 2), (restore, 2), (delete_and_restore_experiment, 1), (remove_folder, 2), (drop_folder_in, 2)),
        *((merge, 1), (lose_index, 1), (lose_inbox, 1), (lose_both, 1), (compact, 4), (damage_index, 1)),
        *((begin_process, 2), (search, 8)),
    )

    def run(self, steps_count: int) -> None:
        names, weights = zip(*self.STEPS, strict=True)
        for step in self.random.choices(names, weights, k=steps_count):
            step(self)
            if self.random.random() < 0.3:
                assert_index_agrees(self.store)
        for store in (*self.stores, self.open()):
            assert_index_agrees(store)
