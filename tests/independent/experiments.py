"""Experiments and edits (9, 12.5, 12.6, 12.7)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.independent.logs import EDITS_KIND, Log, read_log
from tests.independent.models import ModelFolder
from tests.independent.runs import LOG_NAME, PART, RunFolder, is_safe_name
from tests.independent.words import Finding, Refused, parse_json

Order = tuple[int, str, int]


@dataclass
class Edits:
    """All edits of a store, in their order."""

    records: list[tuple[Order, str, dict[str, Any]]] = field(default_factory=list)
    """(order, type, payload)."""
    findings: list[Finding] = field(default_factory=list)


def read_edits(store: Path) -> Edits:
    """Read `edits/`.

    Raises:
        Refused: If a log there has records that this reader must understand and does not.
    """
    edits = Edits()
    folder = store / "edits"
    names = sorted({PART.sub("", path.name) for path in folder.glob("*") if not path.name.startswith(".tmp-")})
    for name in names:
        if not (match := LOG_NAME.fullmatch(name)):
            edits.findings.append(Finding(f"edits/{name}", "other"))
            continue
        log: Log = read_log(folder, name, key="edits", kind=EDITS_KIND)
        edits.findings += log.findings
        if log.refused is not None:
            raise Refused(log.refused)
        edits.records += [((r[1], match[1], offset), r[0], r[2]) for offset, r in log.records]
    edits.records.sort(key=lambda it: it[0])
    return edits


def read_documents(store: Path, findings: list[Finding]) -> dict[str, dict[str, Any]]:
    """Return the sound files under `experiments/` by id (9.1)."""
    documents = {}
    for path in sorted((store / "experiments").glob("*")):
        key = f"experiments/{path.name}"
        if path.name.startswith(".tmp-"):
            continue
        if path.suffix != ".json" or not is_safe_name(path.stem):  # 9.1
            findings.append(Finding(key, "other"))
            continue
        try:
            document = parse_json(path.read_bytes())
            if document["id"] != path.stem:  # M7
                findings.append(Finding(key, "name"))
            elif document["format"] != 1:
                findings.append(Finding(key, "newer" if document["format"] > 1 else "damaged"))
            else:
                documents[path.stem] = {"name": str(document["name"]), "generation": int(document["generation"])}
        except (ValueError, KeyError, TypeError):
            findings.append(Finding(key, "damaged"))
    return documents


def fold_experiments(
    documents: dict[str, dict[str, Any]],
    edits: Edits,
    folders: list[list[dict[str, Any]]],
    *,
    inhabited: set[str],
    created_ms: int,
    findings: list[Finding],
) -> dict[str, dict[str, Any]]:
    """Return the experiments of a store, made at `created_ms`, by id (12.6).

    `folders`: the headers of each run and model, first the one that says which experiment it is of (12.3).
    `inhabited`: experiments of which a run or a model is shown.
    """
    later: dict[str, str] = {}
    originals = {id_: document["name"] for id_, document in documents.items()}
    for _, type_, edit in edits.records:
        if type_ == "experiment" and edit["op"] == "created":
            originals.setdefault(edit["id"], edit["name"])
    for _, type_, edit in edits.records:  # better than nothing, if the rest was not copied
        if type_ == "experiment" or (type_ == "tombstone" and "experiment" in edit):
            named = edit["id"] if type_ == "experiment" else edit["experiment"]
            later.setdefault(named, named)
    for headers in folders:
        for header in headers[:1]:
            originals.setdefault(header["experiment_id"], header["experiment_name"])
    originals = later | originals

    experiments: dict[str, dict[str, Any]] = {}
    buried: set[str] = set()
    for id_ in sorted(originals):
        name, lifecycle, creation_ms, last_update_ms = originals[id_], "active", None, None
        tags: dict[str, str | None] = {}
        is_removed = False
        for _, type_, edit in edits.records:
            if type_ == "tombstone" and edit.get("experiment") == id_:
                lifecycle, last_update_ms, is_removed = "deleted", edit["time_ms"], True
                buried.add(id_)
            if type_ != "experiment" or edit["id"] != id_:
                continue
            match edit["op"]:
                case "created":
                    creation_ms = edit["time_ms"] if creation_ms is None else creation_ms
                case "renamed":
                    name = edit["name"]
                case "tagged":
                    tags |= edit["tags"]
                case "deleted":
                    lifecycle = "deleted"
                case "restored":
                    lifecycle, is_removed = "active", False
            if edit["op"] != "tagged":
                last_update_ms = edit["time_ms"]
        if is_removed and id_ != "0" and id_ not in inhabited:  # 12.7
            continue
        experiments[id_] = {
            "name": name,
            "lifecycle": lifecycle,
            "tags": {key: value for key, value in sorted(tags.items()) if value is not None},
            "creation_ms": creation_ms,
            "last_update_ms": last_update_ms,
        }
    default = experiments.get("0", {})
    if default and default["creation_ms"] is None:  # no edit makes Default: it is as old as the store
        default["creation_ms"] = created_ms
        if default["last_update_ms"] is None:
            default["last_update_ms"] = created_ms
    _settle_names(experiments, buried, findings)
    return experiments


def _settle_names(experiments: dict[str, dict[str, Any]], buried: set[str], findings: list[Finding]) -> None:
    """Leave each name to the experiment that was created first; those without a time of creation come last.

    Behind these come those that have a tombstone.
    """

    def seniority(id_: str) -> tuple[bool, bool, int, str]:
        created_ms = experiments[id_]["creation_ms"]
        return id_ in buried, created_ms is None, created_ms or 0, id_

    taken: set[str] = set()
    for id_ in sorted(experiments, key=seniority):
        name = experiments[id_]["name"]
        if name in taken:
            short, long = f"{name}~{id_[:6]}", f"{name}~{id_}"
            experiments[id_]["name"] = long if short in taken else short
            findings.append(Finding(f"experiments/{id_}.json", "same_name"))
        taken.add(experiments[id_]["name"])


def model_lifecycle(model: ModelFolder, edits: Edits) -> tuple[str | None, int | None]:
    """Return `active` or `deleted` (12.5), and the time of the highest edit that says so, if one does.

    None as the first if the model was removed for good (12.7).
    """
    stage, edited_ms = "active", None
    covered: dict[str, int] = {}
    is_undone = False
    for _, type_, edit in edits.records:
        if type_ == "models" and model.model in edit["models"]:
            stage, edited_ms = "deleted" if edit["op"] == "deleted" else "active", edit["time_ms"]
            is_undone |= edit["op"] == "restored"
        if type_ == "tombstone" and "model" in edit and edit["model"] == model.model:
            stage, edited_ms, is_undone = "deleted", edit["time_ms"], False
            for writer, (size, _) in edit["positions"].items():
                covered[writer] = max(size, covered.get(writer, 0))
    is_covered = bool(covered) and all(size <= covered.get(writer, 0) for writer, size in model.sizes.items())
    return (None if is_covered and not is_undone else stage), edited_ms


def lifecycle(run: RunFolder, edits: Edits) -> str | None:
    """Return `active` or `deleted` (12.5), or None if the run was removed for good (12.7)."""
    covered: dict[str, tuple[int, int]] = {}
    stage = "active"
    is_undone = False
    for _, type_, edit in edits.records:
        match type_:
            case "runs" if run.run in edit["runs"]:
                stage = "deleted" if edit["op"] == "deleted" else "active"
                is_undone |= edit["op"] == "restored"
            case "experiment" if edit["id"] == run.experiment_id and edit["op"] in ("deleted", "restored"):
                stage = "deleted" if edit["op"] == "deleted" else "active"
            case "tombstone" if "experiment" in edit and edit["experiment"] == run.experiment_id:
                stage = "deleted"
            case "tombstone" if "run" in edit and edit["run"] == run.run:
                stage = "deleted"
                is_undone = False
                for writer, (size, points) in edit["positions"].items():
                    so_far = covered.get(writer, (0, 0))
                    covered[writer] = max(size, so_far[0]), max(points, so_far[1])
    is_covered = bool(covered) and all(
        size <= covered.get(writer, (0, 0))[0] and points <= covered.get(writer, (0, 0))[1]
        for writer, (size, points) in run.positions.items()
    )
    return None if is_covered and not is_undone else stage
