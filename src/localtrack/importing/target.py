"""The store that an import adds to."""

from __future__ import annotations

from dataclasses import dataclass

from localtrack.importing.places import ArtifactPlaces
from localtrack.importing.report import ImportReport
from localtrack.store.catalog import Catalog
from localtrack.store.runs import Runs
from localtrack.store.site import Site


@dataclass(slots=True)
class Target:
    """Where runs go, and how this import goes about it."""

    site: Site
    catalog: Catalog
    runs: Runs
    places: ArtifactPlaces
    report: ImportReport
    is_dry: bool
    """Nothing is written; counted is what would be."""
