"""Flags of `train`: the run."""

import dataclasses

from bnn_hvd.config.flags import flag


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Where a run is written, how long it trains, from which seeds, and what it logs."""

    folder: str = flag(
        "", "run", "run directory; default: runs/<dataset>_<model>. Started again on it, training goes on", name="run",
        identity=False,
    )  # fmt: skip
    seed: int = flag(0, "run", "decides everything that is random", minimum=0)
    init_seed: int | None = flag(None, "run", "decides the first weights alone (default: --seed)", minimum=0)
    shuffle_seed: int | None = flag(
        None, "run", "decides the order of the examples and their augmentation alone (default: --seed)", minimum=0
    )
    noise_seed: int | None = flag(
        None, "run", "decides the noise of the steps alone: of weights, dropout (default: --seed)", minimum=0
    )
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
    max_runtime_s: float = flag(
        0.0, "run", "stop at a checkpoint after so many seconds, with exit code 75; 0: no limit",
        minimum=0, identity=False,
    )  # fmt: skip
    dry_run: bool = flag(False, "run", "print what would be trained, and train nothing", identity=False)
    checkpoint_every_steps: int = flag(
        1000, "run", "steps between checkpoints; 0: only at the end", minimum=0, identity=False
    )
    keep: int = flag(2, "run", "checkpoints to keep", minimum=1, identity=False)
    eval_every_epochs: int = flag(
        1, "run", "epochs between evaluations on the test part; 0: only at the end", minimum=0, identity=False
    )
    eval_draws: int = flag(10, "run", "posterior draws per evaluation", minimum=1, identity=False)
    log_every_steps: int = flag(100, "run", "steps between lines of metrics.jsonl", minimum=1, identity=False)
    verbose: bool = flag(False, "run", "print the parameters of each layer before training", identity=False)

    def root_seed(self, stream: str) -> int:
        """Return the seed of init, shuffle or noise: its own flag, else --seed."""
        own = getattr(self, f"{stream}_seed")
        return self.seed if own is None else own
