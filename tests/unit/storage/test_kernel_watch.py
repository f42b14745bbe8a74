"""The kernel tells of what happened to what is watched, before whoever did it goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from localtrack.storage import kernel_watch
from localtrack.storage.kernel_watch import ANYTHING, GROWTH, ITSELF, NAMES, KernelWatch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify is the Linux kernel's")


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[KernelWatch]:
    found = KernelWatch.open(str(tmp_path))
    assert found is not None
    yield found
    found.close()


def append(path: Path) -> None:
    with open(path, "ab") as file:
        file.write(b"more\n")


def test_growth_is_told_once_until_watched_again(watch: KernelWatch, tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.touch()
    assert watch.watch("log", str(file), GROWTH)
    assert watch.take() == set()
    for _ in range(3):
        append(file)
    assert watch.take() == {"log"}
    append(file)
    assert watch.take() == set()
    assert watch.watch_again("log")
    append(file)
    assert watch.take() == {"log"}


def test_what_another_process_wrote_is_told_when_it_says_so(watch: KernelWatch, tmp_path: Path) -> None:
    files = [tmp_path / f"log{number}" for number in range(20)]
    for file in files:
        file.touch()
        watch.watch(file.name, str(file), GROWTH)
    program = (
        "import os, sys\n"
        "for path in sys.argv[1:]:\n"
        "    os.write(os.open(path, os.O_WRONLY | os.O_APPEND), b'x')\n"
        "    print(path, flush=True)\n"
        "    input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, *map(str, files)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        for file in files:
            assert other.stdout.readline() == f"{file}\n"
            assert watch.take() == {file.name}
            other.stdin.write("\n")
            other.stdin.flush()


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "new").touch(),
        lambda folder: (folder / "there").unlink(),
        lambda folder: (folder / "there").rename(folder / "elsewhere"),
        lambda folder: (folder / "there").replace(folder.parent / "out"),
        lambda folder: (folder.parent / "other").replace(folder / "there"),
        lambda folder: folder.rename(folder.parent / "moved"),
        lambda folder: ((folder / "there").unlink(), folder.rmdir()),
    ],
)
def test_other_names_in_a_folder_are_told(watch: KernelWatch, tmp_path: Path, change: Callable[[Path], object]) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "there").touch()
    (tmp_path / "other").touch()
    assert watch.watch("folder", str(folder), NAMES)
    append(folder / "there")
    assert watch.take() == set()
    change(folder)
    assert watch.take() == {"folder"}


def test_anything_in_a_folder_is_told(watch: KernelWatch, tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"a rather long name of a file {number}").touch()
    assert watch.watch("all", str(tmp_path), ANYTHING)
    assert watch.take() == set()
    append(tmp_path / "a rather long name of a file 7")
    assert watch.take() == {"all"}


def test_a_folder_that_is_moved_is_told(watch: KernelWatch, tmp_path: Path) -> None:
    (tmp_path / "day").mkdir()
    assert watch.watch("day", str(tmp_path / "day"), ITSELF)
    (tmp_path / "day" / "run").mkdir()
    assert watch.take() == set()
    (tmp_path / "day").rename(tmp_path / "old")
    assert watch.take() == {"day"}


def test_what_cannot_be_watched_is_said(watch: KernelWatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    os.link(tmp_path / "file", tmp_path / "same")
    assert not watch.watch("missing", str(tmp_path / "missing"), GROWTH)
    assert not watch.watch("file", str(tmp_path / "file"), NAMES)
    assert not watch.watch("link", str(tmp_path / "link"), NAMES)
    assert watch.watch("file", str(tmp_path / "file"), GROWTH)
    assert not watch.watch("same", str(tmp_path / "same"), GROWTH), "one of the two names would never be told"
    assert not watch.watch_again("never")


def test_dropped_ones_are_told_no_more(watch: KernelWatch, tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.touch()
    watch.watch("log", str(file), GROWTH)
    watch.drop("log")
    append(file)
    assert watch.take() == set()


def test_a_full_queue_counts_as_lost(watch: KernelWatch, tmp_path: Path) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 100_000:
        pytest.skip("the queue is long")
    assert watch.watch("all", str(tmp_path), NAMES)
    first, second = tmp_path / "first", tmp_path / "second"
    first.touch()
    for _ in range(limit // 4 + 2):
        first.rename(second)
        second.rename(first)
    assert watch.take() is None


def test_closed_or_of_another_process_or_place_counts_as_lost(watch: KernelWatch, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    other = KernelWatch.open(str(base))
    assert other is not None
    assert other.take() == set()
    base.rename(tmp_path / "aside")
    base.mkdir()
    assert other.take() is None
    watch.close()
    assert watch.take() is None


def test_a_child_of_a_fork_takes_nothing_from_its_parent(
    watch: KernelWatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch.watch("all", str(tmp_path), NAMES)
    (tmp_path / "new").touch()
    pid = os.getpid()
    monkeypatch.setattr(kernel_watch.os, "getpid", lambda: pid + 1)
    assert watch.take() is None
    monkeypatch.undo()
    assert watch.take() == {"all"}
