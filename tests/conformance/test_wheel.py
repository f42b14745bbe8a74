"""The wheel that users install holds what it must, and nothing of the repository besides."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True)
    (built,) = folder.glob("*.whl")
    return zipfile.Path(built)


def files(wheel: zipfile.Path) -> set[str]:
    return {name for name in wheel.root.namelist() if not name.endswith("/")}


def test_every_module_and_the_marker_of_types_are_in_it(wheel: zipfile.Path) -> None:
    source = REPOSITORY / "src"
    expected = {path.relative_to(source).as_posix() for path in source.rglob("*.py")} | {"localtrack/py.typed"}
    assert expected <= files(wheel)


def test_the_format_and_its_schemas_are_in_it(wheel: zipfile.Path) -> None:
    schemas = [path for path in (REPOSITORY / "schemas").rglob("*") if path.is_file()]
    assert schemas
    for path in schemas:
        inside = wheel / "localtrack" / "schemas" / path.relative_to(REPOSITORY / "schemas").as_posix()
        assert inside.read_bytes() == path.read_bytes()


def test_nothing_else_is_in_it(wheel: zipfile.Path) -> None:
    tops = {name.partition("/")[0] for name in files(wheel)}
    assert {top.partition("-")[2].rpartition(".")[2] or top for top in tops} == {"localtrack", "dist-info"}
    assert [name for name in files(wheel) if name.endswith(".pyc")] == []


def test_it_has_the_command_and_the_licence(wheel: zipfile.Path) -> None:
    by_name = {name.rpartition("/")[2]: name for name in files(wheel) if ".dist-info/" in name}
    points = wheel.root.read(by_name["entry_points.txt"]).decode()
    assert "localtrack = localtrack.__main__:main" in points
    for place in ("s3", "gs", "abfs", "sftp", "smb"):  # tracking store, registry, artifacts
        assert points.count(f"localtrack+{place} = ") == 3
    assert wheel.root.read(by_name["LICENSE"]) == (REPOSITORY / "LICENSE").read_bytes()
