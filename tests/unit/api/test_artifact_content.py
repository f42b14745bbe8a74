"""Artifacts made from objects: what goes beyond MLflow, and what is said when something is missing or wrong."""

from __future__ import annotations

import builtins
import io
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from localtrack.api import artifact_content as content
from localtrack.errors import ErrorCode, InvalidInputError, MissingPackageError


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make one library as if it were not installed."""
    importing = builtins.__import__

    def block(library: str) -> None:
        def refuse(name: str, *more: Any) -> ModuleType:
            if name.partition(".")[0] == library:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            return importing(name, *more)

        for name in [name for name in sys.modules if name.partition(".")[0] == library]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setattr(builtins, "__import__", refuse)

    return block


# -- texts and dicts


def test_a_text_is_utf8_with_its_line_ends_as_they_are() -> None:
    assert content.encode_text("é\r\n🚀\n") == "é\r\n🚀\n".encode()


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="position 2"):
        content.encode_text("ab\udc80")


def test_bytes_are_no_text() -> None:
    with pytest.raises(InvalidInputError, match="not bytes"):
        content.encode_text(b"ab")  # type: ignore[arg-type]


def test_without_pyyaml_only_yaml_is_refused(without: Callable[[str], None]) -> None:
    without("yaml")
    assert json.loads(content.encode_dict({"a": 1}, "a.json")) == {"a": 1}
    with pytest.raises(MissingPackageError, match="PyYAML") as caught:
        content.encode_dict({"a": 1}, "a.yml")
    assert caught.value.code is ErrorCode.MISSING_EXTRA


@pytest.mark.parametrize("value", [{(1, 2): "x"}, {b"k": 1}], ids=repr)
def test_keys_that_json_has_no_form_for_are_refused(value: Any) -> None:
    with pytest.raises(InvalidInputError, match="cannot be written as JSON: keys must be"):
        content.encode_dict(value, "a.json")


def test_a_dict_that_holds_itself_is_refused() -> None:
    value: dict[str, Any] = {}
    value["self"] = value
    with pytest.raises(InvalidInputError, match="Circular"):
        content.encode_dict(value, "a.json")


# -- figures


@pytest.mark.parametrize("figure", [None, "fig", 1])
def test_what_is_no_figure_is_refused(figure: Any) -> None:
    with pytest.raises(InvalidInputError, match="needs a Matplotlib or Plotly figure"):
        content.encode_figure(figure, "f.png")


def test_a_format_that_matplotlib_does_not_have_is_refused() -> None:
    from matplotlib.figure import Figure

    with pytest.raises(InvalidInputError, match="nope"):
        content.encode_figure(Figure(), "f.nope")
    with pytest.raises(InvalidInputError, match="unexpected"):
        content.encode_figure(Figure(), "f.png", save_kwargs={"unexpected": 1})


def test_a_figure_without_ending_gets_the_default_format_under_its_exact_name() -> None:
    from matplotlib.figure import Figure

    assert content.encode_figure(Figure(), "figure").startswith(b"\x89PNG")


class PlotlyFigure:
    """Plotly's two ways of saving, as far as `encode_figure` knows them."""

    def write_html(self, file: Any, **options: Any) -> None:
        file.write(json.dumps(["é", options], ensure_ascii=False))

    def write_image(self, file: Any, **options: Any) -> None:
        if options["format"] == "pdf":
            raise RuntimeError("\nImage export requires the Kaleido package,\nwhich can be installed using pip:\n")
        file.write(json.dumps(options).encode())


@pytest.fixture
def plotly(monkeypatch: pytest.MonkeyPatch) -> PlotlyFigure:
    module = ModuleType("plotly.graph_objects")
    module.Figure = PlotlyFigure  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", module)
    return PlotlyFigure()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, {"include_plotlyjs": "cdn", "auto_open": False}),
        ({"include_plotlyjs": True, "x": 1}, {"include_plotlyjs": True, "auto_open": False, "x": 1}),
    ],
)  # fmt: skip
def test_plotly_html(plotly: PlotlyFigure, given: Mapping[str, Any] | None, expected: dict[str, Any]) -> None:
    assert json.loads(content.encode_figure(plotly, "f.html", save_kwargs=given)) == ["é", expected]


def test_plotly_images_by_ending(plotly: PlotlyFigure) -> None:
    for ending in ("png", "jpeg", "webp", "svg"):
        encoded = content.encode_figure(plotly, f"f.{ending}", save_kwargs={"scale": 2})
        assert json.loads(encoded) == {"format": ending, "scale": 2}
    with pytest.raises(InvalidInputError, match=r"as '\.pdf': Image export requires the Kaleido package, which"):
        content.encode_figure(plotly, "f.pdf")
    for name in ("f.jpg", "f.txt", "f"):
        with pytest.raises(InvalidInputError, match="Plotly figures cannot be saved"):
            content.encode_figure(plotly, name)


def test_a_real_plotly_figure() -> None:
    graph_objects = pytest.importorskip("plotly.graph_objects")
    html = content.encode_figure(graph_objects.Figure(graph_objects.Scatter(y=[1, 2])), "f.html").decode()
    assert "cdn.plot.ly" in html
    assert '"y":[1,2]' in html


def test_the_callers_options_are_left_as_they_were(plotly: PlotlyFigure) -> None:
    options: dict[str, Any] = {}
    content.encode_figure(plotly, "f.html", save_kwargs=options)
    assert options == {}


# -- images

IMAGE = Image.new("RGB", (4, 2), "red")


@pytest.mark.parametrize(
    "arguments",
    [
        {"artifact_file": "a.png", "key": "k"},
        {"artifact_file": "a.png", "step": 0},
        {"artifact_file": "a.png", "timestamp_ms": 1},
        {},
        {"step": 1},
    ],
    ids=str,
)
def test_a_name_or_a_key_is_needed_not_both(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="log_image"):
        content.encode_images(IMAGE, **arguments)


def test_the_step_is_zero_and_the_time_now_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 1_790_000_000_123_456_789)
    (name, _), (thumbnail, _) = content.encode_images(IMAGE, key="k")
    assert name.startswith("images/k+step+0+timestamp+1790000000123+")
    assert thumbnail == name.removesuffix(".png") + "+compressed.webp"


def test_a_negative_step_is_kept() -> None:
    assert "+step+-5+" in content.encode_images(IMAGE, key="k", step=-5)[0][0]


def test_two_images_of_one_key_and_step_are_two() -> None:
    assert len({content.encode_images(IMAGE, key="k", step=1, timestamp_ms=1)[0][0] for _ in range(20)}) == 20


@pytest.mark.parametrize("size", [(1000, 1), (1, 1000)])
def test_a_thin_image_has_a_small_copy_too(size: tuple[int, int]) -> None:
    _, (_, thumbnail) = content.encode_images(Image.new("L", size), key="k")
    assert sorted(Image.open(io.BytesIO(thumbnail)).size) == [1, 256]


def test_pixels_that_are_no_numbers_are_black_with_a_warning() -> None:
    array = np.array([[np.nan, 0.5, np.inf, -np.inf, 1.0]])
    with pytest.warns(UserWarning, match="NaN or infinite"):
        ((_, data),) = content.encode_images(array, "a.png")
    assert np.asarray(Image.open(io.BytesIO(data))).tolist() == [[0, 127, 255, 0, 255]]
    assert np.isnan(array[0, 0])  # the caller's array is untouched


def test_a_flat_image_out_of_range_is_black() -> None:
    with pytest.warns(UserWarning, match="stretched"):
        ((_, data),) = content.encode_images(np.full((2, 2), 7.0), "a.png")
    assert not np.asarray(Image.open(io.BytesIO(data))).any()


@pytest.mark.parametrize("name", ["a", "a.txt", "a.png.zip", ".png"])
def test_a_name_that_is_no_images_is_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match="does not end as an image does"):
        content.encode_images(IMAGE, name)


def test_a_format_that_cannot_hold_the_image_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="cannot be written as JPEG"):
        content.encode_images(Image.new("RGBA", (2, 2)), "a.jpg")


def test_without_pillow_the_extra_is_named(without: Callable[[str], None]) -> None:
    without("PIL")
    with pytest.raises(MissingPackageError, match=r"localtrack\[images\]") as caught:
        content.encode_images(np.zeros((2, 2)), "a.png")
    assert caught.value.code is ErrorCode.MISSING_EXTRA


# -- tables


def test_a_dict_of_lists_needs_no_pandas(without: Callable[[str], None]) -> None:
    without("pandas")
    encoded = content.encode_table({"q": ["a/b", None], "n": [1, 2], "m": [[{"x": 1}], []]}, None, "t.json")
    assert encoded == b'{"columns":["q","n","m"],"data":[["a\\/b",1,[{"x":1}]],[null,2,[]]]}'
    encoded = content.encode_table({"n": [3]}, encoded, "t.json")
    assert json.loads(encoded)["data"] == [["a/b", 1, [{"x": 1}]], [None, 2, []], [None, 3, None]]
    parquet = content.encode_table({"n": [1, 2]}, None, "t.parquet")
    assert pq.read_table(io.BytesIO(parquet)).to_pydict() == {"n": [1, 2]}


def test_without_pandas_other_values_are_refused(without: Callable[[str], None]) -> None:
    without("pandas")
    with pytest.raises(MissingPackageError, match="needs pandas") as caught:
        content.encode_table({"a": np.array([1])}, None, "t.json")
    assert caught.value.code is ErrorCode.MISSING_EXTRA


@pytest.mark.parametrize("value", [1e-12, 1 / 3, 0.1 + 0.2, 1.7976931348623157e308, 5e-324])
def test_every_digit_of_a_float_is_kept(value: float) -> None:
    for table in ({"a": [value]}, pd.DataFrame({"a": [value]}), {"a": [[value]]}):
        row = json.loads(content.encode_table(table, None, "t.json"))["data"][0]
        assert row in ([value], [[value]])


def test_texts_like_numbers_or_dates_stay_texts_when_rows_are_added() -> None:
    first = content.encode_table({"id": ["007"], "date": ["2024-01-01"], "n": [1]}, None, "t.json")
    both = content.encode_table({"id": ["008"], "date": ["x"], "n": [2]}, first, "t.json")
    assert json.loads(both)["data"] == [["007", "2024-01-01", 1], ["008", "x", 2]]


def test_the_callers_table_is_left_as_it_was() -> None:
    image = Image.new("L", (2, 2))
    table, frame = {"i": [image]}, pd.DataFrame({"i": [image]})
    content.encode_table_files(table, None, "t.json")
    content.encode_table_files(frame, None, "t.json")
    assert table["i"][0] is image
    assert frame["i"][0] is image


def test_a_column_of_images_and_other_things_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="'i' of a table holds images and other things"):
        content.encode_table_files({"i": [IMAGE, "x"]}, None, "t.json")


def test_columns_of_one_name_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="different names"):
        content.encode_table(pd.DataFrame([[1, 2]], columns=["a", "a"]), None, "t.json")


@pytest.mark.parametrize("name", ["t.json", "t.parquet"])
@pytest.mark.parametrize(
    "existing", [b"", b"text", b"[]", b'{"columns":["a"]}', b'{"columns":["a","b"],"data":[[1]]}', b"\xff"]
)
def test_a_file_that_is_no_table_is_not_overwritten(name: str, existing: bytes) -> None:
    with pytest.raises(InvalidInputError, match="it is there, and is no table"):
        content.encode_table({"a": [1]}, existing, name)


def test_rows_of_another_type_do_not_fit_a_parquet_table() -> None:
    first = content.encode_table({"a": [1]}, None, "t.parquet")
    with pytest.raises(InvalidInputError, match="cannot be added"):
        content.encode_table({"a": ["x"]}, first, "t.parquet")


def test_mixed_values_do_not_fit_parquet() -> None:
    with pytest.raises(InvalidInputError, match="cannot be written as Parquet"):
        content.encode_table({"a": [1, "x"]}, None, "t.parquet")


@pytest.mark.parametrize("tag", [None, "", "no json", "{}", "[]", "1"])
def test_a_tag_that_somebody_else_set_does_not_stop_a_table(tag: str | None) -> None:
    assert json.loads(content.add_logged_table(tag, "t.json")) == [{"path": "t.json", "type": "table"}]


def test_no_library_is_loaded_for_plain_content() -> None:
    script = (
        "import sys; from localtrack.api import artifact_content as c; c.encode_table({'a': [1]}, None, 't.json');"
        "c.encode_dict({'a': 1}, 'd.json'); c.encode_text('x');"
        "heavy = {'pandas', 'numpy', 'PIL', 'matplotlib', 'yaml', 'pyarrow'};"
        "print(sorted({m.partition('.')[0] for m in sys.modules} & heavy))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
