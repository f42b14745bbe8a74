"""Artifacts: put in place whole or not at all, and never read or written outside of the run's artifact folder."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.store.object_storage import ObjectStorage

from localtrack.errors import ErrorCode, InvalidInputError, NotFoundError, StorageError, StorageFullError
from localtrack.storage.local import LocalStorage
from localtrack.store import artifacts
from localtrack.store.artifacts import ArtifactRecord
from localtrack.types import FileInfo

RUN = "runs/2026-09-21/0199a0b1c2d37e4f8a9b0c1d2e3f4a5b"


@pytest.fixture
def store(tmp_path: Path) -> LocalStorage:
    (tmp_path / "store").mkdir()
    return LocalStorage(str(tmp_path / "store"))


@pytest.fixture(params=["local", "objects"])
def any_store(request: pytest.FixtureRequest, store: LocalStorage) -> Any:
    return store if request.param == "local" else ObjectStorage()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "model.bin"
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder with a secret that no artifact call may reach."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret").write_bytes(b"secret")
    return folder


def root(store: LocalStorage) -> Path:
    return Path(store.path(f"{RUN}/artifacts"))


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# -- putting


def test_a_file_is_in_place_with_its_size_and_digest(any_store: Any, source: Path) -> None:
    record = artifacts.put_file(any_store, RUN, str(source), "a/b/model.bin")
    assert record == ArtifactRecord("a/b/model.bin", 7, hashlib.sha256(b"weights").hexdigest())
    assert artifacts.read_artifact(any_store, RUN, "a/b/model.bin") == b"weights"


def test_bytes_are_in_place_and_replaced_by_later_ones(any_store: Any) -> None:
    artifacts.put_bytes(any_store, RUN, b"", "a.txt")
    assert artifacts.read_artifact(any_store, RUN, "a.txt") == b""
    assert artifacts.put_bytes(any_store, RUN, b"two", "a.txt").bytes == 3
    assert artifacts.read_artifact(any_store, RUN, "a.txt") == b"two"


def test_only_the_file_is_left_behind(store: LocalStorage, source: Path) -> None:
    artifacts.put_file(store, RUN, str(source), "a/model.bin")
    assert tree(Path(store.root)) == {f"{RUN}/artifacts/a/model.bin": b"weights"}


def test_a_big_file_takes_little_memory(store: LocalStorage, tmp_path: Path) -> None:
    big = tmp_path / "big"
    size = 96 << 20
    with open(big, "wb") as file:
        file.truncate(size)
    tracemalloc.start()
    try:
        record = artifacts.put_file(store, RUN, str(big), "big")
        artifacts.download(store, RUN, "big", tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert record.bytes == size
    assert peak < 8 << 20


def test_a_file_that_is_its_own_source_stays(store: LocalStorage) -> None:
    artifacts.put_bytes(store, RUN, b"same", "a.txt")
    artifacts.put_file(store, RUN, str(root(store) / "a.txt"), "a.txt")
    assert tree(root(store)) == {"a.txt": b"same"}


@pytest.mark.parametrize("name", ["..", "../x", "/x", "a/../../x", "a\0", "C:\\x", "nul", "a//b", ".tmp-a", "x" * 256])
def test_a_hostile_name_leaves_nothing(any_store: Any, source: Path, name: str) -> None:
    for put in (
        lambda: artifacts.put_file(any_store, RUN, str(source), name),
        lambda: artifacts.put_bytes(any_store, RUN, b"x", name),
    ):
        with pytest.raises(InvalidInputError) as caught:
            put()
        assert caught.value.code is ErrorCode.INVALID_PATH
    if any_store.is_local:
        assert os.listdir(any_store.root) == []
    else:
        assert any_store.objects == {}


@pytest.mark.parametrize("name", ["🚀/👩‍🚀.png", "x" * 255, "é" * 127, "a b/c d", "quo\"te's$(x)", "%2e%2e/a", "-rf"])
def test_an_odd_name_comes_back_as_it_was(any_store: Any, name: str) -> None:
    artifacts.put_bytes(any_store, RUN, b"x", name)
    assert [info.path for info in artifacts.iter_files(any_store, RUN)] == [name]
    assert artifacts.read_artifact(any_store, RUN, name) == b"x"


def test_names_are_not_normalised(store: LocalStorage) -> None:
    artifacts.put_bytes(store, RUN, b"1", "e\u0301")
    artifacts.put_bytes(store, RUN, b"2", "\u00e9")
    if len(os.listdir(root(store))) == 2:  # some file systems hold the two for one name
        assert artifacts.read_artifact(store, RUN, "e\u0301") == b"1"
    assert artifacts.read_artifact(store, RUN, "\u00e9") == b"2"


def test_names_that_differ_in_case_are_two_where_the_file_system_tells_them_apart(any_store: Any) -> None:
    artifacts.put_bytes(any_store, RUN, b"1", "Model.bin")
    artifacts.put_bytes(any_store, RUN, b"2", "model.bin")
    found = {info.path for info in artifacts.list_artifacts(any_store, RUN)}
    assert artifacts.read_artifact(any_store, RUN, "model.bin") == b"2"
    if len(found) == 2:
        assert artifacts.read_artifact(any_store, RUN, "Model.bin") == b"1"


def test_a_file_cannot_stand_where_a_folder_is_nor_below_a_file(any_store: Any) -> None:
    artifacts.put_bytes(any_store, RUN, b"x", "a/b")
    with pytest.raises(InvalidInputError, match="it is a folder already"):
        artifacts.put_bytes(any_store, RUN, b"y", "a")
    with pytest.raises(InvalidInputError, match="'a/b' is a file, not a folder"):
        artifacts.put_bytes(any_store, RUN, b"y", "a/b/c/d")
    assert [info.path for info in artifacts.iter_files(any_store, RUN)] == ["a/b"]


def test_many_places_are_checked_before_the_first_is_taken(any_store: Any) -> None:
    artifacts.put_bytes(any_store, RUN, b"x", "a/b")
    artifacts.require_places(any_store, RUN, ["a/c", "d"])
    with pytest.raises(InvalidInputError, match="folder already"):
        artifacts.require_places(any_store, RUN, ["a/c", "d", "a"])


@pytest.mark.parametrize("name", ["link/x", "link/deep/x"])
def test_nothing_is_written_through_a_link_that_leads_out(store: LocalStorage, outside: Path, name: str) -> None:
    root(store).mkdir(parents=True)
    (root(store) / "link").symlink_to(outside)
    with pytest.raises(InvalidInputError, match="leads out"):
        artifacts.put_bytes(store, RUN, b"x", name)
    assert tree(outside) == {"secret": b"secret"}


def test_nothing_is_written_where_the_artifact_folder_is_a_link_that_leads_out(
    store: LocalStorage, outside: Path
) -> None:
    root(store).parent.mkdir(parents=True)
    root(store).symlink_to(outside)
    with pytest.raises(InvalidInputError, match="leads out"):
        artifacts.put_bytes(store, RUN, b"x", "a")
    assert tree(outside) == {"secret": b"secret"}


def test_a_link_in_the_place_of_a_file_is_replaced_not_written_through(store: LocalStorage, outside: Path) -> None:
    root(store).mkdir(parents=True)
    (root(store) / "a").symlink_to(outside / "secret")
    artifacts.put_bytes(store, RUN, b"new", "a")
    assert tree(outside) == {"secret": b"secret"}
    assert not (root(store) / "a").is_symlink()
    assert artifacts.read_artifact(store, RUN, "a") == b"new"


def test_a_store_that_is_reached_through_a_link_works(tmp_path: Path, store: LocalStorage) -> None:
    (tmp_path / "alias").symlink_to(store.root)
    alias = LocalStorage(str(tmp_path / "alias"))
    artifacts.put_bytes(alias, RUN, b"x", "a/b")
    assert artifacts.list_artifacts(alias, RUN, "a") == [FileInfo("a/b", False, 1)]


@pytest.mark.parametrize("error_number", [errno.ENOSPC, errno.EIO])
def test_a_failed_write_leaves_what_was_there(
    store: LocalStorage, source: Path, monkeypatch: pytest.MonkeyPatch, error_number: int
) -> None:
    artifacts.put_bytes(store, RUN, b"old", "a/b")

    def fail(_fd: int) -> None:
        raise OSError(error_number, os.strerror(error_number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageFullError if error_number == errno.ENOSPC else StorageError):
        artifacts.put_file(store, RUN, str(source), "a/b")
    assert tree(root(store)) == {"a/b": b"old"}


def test_each_new_folder_is_durable_before_the_call_returns(
    store: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[int] = set()
    fsync = os.fsync

    def note(fd: int) -> None:
        synced.add(os.fstat(fd).st_ino)
        fsync(fd)

    monkeypatch.setattr(os, "fsync", note)
    artifacts.put_bytes(store, RUN, b"x", "a/b/c")
    folders = [Path(store.root), *(p for p in Path(store.root).rglob("*") if p.is_dir())]
    assert {p.stat().st_ino for p in folders} <= synced
    synced.clear()
    artifacts.put_bytes(store, RUN, b"x", "a/b/d")
    assert synced == {(root(store) / "a/b").stat().st_ino, (root(store) / "a/b/d").stat().st_ino}


# -- sources


def test_a_source_that_is_not_there_is_named(store: LocalStorage, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="nowhere cannot be logged as a file: it is not there"):
        artifacts.put_file(store, RUN, str(tmp_path / "nowhere"), "a")
    assert os.listdir(store.root) == []


def test_a_folder_is_no_source_of_one_file(store: LocalStorage, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="is a folder"):
        artifacts.put_file(store, RUN, str(tmp_path), "a")


@pytest.fixture
def special(tmp_path: Path) -> Iterator[dict[str, Path]]:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with socket.socket(socket.AF_UNIX) as server:
        # Bound by a relative name: the whole path may be too long for a socket.
        before = os.getcwd()
        os.chdir(tmp_path)
        try:
            server.bind("socket")
        finally:
            os.chdir(before)
        yield {"fifo": fifo, "socket": tmp_path / "socket", "device": Path("/dev/zero")}


@pytest.mark.parametrize("kind", ["fifo", "socket", "device"])
def test_special_files_are_refused_without_waiting(store: LocalStorage, special: dict[str, Path], kind: str) -> None:
    with pytest.raises(InvalidInputError, match="FIFO, socket or device"):
        artifacts.put_file(store, RUN, str(special[kind]), "a")
    with pytest.raises(InvalidInputError, match="FIFO, socket or device"):
        artifacts.plan_source(special[kind])
    assert os.listdir(store.root) == []


def test_an_unreadable_source_is_an_error_of_ours(
    store: LocalStorage, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StorageError, match="Permission denied"):
        artifacts.put_file(store, RUN, str(source), "a")


# -- planning


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What people log: files, folders, and an empty one."""
    made = tmp_path / "out"
    (made / "deep" / "er").mkdir(parents=True)
    (made / "empty").mkdir()
    (made / "b.txt").write_text("b")
    (made / "a.txt").write_text("a")
    (made / "deep" / "er" / "c.txt").write_text("c")
    return made


def planned(local_dir: Path, artifact_folder: str | None = None, **more: Any) -> dict[str, str]:
    return {target: path for path, target in artifacts.plan_folder(local_dir, artifact_folder, **more)}


def test_a_folder_is_planned_with_all_that_is_below(folder: Path) -> None:
    assert planned(folder) == {
        "a.txt": str(folder / "a.txt"),
        "b.txt": str(folder / "b.txt"),
        "deep/er/c.txt": str(folder / "deep/er/c.txt"),
    }
    assert set(planned(folder, "x/y")) == {"x/y/a.txt", "x/y/b.txt", "x/y/deep/er/c.txt"}


def test_a_single_path_is_planned_under_its_own_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert artifacts.plan_source(folder / "a.txt") == [(str(folder / "a.txt"), "a.txt")]
    assert artifacts.plan_source(folder / "a.txt", "x") == [(str(folder / "a.txt"), "x/a.txt")]
    assert {target for _, target in artifacts.plan_source(f"{folder}/", "x")} == {
        "x/out/a.txt", "x/out/b.txt", "x/out/deep/er/c.txt",
    }  # fmt: skip
    monkeypatch.chdir(folder)
    assert {target for _, target in artifacts.plan_source(".")} == {"out/a.txt", "out/b.txt", "out/deep/er/c.txt"}


def test_links_to_files_are_followed(folder: Path, outside: Path) -> None:
    (folder / "link").symlink_to(outside / "secret")
    assert "link" in planned(folder)


def test_links_to_folders_are_left_out_with_a_warning_and_cannot_loop(folder: Path) -> None:
    (folder / "deep" / "up").symlink_to(folder)
    with pytest.warns(UserWarning, match="up is a link to a folder and was not logged"):
        found = planned(folder)
    assert set(found) == {"a.txt", "b.txt", "deep/er/c.txt"}


def test_a_folder_reached_through_a_link_is_logged(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(folder)
    assert set(planned(tmp_path / "alias")) == {"a.txt", "b.txt", "deep/er/c.txt"}


@pytest.mark.parametrize("name", ["a:b", "con", "x.", "new\nline", ".tmp-x", "a\\b"])
def test_one_bad_name_refuses_the_whole_folder(folder: Path, name: str) -> None:
    (folder / "deep" / name).write_text("x")
    with pytest.raises(InvalidInputError) as caught:
        planned(folder)
    assert caught.value.code is ErrorCode.INVALID_PATH


def test_a_name_that_is_no_text_refuses_the_whole_folder(folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff")).write_text("x")
    with pytest.raises(InvalidInputError, match="surrogate"):
        planned(folder)


def test_a_fifo_or_a_dead_link_refuses_the_whole_folder(folder: Path) -> None:
    os.mkfifo(folder / "fifo")
    with pytest.raises(InvalidInputError, match="FIFO"):
        planned(folder)
    (folder / "fifo").unlink()
    (folder / "dead").symlink_to(folder / "nowhere")
    with pytest.raises(InvalidInputError, match="not there"):
        planned(folder)


@pytest.mark.parametrize("where", ["nowhere", "out/a.txt"])
def test_only_a_folder_is_planned_as_one(folder: Path, where: str) -> None:
    with pytest.raises(InvalidInputError, match="is not a folder"):
        planned(folder.parent / where)


@pytest.mark.parametrize("target", ["/x", "..", "a/", "a\0"])
def test_the_target_folder_is_checked_even_if_nothing_is_logged(tmp_path: Path, target: str) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(InvalidInputError):
        planned(tmp_path / "none", target)


def test_the_store_itself_is_not_logged_into_itself(store: LocalStorage, folder: Path, tmp_path: Path) -> None:
    artifacts.put_bytes(store, RUN, b"x", "a")
    assert not [name for name in planned(tmp_path, store_root=store.root) if name.startswith("store/")]
    assert set(planned(root(store), store_root=store.root)) == {"a"}  # what lies in it may be logged again


# -- listing


def test_one_level_is_listed_by_path(any_store: Any) -> None:
    for name in ("b.txt", "a/z", "a/y/x", "a.txt"):
        artifacts.put_bytes(any_store, RUN, b"123", name)
    assert artifacts.list_artifacts(any_store, RUN) == [
        FileInfo("a", True, None),
        FileInfo("a.txt", False, 3),
        FileInfo("b.txt", False, 3),
    ]
    below = [FileInfo("a/y", True, None), FileInfo("a/z", False, 3)]
    for spelling in ("a", "a/", "./a", "a//."):
        assert artifacts.list_artifacts(any_store, RUN, spelling) == below
    assert {info.path for info in artifacts.iter_files(any_store, RUN)} == {"b.txt", "a/z", "a/y/x", "a.txt"}
    assert [info.path for info in artifacts.iter_files(any_store, RUN, "a/y")] == ["a/y/x"]


@pytest.mark.parametrize("path", [None, "", ".", "a", "nowhere", "nowhere/else", "a/b", "x" * 300])
def test_what_is_no_folder_lists_as_nothing(any_store: Any, path: str | None) -> None:
    if path == "a":
        artifacts.put_bytes(any_store, RUN, b"x", "a")
    assert artifacts.list_artifacts(any_store, RUN, path) == []


def test_unfinished_and_special_files_are_left_out(store: LocalStorage) -> None:
    artifacts.put_bytes(store, RUN, b"x", "a")
    (root(store) / ".tmp-0123").write_text("half")
    os.mkfifo(root(store) / "fifo")
    (root(store) / "dead").symlink_to("nowhere")
    assert [info.path for info in artifacts.list_artifacts(store, RUN)] == ["a"]
    for name in (".tmp-0123", "fifo", "dead"):
        with pytest.raises(NotFoundError):
            artifacts.open_artifact(store, RUN, name)


def test_files_that_others_put_there_are_artifacts_whatever_their_names(store: LocalStorage) -> None:
    root(store).mkdir(parents=True)
    for name in ("a:b", "con", "x."):
        (root(store) / name).write_text("x")
    assert [info.path for info in artifacts.list_artifacts(store, RUN)] == ["a:b", "con", "x."]
    assert artifacts.read_artifact(store, RUN, "a:b") == b"x"


# -- reading


HOSTILE_READS = ["/etc/passwd", "..", "../../x", "a/../..", "a\0", "a/../a"]


@pytest.mark.parametrize("path", HOSTILE_READS)
def test_a_path_that_climbs_is_refused_by_every_reader(any_store: Any, tmp_path: Path, path: str) -> None:
    artifacts.put_bytes(any_store, RUN, b"x", "a")
    for read in (
        artifacts.list_artifacts,
        artifacts.resolve,
        artifacts.open_artifact,
        artifacts.read_artifact,
        artifacts.download,
        lambda s, r, p: artifacts.download(s, r, p, tmp_path),
    ):
        with pytest.raises(InvalidInputError) as caught:
            read(any_store, RUN, path)
        assert caught.value.code is ErrorCode.INVALID_PATH


def test_links_out_are_neither_listed_nor_read_nor_downloaded(
    store: LocalStorage, outside: Path, tmp_path: Path
) -> None:
    artifacts.put_bytes(store, RUN, b"x", "a")
    (root(store) / "file").symlink_to(outside / "secret")
    (root(store) / "folder").symlink_to(outside)
    (root(store) / "log").symlink_to("../../..")
    (root(store) / "chain").symlink_to("folder/secret")
    assert [info.path for info in artifacts.list_artifacts(store, RUN)] == ["a"]
    for path in ("file", "folder/secret", "chain"):
        for read in (artifacts.resolve, artifacts.open_artifact, artifacts.read_artifact, artifacts.download):
            with pytest.raises(InvalidInputError, match="leads out"):
                read(store, RUN, path)
    for path in ("folder", "log"):
        with pytest.raises(InvalidInputError, match="leads out"):
            artifacts.list_artifacts(store, RUN, path)
    (tmp_path / "dst").mkdir()
    artifacts.download(store, RUN, "", tmp_path / "dst")
    assert tree(tmp_path / "dst") == {"a": b"x"}


def test_an_artifact_folder_that_is_a_link_out_shows_nothing(store: LocalStorage, outside: Path) -> None:
    root(store).parent.mkdir(parents=True)
    root(store).symlink_to(outside)
    with pytest.raises(InvalidInputError, match="leads out"):
        artifacts.list_artifacts(store, RUN)
    with pytest.raises(InvalidInputError, match="leads out"):
        artifacts.read_artifact(store, RUN, "secret")


def test_a_sibling_whose_name_begins_alike_is_outside(store: LocalStorage) -> None:
    artifacts.put_bytes(store, RUN, b"x", "a")
    sibling = root(store).with_name("artifacts-of-others")
    sibling.mkdir()
    (sibling / "secret").write_text("secret")
    (root(store) / "link").symlink_to(sibling / "secret")
    assert [info.path for info in artifacts.list_artifacts(store, RUN)] == ["a"]


def test_links_that_stay_inside_are_followed_and_circles_end(store: LocalStorage, tmp_path: Path) -> None:
    artifacts.put_bytes(store, RUN, b"x", "a/b")
    (root(store) / "latest").symlink_to("a/b")
    (root(store) / "a" / "up").symlink_to("..")
    assert artifacts.read_artifact(store, RUN, "latest") == b"x"
    assert artifacts.read_artifact(store, RUN, "a/up/a/b") == b"x"
    assert {info.path for info in artifacts.iter_files(store, RUN)} == {"latest", "a/b"}


def test_what_is_not_there_is_not_found(any_store: Any, tmp_path: Path) -> None:
    artifacts.put_bytes(any_store, RUN, b"x", "a/b")
    for path in ("nowhere", "a/nowhere", "a/b/c", "x" * 300):
        assert artifacts.read_artifact(any_store, RUN, path) is None
        with pytest.raises(NotFoundError, match="There is no artifact") as caught:
            artifacts.download(any_store, RUN, path, tmp_path)
        assert caught.value.code is ErrorCode.ARTIFACT_NOT_FOUND


def test_a_folder_is_not_opened_as_a_file(any_store: Any) -> None:
    artifacts.put_bytes(any_store, RUN, b"x", "a/b")
    with pytest.raises(InvalidInputError, match="is a folder"):
        artifacts.open_artifact(any_store, RUN, "a")


# -- downloading


def test_a_local_store_gives_the_artifact_itself(store: LocalStorage) -> None:
    artifacts.put_bytes(store, RUN, b"x", "a/b")
    assert artifacts.download(store, RUN, "a/b") == str(root(store) / "a/b")
    assert artifacts.download(store, RUN, "a") == str(root(store) / "a")
    assert artifacts.download(store, RUN) == str(root(store))


def test_without_artifacts_there_is_nothing_to_give(store: LocalStorage, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="There are no artifacts"):
        artifacts.download(store, RUN)
    assert artifacts.download(store, RUN, "", tmp_path) == str(tmp_path)


def test_an_object_store_gives_a_copy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    objects = ObjectStorage()
    artifacts.put_bytes(objects, RUN, b"x", "a/b")
    path = artifacts.download(objects, RUN, "a/b")
    assert path.endswith(os.path.join("a", "b"))
    assert path.startswith(os.path.realpath(tmp_path))
    assert Path(path).read_bytes() == b"x"


def test_a_copy_lies_under_the_artifacts_whole_path(any_store: Any, tmp_path: Path) -> None:
    for name in ("a/b", "a/c/d", "e"):
        artifacts.put_bytes(any_store, RUN, name.encode(), name)
    for path, expected in (
        ("a/b", {"a/b"}),
        ("a/c", {"a/c/d"}),
        ("a", {"a/b", "a/c/d"}),
        ("", {"a/b", "a/c/d", "e"}),
    ):
        dst = tmp_path / f"dst-{len(expected)}{path[-1:]}"
        dst.mkdir()
        assert artifacts.download(any_store, RUN, path, dst) == str(dst / path)
        assert tree(dst) == {name: name.encode() for name in expected}


def test_a_copy_needs_a_folder_that_exists(any_store: Any, tmp_path: Path) -> None:
    artifacts.put_bytes(any_store, RUN, b"x", "a")
    (tmp_path / "file").write_text("")
    for dst in ("nowhere", "file"):
        with pytest.raises(InvalidInputError, match="is not a folder that exists"):
            artifacts.download(any_store, RUN, "a", tmp_path / dst)


def test_a_copy_that_fails_leaves_no_half_file(
    store: LocalStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifacts.put_bytes(store, RUN, b"new", "a")
    (tmp_path / "dst").mkdir()
    (tmp_path / "dst" / "a").write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(StorageError, match="Input/output error"):
        artifacts.download(store, RUN, "a", tmp_path / "dst")
    assert tree(tmp_path / "dst") == {"a": b"old"}


def test_the_module_loads_the_standard_library_only() -> None:
    script = (
        "import sys; before = set(sys.modules)\n"
        "import localtrack.store.artifacts, localtrack.api.artifact_content\n"
        "new = {m.partition('.')[0] for m in set(sys.modules) - before}\n"
        "print(*sorted(new - set(sys.stdlib_module_names) - {'localtrack'}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
