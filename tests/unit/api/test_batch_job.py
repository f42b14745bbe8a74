"""One id for each job of each scheduler, the same when it is started again."""

from __future__ import annotations

import pytest

from localtrack.api.batch_job import job_id

SLURM_ARRAY = {"SLURM_JOB_ID": "1240", "SLURM_ARRAY_JOB_ID": "1234", "SLURM_ARRAY_TASK_ID": "0"}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"SLURM_JOB_ID": "1234"}, "slurm:1234"),
        ({"SLURM_JOB_ID": "1234", "SLURM_JOBID": "9"}, "slurm:1234"),
        ({"SLURM_JOBID": "9"}, "slurm:9"),
        ({"SLURM_JOB_ID": ""}, None),
        (SLURM_ARRAY, "slurm:1234_0"),
        (SLURM_ARRAY | {"SLURM_CLUSTER_NAME": "alps"}, "slurm:1234_0@alps"),
        ({"PBS_JOBID": "1234[5].server"}, "pbs:1234[5].server"),
        ({"LSB_JOBID": "77", "LSB_JOBINDEX": "0"}, "lsf:77"),
        ({"LSB_JOBID": "77", "LSB_JOBINDEX": "3"}, "lsf:77_3"),
        ({"JOB_ID": "5", "SGE_TASK_ID": "undefined"}, "sge:5"),
        ({"JOB_ID": "5", "SGE_TASK_ID": "2"}, "sge:5_2"),
        ({"JOB_ID": "5", "BUILD_NUMBER": "1"}, None),
        ({"OAR_JOB_ID": "8"}, "oar:8"),
        ({"COBALT_JOBID": "8"}, "cobalt:8"),
        ({"PJM_JOBID": "8", "PJM_BULKNUM": "1"}, "pjm:8_1"),
        ({"LOADL_STEP_ID": "h.12.0"}, "loadleveler:h.12.0"),
        ({"AWS_BATCH_JOB_ID": "ab-c:3", "AWS_BATCH_JOB_ATTEMPT": "2"}, "aws-batch:ab-c:3"),
        ({"CLOUD_RUN_EXECUTION": "e-x", "CLOUD_RUN_TASK_INDEX": "0"}, "cloud-run:e-x_0"),
        (
            {"AZ_BATCH_JOB_ID": "j", "AZ_BATCH_TASK_ID": "t", "AZ_BATCH_ACCOUNT_NAME": "a"},
            "azure-batch:j_t@a",
        ),
    ],
)
def test_job_id(environ: dict[str, str], expected: str | None) -> None:
    assert job_id(environ) == expected


def test_the_inner_scheduler_counts_because_many_of_its_jobs_share_the_outer_job() -> None:
    assert job_id({"SLURM_JOB_ID": "1", "FLUX_JOB_ID": "f2"}) == "flux:f2"


def test_a_requeued_slurm_task_keeps_its_id() -> None:
    assert job_id(SLURM_ARRAY | {"SLURM_RESTART_COUNT": "1", "SLURM_NODELIST": "n2"}) == job_id(SLURM_ARRAY)
