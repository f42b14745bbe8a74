"""Each kind of damage to what MLflow wrote: it is reported with its run, and the rest is brought."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.import_comparing import compare
from tests.conformance.mlflow_sources import MlflowData, T, copy_source
from tests.independent.reader import read_store

from localtrack import Store
from localtrack.errors import FormatError, NotFoundError
from localtrack.importing.report import ImportReport

ALL_POINTS = [(float(n), T + n, n) for n in range(6)]


class Damaged:
    """A copy of a source with three runs: `hurt`, which is to be damaged, `whole`, and one in an experiment `other`."""

    def __init__(self, data: MlflowData, ids: dict[str, str], root: Path) -> None:
        self.data = data
        self.hurt, self.whole, self.other = ids["hurt"], ids["whole"], ids["other"]
        self.root = root
        self.there = data.read()

    @property
    def folder(self) -> Path:
        (folder,) = self.data.folder.glob(f"mlruns/*/{self.hurt}")
        return folder

    def sql(self, statement: str, *values: Any) -> None:
        with closing(sqlite3.connect(self.data.folder / "mlflow.db")) as database, database:
            database.execute(statement, values)

    def run(self) -> ImportReport:
        with Store.open(self.root) as store:
            return store.import_from(self.data.location)

    def read_hurt(self) -> dict[str, Any]:
        return read_store(self.root)["runs"][self.hurt]

    def steps(self) -> list[int]:
        return [step for key, _, step, _ in self.read_hurt()["points"] if key == "loss"]


def _make(kind: str, folder: Path) -> tuple[MlflowData, dict[str, str]]:
    data = MlflowData(kind, folder / "there")
    main = data.store.create_experiment("main")
    other = data.store.create_experiment("other")
    ids = {}
    for name, experiment_id in (("whole", main), ("hurt", main), ("other", other)):
        ids[name] = data.add_run(
            experiment_id,
            name,
            params={"p": "1", "q/r": "2"},
            tags={"t": "x"},
            points=[("loss", value, time, step) for value, time, step in ALL_POINTS] + [("acc", 0.5, T, 0)],
            artifacts={"a.txt": b"a", "b/c.txt": b"c"},
        )
    return data, ids


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[MlflowData, dict[str, str]]]]:
    made = {kind: _make(kind, tmp_path_factory.mktemp(kind)) for kind in ("mlruns", "sqlite")}
    yield made
    for data, _ in made.values():
        data.close()


@pytest.fixture
def mlruns(templates: dict[str, tuple[MlflowData, dict[str, str]]], tmp_path: Path) -> Damaged:
    data, ids = templates["mlruns"]
    return Damaged(copy_source(data, tmp_path / "there"), ids, tmp_path / "store")


@pytest.fixture
def sqlite(templates: dict[str, tuple[MlflowData, dict[str, str]]], tmp_path: Path) -> Iterator[Damaged]:
    data, ids = templates["sqlite"]
    damaged = Damaged(copy_source(data, tmp_path / "there"), ids, tmp_path / "store")
    yield damaged
    damaged.data.close()


def check(damaged: Damaged, *told: str, severity: str = "warning") -> ImportReport:
    """Import; only what was damaged is told, with its run, the rest is whole, and a second import changes nothing."""
    report = damaged.run()
    found = [f"{f.key}: {f.what}" for f in report.findings if f.severity == severity]
    assert len(found) == len(told), found
    for text, finding in zip(told, found, strict=True):
        assert text in finding
        assert damaged.hurt in finding
    assert not [f for f in report.findings if f.severity in ("warning", "error") and f.severity != severity]
    assert report.is_complete == (severity == "info")
    assert compare(damaged.root, damaged.there, only_runs={damaged.whole, damaged.other}) == []
    assert damaged.run().changes_count == 0
    return report


# -- the file backend


def test_a_torn_last_line(mlruns: Damaged) -> None:
    path = mlruns.folder / "metrics" / "loss"
    path.write_bytes(path.read_bytes()[:-2])
    check(mlruns, "metrics/loss: 1 of its lines are no points: line 6")
    assert mlruns.steps() == [0, 1, 2, 3, 4]
    with path.open("a") as file:
        file.write(f"5\n{T + 9} 9.0 9\n")  # the process that wrote it was only slow
    mlruns.run()
    assert mlruns.steps() == [0, 1, 2, 3, 4, 5, 9]


@pytest.mark.parametrize("cut", range(1, len(f"{T + 2} 2.0 2\n")))
def test_a_line_that_was_torn_and_ran_into_the_next(mlruns: Damaged, cut: int) -> None:
    path = mlruns.folder / "metrics" / "loss"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2][: len(lines[2]) - cut]
    path.write_bytes(b"".join(lines))
    report = mlruns.run()
    if not lines[2]:
        assert mlruns.steps() == [0, 1, 3, 4, 5]
        return
    assert report.findings
    assert "metrics/loss: 1 of its lines" in f"{report.findings[0].key}: {report.findings[0].what}"
    assert mlruns.steps() == [0, 1, 4, 5]


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense",
        b"1 2 3 4",
        b"x 1.0 1",
        b"1 one 1",
        b"1 1.0 1.5",
        b"\0\0\0\0",
        b"\xff\xfe 1 1",
        b"9" * 30 + b" 1.0 1",
    ],
)
def test_a_line_that_is_no_point(mlruns: Damaged, line: bytes) -> None:
    path = mlruns.folder / "metrics" / "loss"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], line + b"\n", *lines[3:]]))
    check(mlruns, "metrics/loss: 1 of its lines are no points: line 4")
    assert mlruns.steps() == [0, 1, 2, 3, 4, 5]


def test_old_lines_and_lines_with_data_sets_are_points(mlruns: Damaged) -> None:
    path = mlruns.folder / "metrics" / "loss"
    path.write_bytes(path.read_bytes() + f"{T + 20} 2.5\n{T + 21} 3.5 8 my data set abc\n\n{T} nan 9\r\n".encode())
    check(mlruns, severity="info")
    points = [point[1:] for point in mlruns.read_hurt()["points"] if point[0] == "loss"]
    assert [T + 20, 0, 2.5] in points
    assert [T + 21, 8, 3.5] in points
    assert [T, 9, "NaN"] in points


def test_points_that_stand_twice(mlruns: Damaged) -> None:
    path = mlruns.folder / "metrics" / "loss"
    path.write_bytes(path.read_bytes() * 3)
    report = check(mlruns, "12 of its points stand there more than once", severity="info")
    assert report.points_repeated == 12
    assert compare(mlruns.root, mlruns.there) == []


@pytest.mark.parametrize("damage", ["missing", "empty", "no yaml", "a list", "binary", "a folder"])
def test_a_run_without_a_readable_meta_yaml_is_brought_with_what_there_is(mlruns: Damaged, damage: str) -> None:
    path = mlruns.folder / "meta.yaml"
    before = path.read_bytes()
    path.unlink()
    content = {"empty": b"", "no yaml": b"a: [1, {", "a list": b"- 1\n", "binary": bytes(range(256))}.get(damage)
    if damage == "a folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    check(mlruns, "meta.yaml", "guessed")
    run = mlruns.read_hurt()
    there = mlruns.there["runs"][mlruns.hurt]
    assert (run["status"], run["start_ms"], run["end_ms"]) == ("RUNNING", T, None)
    assert (run["params"], run["tags"], run["artifacts"]) == (
        there["params"],
        there["tags"],
        {"a.txt": 1, "b/c.txt": 1},
    )
    assert {tuple(point) for point in run["points"]} == there["points"]
    if damage == "a folder":
        path.rmdir()
    path.write_bytes(before)
    mlruns.run()
    there["user"] = ""  # who ran it is written once
    assert compare(mlruns.root, mlruns.there) == []


def test_bad_fields_of_meta_yaml(mlruns: Damaged) -> None:
    path = mlruns.folder / "meta.yaml"
    text = path.read_text().replace("status: 3", "status: 9").replace(f"end_time: {T + 5000}", "end_time: soon")
    path.write_text(text.replace(mlruns.hurt, "f" * 32).replace("user_id: ada", "user_id: 7"))
    check(mlruns, "run_id", "9 is not a status", "end_time is 'soon'")
    assert (mlruns.read_hurt()["status"], mlruns.read_hurt()["user"]) == ("RUNNING", "7")


@pytest.mark.parametrize("part", ["params/p", "tags/t", "metrics/loss", "artifacts/a.txt"])
def test_a_file_that_cannot_be_read(mlruns: Damaged, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(mlruns.folder / part)
    real_open, real_os_open = open, os.open

    def refuse(name: Any, *arguments: Any, **options: Any) -> Any:
        if str(name) == path:
            raise PermissionError(13, "Permission denied", path)
        return real_open(name, *arguments, **options)

    def refuse_os(name: Any, *arguments: Any, **options: Any) -> int:
        if str(name) == path:
            raise PermissionError(13, "Permission denied", path)
        return real_os_open(name, *arguments, **options)

    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr(os, "open", refuse_os)
    check(mlruns, f"{part}: it cannot be read (")
    monkeypatch.undo()
    mlruns.run()
    assert compare(mlruns.root, mlruns.there) == []


def test_values_and_names_that_are_no_text(mlruns: Damaged) -> None:
    (mlruns.folder / "params" / "p").write_bytes(b"\xff\xfe")
    (mlruns.folder / "tags" / "bad|key").write_bytes(b"x")
    Path(os.fsdecode(os.fsencode(mlruns.folder / "params") + b"/\xff")).write_bytes(b"x")
    check(mlruns, "params/p: it cannot be read", "'\\udcff' is not a param key", "'bad|key' is not a tag key")
    assert mlruns.read_hurt()["params"] == {"q/r": "2"}


def test_artifacts_that_a_store_cannot_hold(mlruns: Damaged) -> None:
    root = mlruns.folder / "artifacts"
    (root / "con").write_bytes(b"x")
    os.mkfifo(root / "pipe")
    os.symlink(root / "nowhere", root / "link")
    os.symlink(root / "b", root / "folder link")
    check(
        mlruns,
        "folder link: it is a link to a folder",
        "'con' is the name of a device",
        "artifacts/link: it cannot be read",
        "artifacts/pipe: it cannot be read",
    )
    assert mlruns.read_hurt()["artifacts"] == {"a.txt": 1, "b/c.txt": 1}


def test_an_experiment_without_meta_yaml(mlruns: Damaged) -> None:
    folder = mlruns.folder.parent
    (folder / "meta.yaml").unlink()
    report = mlruns.run()
    assert [f.severity for f in report.findings] == ["warning", "warning"]
    assert all(folder.name in f.key for f in report.findings)
    here = read_store(mlruns.root)
    assert set(here["runs"]) == {mlruns.hurt, mlruns.whole, mlruns.other}
    assert here["experiments"][here["runs"][mlruns.hurt]["experiment_id"]]["name"] == f"mlflow {folder.name}"
    assert mlruns.run().changes_count == 0


def test_the_artifacts_of_a_model_that_are_gone(mlruns: Damaged) -> None:
    (mlruns.folder / "tags" / "mlflow.log-model.history").write_text("[]")
    shutil.rmtree(mlruns.folder / "artifacts")
    check(mlruns, "artifacts: none are found at")


def test_what_is_no_source(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.db").write_text("no database")
    (tmp_path / "artifacts" / "1" / "2" / "artifacts").mkdir(parents=True)
    with closing(sqlite3.connect(tmp_path / "other.db")) as database, database:
        database.execute("CREATE TABLE runs (run_uuid)")
    with Store.open(tmp_path / "store") as store:
        for place in ("empty", "artifacts"):
            with pytest.raises(FormatError, match="holds no experiments"):
                store.import_from(tmp_path / place)
        with pytest.raises(NotFoundError):
            store.import_from(tmp_path / "nowhere")
        with pytest.raises(NotFoundError):
            store.import_from(f"sqlite:///{tmp_path / 'nowhere.db'}")
        with pytest.raises(FormatError, match="cannot be read as a SQLite database"):
            store.import_from(f"sqlite:///{tmp_path / 'text.db'}")
        with pytest.raises(FormatError, match="no database of MLflow"):
            store.import_from(tmp_path / "other.db")


# -- SQLite


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE metrics SET value = 'text' WHERE run_uuid = ? AND step = 3", "1 of its rows are no points"),
        ("UPDATE metrics SET timestamp = 'soon' WHERE run_uuid = ? AND step = 3", "1 of its rows are no points"),
        ("UPDATE runs SET status = 'DONE' WHERE run_uuid = ?", None),
        ("UPDATE params SET value = CAST(x'fffe' AS TEXT) WHERE run_uuid = ? AND key = 'p'", "params/p: its value"),
        ("UPDATE tags SET value = x'00' WHERE run_uuid = ? AND key = 't'", "tags/t: its value"),
        ("UPDATE params SET key = 'a|b' WHERE run_uuid = ? AND key = 'p'", "'a|b' is not a param key"),
        ("UPDATE runs SET start_time = 'then' WHERE run_uuid = ?", "start_time is 'then'"),
    ],
)
def test_bad_values_in_rows(sqlite: Damaged, statement: str, told: str | None) -> None:
    try:
        sqlite.sql(statement, sqlite.hurt)
    except sqlite3.IntegrityError:
        assert told is None, "MLflow's own constraints forbid the rest"
        return
    assert told is not None
    check(sqlite, told)
    steps = sqlite.steps()
    assert steps == ([0, 1, 2, 4, 5] if "metrics SET" in statement else [0, 1, 2, 3, 4, 5])


def test_pages_that_are_overwritten_stop_nothing(sqlite: Damaged) -> None:
    for n in range(40):  # the points of another run go to pages of their own
        rows = [(f"k{n}", float(i), T + i, sqlite.hurt, i, 0) for i in range(200)]
        with closing(sqlite3.connect(sqlite.data.folder / "mlflow.db")) as database, database:
            database.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?)", rows)
    path = sqlite.data.folder / "mlflow.db"
    with closing(sqlite3.connect(path)) as database:
        (size,) = database.execute("PRAGMA page_size").fetchone()
        (count,) = database.execute("PRAGMA page_count").fetchone()
    data = bytearray(path.read_bytes())
    for page in range(count - 30, count):
        data[page * size : page * size + 64] = b"\xa5" * 64
    path.write_bytes(data)
    report = sqlite.run()
    assert not report.is_complete
    runs = read_store(sqlite.root)["runs"]
    assert set(runs) == {sqlite.hurt, sqlite.whole, sqlite.other}
    assert any("malformed" in finding.what for finding in report.findings)


def test_old_databases(tmp_path: Path) -> None:
    """The tables as MLflow 0.9 made them: no steps, no NaN, no times of experiments, no index by run."""
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database, database:
        database.executescript(
            f"""
            CREATE TABLE experiments (experiment_id INTEGER NOT NULL PRIMARY KEY, name VARCHAR(256),
                artifact_location VARCHAR(256), lifecycle_stage VARCHAR(32));
            CREATE TABLE runs (run_uuid VARCHAR(32) NOT NULL PRIMARY KEY, name VARCHAR(250), source_type VARCHAR(20),
                source_name VARCHAR(500), entry_point_name VARCHAR(50), user_id VARCHAR(256), status VARCHAR(20),
                start_time BIGINT, end_time BIGINT, source_version VARCHAR(50), lifecycle_stage VARCHAR(20),
                artifact_uri VARCHAR(200), experiment_id INTEGER);
            CREATE TABLE tags (key VARCHAR(250), value VARCHAR(250), run_uuid VARCHAR(32), PRIMARY KEY (key, run_uuid));
            CREATE TABLE params (key VARCHAR(250), value VARCHAR(250), run_uuid VARCHAR(32),
                PRIMARY KEY (key, run_uuid));
            CREATE TABLE metrics (key VARCHAR(250) NOT NULL, value FLOAT NOT NULL, timestamp BIGINT NOT NULL,
                run_uuid VARCHAR(32) NOT NULL, PRIMARY KEY (key, value, timestamp, run_uuid));
            INSERT INTO experiments VALUES (0, 'Default', './mlruns/0', 'active'), (7, 'old', './mlruns/7', 'active');
            INSERT INTO runs VALUES ('{"a" * 32}', 'first', 'PROJECT', 'train.py', 'main', 'ada', 'FINISHED', {T},
                {T + 5}, 'abc123', 'active', './mlruns/7/{"a" * 32}/artifacts', 7);
            INSERT INTO runs VALUES ('{"b" * 32}', '', 'LOCAL', '', '', NULL, NULL, {T}, NULL, '', 'active', NULL, 99);
            INSERT INTO params VALUES ('p', '1', '{"a" * 32}');
            INSERT INTO metrics VALUES ('m', 1.5, {T}, '{"a" * 32}'), ('m', 2, {T + 1}, '{"a" * 32}');
            """
        )
    artifacts = tmp_path / "mlruns" / "7" / ("a" * 32) / "artifacts"
    artifacts.mkdir(parents=True)
    (artifacts / "f.txt").write_text("f")
    with Store.open(tmp_path / "store") as store:
        report = store.import_from(tmp_path / "mlflow.db")
        assert store.import_from(tmp_path / "mlflow.db").changes_count == 0
    here = read_store(tmp_path / "store")
    run, orphan = here["runs"]["a" * 32], here["runs"]["b" * 32]
    assert run["points"] == [["m", T, 0, 1.5], ["m", T + 1, 0, 2.0]]
    assert run["tags"] == {
        "mlflow.runName": "first",
        "mlflow.source.name": "train.py",
        "mlflow.source.type": "PROJECT",
        "mlflow.source.git.commit": "abc123",
        "mlflow.project.entryPoint": "main",
    }
    assert (run["artifacts"], run["params"], run["user"], run["name"]) == ({"f.txt": 1}, {"p": "1"}, "ada", "first")
    assert (orphan["status"], orphan["user"], orphan["end_ms"]) == ("RUNNING", "", None)
    assert here["experiments"][orphan["experiment_id"]]["name"] == "mlflow 99"
    assert [f.key for f in report.findings if f.severity == "warning"] == ["experiments/99"]


# -- where artifacts lie


def test_artifacts_are_found_where_they_are(tmp_path: Path, templates: Any) -> None:
    data, ids = templates["sqlite"]
    source = copy_source(data, tmp_path / "there")
    root = tmp_path / "there" / "artifacts"
    (experiment_folder,) = (path.parent.parent for path in root.glob(f"*/{ids['hurt']}/artifacts"))
    elsewhere = tmp_path / "else where"
    shutil.copytree(root, elsewhere)
    shutil.copytree(root, tmp_path / "there" / "mlruns")
    shutil.copytree(root, tmp_path / "there" / "mlartifacts")
    tail = f"{experiment_folder.name}/{ids['hurt']}/artifacts"
    shutil.rmtree(root)
    places: dict[str, tuple[str, bool]] = {
        "an absolute path": (str(elsewhere / tail), False),
        "a file URI": ((elsewhere / tail).as_uri(), False),
        "a relative path": (f"./mlruns/{tail}", False),
        "a folder that was moved": (f"/home/somebody/mlruns/{tail}", False),
        "a server's": (f"mlflow-artifacts:/{tail}", False),
        "a server's with its address": (f"mlflow-artifacts://localhost:5000/{tail}", False),
        "where the user says": (f"s3://bucket/deep/{tail}", True),
    }
    for number, (what, (location, is_told)) in enumerate(places.items()):
        with closing(sqlite3.connect(source.folder / "mlflow.db")) as database, database:
            database.execute("UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", (location, ids["hurt"]))
        with Store.open(tmp_path / f"store{number}") as store:
            store.import_from(source.location, artifact_root=elsewhere if is_told else None)
            here = read_store(tmp_path / f"store{number}")
            assert here["runs"][ids["hurt"]]["artifacts"] == {"a.txt": 1, "b/c.txt": 1}, what
    source.close()


@pytest.mark.parametrize("location", ["", ".", "..", "/", "file:///", "{}", "{}/there"])
def test_a_location_that_is_around_everything_is_none(tmp_path: Path, templates: Any, location: str) -> None:
    """As an empty or relative one: else the store would be copied into itself."""
    data, ids = templates["sqlite"]
    source = copy_source(data, tmp_path / "there")
    location = location.format(tmp_path)
    with closing(sqlite3.connect(source.folder / "mlflow.db")) as database, database:
        database.execute("UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", (location, ids["hurt"]))
    with Store.open(tmp_path / "store") as store:
        report = store.import_from(source.location)
    assert read_store(tmp_path / "store")["runs"][ids["hurt"]]["artifacts"] == {}
    told = [f"{f.key}: {f.what}" for f in report.findings if f.severity == "warning"]
    assert len(told) == (1 if location else 0)
    assert all("holds the source or the store" in text for text in told)
    source.close()


def test_artifacts_on_another_file_system(tmp_path: Path, templates: Any) -> None:
    import fsspec

    data, ids = templates["sqlite"]
    source = copy_source(data, tmp_path / "there")
    memory = fsspec.filesystem("memory")
    memory.pipe({"/bucket/hurt/artifacts/a.txt": b"A", "/bucket/hurt/artifacts/deep/b.txt": b"BB"})
    locations = {ids["hurt"]: "memory://bucket/hurt/artifacts", ids["whole"]: "nosuchscheme://x/artifacts"}
    with closing(sqlite3.connect(source.folder / "mlflow.db")) as database, database:
        for run_id, location in locations.items():
            database.execute("UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", (location, run_id))
    with Store.open(tmp_path / "store") as store:
        report = store.import_from(source.location)
    here = read_store(tmp_path / "store")["runs"]
    assert here[ids["hurt"]]["artifacts"] == {"a.txt": 1, "deep/b.txt": 2}
    assert here[ids["whole"]]["artifacts"] == {}
    (told,) = [f for f in report.findings if f.severity == "warning"]
    assert ids["whole"] in told.key
    assert "nosuchscheme://x/artifacts" in told.what
    source.close()


def test_that_a_comparison_can_fail(mlruns: Damaged) -> None:
    """The judge of all this tells a point, a time, a tag and a byte that are not the same."""
    mlruns.run()
    run = mlruns.there["runs"][mlruns.hurt]
    assert compare(mlruns.root, mlruns.there) == []
    run["points"].remove(("loss", T, 0, 0.0))
    run["points"].add(("loss", T, 0, 1e-300))
    run["end_ms"] += 1
    run["tags"]["t"] = "y"
    run["artifacts"]["a.txt"] = b"b"
    assert len(compare(mlruns.root, mlruns.there)) == 5
