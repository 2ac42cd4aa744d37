"""Flags of `train`: the method of inference."""

import dataclasses

from bnn_hvd.config.flags import flag
from bnn_hvd.config.model import ModelFlags


@dataclasses.dataclass(frozen=True)
class MethodFlags(ModelFlags):
    """How the weights are inferred: particles, chains, and each method's own flags."""

    num_particles: int = flag(
        0, "particles", "train so many networks (members of an ensemble, particles of svgd), laid out over the ranks; "
        "may be raised on a finished run (default: 8 for ensemble, multiswag and svgd)", minimum=0, identity=False,
    )  # fmt: skip
    allow_uneven: bool = flag(
        False, "particles", "let ranks have numbers of particles that differ by one", identity=False
    )
    dropout_rate: float = flag(
        0.1, "method", "part of each layer's inputs (but the first one's) that mc_dropout drops, in [0, 1)", minimum=0
    )
    ivon_hess_init: float = flag(
        0.5, "method", "curvature per example that ivon starts with; ivon wants a --learning_rate of about 0.1",
        minimum=1e-12,
    )  # fmt: skip
    ivon_beta1: float = flag(0.9, "method", "momentum of ivon's gradient, in [0, 1)", minimum=0)
    ivon_beta2: float = flag(0.9999, "method", "memory of ivon's curvature, in [0, 1)", minimum=0)
    init_from: str = flag(
        "", "method", "run directory of a point network: laplace is made for it, vi starts with its weights as means"
    )
    laplace_structure: str = flag(
        "full", "method", "curvature of the last layer: all of it, or a Kronecker product", choices=("full", "kron")
    )
    swag_rank: int = flag(20, "method", "deviations that swag keeps: the rank of its covariance", minimum=2)
    swag_start_steps: int | None = flag(
        None, "method", "step from which swag collects weights (default: half of the training)", minimum=1
    )
    swag_every_steps: int | None = flag(
        None, "method", "steps from one collection of swag to the next (default: an epoch)", minimum=1
    )
    num_chains: int | None = flag(
        None, "chains", "chains of hmc (default 1); may be raised on a finished run", minimum=1, identity=False
    )
    chain_groups: int = flag(
        1, "chains", "groups of ranks that have chains of their own; the data are split over the ranks of a group",
        minimum=1, identity=False,
    )  # fmt: skip
    hmc_leapfrog_steps: int = flag(50, "chains", "leapfrog steps of a trajectory; a training step is one", minimum=1)
    hmc_jitter: float = flag(
        0.0, "chains", "each trajectory's length is --hmc_leapfrog_steps times a number within 1 +- this, in [0, 1)",
        minimum=0,
    )  # fmt: skip
    hmc_step_size: float = flag(
        0.001, "chains", "step size of the leapfrog that the adaptation begins with", minimum=1e-12
    )
    hmc_burn_in_steps: int | None = flag(
        None, "chains", "trajectories in which the step size adapts and nothing is kept (default: half of them)",
        minimum=0,
    )  # fmt: skip
    hmc_target_accept: float = flag(
        0.8, "chains", "acceptance that the step size adapts to, in (0, 1); longer trajectories want more", minimum=0.01
    )
    hmc_keep_every_steps: int = flag(1, "chains", "trajectories from one draw that is kept to the next", minimum=1)
    hmc_kept_draws: int | None = flag(
        None, "chains", "draws of each chain that are kept, the last ones (default: all after burn-in)", minimum=1
    )
    hmc_float64_accept: bool = flag(
        False, "chains", "compute the accept test in float64: two more passes over the data per trajectory"
    )
    chunk_examples: int = flag(
        0, "chains", "examples that go forward and back through the network at once; 0: what fits into a cache",
        minimum=0, identity=False,
    )  # fmt: skip
