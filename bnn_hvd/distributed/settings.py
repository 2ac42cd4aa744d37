"""What Horovod and MPI read from the environment when they start; what the user has set wins."""

import os
from pathlib import Path

CYCLE_S = 0.5e-3  # Horovod looks for tensors to reduce once in so many seconds

# Measured (docs/log.md): coordination costs more than the gradients, and Horovod's thread, waiting inside MPI, takes
# the core of its own rank unless it yields. Over TCP, Open MPI by default sends long messages by "put": the word of the
# receiver that it is ready waits behind all that it sends itself. So two ranks that exchange messages send one after
# the other, at half the speed of the network.
DEFAULTS = {
    "HOROVOD_CYCLE_TIME": str(1e3 * CYCLE_S),
    "OMPI_MCA_mpi_yield_when_idle": "1",
    "OMPI_MCA_btl_tcp_flags": "send",
}


def apply(timeline: Path | None = None, fusion_mb: float = -1.0) -> None:
    """Set the environment variables, before Horovod starts.

    timeline: the file into which Horovod writes its timeline.
    fusion_mb: megabytes of tensors that Horovod joins in one all-reduce; negative: its default.
    """
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    if fusion_mb >= 0:  # the flag wins
        os.environ["HOROVOD_FUSION_THRESHOLD"] = str(int(fusion_mb * 2**20))
    if timeline:
        timeline.parent.mkdir(parents=True, exist_ok=True)
        os.environ.setdefault("HOROVOD_TIMELINE", str(timeline))
