"""Files that are kept open are read to their end, are not too many, and are let go of."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from localtrack.storage import kept_files
from localtrack.storage.kept_files import KeptFiles

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no file is kept there")


@pytest.fixture
def kept() -> Iterator[KeptFiles]:
    files = KeptFiles()
    yield files
    files.clear()


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


@pytest.mark.parametrize("size", [0, 1, 447, 448, 449, 2_047, 2_048, 2_049, 65_536, 300_001])
def test_what_was_appended_is_read_whole(kept: KeptFiles, tmp_path: Path, size: int) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"beginning")
    assert kept.keep("log", str(path))
    assert kept.read_from("log", 9) == b""
    data = os.urandom(size)
    with open(path, "ab") as file:
        file.write(data)
    assert kept.read_from("log", 9) == data
    assert kept.read_from("log", 4) == b"nning" + data


def test_only_a_share_of_what_the_process_may_open_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda _: (40, 40))
    files = KeptFiles()
    for number in range(12):
        (tmp_path / str(number)).touch()
    assert [files.keep(str(number), str(tmp_path / str(number))) for number in range(12)] == [True] * 10 + [False] * 2
    assert files.keep("3", str(tmp_path / "3"))  # is kept already
    files.drop("3")
    assert files.keep("11", str(tmp_path / "11"))
    assert not files.keep("10", str(tmp_path / "10"))
    files.clear()
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert kept_files._count_allowed() == 4_096


def test_a_file_that_is_not_there_is_not_kept(kept: KeptFiles, tmp_path: Path) -> None:
    assert not kept.keep("log", str(tmp_path / "log"))
    kept.drop("log")
    assert kept.fds == {}


def test_what_cannot_be_read_gives_nothing(kept: KeptFiles, tmp_path: Path) -> None:
    assert kept.keep("folder", str(tmp_path))
    assert kept.read_from("folder", 0) == b""


def test_files_are_closed(tmp_path: Path) -> None:
    (tmp_path / "log").touch()
    # At last nobody has them any more.
    for let_go in (lambda files: files.drop("log"), KeptFiles.clear, lambda _: None):
        files = KeptFiles()
        assert files.keep("log", str(tmp_path / "log"))
        fd = files.fds["log"]
        assert is_open(fd)
        let_go(files)
        del files
        assert not is_open(fd)
