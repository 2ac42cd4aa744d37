"""Where a method starts that builds on a finished point run."""

from pathlib import Path

import numpy as np

from bnn_hvd.errors import UserError
from bnn_hvd.models.network import Network
from bnn_hvd.run import checkpoint, records


def trained_theta(run: str, network: Network) -> np.ndarray:
    """Return the parameters [P] of a finished point run.

    Raises:
      UserError: there is no such run, or its network is another one.
    """
    arrays = checkpoint.read_newest_good(Path(run, records.CHECKPOINTS))
    if arrays is None:
        raise UserError(f"--init_from={run} has no readable checkpoint: train it with --method=point first")
    theta = arrays["params:0"]
    if theta.shape != (network.num_parameters,):
        raise UserError(
            f"--init_from={run} has parameters of shape {list(theta.shape)}, this network has "
            f"{network.num_parameters}: give the --architecture and the --method=point that belong together"
        )
    return theta
