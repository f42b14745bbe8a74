"""Write the golden stores (sound) and the damaged ones (one damage each), and what is to be read in them.

What is to be read was thought out by hand: `expected.json`.

A store that was released with a version of localtrack is never changed: it is what users have on their disks.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.independent import golden_life, golden_models, golden_packs, golden_points, golden_removal, golden_runs
from tests.independent.damage_files import FILE_DAMAGES
from tests.independent.damage_lines import FOLDER, LINE_DAMAGES, begun
from tests.independent.damage_models import MODEL_DAMAGES
from tests.independent.expected import Json
from tests.independent.hand import HandStore

GOLDEN: tuple[Callable[[], tuple[HandStore, Json]], ...] = (
    golden_runs.short_run,
    golden_runs.last_values,
    golden_runs.extremes,
    golden_runs.rebased,
    golden_runs.names_of_runs,
    golden_runs.two_writers,
    golden_runs.resumed,
    golden_runs.param_conflict,
    golden_runs.without_run_record,
    golden_runs.foreign_ids,
    golden_runs.later_features,
    golden_runs.dropped_folder,
    golden_points.unsealed,
    golden_points.sealed,
    golden_points.going_on,
    golden_points.sealing_cut_short,
    golden_points.overlapping_segments,
    golden_points.long_of_two_writers,
    golden_points.torn,
    golden_points.in_parts,
    golden_life.deleted_and_restored,
    golden_life.renamed,
    golden_life.same_name,
    golden_life.same_name_as_default,
    golden_life.known_from_edits_alone,
    golden_life.removed_for_good,
    golden_packs.packed,
    golden_packs.restored_after_removal,
    golden_life.imported,
    golden_models.logged_model,
    golden_models.model_of_two_writers,
    golden_models.names_of_models,
    golden_models.deleted_models,
    golden_models.inputs_and_outputs,
    golden_removal.removed_models,
    golden_removal.removed_experiments,
)
DAMAGED = LINE_DAMAGES + FILE_DAMAGES + MODEL_DAMAGES


def write_case(folder: Path, store: HandStore, expected: Json) -> None:
    """Write `store/` and `expected.json` into an emptied folder."""
    shutil.rmtree(folder, ignore_errors=True)
    store.write(folder / "store")
    text = json.dumps(expected, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    (folder / "expected.json").write_text(text + "\n", encoding="utf-8")


def write_diverged(folder: Path) -> None:
    """Write two stores with copies of one log of which neither is the start of the other (12.2)."""
    for name, value in (("left", 0.125), ("right", 0.0625)):
        store = HandStore()
        key = store.log(FOLDER, begun().add([0, 3, 3, value]))
        shutil.rmtree(folder / name, ignore_errors=True)
        store.write(folder / name)
    (folder / "expected.json").write_text(json.dumps({"diverged": [key]}) + "\n", encoding="utf-8")


def main() -> None:
    """Write all stores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where they go: tests/data")
    folder = parser.parse_args().folder
    for make in GOLDEN:
        write_case(folder / "golden" / "format1" / make.__name__, *make())
    for make in DAMAGED:
        write_case(folder / "damaged" / make.__name__, *make())
    write_diverged(folder / "diverged")
    print(f"{len(GOLDEN)} golden and {len(DAMAGED)} damaged stores in {folder}")


if __name__ == "__main__":
    main()
