"""Commit, branch and remote read from `.git` are what git says, in repositories that git made."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from localtrack.api.context.repository import Head, find_repository, read_head, read_remote_url


def git(folder: Path, *arguments: str) -> str:
    """Run git as a user without any settings, and return what it prints."""
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_COUNT": "4",
        "GIT_CONFIG_KEY_0": "user.name",
        "GIT_CONFIG_VALUE_0": "a",
        "GIT_CONFIG_KEY_1": "user.email",
        "GIT_CONFIG_VALUE_1": "a@example.org",
        "GIT_CONFIG_KEY_2": "init.defaultBranch",
        "GIT_CONFIG_VALUE_2": "main",
        "GIT_CONFIG_KEY_3": "protocol.file.allow",
        "GIT_CONFIG_VALUE_3": "always",
    }
    done = subprocess.run(["git", *arguments], cwd=folder, env=environ, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def make_repository(folder: Path, *options: str) -> Path:
    folder.mkdir()
    git(folder, "init", "-q", *options)
    (folder / "train.py").write_text("pass\n")
    git(folder, "add", "train.py")
    git(folder, "commit", "-qm", "first")
    return folder


def head_of(folder: Path) -> Head | None:
    found = find_repository(str(folder))
    assert found is not None
    return read_head(found)


def head_by_git(folder: Path) -> Head:
    return Head(git(folder, "rev-parse", "HEAD"), git(folder, "branch", "--show-current") or None)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "repository")


def test_a_plain_repository_is_found_from_below(repository: Path) -> None:
    below = repository / "a" / "b"
    below.mkdir(parents=True)
    found = find_repository(str(below))
    assert found is not None
    assert found.worktree == str(repository.resolve())
    assert head_of(below) == head_by_git(repository)
    assert head_by_git(repository).branch == "main"


def test_outside_of_a_repository_there_is_none(tmp_path: Path) -> None:
    assert find_repository(str(tmp_path)) is None
    assert find_repository(str(tmp_path / "missing")) is None
    (tmp_path / ".git").mkdir()
    assert find_repository(str(tmp_path)) is None


def test_before_the_first_commit_there_is_no_head(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    assert head_of(tmp_path) is None


def test_a_sha256_repository(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "r", "--object-format=sha256")
    head = head_of(repository)
    assert head == head_by_git(repository)
    assert head is not None
    assert len(head.commit) == 64


@pytest.mark.parametrize("branch", ["feature/ünï", "a/b/c", "with.dots-1"])
def test_branch_names(repository: Path, branch: str) -> None:
    git(repository, "checkout", "-qb", branch)
    assert head_of(repository) == head_by_git(repository)
    git(repository, "pack-refs", "--all")
    assert head_of(repository) == head_by_git(repository)


def test_a_detached_head_has_no_branch(repository: Path) -> None:
    git(repository, "checkout", "-q", "--detach")
    assert head_of(repository) == head_by_git(repository)
    assert head_by_git(repository).branch is None


def test_packed_refs_and_a_newer_loose_one(repository: Path) -> None:
    git(repository, "tag", "-am", "annotated", "v1")
    # Names that end or begin like the branch's must not be taken for it.
    git(repository, "commit", "-q", "--allow-empty", "-m", "second")
    git(repository, "branch", "not-main")
    git(repository, "branch", "main-2", "HEAD~1")
    git(repository, "pack-refs", "--all")
    assert not (repository / ".git/refs/heads/main").exists()
    assert head_of(repository) == head_by_git(repository)
    git(repository, "commit", "-q", "--allow-empty", "-m", "third")
    assert (repository / ".git/refs/heads/main").exists()
    assert head_of(repository) == head_by_git(repository)


def test_a_linked_worktree(repository: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    git(repository, "remote", "add", "origin", "https://me:tok@example.org/r.git")
    git(repository, "worktree", "add", "-q", "-b", "other", str(linked))
    git(linked, "commit", "-q", "--allow-empty", "-m", "there")
    assert head_of(linked) == head_by_git(linked)
    assert head_of(linked) != head_of(repository)
    git(repository, "pack-refs", "--all")
    assert head_of(linked) == head_by_git(linked)
    found = find_repository(str(linked))
    assert found is not None
    assert found.worktree == str(linked.resolve())
    assert read_remote_url(found) == "https://example.org/r.git"


def test_a_submodule_is_a_repository_of_its_own(repository: Path, tmp_path: Path) -> None:
    outer = make_repository(tmp_path / "outer")
    git(outer, "submodule", "add", "-q", str(repository), "sub")
    git(outer, "commit", "-qm", "sub")
    assert (outer / "sub/.git").is_file()
    assert head_of(outer / "sub") == head_by_git(repository)
    assert head_of(outer) == head_by_git(outer)


def test_a_symbolic_branch_is_followed_under_its_first_name(repository: Path) -> None:
    git(repository, "symbolic-ref", "refs/heads/alias", "refs/heads/main")
    git(repository, "symbolic-ref", "HEAD", "refs/heads/alias")
    assert head_of(repository) == Head(git(repository, "rev-parse", "HEAD"), "alias")
    git(repository, "symbolic-ref", "refs/heads/main", "refs/heads/alias")
    assert head_of(repository) is None  # a circle


def test_a_reftable_repository_gives_nothing(repository: Path) -> None:
    # As such a repository looks to who knows only files.
    (repository / ".git/HEAD").write_text("ref: refs/heads/.invalid\n")
    (repository / ".git/refs/heads/main").unlink()
    assert head_of(repository) is None


@pytest.mark.parametrize(
    "head",
    [
        "",
        "garbage",
        "ref:",
        "ref: ../../secret",
        "ref: refs/heads/../../../secret",
        "ref: /secret",
        "f" * 39,
        "G" * 40,
        "x" * 5000,
        "ref: refs/\0",
    ],
)
def test_a_damaged_or_hostile_head_gives_nothing(repository: Path, tmp_path: Path, head: str) -> None:
    (tmp_path / "secret").write_text("a" * 40)
    (repository / "secret").write_text("a" * 40)
    (repository / ".git/HEAD").write_text(head)
    found = find_repository(str(repository))
    assert found is None or read_head(found) is None


def test_a_fifo_does_not_block(repository: Path) -> None:
    (repository / ".git/HEAD").unlink()
    os.mkfifo(repository / ".git/HEAD")
    assert head_of(repository) is None


def test_a_remote_as_git_writes_it(repository: Path) -> None:
    found = find_repository(str(repository))
    assert found is not None
    assert read_remote_url(found) is None
    git(repository, "config", "branch.main.description", "url = no")
    git(repository, "remote", "add", "upstream", "https://me:tok@example.org/a;b#c.git")
    git(repository, "remote", "add", "origin", "https://example.org/second.git")
    assert read_remote_url(found) == "https://example.org/a;b"
    assert "tok" in git(repository, "remote", "get-url", "upstream")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ('[remote "o"]\n\turl = "git@h:r \\"q\\".git" ; note\n', 'git@h:r "q".git'),
        ('[REMOTE "o"] URL=git@h:r\n', "git@h:r"),
        ('[remote "o"]\r\n\turl = git@h:\\\r\nr\r\n', "git@h:r"),
        ('# [remote "o"]\n[core]\n\turl = no\n', None),
        ('[remote "o"]\n\tpushurl = no\n\turl =\n', None),
        ('[remote "o"]\n[core]\nurl = no\n', None),
        ("\xff\0", None),
    ],
)
def test_a_remote_in_any_spelling(repository: Path, config: str, expected: str | None) -> None:
    (repository / ".git/config").write_bytes(config.encode("latin-1"))
    found = find_repository(str(repository))
    assert found is not None
    assert read_remote_url(found) == expected
