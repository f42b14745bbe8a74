"""What somebody put in the place of a file, and is none, stops nobody: it is left out, and named by a check."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from localtrack.api.store import Store
from localtrack.errors import InvalidInputError
from localtrack.types import ViewType


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        before = os.getcwd()
        os.chdir(path.parent)  # the whole path may be longer than that of a socket can be
        try:
            listener.bind(path.name)
        finally:
            os.chdir(before)


STRANGE: dict[str, Callable[[Path], None]] = {
    "FIFO": lambda path: os.mkfifo(path),
    "socket": make_socket,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "link to nothing": lambda path: path.symlink_to("nothing"),
    "folder": lambda path: path.mkdir(),
}
PLACES = ["runs/*/{run}/*.jsonl", "runs/*/{run}", "experiments/[1-9]*.json", "inbox/*.jsonl", "packs/*.zip", "edits/*"]
CASES = [(kind, PLACES[0]) for kind in STRANGE if kind != "folder"] + [
    (kind, place) for kind in ("FIFO", "link to itself") for place in PLACES[1:]
]
CASES += [("folder", place) for place in ("packs/*.zip", "experiments/[1-9]*.json")]


@pytest.mark.parametrize(("kind", "place"), CASES)
def test_what_is_no_file_is_left_out_and_named(tmp_path: Path, kind: str, place: str) -> None:
    root = tmp_path / "store"
    with Store.open(root) as store:
        for name in ("packed", "good", "strange"):
            if name == "strange":
                store._site.log_points_bytes = 0  # its points lie beside its log
            with store.start_run(name, context=False, run_name=name) as run:
                run.log_metric("loss", 0.5)
                run.log_text("x", "notes.txt")
            if name == "packed":
                store.pack(older_than="0s")
        store.delete_run(run.run_id)
        store.restore_run(run.run_id)
    path = next(root.glob(place.format(run=run.run_id)))
    path.rename(tmp_path / "aside")
    STRANGE[kind](path)
    with Store.open(root, create=False) as store:
        shown = {row.info.run_name: row.info.run_id for row in store.search_runs(run_view_type=ViewType.ALL)}
        assert "good" in shown
        assert len(store.metric_history(shown["good"])) == 1
        assert store.sql("SELECT count(*) AS n FROM artifacts").to_arrow().to_pylist()[0]["n"] >= 2
        with store.start_run("good", context=False) as late:
            late.log_metric("loss", 1.0)
        key = path.relative_to(root).as_posix()
        assert key in {finding.key for finding in store.check().findings}
        store.pack(older_than="0s")
        store.gc(older_than="0s", dry_run=False)
        with Store.open(tmp_path / "other") as other:
            other.merge(root)
            assert len(other.metric_history(shown["good"])) == 1
    assert os.path.lexists(path), "nobody removes what he cannot tell what it is"


def test_a_link_in_place_of_the_artifacts_stops_no_other_run(tmp_path: Path) -> None:
    root = tmp_path / "store"
    with Store.open(root) as store:
        for name in ("good", "linked"):
            with store.start_run("e", context=False, run_name=name) as run:
                run.log_text("x", "notes.txt")
    artifacts = next(root.glob(f"runs/*/{run.run_id}/artifacts"))
    artifacts.rename(tmp_path / "outside")
    artifacts.symlink_to(tmp_path / "outside")
    with Store.open(root) as store, Store.open(tmp_path / "other") as other:
        rows = store.sql("SELECT run_name, path FROM artifacts JOIN runs USING (run_id)").to_arrow().to_pylist()
        assert rows == [{"run_name": "good", "path": "notes.txt"}]
        with pytest.raises(InvalidInputError, match="leads out"):
            store.list_artifacts(run.run_id)
        assert other.merge(root).runs_added == 2
        assert any(
            finding.key.startswith(f"runs/{artifacts.parts[-3]}/{run.run_id}/artifacts")
            for finding in store.check().findings
        )
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["notes.txt"]
