"""Flags of `train`: the run directory, the duration, the seeds and the logs."""

import dataclasses

from bnn_hvd.config.flags import flag


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """The run directory of a run, its duration, its seeds, its checkpoints and its logs."""

    folder: str = flag(
        "", "run", "run directory (default: runs/<dataset>_<model>); a run in it goes on from its last checkpoint",
        name="run", identity=False,
    )  # fmt: skip
    seed: int = flag(0, "run", "seed of all random numbers", minimum=0)
    init_seed: int | None = flag(
        None, "run", "seed of the initial weights only (default: --seed)", minimum=0, by=("method",),
        without="init_from",
    )  # fmt: skip
    shuffle_seed: int | None = flag(
        None, "run", "seed of the order and the augmentation of the examples only (default: --seed)", minimum=0,
        by=("method",),
    )  # fmt: skip
    noise_seed: int | None = flag(
        None, "run", "seed of the noise of training steps only: weight noise, dropout (default: --seed)", minimum=0,
        by=("method",),
    )  # fmt: skip
    epochs: int | None = flag(
        None,
        "run",
        "passes over the training data (default 10, for laplace 1, unless --steps is given)",
        minimum=1,
        identity=False,
    )
    steps: int | None = flag(
        None, "run", "training steps of the whole job, instead of --epochs", minimum=1, identity=False
    )
    until_converged: bool = flag(
        False, "run", "train in rounds of an eighth, another eighth, a quarter and a half of --epochs (or --steps), "
        "the learning rate decaying in each as --lr_schedule says, and end after the first that has converged",
        by=("method",),
    )  # fmt: skip
    max_runtime_s: float = flag(
        0.0, "run", "seconds after which training stops at a checkpoint, with exit code 75; 0: no limit",
        minimum=0, identity=False,
    )  # fmt: skip
    dry_run: bool = flag(False, "run", "print what would be trained, without training", identity=False)
    checkpoint_every_steps: int = flag(
        1000, "run", "steps between checkpoints; 0: only at the end", minimum=0, identity=False
    )
    keep: int = flag(2, "run", "checkpoints to keep", minimum=1, identity=False)
    eval_every_epochs: int = flag(
        1, "run", "epochs between evaluations on the test part; 0: only at the end", minimum=0, identity=False
    )
    eval_draws: int = flag(
        10, "run", "posterior draws per evaluation, at most: of a point estimate all are one", minimum=1, identity=False
    )
    log_every_steps: int = flag(100, "run", "steps between lines of metrics.jsonl", minimum=1, identity=False)
    verbose: bool = flag(False, "run", "print the parameters of each layer before training", identity=False)

    def root_seed(self, stream: str) -> int:
        """Return the seed of the stream init, shuffle or noise: its own flag if given, else --seed."""
        own = getattr(self, f"{stream}_seed")
        return self.seed if own is None else own
