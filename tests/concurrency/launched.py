"""What the processes of a launch do: join hands by the launcher's own means, where that is installed, and log.

python launched.py STORE MODE [--gloo | --mpi] [--fails-at-first RANK FLAG_FILE]
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

STEPS_COUNT = 20


def main(root: str, mode: str, *options: str) -> None:
    from localtrack.api.store import Store

    rank, count = 0, 1
    if "--gloo" in options:
        import torch
        import torch.distributed as dist

        dist.init_process_group("gloo")
        rank, count = dist.get_rank(), dist.get_world_size()
        total = torch.tensor([float(rank)])
        dist.all_reduce(total)
        assert total.item() == sum(range(count))
    elif "--mpi" in options:
        from mpi4py import MPI

        world = MPI.COMM_WORLD
        rank, count = world.Get_rank(), world.Get_size()
        assert world.allreduce(rank) == sum(range(count))
    else:
        launcher = "" if "RANK" in os.environ else "OMPI_COMM_WORLD_"
        rank = int(os.environ[f"{launcher}RANK"])
        count = int(os.environ[f"{launcher}SIZE" if launcher else "WORLD_SIZE"])
    attempt = 0
    if "--fails-at-first" in options:
        flag = Path(options[-1])
        attempt = int(flag.exists())
    store = Store.open(root)
    run = store.start_run("e", run_name="together", ranks=mode, context=False)
    for step in range(attempt * STEPS_COUNT, (attempt + 1) * STEPS_COUNT):
        run.log_metric("loss", rank + step / 64, step=step)
    if "--fails-at-first" in options and attempt == 0:
        Path(f"{flag}.{rank}").touch()
        if rank == int(options[-2]):
            while len(list(flag.parent.glob(f"{flag.name}.*"))) < count:
                time.sleep(0.01)
            flag.touch()
            os.abort()
        time.sleep(600)  # as in a collective call that nobody joins, until the launcher ends it
    run.end()
    store.close()
    print(f"rank {rank} of {count}: {run.run_id}", flush=True)
    if "--gloo" in options:
        dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
