"""Which mount a path lies on, and what follows from it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from localtrack.storage.capabilities import MEDIA, of_mount, of_protocol
from localtrack.storage.local import LocalStorage
from localtrack.storage.mounts import Mount, choose_mount, find_mount, parse_mountinfo

MOUNTINFO = r"""
21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,errors=remount-ro
30 21 0:25 / /dev/shm rw,nosuid,nodev - tmpfs tmpfs rw
41 21 0:40 / /mnt/lab rw,relatime shared:7 - nfs4 server:/export rw,vers=4.2,local_lock=none
42 41 0:41 / /mnt/lab/old\040data rw - nfs server:/old rw,nolock,local_lock=all
43 21 0:42 / /mnt/office rw - cifs //server/share rw,nobrl
44 21 0:43 / /mnt/ada rw - fuse.sshfs ada@server:/home rw,user_id=0
45 21 0:44 / /mnt/scratch rw - lustre 10.0.0.1@tcp:/scratch rw,flock
46 21 0:44 / /mnt/scratch2 rw - lustre 10.0.0.1@tcp:/scratch rw,localflock
47 21 0:45 / /merged rw - overlay overlay rw,lowerdir=/l
48 21 0:46 / /mnt/odd rw - plan9fs x rw
49 21 0:47 / /mnt/odd rw - ext4 /dev/vdb rw
""".strip()


@pytest.mark.parametrize(
    ("path", "medium", "locks"),
    [
        ("/home/ada", "local", "this machine"),
        ("/dev/shm/x", "tmpfs", "this machine"),
        ("/mnt/lab/runs", "nfs", "all hosts"),
        ("/mnt/lab/old data/runs", "nfs", "this mount"),
        ("/mnt/lab/old", "nfs", "all hosts"),
        ("/mnt/labs", "local", "this machine"),
        ("/mnt/office", "smb", "this mount"),
        ("/mnt/ada/runs", "fuse", "this mount"),
        ("/mnt/scratch", "cluster", "all hosts"),
        ("/mnt/scratch2/a", "cluster", "this mount"),
        ("/merged/a", "overlay", "this machine"),
        ("/mnt/odd", "local", "this machine"),
    ],
)
def test_what_a_mount_can_do(path: str, medium: str, locks: str) -> None:
    able = of_mount(choose_mount(path, parse_mountinfo(MOUNTINFO)))
    assert (able.medium, able.locks) == (medium, locks)


def test_unknown_file_systems_are_taken_for_shared_ones_without_locks_that_reach_others() -> None:
    able = of_mount(Mount("/x", "plan9fs", "x", frozenset()))
    assert (able.medium, able.is_shared, able.can_show_life) == ("unknown", True, False)


@pytest.mark.parametrize(
    "line", ["", "1 2 3", "41 21 0:40 / /mnt rw shared:7 nfs4 a b", "41 21 0:40 / /mnt rw - nfs4", " - "]
)
def test_lines_that_do_not_fit_are_skipped(line: str) -> None:
    assert [mount.point for mount in parse_mountinfo(line + "\n" + MOUNTINFO.splitlines()[0])] == ["/"]


def test_the_mount_of_a_link_is_that_of_its_target(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("/proc")
    mount = find_mount(str(link / "self"))
    if mount is None:
        pytest.skip("there is no mountinfo")
    assert mount.point == "/proc"


def test_a_writer_takes_a_lock_only_where_it_tells_others_that_it_lives(tmp_path: Path) -> None:
    from threading import Lock

    storage = LocalStorage(str(tmp_path))
    for medium in ("local", "nfs", "fuse", "smb", "unknown"):
        storage.capabilities = MEDIA[medium]
        log = storage.create_log(f"{medium}.jsonl", Lock())
        assert log.is_locked == (medium == "local")
        assert storage.is_log_locked(f"{medium}.jsonl") == (True if medium == "local" else None)
        log.close()


@pytest.mark.parametrize(
    ("protocol", "medium"),
    [
        ("s3", "s3"),
        ("s3a", "s3"),
        ("gs", "gs"),
        ("abfs", "abfs"),
        ("memory", "memory"),
        ("sftp", "sftp"),
        ("smb", "smb server"),
        ("ftp", "other files"),
        ("x", "other"),
    ],
)
def test_what_a_protocol_can_do(protocol: str, medium: str) -> None:
    able = of_protocol(protocol)
    assert able.medium == medium
    assert not able.can_append
    assert able.locks == "none"


def test_the_older_a_log_on_an_object_store_the_less_often_it_is_flushed() -> None:
    able = MEDIA["s3"]
    assert [able.flush_after_s(age) for age in (0, 100, 1_000, 5_000, 1e6)] == [5, 5, 20, 100, 120]
    assert MEDIA["local"].flush_after_s(1e6) == 5
    parts, age = 0, 0.0
    while age < 86_400:
        age += able.flush_after_s(age)
        parts += 1
    assert parts < 900


def test_every_medium_is_under_its_own_name() -> None:
    assert all(name == able.medium for name, able in MEDIA.items())
    assert os.name != "posix" or find_mount("/") is None or of_mount(find_mount("/")).can_append
