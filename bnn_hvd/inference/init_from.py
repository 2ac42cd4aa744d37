"""The point run that a method starts from (--init_from)."""

from pathlib import Path

import numpy as np

from bnn_hvd.errors import UserError
from bnn_hvd.models.network import Network
from bnn_hvd.run import checkpoint, records


def trained_theta(run: str, network: Network) -> np.ndarray:
    """Return theta [P] of a finished point run, given its run directory.

    Raises:
      UserError: there is no such run, or its network has another number of parameters.
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
