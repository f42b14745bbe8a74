"""Tables as artifacts: the JSON ("split") and Parquet that MLflow's `log_table` writes and `load_table` reads.

Two things are kept that MLflow's way through pandas loses: all digits of a float (pandas writes ten decimals, so 1e-12
becomes 0.0), and, when rows are added to a table that is there, texts that look like numbers or dates ("007").
"""

from __future__ import annotations

import io
import json
import math
import os
import uuid
from typing import Any, Final

from localtrack.api.artifact_content.columns import Columns, is_frame, is_image, to_columns
from localtrack.api.artifact_content.images import encode_pair, to_pil
from localtrack.errors import ErrorCode, InvalidInputError

LOGGED_ARTIFACTS_TAG: Final = "mlflow.loggedArtifacts"
"""A JSON list of `{"path": …, "type": "table"}`, from which MLflow's pages know the tables of a run."""

_FORBIDDEN: Final = "\"',:[]{}"


def encode_table(data: Any, existing: bytes | None, artifact_file: str) -> bytes:
    """Return a table that holds no images; else as `encode_table_files`."""
    files = encode_table_files(data, existing, artifact_file)
    if len(files) > 1:
        raise InvalidInputError("A table with images becomes several files.", hint="Use encode_table_files.")
    return files[0][1]


def encode_table_files(data: Any, existing: bytes | None, artifact_file: str) -> list[tuple[str, bytes]]:
    """Return (artifact path, bytes) of each file that a table becomes; the table itself is the last one.

    Args:
        data: A pandas DataFrame, or a dict of columns; a dict whose values are no columns of one length is one row.
        existing: The table that is there, to which the rows are added; a column that one of the two lacks is null
            there.
        artifact_file: Ends in `.json` or `.parquet`.

    Raises:
        InvalidInputError: The name or the data cannot be a table, or the existing file is none, or pandas is needed and
            missing.
    """
    ending = _require_table_name(artifact_file)
    columns, files = _split_images(to_columns(data), artifact_file)
    if ending == ".json":
        if existing is not None:
            columns = _join(_decode_json(existing, artifact_file), columns)
        return [*files, (artifact_file, _encode_json(columns, artifact_file))]
    frame = data if is_frame(data) and not files else None
    return [*files, (artifact_file, _encode_parquet(columns, frame, existing, artifact_file))]


def add_logged_table(tag: str | None, artifact_file: str) -> str:
    """Return the value of the tag `mlflow.loggedArtifacts` with a table added, given the value so far."""
    try:
        tables = json.loads(tag) if tag else []
    except ValueError:
        tables = []
    if not isinstance(tables, list):
        tables = []  # somebody set the tag to something else: MLflow could not read it either
    entry = {"path": artifact_file, "type": "table"}
    return json.dumps(tables if entry in tables else [*tables, entry])


def _require_table_name(artifact_file: str) -> str:
    wrong = next((c for c in artifact_file if c in _FORBIDDEN), None)
    if wrong:
        raise InvalidInputError(
            f"{artifact_file!r} cannot be the name of a table: it holds {wrong!r}.", code=ErrorCode.INVALID_PATH
        )
    ending = os.path.splitext(artifact_file)[1]
    if ending not in (".json", ".parquet"):
        raise InvalidInputError(
            f"{artifact_file!r} cannot be the name of a table: it must end in .json or .parquet.",
            code=ErrorCode.INVALID_PATH,
        )
    return ending


def _split_images(columns: Columns, artifact_file: str) -> tuple[Columns, list[tuple[str, bytes]]]:
    """Return the columns with images replaced by what says where they lie, and the files that they become."""
    folder = f"table_images/{os.path.splitext(artifact_file)[0]}"
    files: list[tuple[str, bytes]] = []
    replaced: Columns = {}
    for name, values in columns.items():
        are_images = [is_image(value) for value in values]
        if not any(are_images):
            replaced[name] = values
            continue
        if not all(are_images):
            raise InvalidInputError(f"The column {name!r} of a table holds images and other things.")
        replaced[name] = []
        for value in values:
            stem = f"{folder}/{uuid.uuid4()}"
            path, thumbnail_path = f"{stem}.png", f"{stem}.webp"
            files += encode_pair(to_pil(value), path, thumbnail_path)
            replaced[name].append({"type": "image", "filepath": path, "compressed_filepath": thumbnail_path})
    return replaced, files


def _join(first: Columns, second: Columns) -> Columns:
    """Return the rows of two tables below each other."""
    first_count, second_count = _rows_count(first), _rows_count(second)
    return {
        name: first.get(name, [None] * first_count) + second.get(name, [None] * second_count)
        for name in dict.fromkeys([*first, *second])
    }


def _rows_count(columns: Columns) -> int:
    return len(next(iter(columns.values()), []))


# -- JSON


def _encode_json(columns: Columns, artifact_file: str) -> bytes:
    rows = [list(row) for row in zip(*columns.values(), strict=True)]
    table = {"columns": list(columns), "data": rows}
    try:
        try:
            text = json.dumps(table, separators=(",", ":"), allow_nan=False)
        except ValueError:
            text = json.dumps(_without_nan(table), separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"The table {artifact_file!r} cannot be written as JSON: {error}.") from error
    # pandas escapes slashes, and texts are the only place where JSON has any.
    return text.replace("/", "\\/").encode()


def _without_nan(value: Any) -> Any:
    """Return a value with null where JSON has no number, as pandas writes it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return value


def _decode_json(data: bytes, artifact_file: str) -> Columns:
    try:
        table = json.loads(data)
        names = [tuple(name) if isinstance(name, list) else name for name in table["columns"]]
        rows = table["data"]
        columns: Columns = {name: [row[i] for row in rows] for i, name in enumerate(names)}
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise _no_table(artifact_file) from error
    return columns


# -- Parquet


def _encode_parquet(columns: Columns, frame: Any, existing: bytes | None, artifact_file: str) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if frame is not None:
            table = pa.Table.from_pandas(frame, preserve_index=False)
        else:
            table = pa.table({str(name): pa.array(values) for name, values in columns.items()})
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InvalidInputError(f"The table {artifact_file!r} cannot be written as Parquet: {error}.") from error
    if existing is not None:
        try:
            before = pq.read_table(io.BytesIO(existing))
        except pa.ArrowException as error:
            raise _no_table(artifact_file) from error
        try:
            table = pa.concat_tables([before, table], promote_options="permissive")
        except pa.ArrowException as error:
            raise InvalidInputError(f"The rows cannot be added to the table {artifact_file!r}: {error}.") from error
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def _no_table(artifact_file: str) -> InvalidInputError:
    return InvalidInputError(
        f"Rows cannot be added to the artifact {artifact_file!r}: it is there, and is no table.",
        hint="Choose another name.",
    )
