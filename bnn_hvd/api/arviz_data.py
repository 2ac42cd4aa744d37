"""The chains of a run of hmc for arviz."""

from typing import Any

from bnn_hvd.errors import UserError
from bnn_hvd.inference.hmc import Hmc
from bnn_hvd.prediction.predictor import Predictor


def of_chains(predictor: Predictor) -> Any:
    """Return arviz.InferenceData of the kept draws, each parameter [chain, draw, ...], in the order of time.

    Raises:
      UserError: the run has no chains, or arviz is not installed.
    """
    method = predictor.method.base
    if not isinstance(method, Hmc):
        raise UserError("to_arviz is for the chains of --method=hmc, and this run has another method")
    try:
        import arviz
    except ImportError:
        raise UserError("to_arviz needs arviz: `pip install arviz`") from None
    theta = method.chains(predictor.state)
    named = predictor.method.network.slices(theta)
    shapes = {p.name: p.shape for p in predictor.method.network.parameters}
    return arviz.from_dict(
        posterior={name: part.reshape(*theta.shape[:2], *shapes[name]) for name, part in named.items()}
    )
