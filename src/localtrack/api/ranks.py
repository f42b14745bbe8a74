"""Which process of a distributed job this is, as its launcher says it, and which launch it belongs to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from localtrack.api import batch_job

MODES: Final = ("merge", "prefix")


@dataclass(frozen=True, slots=True)
class Rank:
    """One process of a distributed job."""

    number: int
    count: int
    launch: str
    """Names this launch, the same in all its processes and in no other; empty where nobody does."""


@dataclass(frozen=True, slots=True)
class _Launcher:
    rank: str
    count: str
    local_count: str = ""
    """The variable that says how many processes of the launch run on this host."""


# Innermost first: under srun and torchrun at once, torchrun's rank counts the processes.
# Source: torchrun "Environment Variables" (Ray Train and Lightning set the same), mpirun(1) of Open MPI, Hydra's and
# MVAPICH's PMI, Horovod "Environment variables", srun(1) "OUTPUT ENVIRONMENT VARIABLES".
_LAUNCHERS: Final = (
    _Launcher("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"),
    _Launcher("HOROVOD_RANK", "HOROVOD_SIZE", "HOROVOD_LOCAL_SIZE"),
    _Launcher("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE"),
    _Launcher("PMI_RANK", "PMI_SIZE", "MPI_LOCALNRANKS"),
    _Launcher("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_LOCAL_SIZE"),
    _Launcher("SLURM_PROCID", "SLURM_NTASKS"),
)
_LAUNCH_NAMES: Final = ("TORCHELASTIC_RUN_ID", "PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid", "PALS_APID")
"""What names a launch. torchrun says `none` where it was given no --rdzv-id."""


def find_rank(environ: Mapping[str, str]) -> Rank | None:
    """Return which process of a launch this is; None outside of any."""
    for launcher in _LAUNCHERS:
        number, count = environ.get(launcher.rank, ""), environ.get(launcher.count, "")
        if number.isdecimal() and count.isdecimal() and int(number) < int(count):
            return Rank(int(number), int(count), _launch(environ, launcher, int(count)))
    return None


def _launch(environ: Mapping[str, str], launcher: _Launcher, count: int) -> str:
    names = [f"{name}={value}" for name in _LAUNCH_NAMES if (value := environ.get(name)) and value != "none"]
    step = environ.get("SLURM_STEP_ID")
    if step:
        job = batch_job.job_id(environ) or ""
        # A requeued job counts its steps from 0 again.
        names.append(f"{job} step {step} restart {environ.get('SLURM_RESTART_COUNT', '0')}")
    if not names and environ.get(launcher.local_count, "") == str(count):
        # All on this host, started by one process: no later launch has the same one, with the same start.
        from localtrack.storage.process import boot_id, pid_namespace, process_start

        parent = os.getppid()
        names.append(f"{boot_id()} {pid_namespace()} {parent} {process_start(parent)}")
    return ", ".join(names)
