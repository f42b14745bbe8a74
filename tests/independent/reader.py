"""Read a whole store into plain JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.independent.experiments import fold_experiments, lifecycle, model_lifecycle, read_documents, read_edits
from tests.independent.models import describe_model, read_model
from tests.independent.packs import unpacked
from tests.independent.runs import describe, read_run
from tests.independent.words import Finding, Refused, is_int, parse_json

KNOWN = {"localtrack.json", "experiments", "edits", "inbox", "runs", "models", "packs"}
RESERVED = {"index", "sync", "quarantine", "locks", "registry.db"}


def read_store(path: str | Path) -> dict[str, Any]:
    """Return all that a store says.

    Returns:
        `store`: its id. `experiments`, by id: `name`, `lifecycle`, `tags`, `creation_ms`, `last_update_ms`. `runs`, by
        id: `experiment_id`, `name`, `user`, `status`, `start_ms`, `end_ms`, `params`, `tags`, `artifacts` (path →
        bytes), `lifecycle`, `points` (each once: key, timestamp_ms, step, value; by key, then in history order), `last`
        (key → value, step, timestamp_ms), and where it has any `datasets`, `model_inputs`, `model_outputs`. `models`,
        if there are any, by id: `experiment_id`, `name`, `source_run`, `model_type`, `status`, `status_message`,
        `created_ms`, `updated_ms`, `params`, `tags`, `artifacts`, `lifecycle`, `metrics` (each once: key, timestamp_ms,
        step, value, run, data set). `findings`: (key, kind), sorted, each once. Values that are not finite are
        `"NaN"` and so on.

    Raises:
        Refused: If this reader may not read the store.
    """
    findings: list[Finding] = []
    with unpacked(Path(path), findings) as store:
        return _read_unpacked(store, findings)


def _read_unpacked(store: Path, findings: list[Finding]) -> dict[str, Any]:
    document = _read_document(store)
    findings += [
        Finding(name.name, "other")
        for name in store.iterdir()
        if name.name not in KNOWN | RESERVED and not name.name.startswith(".tmp-")
    ]
    edits = read_edits(store)
    findings += edits.findings
    documents = read_documents(store, findings)
    folders = [read_run(store, key) for key in _folder_keys(store, "runs", findings)]
    model_folders = [read_model(store, key) for key in _folder_keys(store, "models", findings)]
    runs, models = {}, {}
    for folder in folders:
        stage = lifecycle(folder, edits)
        if folder.run is not None and stage is None:  # removed for good: nobody asks what is wrong with it
            continue
        findings += folder.findings
        if folder.run is not None and stage is not None:
            runs[folder.run] = describe(folder, lifecycle=stage)
    for model in model_folders:
        stage, edited_ms = model_lifecycle(model, edits)
        if model.model is not None and stage is None:
            continue
        findings += model.findings
        if model.model is not None and stage is not None:
            models[model.model] = describe_model(model, lifecycle=stage, edited_ms=edited_ms)
    experiments = fold_experiments(
        documents,
        edits,
        [folder.headers for folder in [*folders, *model_folders]],
        inhabited={shown["experiment_id"] for shown in [*runs.values(), *models.values()]},
        created_ms=document["created_ms"],
        findings=findings,
    )
    return ({"models": dict(sorted(models.items()))} if models else {}) | {
        "store": document["store"],
        "experiments": experiments,
        "runs": dict(sorted(runs.items())),
        "findings": sorted({(finding.key, finding.kind) for finding in findings}),
    }


def _read_document(store: Path) -> dict[str, Any]:
    try:
        document = parse_json((store / "localtrack.json").read_bytes())
        if not (isinstance(document, dict) and is_int(document["format"]) and isinstance(document["store"], str)):
            raise ValueError("not a store document")
    except FileNotFoundError as error:
        raise Refused(Finding("localtrack.json", "missing")) from error
    except (ValueError, KeyError) as error:
        raise Refused(Finding("localtrack.json", "damaged")) from error
    if document["format"] != 1:
        raise Refused(Finding("localtrack.json", "newer"))
    if not is_int(document.get("created_ms")):
        raise Refused(Finding("localtrack.json", "damaged"))
    return document


def _folder_keys(store: Path, top: str, findings: list[Finding]) -> list[str]:
    """Return the keys of all folders two levels below `runs/` or `models/`."""
    keys = []
    for day in sorted((store / top).glob("*")):
        if day.name.startswith(".tmp-"):
            continue
        if not day.is_dir():
            findings.append(Finding(f"{top}/{day.name}", "other"))
            continue
        for folder in sorted(day.iterdir()):
            if folder.name.startswith(".tmp-"):
                continue
            if folder.is_dir():
                keys.append(f"{top}/{day.name}/{folder.name}")
            else:
                findings.append(Finding(f"{top}/{day.name}/{folder.name}", "other"))
    return keys
