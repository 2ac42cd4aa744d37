"""The configuration of the studies: verbs that train several runs, or collect them."""

import dataclasses
from typing import ClassVar

from bnn_hvd.config.flags import flag
from bnn_hvd.config.options import Values


@dataclasses.dataclass(frozen=True)
class StudyConfig:
    """The flags of the runs of a study: those of `train`, and the flags of `predict` in predict_defaults.

    train: the value of each; given: those that the user gave. run_defaults, predict_defaults: defaults of the study's
    own. All studies have a directory and figures.
    """

    run_defaults: ClassVar[Values] = {}
    predict_defaults: ClassVar[Values] = {}

    train: Values = dataclasses.field(default_factory=dict)
    given: Values = dataclasses.field(default_factory=dict)

    run: str = flag("", "study", "directory of the study (required); a study that stopped goes on")
    format: str = flag("png", "study", "file format of the figures", choices=("png", "pdf", "svg"))


@dataclasses.dataclass(frozen=True)
class ScaleConfig(StudyConfig):
    """Train models on several numbers of ranks, or collect such runs: training times, speed-up, prediction.

    It takes the flags of `train` for its runs.
    """

    models: str = flag("BNN_conv_flip,CNN_conv", "study", "named models to train, a,b (in place of --model)")
    ranks: str = flag("1,2", "study", "numbers of ranks, a,b")
    particles: str = flag(
        "", "study", "numbers of particles, a,b: train --architecture with --method instead of --models, and measure "
        "seconds per epoch",
    )  # fmt: skip
    mode: str = flag(
        "strong", "study", "strong: --batch_size is that of the global batch, divided among the ranks (the learning "
        "rate is not scaled); weak: that of each rank",
        choices=("strong", "weak"),
    )  # fmt: skip
    repeats: int = flag(3, "study", "runs of each model on each number of ranks, in turns", minimum=1)
    ranks_per_node: int = flag(
        0, "study", "ranks per node of an allocation; 0: as the batch system places them", minimum=0
    )
    runs: str = flag("", "study", "collect these run directories ('runs/scale_*', in quotes), without training")

    allreduce: str = flag(
        "", "prediction", "fit latency and bandwidth to allreduce.json of `python -m benchmarks allreduce`"
    )
    interconnect: str = flag(
        "", "prediction", "take the latency and bandwidth of a known interconnect",
        choices=("aries", "slingshot11", "hdr", "ndr", "10gbe"),
    )  # fmt: skip
    alpha_us: float = flag(0.0, "prediction", "latency of a message, in microseconds", minimum=0)
    beta_gb_per_s: float = flag(0.0, "prediction", "bandwidth of a message, in GB/s", minimum=0)

    simulate: bool = flag(
        False, "simulation", "simulate a run on up to 10,000 ranks: stragglers (train the runs with "
        "--steps_per_call=1), failures, checkpoints",
    )  # fmt: skip
    simulated_steps: int = flag(
        0, "simulation", "steps of the simulated run on the fewest ranks; under weak scaling, more ranks share its "
        "examples; 0: as many as were trained", minimum=0,
    )  # fmt: skip
    accuracy: float = flag(
        0.0, "simulation", "simulate until this test accuracy, at which the trained runs arrived in the same part of "
        "their steps; 0: to the end", minimum=0, below=1,
    )  # fmt: skip
    node_mtbf_h: float = flag(43800.0, "simulation", "mean hours between two failures of a node", minimum=1e-3)
    restart_s: float = flag(
        120.0, "simulation", "seconds from a failure to the next step of the restarted job", minimum=0
    )
    checkpoint_s: float = flag(
        0.0, "simulation", "seconds of a checkpoint; 0: as measured in the runs", minimum=0
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class ChurnConfig(StudyConfig):
    """Train replicas that differ in one thing (seeds, order, hardware), and measure how much their predictions differ.

    It takes the flags of `train` for its runs; --batch_size is that of the global batch. All checkpoints are kept.
    """

    run_defaults: ClassVar[Values] = {"optimizer": "sgd", "momentum": 0.0, "checkpoint_every_steps": 100}

    replicas: int = flag(3, "study", "replicas per cell", minimum=2)
    regimes: str = flag(
        "hardware,init,batches,init+batches", "study", "what differs between the replicas, a,b: hardware (nothing: all "
        "seeds are fixed), init, batches, noise, or several of these joined by +; or ranks, blocks (ranks, with "
        "--gradient_blocks), threads, fusion, bit, nudge",
    )  # fmt: skip
    learning_rates: str = flag("", "study", "learning rates, a,b (default: --learning_rate)")
    determinism: str = flag("off,on", "study", "TensorFlow's op determinism, off, on or both")
    methods: str = flag("", "study", "methods to compare on the same network, a,b (default: --method)")
    ranks: str = flag(
        "1",
        "study",
        "numbers of ranks, a,b: the regimes ranks and blocks compare all, fusion uses the last, others use the first",
    )
    thread_counts: str = flag("1,2", "study", "numbers of threads that the regime threads compares")
    fusion_sizes_mb: str = flag("0,64", "study", "fusion thresholds that the regime fusion compares, in MB")
    bits: str = flag("0,12", "study", "bits that the regime bit flips, one in each replica but the first")
    ops: bool = flag(
        False, "study", "test which operations of a training step give the same bits in every run, without training"
    )
    groups: str = flag(
        "", "study", "a .npy with a whole number per test example: churn by group, besides churn by class"
    )
    num_draws: int = flag(30, "study", "posterior draws per prediction of a replica", minimum=1)
    ranks_per_node: int = flag(
        0, "study", "ranks per node of an allocation; 0: as the batch system places them", minimum=0
    )


@dataclasses.dataclass(frozen=True)
class CompareConfig(StudyConfig):
    """Train methods on networks and data sets with several seeds, predict, and write a table and figures of the scores.

    It takes the flags of `train` for its runs.
    """

    run_defaults: ClassVar[Values] = {"eval_every_epochs": 0}
    predict_defaults: ClassVar[Values] = {
        "num_draws": 64, "check_draws": 0, "ood_data_dir": "", "coverage": 0.0, "calibrate": "", "corrupt": "",
    }  # fmt: skip

    methods: str = flag(
        "", "study", "rows of the table, a,b: names of methods, or of flagfiles in --settings (default: --method)"
    )
    networks: str = flag("", "study", "networks, a,b, as --methods (default: --architecture)")
    datasets: str = flag("", "study", "data sets, a,b, as --methods (default: --dataset)")
    seeds: str = flag(
        "", "study", "seeds, a,b: each row is trained with each of them (default: 0,1,2; with --splits: 0)"
    )
    splits: str = flag(
        "", "study", "splits of data sets that come with them (uci), a,b or all: each row is trained on each of them"
    )
    leave_out: str = flag("", "study", "methods to leave out on a data set or a network, as hmc.cifar10,hmc.resnet20")
    settings: str = flag(
        "", "study", "folder of flagfiles, each with the flags of what it is named after: a method (vi.cfg), a network "
        "or a data set, or a method on one of these (vi.mnist.cfg); flags of the command line go before them",
    )  # fmt: skip
    budget: int = flag(
        0, "study", "give every method so many gradient evaluations per training example, in place of --epochs: those "
        "of all particles and leapfrog steps count; 0: no budget", minimum=0,
    )  # fmt: skip
    part: str = flag(
        "", "study", "make only this part of the runs, as 2/8, the second of eight: for the jobs of an array, which "
        "share --run",
    )  # fmt: skip
