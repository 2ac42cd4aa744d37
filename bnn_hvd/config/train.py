"""Flags of `train`: the data, the objective and the machine; with the other parts, all of them."""

import dataclasses

from bnn_hvd import registry
from bnn_hvd.config.flags import flag
from bnn_hvd.config.method import MethodFlags


@dataclasses.dataclass(frozen=True)
class TrainConfig(MethodFlags):
    """Train a network, or go on with a run that stopped."""

    dataset: str = flag("digits", "data", "what to train on", choices=tuple(registry.DATASETS))
    data_dir: str = flag("", "data", "file or folder of the data set; digits needs none", identity=False)
    target: str = flag("", "data", "column of a table that is to be predicted")
    test_fraction: float = flag(
        0.2,
        "data",
        "part of a table's rows, or of a rating matrix's entries, that is the test part, in (0, 1); the same ones for "
        "every --seed",
        minimum=0,
    )
    num_users: int | None = flag(
        None, "data", "users of synthetic_ratings (default 3500); of movielens, only so many, those with the most "
        "ratings", minimum=1,
    )  # fmt: skip
    num_items: int | None = flag(None, "data", "and items (default 2500); of movielens, the most watched", minimum=1)
    standardize_targets: bool = flag(
        True, "data", "learn real targets as (y - mean) / standard deviation of the training part; what is written is "
        "in their own units either way",
    )  # fmt: skip
    standardize: str = flag(
        "channel", "data", "subtract the mean and divide by the standard deviation of the training part: "
        "per channel, per pixel (or feature), or not at all; unit: only divide by the largest value of all. Ratings "
        "have nothing to standardise",
        choices=("channel", "pixel", "none", "unit"),
    )  # fmt: skip
    augment: str = flag(
        "", "data", "crop (after a border of 4 zeros) or flip (left to right) training images at random, or both",
        choices=("crop", "flip", "crop_flip"),
    )  # fmt: skip
    batch_size: int = flag(64, "data", "examples per step and rank", minimum=1)
    likelihood: str = flag(
        "", "objective", "of the targets (default: categorical for classes, gaussian for real targets, "
        "bernoulli for what users have watched)", choices=("categorical", "gaussian", "heteroscedastic", "bernoulli"),
    )  # fmt: skip
    noise_scale: float = flag(
        0.0, "objective", "standard deviation of gaussian noise, in units of the target; 0: learnt", minimum=0
    )
    kl_weight: float = flag(1.0, "objective", "weight of the KL divergence (1: the ELBO)", minimum=0)
    kl_warmup_epochs: float = flag(
        0.0, "objective", "epochs over which the weight of the KL rises from 0, linearly", minimum=0
    )
    optimizer: str = flag("adam", "objective", "update rule", choices=("adam", "sgd"))
    learning_rate: float = flag(1e-3, "objective", "step size for one rank", minimum=0)
    momentum: float = flag(0.9, "objective", "momentum of sgd, in [0, 1)", minimum=0)
    lr_scaling: str = flag(
        "linear",
        "objective",
        "how the learning rate grows with the number of ranks",
        choices=("linear", "sqrt", "none"),
    )
    lr_warmup_epochs: float = flag(
        0.0, "objective", "epochs over which the learning rate rises from that of one rank, linearly", minimum=0
    )
    lr_schedule: str = flag(
        "constant",
        "objective",
        "constant, cosine: fall to 0 at the last of --epochs, or step: fall every --lr_step_epochs",
        choices=("constant", "cosine", "step"),
    )
    lr_step_epochs: int = flag(30, "objective", "epochs from one fall of --lr_schedule=step to the next", minimum=1)
    lr_step_factor: float = flag(0.1, "objective", "what it multiplies the learning rate with", minimum=0)
    threads: int = flag(0, "machine", "threads per rank; 0: cores of the host / ranks on it", minimum=0, identity=False)
    deterministic: bool = flag(
        False, "machine", "only kernels that give the same bits every time (TensorFlow's op determinism)",
        identity=False,
    )  # fmt: skip
    fusion_mb: float = flag(
        -1.0, "machine", "megabytes of gradients that Horovod joins in one all-reduce; -1: its default", minimum=-1,
        identity=False,
    )  # fmt: skip
    checksums: bool = flag(
        False, "machine", "write a checksum of gradient and weights after each step, to find where two runs part",
        identity=False,
    )  # fmt: skip
    flip_bit: int = flag(
        -1, "machine", "flip this bit (0: the last of the mantissa, 31: the sign) of one initial weight; -1: none",
        minimum=-1,
    )  # fmt: skip
    nudge_step: int = flag(
        0, "machine", "a planted fault for tests: change one entry of this step's gradient by one ulp; 0: none",
        minimum=0,
    )  # fmt: skip
    steps_per_call: int = flag(
        0, "machine", "steps per call of the compiled loop, between which ranks see signals; 0: what takes about a "
        "second, at most 100", minimum=0, identity=False,
    )  # fmt: skip
    gradient_blocks: int = flag(
        0, "machine", "compute the gradient of a global batch in so many blocks, and add them in an order that the "
        "number of ranks does not change: with --deterministic --threads=1, the same bits on 1, 2, 4, ... ranks; 0: no",
        minimum=0,
    )  # fmt: skip
    compression: str = flag(
        "none", "machine", "of the gradient that ranks average: fp16 halves its bytes and rounds it to 11 bits; on one "
        "rank it changes nothing", choices=("none", "fp16"),
    )  # fmt: skip
    checkpoint_every_steps: int = flag(
        1000, "machine", "steps between checkpoints; 0: only at the end", minimum=0, identity=False
    )
    keep: int = flag(2, "machine", "checkpoints to keep", minimum=1, identity=False)
    eval_every_epochs: int = flag(
        1, "machine", "epochs between evaluations on the test part; 0: only at the end", minimum=0, identity=False
    )
    eval_draws: int = flag(10, "machine", "posterior draws per evaluation", minimum=1, identity=False)
    log_every_steps: int = flag(100, "machine", "steps between lines of metrics.jsonl", minimum=1, identity=False)
    stage_dir: str = flag(
        "", "machine", "node-local folder to copy the data to, once per host, before reading them", identity=False
    )
    stall_timeout_s: float = flag(
        600.0, "machine", "end the job when a rank makes the others wait so long; 0: never", minimum=0, identity=False
    )
    straggler_factor: float = flag(
        1.3, "machine", "warn of a rank whose step, waiting left out, takes so many times the median",
        minimum=1, identity=False,
    )  # fmt: skip
    timeline: bool = flag(False, "machine", "write Horovod's timeline into the run directory", identity=False)
    verbose: bool = flag(False, "machine", "print the parameters of each layer before training", identity=False)
