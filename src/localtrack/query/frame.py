"""A table to hand out, as whatever a user works with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from localtrack.errors import MissingPackageError

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa


class Frame:
    """A table with named columns.

    Args:
        table: What it holds.
    """

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __len__(self) -> int:
        return self._table.num_rows

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self._table.to_batches(max_chunksize=10_000):
            yield from batch.to_pylist()

    def __repr__(self) -> str:
        return f"<Frame of {len(self)} rows: {', '.join(self.columns)}>"

    @property
    def columns(self) -> list[str]:
        """Names of the columns, in order."""
        return list(self._table.column_names)

    def to_arrow(self) -> pa.Table:
        """Return the table itself."""
        return self._table

    def to_pandas(self) -> pd.DataFrame:
        """Return it as a pandas data frame.

        Raises:
            MissingPackageError: pandas is not installed.
        """
        return table_to_pandas(self._table)

    def to_polars(self) -> pl.DataFrame:
        """Return it as a Polars data frame.

        Raises:
            MissingPackageError: Polars is not installed.
        """
        return table_to_polars(self._table)


def table_to_pandas(table: pa.Table) -> pd.DataFrame:
    """Return a table as a pandas data frame that the caller may change.

    Raises:
        MissingPackageError: pandas is not installed.
    """
    try:
        import pandas  # noqa: F401 -- Arrow imports it, with a message of its own
    except ImportError as error:
        raise MissingPackageError.of("This frame", "pandas", extra="pandas") from error
    # The copy is for the caller, who may assign to it: blocks that share memory with Arrow are read-only.
    return table.to_pandas(split_blocks=True, date_as_object=False).copy()


def table_to_polars(table: pa.Table) -> pl.DataFrame:
    """Return a table as a Polars data frame.

    Raises:
        MissingPackageError: Polars is not installed.
    """
    try:
        import polars as pl
    except ImportError as error:
        raise MissingPackageError.of("This frame", "Polars", extra="polars") from error
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame
