"""A disk that is full: a clear error, and the run goes on when there is space again. With `warn`, nothing is raised."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from tests.crash.audit import Deed, audit
from tests.crash.deeds import make, open_store, plan_call

from localtrack.api.run import ActiveRun
from localtrack.api.store import Store
from localtrack.errors import StorageError, StorageFullError

REAL_WRITE = os.write
SIZE_BYTES = 1 << 20
SMALL_BYTES = 20_000
AT_MS = 1_790_000_000_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES}", "tmpfs", str(folder)], check=True, capture_output=True
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("may not mount a file system here; see the tests that make writes fail")
    try:
        yield folder
    finally:
        # Lazily: the syncing thread may hold a descriptor for another moment.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, leave_bytes: int = 0) -> Path:
    """Take all the space there is, but for some."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        with pytest.raises(OSError, match="No space left"):
            write_without_end(file)
        file.truncate(max(0, file.tell() - leave_bytes))
    return ballast


def write_without_end(file: IO[bytes]) -> None:
    while True:
        file.write(b"x" * 4096)


def log_until_full(run: ActiveRun, number: int) -> int:
    """Log from a call on, and return the first that failed."""
    while True:
        try:
            make(run, plan_call(number, "a"), at_ms=AT_MS + number)
        except StorageFullError as error:
            assert "No space left on device" in str(error)  # noqa: PT017 - any other error passes
            return number
        number += 1


@pytest.mark.parametrize("leave_bytes", [0, 4096, 3 * 4096, 8 * 4096, 20 * 4096])
@pytest.mark.parametrize("durability", ["process", "call"])
def test_a_real_full_disk(small_disk: Path, leave_bytes: int, durability: str) -> None:
    root = small_disk / "store"
    store = open_store(str(root), SMALL_BYTES, durability=durability)
    run = store.start_run("e", context=False)
    for number in range(300):
        make(run, plan_call(number, "a"), at_ms=AT_MS + number)
    ballast = fill(small_disk, leave_bytes)
    number = log_until_full(run, 300)
    for _ in range(3):  # it stays so, and nothing gets worse
        with pytest.raises(StorageFullError):
            run.log_text("x" * 100_000, "big.txt")
        with contextlib.suppress(StorageFullError):
            make(run, plan_call(number, "a"), at_ms=AT_MS + number)
    assert audit(root, [Deed("a", run.run_id, number)]).problems == []
    ballast.unlink()
    for later in range(number, number + 300):
        make(run, plan_call(later, "a"), at_ms=AT_MS + later)
    run.end()
    store.flush()
    assert audit(root, [Deed("a", run.run_id, number + 300, is_ended=True)]).problems == []
    assert not list(root.rglob(".tmp-*"))


def test_an_end_on_a_full_disk_can_be_made_again(small_disk: Path) -> None:
    store = open_store(str(small_disk / "store"))
    run = store.start_run("e", context=False)
    for number in range(100):
        make(run, plan_call(number, "a"))
    ballast = fill(small_disk)
    log_until_full(run, 100)  # what is left of the last page might do for the end
    with pytest.raises(StorageFullError):
        run.end()
    ballast.unlink()
    run.end()
    assert store.get_run(run.run_id).info.status == "FINISHED"
    assert store.describe_run(run.run_id).findings == ()


class FullDisk:
    """Lets writes to a store fail while `is_full`, some of them half way."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_full = False
        self._root = str(root)
        self._count = 0
        self._is_half_way: set[int] = set()
        monkeypatch.setattr(os, "write", self._write)

    def _write(self, fd: int, data: bytes) -> int:
        if not self.is_full or not os.readlink(f"/proc/self/fd/{fd}").startswith(self._root):
            return REAL_WRITE(fd, data)
        self._count += 1
        if self._count % 3 == 1 and len(data) > 1 and fd not in self._is_half_way:
            self._is_half_way.add(fd)
            return REAL_WRITE(fd, data[: len(data) // 2])
        self._is_half_way.discard(fd)
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc to name what is written")
@pytest.mark.parametrize("small_bytes", [None, 2_000])
def test_training_goes_on_and_nothing_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_bytes: int | None
) -> None:
    """With `on_error="warn"`: what could not be logged is logged later, in order, as of when it was to be."""
    disk = FullDisk(tmp_path / "store", monkeypatch)
    store = open_store(str(tmp_path / "store"), small_bytes, on_error="warn")
    run = store.start_run("e", context=False)
    now_ms = [AT_MS]
    monkeypatch.setattr(store, "clock", lambda: now_ms[0])
    monkeypatch.setattr(run._writer, "_clock", lambda: now_ms[0])
    monkeypatch.setattr(run._writer, "_clock_ns", lambda: now_ms[0] * 1_000_000, raising=False)
    for number in range(200):
        disk.is_full = 40 <= number < 90 or 120 <= number < 125
        now_ms[0] += 10
        make(run, plan_call(number, "a"))
    run.end()
    assert audit(tmp_path / "store", [Deed("a", run.run_id, 200, is_ended=True)]).problems == []
    loss = store.metric_history(run.run_id, "a.loss").to_pydict()
    assert loss["step"] == sorted(loss["step"])
    assert [at - 1_790_000_000_010 for at in loss["timestamp_ms"]] == [step * 10 for step in loss["step"]]


@pytest.mark.parametrize("has_limits", [False, True])
@pytest.mark.parametrize("comes_back", [True, False])
def test_a_run_can_start_while_the_store_is_away(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, has_limits: bool, comes_back: bool
) -> None:
    """With `on_error="warn"`: in an experiment that was seen before; the run is there once the store is."""
    root, away = tmp_path / "store", tmp_path / "away"
    store = Store.open(root, on_error="warn")
    if has_limits:
        store.set_quota({"experiment.runs": 1_000, "run.params": 10, "store.bytes": 10**12})
    store.start_run("e", context=False).end()
    root.rename(away)
    with pytest.raises(StorageError, match="lost its store"):
        store.start_run("never seen", context=False)
    run = store.start_run("e", run_name="late", tags={"t": "1"}, start_time=5, context=False)
    run.log_param("p", 1)
    run.log_metric("m", 2.0, step=3)
    run.set_tag("t", "2")
    assert not root.exists()
    if comes_back:
        away.rename(root)
    run.end()
    said = [record.getMessage() for record in caplog.records]
    assert len([text for text in said if "cannot be logged for now" in text]) == 1
    assert any("4 logging calls are lost" in text for text in said) == (not comes_back)
    if not comes_back:
        away.rename(root)
    store.close()
    with Store.open(root) as again:
        rows = again.search_runs(experiment_names=["e"], filter_string="run_name = 'late'")
        assert [row.info.run_id for row in rows] == ([run.run_id] if comes_back else [])
        for row in rows:
            assert (row.info.status, row.info.start_time) == ("FINISHED", 5)
            assert (row.params, row.tags["t"], row.metrics["m"].value) == ({"p": "1"}, "2", 2.0)
        assert again.check().findings == []


def test_what_the_caller_changes_meanwhile_is_not_what_it_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FullDisk(tmp_path / "store", monkeypatch)
    store = Store.open(tmp_path / "store", on_error="warn")
    run = store.start_run("e", context=False)
    disk.is_full = True
    params, tags, metrics, document = {"p": 1}, {"t": "a"}, {"m": 1.0}, {"d": [1]}
    file = tmp_path / "file.txt"
    file.write_text("content")
    run.log_metric("first", 1.0)
    run.log_params(params)
    run.set_tags(tags)
    run.log_metrics(metrics)
    run.log_dict(document, "d.json")
    run.log_artifact(file)
    params["p"], tags["t"], metrics["m"] = 2, "b", 2.0
    document["d"].append(2)
    file.unlink()  # as temporary files are
    disk.is_full = False
    run.log_metric("last", 1.0)
    run.end()
    data = store.get_run(run.run_id).data
    assert data.params["p"] == "1"
    assert data.tags["t"] == "a"
    assert data.metrics == {"first": 1.0, "m": 1.0, "last": 1.0}
    with open(store.download_artifacts(run.run_id, "d.json")) as stored:
        assert stored.read().split() == ["{", '"d":', "[", "1", "]", "}"]
