"""Texts, dicts, figures, images and tables come out as MLflow's own client writes them for the same input."""

from __future__ import annotations

import io
import json
import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib
import mlflow
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from PIL import Image

from localtrack.api import artifact_content
from localtrack.errors import InvalidInputError

UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


class Peer(mlflow.MlflowClient):
    """MLflow's client, whose calls put their files in a folder without a server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tags: dict[str, str] = {}
        self._repository = LocalArtifactRepository(str(folder))

    def log_artifact(self, run_id: str, local_path: str, artifact_path: str | None = None) -> None:
        self._repository.log_artifact(local_path, artifact_path)

    def list_artifacts(self, run_id: str, path: str | None = None) -> Any:
        return self._repository.list_artifacts(path)

    def download_artifacts(self, run_id: str, path: str, dst_path: str | None = None) -> str:
        return str(self._repository.download_artifacts(path, dst_path))

    def get_run(self, run_id: str) -> Any:
        return SimpleNamespace(data=SimpleNamespace(tags=self.tags))

    def set_tag(self, run_id: str, key: str, value: Any, synchronous: bool | None = None) -> None:
        self.tags[key] = str(value)

    def written(self) -> dict[str, bytes]:
        return {str(p.relative_to(self.folder)): p.read_bytes() for p in self.folder.rglob("*") if p.is_file()}


@pytest.fixture
def peer(tmp_path: Path) -> Peer:
    (tmp_path / "peer").mkdir()
    return Peer(tmp_path / "peer")


# -- texts and dicts


@pytest.mark.parametrize("text", ["", "plain\n", "🚀 é\n\tß", "<h1>&amp;</h1>"])
def test_text(peer: Peer, text: str) -> None:
    peer.log_text("r", text, "a/b.txt")
    assert peer.written() == {"a/b.txt": artifact_content.encode_text(text)}


DICTS: list[Any] = [
    {},
    {"k": "v", "n": 1, "x": 1.5, "b": True, "none": None, "l": [1, [2, {"a": 3}]]},
    {"é🚀": "ß", "nan": float("nan"), "inf": float("-inf")},
    {3: "int", 2.5: "float", None: "none", True: "bool"},
    {"path": Path("a/b"), "set": {1}, "complex": 1j},
    [1, "a", {"b": 2}],
    "text",
    {"b": 1, "a": 2},
    {"multi": "line\nline\n"},
]


@pytest.mark.parametrize("name", ["d.json", "d", "d.txt", "d.yaml", "d.yml", "d.YAML", "a.b/c"])
@pytest.mark.parametrize("value", DICTS, ids=range(len(DICTS)))
def test_dict(peer: Peer, value: Any, name: str) -> None:
    peer.log_dict("r", value, name)
    assert peer.written() == {name: artifact_content.encode_dict(value, name)}


# -- figures


@pytest.fixture
def figure() -> Figure:
    made = Figure(figsize=(2, 1))
    made.subplots().plot([1, 3, 2], label="loss")
    return made


@pytest.mark.parametrize(
    ("name", "save_kwargs"),
    [
        ("f.png", None),
        ("f.png", {"dpi": 30, "bbox_inches": "tight", "facecolor": "red"}),
        ("f.PNG", None),
        ("a/f.jpg", None),
        ("f.svg", {"metadata": {"Date": None}}),
        ("f.pdf", {"metadata": {"CreationDate": None}}),
        ("f.dat", {"format": "png"}),
    ],
)
def test_matplotlib_figure(peer: Peer, figure: Figure, name: str, save_kwargs: dict[str, Any] | None) -> None:
    with matplotlib.rc_context({"svg.hashsalt": "fixed"}):
        peer.log_figure("r", figure, name, save_kwargs=save_kwargs)
        ours = artifact_content.encode_figure(figure, name, save_kwargs=save_kwargs)
    assert peer.written() == {name: ours}


# -- images

RANDOM = np.random.default_rng(0)
ARRAYS = {
    "rgb": RANDOM.integers(0, 256, (8, 9, 3), dtype=np.uint8),
    "rgba": RANDOM.integers(0, 256, (8, 9, 4), dtype=np.uint8),
    "gray": RANDOM.integers(0, 256, (8, 9), dtype=np.uint8),
    "gray with a channel": RANDOM.integers(0, 256, (8, 9, 1), dtype=np.uint8),
    "int64": RANDOM.integers(0, 256, (8, 9, 3)),
    "big-endian": RANDOM.integers(0, 256, (8, 9), dtype=np.uint8).astype(">i2"),
    "float64": RANDOM.random((8, 9, 3)),
    "float32": RANDOM.random((8, 9)).astype(np.float32),
    "float16": RANDOM.random((8, 9)).astype(np.float16),
    "bool": RANDOM.random((8, 9)) > 0.5,
    "not contiguous": RANDOM.integers(0, 256, (16, 18, 3), dtype=np.uint8)[::2, ::2, ::-1],
    "bounds": np.array([[0.0, 1.0]]),
}
STRETCHED = {"floats to 255": RANDOM.random((8, 9)) * 255, "floats around 0": RANDOM.standard_normal((8, 9, 3))}


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_array_image(peer: Peer, array: Any) -> None:
    peer.log_image("r", array, "i.png")
    assert peer.written() == dict(artifact_content.encode_images(array, "i.png"))


@pytest.mark.parametrize("array", STRETCHED.values(), ids=STRETCHED)
def test_array_image_out_of_range(peer: Peer, array: Any) -> None:
    with pytest.warns(UserWarning, match="out of acceptable range"):
        peer.log_image("r", array, "i.png")
    with pytest.warns(UserWarning, match="stretched"):
        assert peer.written() == dict(artifact_content.encode_images(array, "i.png"))


REFUSED = {
    "int below": np.array([[-1, 0]]),
    "int above": np.array([[0, 256]]),
    "complex": np.array([[1j]]),
    "text": np.array([["a"]]),
    "one dimension": np.array([1]),
    "four dimensions": np.zeros((1, 1, 1, 1)),
    "two channels": np.zeros((4, 4, 2)),
    "no pixels": np.zeros((0, 4)),
    "a list": [[1, 2]],
    "nothing": None,
}


@pytest.mark.parametrize("array", REFUSED.values(), ids=REFUSED)
def test_what_mlflow_refuses_is_refused(peer: Peer, array: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        peer.log_image("r", array, "i.png")
    with pytest.raises(InvalidInputError):
        artifact_content.encode_images(array, "i.png")


@pytest.mark.parametrize("name", ["i.png", "i.jpg", "i.webp", "i.gif", "i.bmp", "a/i.TIFF"])
@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P"])
def test_pil_image(peer: Peer, name: str, mode: str) -> None:
    image = Image.fromarray(ARRAYS["rgb"]).convert(mode)
    try:
        peer.log_image("r", image, name)
    except OSError:  # JPEG holds no palettes
        with pytest.raises(InvalidInputError):
            artifact_content.encode_images(image, name)
    else:
        assert peer.written() == dict(artifact_content.encode_images(image, name))


def test_mlflow_image(peer: Peer) -> None:
    image = mlflow.Image(ARRAYS["rgb"])
    peer.log_image("r", image, "i.png")
    assert peer.written() == dict(artifact_content.encode_images(image, "i.png"))


@pytest.mark.parametrize("shape", [(300, 500, 3), (500, 300, 3), (40, 40), (300, 300)])
def test_image_under_a_key(peer: Peer, shape: tuple[int, ...]) -> None:
    array = RANDOM.integers(0, 256, shape, dtype=np.uint8)
    peer.log_image("r", array, key="val/my cats", step=7, timestamp=1_790_000_000_123)
    ours = dict(artifact_content.encode_images(array, key="val/my cats", step=7, timestamp_ms=1_790_000_000_123))
    theirs = peer.written()
    assert _without_uuids(ours) == _without_uuids(theirs)
    assert len(theirs) == 2
    assert len({re.search(UUID, name)[0] for name in ours}) == 1  # type: ignore[index]
    assert peer.tags == {artifact_content.LOGGED_IMAGES_TAG: "True"}


@pytest.mark.parametrize("key", ["", "a+b", "ä", "a\n", "a:b", "a\\b", "a%b"])
def test_image_key_that_is_refused(peer: Peer, key: str) -> None:
    image = Image.new("L", (2, 2))
    if key != "a\n":  # a trailing newline gets past the `$` of MLflow's pattern
        with pytest.raises(ValueError, match="key"):
            peer.log_image("r", image, key=key)
    with pytest.raises(InvalidInputError, match="image key"):
        artifact_content.encode_images(image, key=key)


def _without_uuids(files: dict[str, bytes]) -> dict[str, bytes]:
    return {re.sub(UUID, "*", name): data for name, data in files.items()}


# -- tables

TABLES: dict[str, Any] = {
    "columns": {"q": ["What?", "é🚀"], "a": [1, 2], "x": [0.5, 1.0]},
    "one row": {"q": "What?", "score": 1.5, "ok": True},
    "scalar beside columns": {"a": [1, 2], "b": "x"},
    "columns of two lengths": {"a": [1, 2], "b": [1]},
    "gaps": {"i": [1, None], "f": [0.5, None], "t": ["x", None], "b": [True, None], "n": [None, None]},
    "mixed numbers": {"a": [1, 2.5], "b": [True, 2]},
    "no number": {"a": [math.nan, math.inf, -math.inf, 1.0]},
    "nested": {"m": [[{"role": "user", "content": "a/b"}], [{"role": "x", "n": [1, 2.5, None]}]], "t": [(1, 2), ()]},
    "escapes": {"a/b": ["</script>", "quo\"te's", "back\\slash\\/", "\n\t\r\b\f\x00\x1f", "\u2028"]},
    "empty columns": {"a": [], "b": []},
    "nothing": {},
    "odd names": {1: [1], "": [2], " ": [3]},
    "big integers": {"a": [2**63 - 1, -(2**63)], "b": [2**64 - 1, 0]},
    "numpy": {"a": np.array([1, 2]), "b": np.array([0.5, 1.5]), "c": [np.float64(1.5), np.float64(2)]},
    "series": {"a": pd.Series([1, 2], index=["x", "y"]), "b": pd.Series([3, 4], index=["x", "y"])},
    "dict of dicts": {"a": {"x": 1, "y": 2}, "b": {"x": 3, "y": 4}},
    "frame": pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": [0.5, np.nan]}, index=["p", "q"]),
    "frame without rows": pd.DataFrame({"a": []}),
    "frame without columns": pd.DataFrame(),
    "dates": pd.DataFrame(
        {
            "d": pd.to_datetime(["2024-01-02T03:04:05.678", None]),
            "z": pd.to_datetime(["2024-01-02", "2024-01-03"]).tz_localize("UTC"),
            "p": pd.to_timedelta([1, 2], "s"),
        }
    ),
    "pandas types": pd.DataFrame(
        {
            "i": pd.array([1, None], dtype="Int64"),
            "b": pd.array([True, None], dtype="boolean"),
            "c": pd.Categorical(["x", "y"]),
        }
    ),
    "arrays in cells": pd.DataFrame({"a": [np.array([1, 2]), np.array([3])]}),
    "narrow numbers": pd.DataFrame({"a": np.array([1, 2], np.int8), "b": np.array([1.5, 2], np.float32)}),
    "names of a pivot": pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", "x"), ("a", "y")])),
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_table(peer: Peer, table: Any) -> None:
    peer.log_table("r", table, "t.json")
    assert artifact_content.encode_table_files(table, None, "t.json") == list(peer.written().items())


@pytest.mark.parametrize("table", [{"a": [1]}.keys(), [1], "text", None, {"a": [b"\xff"]}], ids=str)
def test_a_table_that_mlflow_refuses_is_refused(peer: Peer, table: Any) -> None:
    with pytest.raises((mlflow.MlflowException, AttributeError)):
        peer.log_table("r", table, "t.json")
    with pytest.raises(InvalidInputError):
        artifact_content.encode_table_files(table, None, "t.json")


@pytest.mark.parametrize("name", ["t", "t.csv", "t.JSON", "a'b.json", 'a"b.json', "a,b.json", "a[0].json", "a{}.json"])
def test_a_table_name_that_mlflow_refuses_is_refused(peer: Peer, name: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        peer.log_table("r", {"a": [1]}, name)
    with pytest.raises(InvalidInputError, match="cannot be the name of a table"):
        artifact_content.encode_table_files({"a": [1]}, None, name)


APPENDED: dict[str, tuple[Any, Any]] = {
    "equal columns": ({"a": [1, 2], "b": ["x", "y"]}, {"a": [3], "b": ["z"]}),
    "other order": ({"a": [1], "b": ["x"]}, {"b": ["z"], "a": [3]}),
    "new column": ({"a": ["p"]}, {"a": ["q"], "b": ["r"]}),
    "column left out": ({"a": ["p"], "b": ["r"]}, {"a": ["q"]}),
    "frames": (pd.DataFrame({"a": [0.5]}), pd.DataFrame({"a": [1.5]})),
    "to an empty one": ({"a": []}, {"a": ["x"]}),
}


@pytest.mark.parametrize(("first", "second"), APPENDED.values(), ids=APPENDED)
@pytest.mark.parametrize("name", ["t.json", "t.parquet"])
def test_rows_are_added(peer: Peer, first: Any, second: Any, name: str) -> None:
    peer.log_table("r", first, name)
    peer.log_table("r", second, name)
    ours = artifact_content.encode_table(first, None, name)
    ours = artifact_content.encode_table(second, ours, name)
    if name == "t.json":
        assert {name: ours} == peer.written()
    else:
        pd.testing.assert_frame_equal(
            pd.read_parquet(io.BytesIO(ours)),
            pd.read_parquet(peer.folder / name),
            check_dtype=False,
        )


# PyArrow's way of reading a column with a time zone is deprecated in pandas.
@pytest.mark.filterwarnings("ignore:Series.values returning an ndarray:DeprecationWarning")
@pytest.mark.parametrize("table", ["columns", "frame", "pandas types", "dates", "nested", "one row", "numpy"])
def test_parquet_table(peer: Peer, table: str) -> None:
    peer.log_table("r", TABLES[table], "t.parquet")
    ours = artifact_content.encode_table(TABLES[table], None, "t.parquet")
    theirs = (peer.folder / "t.parquet").read_bytes()
    assert pq.read_table(io.BytesIO(ours)).to_pylist() == pq.read_table(io.BytesIO(theirs)).to_pylist()
    if isinstance(TABLES[table], pd.DataFrame):
        assert pq.read_schema(io.BytesIO(ours)).types == pq.read_schema(io.BytesIO(theirs)).types


def test_images_in_a_table(peer: Peer) -> None:
    image = Image.fromarray(ARRAYS["rgb"])
    table = {"q": ["cat", "dog"], "i": [image, mlflow.Image(ARRAYS["gray"])]}
    peer.log_table("r", dict(table), "a/t.json")
    ours = artifact_content.encode_table_files(table, None, "a/t.json")
    assert ours[-1][0] == "a/t.json"  # after the images that it names
    assert sorted(_uuids_gone(dict(ours))) == sorted(_uuids_gone(peer.written()))
    for row in json.loads(ours[-1][1])["data"]:
        assert {row[1]["filepath"], row[1]["compressed_filepath"]} <= dict(ours).keys()


def _uuids_gone(files: dict[str, bytes]) -> list[tuple[str, bytes]]:
    return [(re.sub(UUID, "*", name), re.sub(UUID.encode(), b"*", data)) for name, data in files.items()]


def test_the_tag_that_names_a_runs_tables(peer: Peer) -> None:
    ours: str | None = None
    for name in ("t.json", "a/u.json", "t.json"):
        peer.log_table("r", {"a": [1]}, name)
        ours = artifact_content.add_logged_table(ours, name)
        assert peer.tags == {artifact_content.LOGGED_ARTIFACTS_TAG: ours}


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(
    st.integers(1, 4).flatmap(
        lambda n: st.dictionaries(st.text(max_size=3), st.lists(JSON_VALUES, min_size=n, max_size=n))
    )
)
def test_any_plain_table_reads_as_pandas_writes_it(table: dict[str, list[Any]]) -> None:
    frame = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in table.items()})
    theirs = frame.to_json(orient="split", index=False)
    ours = artifact_content.encode_table(frame, None, "t.json")
    assert json.loads(ours) == json.loads(theirs)
    assert artifact_content.encode_table(frame, None, "t.json") == ours
