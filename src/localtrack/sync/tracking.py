"""MLflow's REST API 2.0, as far as runs are brought there and back: one method per endpoint, JSON in, JSON out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from localtrack.errors import RefusedError, SyncError
from localtrack.sync.http import Http

_API: Final = "/api/2.0/mlflow"
_HISTORY_PAGE_COUNT: Final = 25_000
_BULK_RUNS_COUNT: Final = 100
_BULK_ROWS_COUNT: Final = 25_000
SEARCH_PAGE_COUNT: Final = 500
"""Runs in one page of a search: their params, tags and metrics come along."""


class Tracking:
    """The tracking API of one target."""

    def __init__(self, http: Http) -> None:
        self.http = http
        self._has_bulk_history: bool | None = None
        self._has_models = True

    # -- experiments

    def find_experiment(self, name: str) -> dict[str, Any] | None:
        """Return an experiment by name, deleted ones too; None if there is none."""
        try:
            answer = self.http.get(f"{_API}/experiments/get-by-name", {"experiment_name": name})
        except RefusedError as error:
            if error.is_not_found:
                return None
            raise
        return _object(answer, "experiment")

    def get_experiment(self, experiment_id: str) -> dict[str, Any]:
        """Return an experiment by id."""
        return _object(self.http.get(f"{_API}/experiments/get", {"experiment_id": experiment_id}), "experiment")

    def create_experiment(self, name: str) -> None:
        """Make an experiment. A name is taken once only, so that repeating it makes no second one."""
        try:
            self.http.post(f"{_API}/experiments/create", {"name": name})
        except RefusedError as error:
            if not error.is_exists:
                raise

    def rename_experiment(self, experiment_id: str, name: str) -> None:
        """Give an experiment another name."""
        self.http.post(f"{_API}/experiments/update", {"experiment_id": experiment_id, "new_name": name})

    def restore_experiment(self, experiment_id: str) -> None:
        """Take back the deletion of an experiment."""
        self.http.post(f"{_API}/experiments/restore", {"experiment_id": experiment_id})

    def set_experiment_tag(self, experiment_id: str, key: str, value: str) -> None:
        """Set one tag of an experiment."""
        self.http.post(
            f"{_API}/experiments/set-experiment-tag", {"experiment_id": experiment_id, "key": key, "value": value}
        )

    def search_experiments(self, *, view_type: str = "ACTIVE_ONLY") -> Iterator[dict[str, Any]]:
        """Yield all experiments."""
        token = None
        while True:
            document: dict[str, Any] = {"max_results": 1000, "view_type": view_type}
            if token:
                document["page_token"] = token
            answer = self.http.post(f"{_API}/experiments/search", document, kind="search")
            yield from answer.get("experiments", [])
            token = answer.get("next_page_token")
            if not token:
                return

    # -- runs

    def create_run(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Make a run and return its info. Never repeated by itself: each call makes a run.

        Raises:
            UnsureError: It may have been made.
        """
        answer = self.http.post(f"{_API}/runs/create", document, repeat="never")
        return _object(_object(answer, "run"), "info")

    def get_run(self, run_id: str) -> dict[str, Any] | None:
        """Return a run with params, tags and last metrics; None if there is none."""
        try:
            return _object(self.http.get(f"{_API}/runs/get", {"run_id": run_id}), "run")
        except RefusedError as error:
            if error.is_not_found:
                return None
            raise

    def search_runs(
        self,
        experiment_id: str,
        filter_string: str = "",
        *,
        view_type: str = "ALL",
        page_count: int = SEARCH_PAGE_COUNT,
    ) -> Iterator[dict[str, Any]]:
        """Yield the runs of an experiment that match, whole. One experiment a call: servers limit their number."""
        token = None
        while True:
            document: dict[str, Any] = {
                "experiment_ids": [experiment_id],
                "run_view_type": view_type,
                "max_results": page_count,
            }
            if filter_string:
                document["filter"] = filter_string
            if token:
                document["page_token"] = token
            answer = self.http.post(f"{_API}/runs/search", document, kind="search")
            yield from answer.get("runs", [])
            token = answer.get("next_page_token")
            if not token:
                return

    def update_run(self, document: Mapping[str, Any]) -> None:
        """Set status, end time or name of a run."""
        self.http.post(f"{_API}/runs/update", document)

    def delete_run(self, run_id: str) -> None:
        """Mark a run as deleted."""
        self.http.post(f"{_API}/runs/delete", {"run_id": run_id})

    def restore_run(self, run_id: str) -> None:
        """Take back the deletion of a run."""
        self.http.post(f"{_API}/runs/restore", {"run_id": run_id})

    def set_tag(self, run_id: str, key: str, value: str) -> None:
        """Set one tag of a run."""
        self.http.post(f"{_API}/runs/set-tag", {"run_id": run_id, "key": key, "value": value})

    def delete_tag(self, run_id: str, key: str) -> None:
        """Delete a tag of a run; nothing happens if there is none."""
        try:
            self.http.post(f"{_API}/runs/delete-tag", {"run_id": run_id, "key": key})
        except RefusedError as error:
            if not error.is_not_found:
                raise

    def log_batch(self, body: bytes, *, has_metrics: bool) -> None:
        """Send params, tags and metrics.

        Raises:
            UnsureError: Some or all of it may have arrived. Without metrics it is repeated, which changes nothing.
        """
        self.http.call(
            "POST", f"{_API}/runs/log-batch", content=body, repeat="never" if has_metrics else "safe", kind="batch"
        )

    # -- inputs, outputs, logged models

    def log_inputs(self, document: Mapping[str, Any]) -> None:
        """Add data sets or models that a run read. Not repeated by itself."""
        self.http.post(f"{_API}/runs/log-inputs", document, repeat="never")

    def log_outputs(self, document: Mapping[str, Any]) -> None:
        """Add models that a run made. Not repeated by itself: a server refuses what it has."""
        self.http.post(f"{_API}/runs/outputs", document, repeat="never")

    def create_model(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Make a logged model. Never repeated by itself: each call makes one."""
        return _object(self.http.post(f"{_API}/logged-models", document, repeat="never"), "model")

    def get_model(self, model_id: str) -> dict[str, Any] | None:
        """Return a logged model; None if there is none."""
        try:
            return _object(self.http.get(f"{_API}/logged-models/{model_id}"), "model")
        except RefusedError as error:
            if error.is_not_found:
                return None
            raise

    def search_models(self, experiment_id: str, filter_string: str = "") -> Iterator[dict[str, Any]]:
        """Yield the logged models of an experiment that match; none on servers before MLflow 3."""
        token = None
        while self._has_models:
            document = {"experiment_ids": [experiment_id], "filter": filter_string, "page_token": token}
            document = {name: value for name, value in document.items() if value}
            try:
                answer = self.http.post(f"{_API}/logged-models/search", document, kind="search")
            except RefusedError as error:
                if error.status != 404 or error.remote_code:
                    raise
                self._has_models = False  # no answer of the API: the server does not know the route
                return
            yield from answer.get("models", [])
            token = answer.get("next_page_token")
            if not token:
                return

    def log_model_params(self, model_id: str, params: Sequence[Mapping[str, str]]) -> None:
        """Add params to a logged model. Not repeated by itself: a server refuses what it has."""
        document = {"model_id": model_id, "params": list(params)}
        self.http.post(f"{_API}/logged-models/{model_id}/params", document, repeat="never")

    def set_model_tags(self, model_id: str, tags: Sequence[Mapping[str, str]]) -> None:
        """Set tags of a logged model."""
        self._patch(f"{_API}/logged-models/{model_id}/tags", {"model_id": model_id, "tags": list(tags)})

    def finalize_model(self, model_id: str, status: str) -> None:
        """Set the last status of a logged model."""
        self._patch(f"{_API}/logged-models/{model_id}", {"model_id": model_id, "status": status})

    def delete_model(self, model_id: str) -> None:
        """Delete a logged model; nothing happens if there is none."""
        try:
            self.http.call("DELETE", f"{_API}/logged-models/{model_id}")
        except RefusedError as error:
            if not error.is_not_found:
                raise

    def _patch(self, path: str, document: Mapping[str, Any]) -> None:
        import orjson

        self.http.call("PATCH", path, content=orjson.dumps(document))

    # -- artifacts

    def list_artifacts(self, run_id: str) -> dict[str, int | None]:
        """Return the sizes of all artifacts of a run by path; None where the target does not know it."""
        return self._list_files(f"{_API}/artifacts/list", {"run_id": run_id}, "path")

    def list_model_artifacts(self, model_id: str) -> dict[str, int | None]:
        """Return the sizes of all artifacts of a logged model."""
        return self._list_files(f"{_API}/logged-models/{model_id}/artifacts/directories", {}, "artifact_directory_path")

    def _list_files(self, path: str, params: Mapping[str, str], folder_word: str) -> dict[str, int | None]:
        found: dict[str, int | None] = {}
        pending = [""]
        while pending:
            folder, token = pending.pop(), None
            while True:
                query = {
                    **params,
                    **({folder_word: folder} if folder else {}),
                    **({"page_token": token} if token else {}),
                }
                answer = self.http.get(path, query)
                for row in answer.get("files", []):
                    if row.get("is_dir"):
                        pending.append(row["path"])
                    else:
                        found[row["path"]] = int(row["file_size"]) if "file_size" in row else None
                token = answer.get("next_page_token")
                if not token:
                    break
        return found

    # -- histories

    def iter_history(self, run_id: str, key: str) -> Iterator[list[dict[str, Any]]]:
        """Yield the points of one metric, page by page."""
        token = None
        while True:
            rows, next_token = self.history_page(run_id, key, max_count=_HISTORY_PAGE_COUNT, token=token)
            yield rows
            if not next_token:
                return
            if next_token == token:
                raise SyncError(f"The target gives the same page of the history of {key!r} again and again.")
            token = next_token

    def history_page(
        self, run_id: str, key: str, *, max_count: int, token: str | None = None
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Return one page of a history, and the token of the next one."""
        params = {"run_id": run_id, "metric_key": key, "max_results": str(max_count)}
        if token:
            params["page_token"] = token
        answer = self.http.get(f"{_API}/metrics/get-history", params)
        return answer.get("metrics", []), answer.get("next_page_token") or None

    def history_of_many(self, run_ids: Sequence[str], key: str) -> dict[str, list[dict[str, Any]]]:
        """Return the points of one metric of several runs in few requests, where the target can do that.

        Runs whose points may have been cut off are left out: ask for them one by one.
        """
        found: dict[str, list[dict[str, Any]]] = {}
        if self._has_bulk_history is False:
            return found
        for first in range(0, len(run_ids), _BULK_RUNS_COUNT):
            wanted = list(run_ids[first : first + _BULK_RUNS_COUNT])
            params = [("metric_key", key), ("max_results", str(_BULK_ROWS_COUNT)), *(("run_id", r) for r in wanted)]
            try:
                answer = self.http.get("/ajax-api/2.0/mlflow/metrics/get-history-bulk", params)
            except RefusedError as error:
                if self._has_bulk_history is None and (error.is_not_found or error.status in (401, 403, 405, 501)):
                    self._has_bulk_history = False
                    return found
                raise
            self._has_bulk_history = True
            rows = answer.get("metrics", [])
            if len(rows) >= _BULK_ROWS_COUNT:
                continue
            found.update({run_id: [] for run_id in wanted})
            for row in rows:
                found[row["run_id"]].append(row)
        return found


def _object(answer: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = answer.get(name)
    if not isinstance(value, dict):
        raise SyncError(f"The target's answer lacks {name!r}.", hint="Is this an MLflow Tracking server?")
    return value
