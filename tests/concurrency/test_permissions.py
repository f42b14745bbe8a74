"""A group that shares a drive: modes and groups of what is made, and what one cannot read of another's."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.crash.forks import Forks

from localtrack.api.store import Store
from localtrack.errors import StorageError

pytestmark = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="becoming other users needs root"
)

GROUP, ADA, BOB, EVE = 41_000, 41_001, 41_002, 41_003

RunAs = Callable[..., Any]


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks() as server:
        yield server


@pytest.fixture
def run_as(forks: Forks, tmp_path: Path) -> RunAs:
    """Run code as a user whose own group is another one than that of the drive; return its `answer`."""

    def run(uid: int, code: str, *, umask: int = 0o002, group: int = GROUP) -> Any:
        path = tmp_path / f"answer{len(list(tmp_path.iterdir()))}"
        groups = [group] if group else []
        exit_code = forks.run(
            "tests.concurrency.users:act", uid=uid, groups=groups, umask=umask, code=code, answer_path=str(path)
        )
        assert exit_code == 0
        return json.loads(path.read_text())

    return run


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    """A folder of the group that passes its group on; reachable for everybody."""
    folder = tmp_path / "drive"
    folder.mkdir()
    os.chown(folder, 0, GROUP)
    folder.chmod(0o2775)
    for above in folder.parents:
        if above == Path("/tmp") or above == Path("/"):
            break
        above.chmod(above.stat().st_mode | 0o755)
    return folder


def log_code(root: Path, name: str) -> str:
    return f"""
with Store.open({str(root)!r}) as store:
    store._site.log_points_bytes = store._site.chunk_bytes = 2_000
    with store.start_run("e", run_name={name!r}, context=False) as run:
        for step in range(200):
            run.log_metric("loss", float(step), step=step)
        run.log_text("hello", "deep/er/note.txt")
answer["run"] = run.run_id
"""


def search_code(root: Path) -> str:
    return f"""
with Store.open({str(root)!r}, create=False) as store:
    page = store.search_runs(order_by=["start_time ASC"], max_results=None)
    answer["names"] = [row.info.run_name for row in page]
    answer["findings"] = sorted({{f.key for f in page.findings}})
"""


def files_below(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if not path.name.startswith(".tmp-")]


def test_what_is_made_belongs_to_the_group_and_nothing_can_be_executed(drive: Path, run_as: RunAs) -> None:
    run_as(ADA, log_code(drive / "store", "ada"))
    run_as(BOB, log_code(drive / "store", "bob"))
    for path in files_below(drive / "store"):
        status = path.stat()
        assert status.st_gid == GROUP, path
        if path.is_dir():
            assert status.st_mode & 0o2775 == 0o2775, path
        else:
            assert stat.S_IMODE(status.st_mode) in (0o664, 0o644), path
    assert run_as(EVE, search_code(drive / "store"))["names"] == ["ada", "bob"]


@pytest.mark.parametrize("umask", [0o077, 0o027, 0o022, 0o002])
def test_the_umask_counts(drive: Path, run_as: RunAs, umask: int) -> None:
    run_as(ADA, log_code(drive / "store", "ada"), umask=umask)
    for path in files_below(drive / "store"):
        assert stat.S_IMODE(path.stat().st_mode) & umask == 0, path


def test_files_of_others_are_never_rewritten(drive: Path, run_as: RunAs) -> None:
    run_id = run_as(ADA, log_code(drive / "store", "ada"))["run"]
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files_below(drive / "store/runs")}
    run_as(
        BOB,
        log_code(drive / "store", "bob")
        + f"""
with Store.open({str(drive / "store")!r}) as store:
    with store.start_run(run_id={run_id!r}) as again:
        again.log_metric("loss", 500.0, step=500)
    store.set_run_tags({run_id!r}, {{"seen": "by bob"}})
    store.delete_run({run_id!r})
    store.restore_run({run_id!r})
    store.search_runs()
    store.seal()
""",
    )
    after = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in before if path.is_file()}
    assert after == {path: mark for path, mark in before.items() if path in after}
    owners = {path.stat().st_uid for path in before if path.is_file()}
    assert owners == {ADA}


def test_what_one_cannot_read_of_another_is_reported_and_hides_nothing_else(drive: Path, run_as: RunAs) -> None:
    root = drive / "store"
    run_as(BOB, log_code(root, "bob"))
    hidden = run_as(ADA, log_code(root, "ada"))["run"]
    (folder,) = root.glob(f"runs/*/{hidden}")
    for path in folder.iterdir():
        if path.is_file():
            path.chmod(0o600)  # as an umask of 077, or somebody's hand, leaves them
    found = run_as(EVE, search_code(root))
    assert found["names"] == ["bob"]
    assert any(hidden in key for key in found["findings"])
    folder.chmod(0o700)
    found = run_as(EVE, search_code(root))
    assert found["names"] == ["bob"]
    assert any(hidden in key for key in found["findings"])
    assert run_as(ADA, search_code(root))["names"] == ["bob", "ada"]


def test_edits_that_cannot_be_read_are_reported(drive: Path, run_as: RunAs) -> None:
    root = drive / "store"
    run_as(BOB, log_code(root, "bob"))
    run_as(ADA, log_code(root, "ada").replace('"e"', '"other"'))
    (edits,) = [path for path in (root / "edits").iterdir() if path.stat().st_uid == ADA]
    edits.chmod(0o600)
    found = run_as(EVE, search_code(root))
    assert found["names"] == ["bob", "ada"]
    assert any(key.endswith(edits.name) for key in found["findings"])


def test_an_index_that_one_may_not_read_is_as_good_as_none(drive: Path, run_as: RunAs) -> None:
    root = drive / "store"
    run_as(BOB, log_code(root, "bob"))
    private = (
        log_code(root, "ada")
        + f"""
with Store.open({str(root)!r}) as store:
    store.compact()
"""
    )
    run_as(ADA, private, umask=0o077)
    assert (root / "index").stat().st_mode & 0o777 == 0o700
    found = run_as(EVE, search_code(root))
    assert found["names"] == ["bob"]
    assert run_as(ADA, search_code(root))["names"] == ["bob", "ada"]
    (root / "index").chmod(0o755)
    assert run_as(EVE, search_code(root))["names"] == ["bob"]


def test_somebody_who_may_only_read_can_search(drive: Path, run_as: RunAs) -> None:
    root = drive / "store"
    run_as(ADA, log_code(root, "ada"))
    found = run_as(EVE, search_code(root), group=0)
    assert found == {"names": ["ada"], "findings": []}
    refused = run_as(
        EVE,
        f"""
with Store.open({str(root)!r}, create=False) as store:
    try:
        store.start_run("e", context=False)
    except LocaltrackError as error:
        answer["code"] = error.code
""",
        group=0,
    )
    assert refused == {"code": "read_only"}


def test_a_run_of_which_one_file_cannot_be_read_is_not_shown_as_if_it_were_whole(drive: Path, run_as: RunAs) -> None:
    root = drive / "store"
    run_id = run_as(ADA, log_code(root, "ada"))["run"]
    run_as(
        BOB,
        f"""
with Store.open({str(root)!r}) as store, store.start_run(run_id={run_id!r}) as run:
    run.set_tag("late", "yes")
""",
        umask=0o077,
    )
    found = run_as(EVE, search_code(root))
    assert any(run_id in key for key in found["findings"])


def test_a_drive_that_was_unmounted_is_not_written_to(tmp_path: Path) -> None:
    drive = tmp_path / "drive"
    drive.mkdir()
    store = Store.open(drive / "store")
    first = store.start_run("e", context=False)
    first.log_metric("loss", 1.0)
    drive.rename(tmp_path / "unplugged")
    drive.mkdir()
    with pytest.raises(StorageError):
        store.start_run("e", context=False)
    with pytest.raises(StorageError):
        store.create_experiment("other")
    assert list(drive.iterdir()) == []
    drive.rmdir()
    (tmp_path / "unplugged").rename(drive)
    with store.start_run("e", context=False) as second:
        second.log_metric("loss", 2.0)
    first.end()
    assert len(store.search_runs()) == 2
    store.close()
