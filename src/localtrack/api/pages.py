"""Pages of search results."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from localtrack.types import Experiment, Finding, LoggedModel, RunRow

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa


class ExperimentPage(list[Experiment]):
    """Experiments that match a search, in order."""

    def __init__(self, experiments: Iterable[Experiment] = (), *, token: str | None = None) -> None:
        super().__init__(experiments)
        self.token = token
        """Give it to the next search as `page_token`; None on the last page."""

    def to_arrow(self) -> pa.Table:
        """Return the experiments as an Arrow table.

        Experiment_id, name, artifact_location, lifecycle_stage, creation_time, last_update_time, `tags.*`.
        """
        from localtrack.query.frames import experiments_to_arrow

        return experiments_to_arrow(self)

    def to_pandas(self) -> pd.DataFrame:
        """Return the experiments as a pandas frame with the columns of `to_arrow`."""
        from localtrack.query.frame import table_to_pandas

        return table_to_pandas(self.to_arrow())

    def to_polars(self) -> pl.DataFrame:
        """Return the experiments as a Polars frame with the columns of `to_arrow`."""
        from localtrack.query.frame import table_to_polars

        return table_to_polars(self.to_arrow())


class LoggedModelPage(list[LoggedModel]):
    """Logged models that match a search, in order."""

    def __init__(
        self, models: Iterable[LoggedModel] = (), *, token: str | None = None, findings: Iterable[Finding] = ()
    ) -> None:
        super().__init__(models)
        self.token = token
        """Give it to the next search as `page_token`; None on the last page."""
        self.findings = list(findings)
        """What was damaged, and so is missing or incomplete in the answer."""

    def to_pandas(self) -> pd.DataFrame:
        """Return the models as the data frame that `mlflow.search_logged_models` gives."""
        from localtrack.query.frames import models_to_pandas

        return models_to_pandas(self)

    def to_arrow(self) -> pa.Table:
        """Return the models as an Arrow table: a column for each field, then `metrics.*`, `params.*`, `tags.*`."""
        from localtrack.query.frames import models_to_arrow

        return models_to_arrow(self)

    def to_polars(self) -> pl.DataFrame:
        """Return the models as a Polars frame with the columns of `to_arrow`."""
        from localtrack.query.frame import table_to_polars

        return table_to_polars(self.to_arrow())


class RunPage(list[RunRow]):
    """Runs that match a search, in order."""

    def __init__(
        self, rows: Iterable[RunRow] = (), *, token: str | None = None, findings: Iterable[Finding] = ()
    ) -> None:
        super().__init__(rows)
        self.token = token
        """Give it to the next search as `page_token`; None on the last page."""
        self.findings = list(findings)
        """What was damaged, and so is missing or incomplete in the answer."""

    def to_arrow(self) -> pa.Table:
        """Return the rows as an Arrow table.

        Run_id, experiment_id, status, artifact_uri, start_time, end_time, `metrics.*`, `params.*`, `tags.*`.
        """
        from localtrack.query.frames import to_arrow

        return to_arrow(self)

    def to_pandas(self) -> pd.DataFrame:
        """Return the rows as the data frame that `mlflow.search_runs` gives."""
        from localtrack.query.frames import to_pandas

        return to_pandas(self)

    def to_polars(self) -> pl.DataFrame:
        """Return the rows as a Polars frame with the columns of `to_arrow`."""
        from localtrack.query.frames import to_polars

        return to_polars(self)
