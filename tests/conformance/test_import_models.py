"""Data sets, inputs, outputs and logged models are brought like everything else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import LoggedModelOutput, LoggedModelParameter, LoggedModelStatus, LoggedModelTag
from tests.conformance.import_comparing import compare, digest_tree
from tests.conformance.mlflow_sources import KINDS, MlflowData, T
from tests.independent.reader import read_store

from localtrack import Store
from localtrack.format.layout import model_folder
from localtrack.importing.report import ImportReport
from localtrack.types import ViewType


class Case:
    def __init__(self, kind: str, folder: Path) -> None:
        self.data = MlflowData(kind, folder / "there")
        self.ids = self.data.fill(long_count=10)
        self.models = self.data.fill_models(self.ids)
        self.root = folder / "store"

    def run(self) -> ImportReport:
        with Store.open(self.root) as store:
            return store.import_from(self.data.location)

    def compare(self) -> list[str]:
        """Return how models, and what runs read and made, differ here and there."""
        here = read_store(self.root)
        there = self.data.read_models(list(self.models.values()))
        problems = [] if here["models"].keys() == there.keys() else [f"the models are {here['models'].keys()}"]
        for model_id, model in there.items():
            mine: dict[str, Any] = dict(here["models"][model_id])
            mine["metrics"] = {(*m[:5], None if m[5] is None else tuple(m[5])) for m in mine["metrics"]}
            folder = self.root / model_folder(model_id) / "artifacts"
            mine["artifacts"] = {path: (folder / path).read_bytes() for path in mine["artifacts"]}
            problems += [
                f"{model['name']}: {field} is {mine[field]!r}, not {value!r}"
                for field, value in model.items()
                if mine[field] != value
            ]
        for name in ("values", "long", "failed"):
            mine = here["runs"][self.ids[name]]
            links = {
                "datasets": {
                    (d["name"], d["digest"]): {k: v for k, v in d.items() if v is not None}
                    for d in mine.get("datasets", [])
                },
                "model_inputs": set(mine.get("model_inputs", [])),
                "model_outputs": {tuple(pair) for pair in mine.get("model_outputs", [])},
            }
            wanted = self.data.read_links(self.ids[name])
            if links != wanted:
                problems.append(f"run {name}: {links} is not {wanted}")
        return problems


@pytest.fixture(params=KINDS)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    case = Case(request.param, tmp_path)
    yield case
    case.data.close()


def test_models_and_inputs_are_brought_once_and_followed(case: Case) -> None:
    report = case.run()
    assert case.compare() == []
    assert (report.models_added, report.inputs_added, report.model_metrics_added) == (4, 6, 2)
    assert report.is_complete, report.findings
    before = digest_tree(case.root)
    again = case.run()
    assert (again.changes_count, again.models_unchanged) == (0, 4)
    assert digest_tree(case.root) == before
    with Store.open(case.root) as store:
        stages = {
            name: store.get_logged_model(id_, allow_deleted=True).lifecycle_stage for name, id_ in case.models.items()
        }
        assert stages == {"ready": "active", "failed": "active", "pending": "active", "deleted": "deleted"}
        # Changed here, it stays.
        store.set_logged_model_tags(case.models["failed"], {"t": "mine"})
        store.restore_logged_model(case.models["deleted"])
    there = case.data.store
    there.finalize_logged_model(case.models["pending"], LoggedModelStatus.READY)
    there.set_logged_model_tags(case.models["ready"], [LoggedModelTag("t", "changed"), LoggedModelTag("new", "1")])
    there.log_logged_model_params(case.models["ready"], [LoggedModelParameter("late", "1")])
    there.log_outputs(case.ids["long"], [LoggedModelOutput(case.models["pending"], 5)])
    case.data.log_model_metrics(case.ids["long"], case.models["ready"], [("later", 1.0, 9)])
    Path(there.get_logged_model(case.models["ready"]).artifact_location, "MLmodel").write_text("changed")
    report = case.run()
    assert (report.models_extended, report.inputs_added, report.model_metrics_added) == (2, 1, 1)
    problems = case.compare()
    assert "failed: tags is {'t': 'mine'}, not {'t': 'two\\nlines'}" in problems
    assert [problem.partition(" is ")[0] for problem in problems] == ["failed: tags", "deleted: updated_ms"]
    assert case.run().changes_count == 0
    with Store.open(case.root) as store:
        assert store.get_logged_model(case.models["deleted"]).lifecycle_stage == "active"
    assert compare(case.root, case.data.read(), only_runs=set(case.ids.values()) - {case.ids["values"]}) == []


def test_damaged_models_and_inputs_are_reported(tmp_path: Path) -> None:
    case = Case("mlruns", tmp_path)
    (run,) = case.data.folder.glob(f"mlruns/*/{case.ids['values']}")
    models = run.parent / "models"
    (models / case.models["failed"] / "meta.yaml").unlink()
    path = models / case.models["ready"] / "metrics" / "acc"
    with_spaces = f"{T} 0.25 4 {case.ids['long']} a name with spaces d9\n".encode()
    path.write_bytes(b"nonsense\n" + path.read_bytes() + with_spaces + b"17000")
    (models / case.models["pending"] / "params" / "p").write_bytes(b"\xff")
    for folder in (run.parent / "datasets").iterdir():
        (folder / "meta.yaml").write_text("name: [")
    (next((run / "outputs").iterdir()) / "meta.yaml").unlink()
    report = case.run()
    told = sorted(f"{f.key}: {f.what}" for f in report.findings if f.severity == "warning")
    assert len([text for text in told if "datasets/" in text]) == 3
    assert len([text for text in told if "/outputs/" in text and "missing" in text]) == 1
    assert [text.partition(": ")[2] for text in told if case.models["ready"] in text and "metrics" in text] == [
        "2 of its lines are no metrics: line 4: it is torn; line 1: it has 1 fields"
    ]
    assert any("params/p: it cannot be read" in text for text in told)
    here = read_store(case.root)["models"]
    assert here.keys() == set(case.models.values())
    assert here[case.models["failed"]]["status"] == "PENDING"
    assert here[case.models["failed"]]["tags"] == {"t": "two\nlines"}
    assert here[case.models["failed"]]["artifacts"] == {"MLmodel": 12}
    metrics = here[case.models["ready"]]["metrics"]
    assert len(metrics) == 3
    assert ["acc", T, 4, 0.25, case.ids["long"], ["a name with spaces", "d9"]] in metrics
    assert case.run().changes_count == 0


def test_experiments_and_models_that_were_removed_for_good_stay_away(case: Case) -> None:
    case.run()
    with Store.open(case.root) as store:
        ids = {store.get_run(run_id).info.experiment_id for run_id in case.ids.values()}
        ids |= {store.get_logged_model(one, allow_deleted=True).experiment_id for one in case.models.values()}
        ids -= {"0"}
        names = {store.get_experiment(one).name for one in ids}
        for one in ids:
            if store.get_experiment(one).lifecycle_stage == "active":
                store.delete_experiment(one)
        runs = [row.info.run_id for row in store.search_runs(list(ids), run_view_type=ViewType.ALL, max_results=None)]
        store.restore_run(*runs)
        store.delete_run(*runs)
        assert store.remove_experiments(ids).count("experiment") == len(ids)
    before = digest_tree(case.root)
    report = case.run()
    assert report.changes_count == 0
    assert digest_tree(case.root) == before
    said = [finding.severity for finding in report.findings if "removed for good" in finding.what]
    assert len(said) >= len(ids)
    assert set(said) == {"info"}
    there = case.data.store.get_experiment_by_name(min(names))
    new = case.data.add_run(there.experiment_id, "new", points=[("m", 1.0, T, 0)])
    assert case.run().runs_added == 1
    with Store.open(case.root) as store:
        experiment = store.get_experiment(store.get_run(new).info.experiment_id)
        assert experiment.name == min(names)
        assert experiment.experiment_id not in ids
        assert len(store.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL)) == 1
