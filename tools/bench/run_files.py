"""What lies in the folder of a run, for the workloads that look at files."""

from __future__ import annotations

from pathlib import Path


def find_run_folder(store_root: str, run_id: str) -> Path:
    """Return the folder of a run with a generated id."""
    return next(Path(store_root).glob(f"runs/*/{run_id}"))


def list_segments(folder: Path) -> list[Path]:
    """Return the sealed Parquet files of a run."""
    return sorted(folder.glob("*.parquet"))


def count_bytes(paths: list[Path]) -> int:
    """Return the size of files together."""
    return sum(path.stat().st_size for path in paths)


def count_folder_bytes(folder: Path) -> int:
    """Return the size of everything in a folder."""
    return count_bytes([path for path in folder.rglob("*") if path.is_file()])
