from __future__ import annotations

import pytest

from localtrack.query.folders import browse
from localtrack.types import Experiment

NAMES = [
    *(
        "Default",
        "team/a",
        "team/deep/er/b",
        "/Shared/x",
        "/Shared/team/churn",
        "/Shared/team/sales/q1",
        "/Users/ada/1",
    ),
    *("/Shared/team", "/Sharedx/y", "/", "trailing/", "a//b", "//c"),
]
EXPERIMENTS = [Experiment(str(n), name, "") for n, name in enumerate(NAMES)]


def shown(path: str) -> tuple[dict[str, int], list[str]]:
    folder = browse(EXPERIMENTS, path)
    return {f.path: f.experiments_count for f in folder.folders}, [e.name for e in folder.experiments]


@pytest.mark.parametrize("path", ["/", ""])
def test_the_topmost_folder_holds_all_others(path: str) -> None:
    folders, inside = shown(path)
    assert folders == {"/Shared": 4, "/Sharedx": 1, "/Users": 1, "a": 1, "team": 2}
    assert inside == ["/", "//c", "Default", "trailing/"]


@pytest.mark.parametrize("path", ["/Shared/team", "/Shared/team/"])
def test_a_folder_shows_what_is_directly_in_it_and_an_experiment_of_its_own_name(path: str) -> None:
    assert shown(path) == ({"/Shared/team/sales": 1}, ["/Shared/team", "/Shared/team/churn"])


def test_a_path_without_a_slash_before_it_is_another_folder() -> None:
    assert shown("team") == ({"team/deep": 1}, ["team/a"])
    assert shown("/team") == shown("Shared") == shown("/Shared/te") == ({}, [])


def test_every_experiment_is_reached_once_from_the_top() -> None:
    reached: list[str] = []
    waiting = ["/"]
    while waiting:
        folder = browse(EXPERIMENTS, waiting.pop())
        waiting += [f.path for f in folder.folders]
        reached += [e.name for e in folder.experiments if e.name != folder.path or folder.path == "/"]
    assert sorted(reached) == sorted(NAMES)
