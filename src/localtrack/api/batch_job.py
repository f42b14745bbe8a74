"""Which batch job a process belongs to, under the schedulers that say so in the environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple


class _Scheduler(NamedTuple):
    label: str
    job: str
    index_name: str = ""
    """The variable that tells the jobs of an array apart, where `job` does not."""
    no_index: str = ""
    """What it is in a job that is no array."""
    cluster: str = ""
    """The variable that names the cluster: two clusters count their jobs from 1."""
    requires: str = ""
    """A variable that must be there too: others may use the name in `job`, or it says less without."""


# Innermost first: a Flux instance or a container inside a Slurm job has many jobs of its own, and the outer id would
# put all of them into one run.
# Source: the manual of each: sbatch(1) "OUTPUT ENVIRONMENT VARIABLES", qsub(1B) of PBS,
# LSF "Environment variables set for job execution", qsub(1) of Grid Engine, oarsub(1), flux-environment(7), AWS Batch
# "Job environment variables", Azure Batch "Compute node environment variables", Cloud Run "Container runtime contract",
# pjsub(1), LoadLeveler "Run-time variables".
_SCHEDULERS: Final[tuple[_Scheduler, ...]] = (
    _Scheduler("aws-batch", "AWS_BATCH_JOB_ID"),  # of a child of an array it is "<id>:<index>"
    _Scheduler("azure-batch", "AZ_BATCH_JOB_ID", "AZ_BATCH_TASK_ID", cluster="AZ_BATCH_ACCOUNT_NAME"),
    _Scheduler("cloud-run", "CLOUD_RUN_EXECUTION", "CLOUD_RUN_TASK_INDEX"),
    _Scheduler("flux", "FLUX_JOB_ID"),
    # Of an array, SLURM_JOB_ID is another number for each task, and a requeued task keeps both; users know "1234_5".
    _Scheduler("slurm", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "", "SLURM_CLUSTER_NAME", "SLURM_ARRAY_TASK_ID"),
    _Scheduler("slurm", "SLURM_JOB_ID", cluster="SLURM_CLUSTER_NAME"),
    _Scheduler("slurm", "SLURM_JOBID", cluster="SLURM_CLUSTER_NAME"),
    _Scheduler("pbs", "PBS_JOBID"),  # holds index and server: "1234[5].host"
    _Scheduler("lsf", "LSB_JOBID", "LSB_JOBINDEX", "0"),
    _Scheduler("oar", "OAR_JOB_ID"),  # the jobs of an array have an id each
    _Scheduler("cobalt", "COBALT_JOBID"),
    _Scheduler("pjm", "PJM_JOBID", "PJM_BULKNUM"),
    _Scheduler("loadleveler", "LOADL_STEP_ID"),  # holds host, job and step: "host.12.0"
    # Jenkins and others set JOB_ID too; only Grid Engine sets SGE_TASK_ID.
    _Scheduler("sge", "JOB_ID", "SGE_TASK_ID", "undefined", "SGE_CLUSTER_NAME", "SGE_TASK_ID"),
)


def job_id(environ: Mapping[str, str]) -> str | None:
    """Return `slurm:1234`, `slurm:1234_5` in an array, `slurm:1234_5@cluster` with the cluster known; None in no job.

    All processes and all steps of one job have the same id, and a job that its scheduler starts again has it again.
    """
    for scheduler in _SCHEDULERS:
        job = environ.get(scheduler.job)
        if not job or (scheduler.requires and not environ.get(scheduler.requires)):
            continue
        index = environ.get(scheduler.index_name, "")
        cluster = environ.get(scheduler.cluster, "")
        in_array = index not in ("", scheduler.no_index)
        return f"{scheduler.label}:{job}" + (f"_{index}" if in_array else "") + (f"@{cluster}" if cluster else "")
    return None
