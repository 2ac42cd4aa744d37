"""One frozen dataclass for each verb but `train`."""

import dataclasses
from typing import Any

from bnn_hvd.config.flags import Fields, check, fields_of, flag
from bnn_hvd.config.options import Values
from bnn_hvd.config.resolution import resolve
from bnn_hvd.config.train import TrainConfig, train_flags


def flags_of(config_type: type) -> Fields:
    """Return the flags of a verb: its own, and for a study those of its runs, some with the study's own default."""
    if config_type is TrainConfig:
        return train_flags()
    own = fields_of(config_type)
    runs = next((field for field in dataclasses.fields(config_type) if field.name == "train"), None)
    if runs is None:
        return own
    return own | {
        name: _with_default(field, runs.metadata["defaults"].get(name, field.default))
        for name, field in train_flags().items() if name not in own
    }  # fmt: skip


def make(config_type: type, **given: Any) -> Any:
    """Return the checked configuration of a verb from some of its flags; that of training is complete.

    Raises:
      UserError: a value out of bounds, flags that contradict each other, or one that is required and missing.
    """
    if config_type is TrainConfig:
        return resolve(**given)
    fields = flags_of(config_type)
    if unknown := set(given) - set(fields):
        raise TypeError(f"unknown flags: {', '.join(sorted(unknown))}")
    values = {name: field.default for name, field in fields.items()} | given
    check(fields, values)
    own = fields_of(config_type)
    runs = {name: value for name, value in values.items() if name not in own}
    return config_type(**{name: values[name] for name in own}, **({"train": runs} if runs else {}))


def _with_default(field: dataclasses.Field, default: Any) -> dataclasses.Field:
    changed = dataclasses.field(default=default, metadata=field.metadata)
    changed.name, changed.type = field.name, field.type
    return changed


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """Write the predictive distribution of a trained run, and how sure it is."""

    run: str = flag("", "run", "the directory that `train` wrote", required=True)
    num_draws: int = flag(300, "run", "posterior draws", minimum=1)
    mode: str = flag(
        "mean", "run", "what to write of the draws' probabilities (or of their means, in a regression): "
        "mean,median,std,min,max",
    )  # fmt: skip
    quantiles: str = flag("", "run", "and their quantiles, as 0.05,0.5,0.95")
    users: str = flag(
        "", "run", "of ratings: users to recommend to, a,b, beside the one with the most and the one with the fewest "
        "ratings",
    )  # fmt: skip
    data_dir: str = flag("", "data", "predict this data instead of the run's own (same format)")
    reference: str = flag(
        "", "data", "run directory of a reference posterior (hmc), predicted on the same data, to be compared with"
    )
    ood_data_dir: str = flag("", "data", "out-of-distribution data to tell apart, by its test part (same format)")
    threads: int = flag(0, "machine", "threads per rank; 0: cores of the host / ranks on it", minimum=0)


@dataclasses.dataclass(frozen=True)
class PruneConfig:
    """Score a run with its least needed weights set to 0, and write it without some of them."""

    run: str = flag("", "run", "the directory that `train` wrote", required=True)
    fractions: str = flag("0.25,0.5,0.75,0.9,0.95,0.98", "run", "parts of the weights to prune, a,b; 0 is always there")
    scope: str = flag(
        "layer", "run", "layer: each kernel loses the same part (one without scales by magnitude); global: all kernels "
        "together (of those with scales, if there are)", choices=("layer", "global"),
    )  # fmt: skip
    num_draws: int = flag(30, "run", "posterior draws of each score", minimum=1)
    write_fraction: float = flag(
        0.5, "written", "part of the weights that the written run lacks, in [0, 1)", minimum=0, below=1
    )
    criterion: str = flag(
        "", "written", "what its weights were ranked by: the signal-to-noise ratio |loc| / scale, or |loc| (default: "
        "snr where there are scales)", choices=("snr", "magnitude"),
    )  # fmt: skip
    pruned_run: str = flag("", "written", "its run directory (default: that of --run with _pruned)")
    data_dir: str = flag("", "data", "score on this data instead of the run's own (same format)")
    threads: int = flag(0, "machine", "threads per rank; 0: cores of the host / ranks on it", minimum=0)
    format: str = flag("png", "machine", "file format of the figure", choices=("png", "pdf", "svg"))


@dataclasses.dataclass(frozen=True)
class PlotConfig:
    """Draw the figures of a run from its files; needs no TensorFlow."""

    run: str = flag("", "run", "the directory that `train` wrote", required=True)
    format: str = flag("png", "run", "file format of the figures", choices=("png", "pdf", "svg"))


@dataclasses.dataclass(frozen=True)
class PrepareDataConfig:
    """Download a data set once, with its checksum verified; training itself never downloads."""

    dataset: str = flag("mnist", "data", "what to download", choices=("mnist", "cifar10", "cifar100"))
    data_dir: str = flag("data", "data", "folder to put the file into")


@dataclasses.dataclass(frozen=True)
class JobConfig:
    """Print the job script for a batch system: job theta, job pbs, job slurm or job balsam."""

    scheduler: str = flag(
        "", "script", "whose script; the word after `job` is short for it", choices=("theta", "pbs", "slurm", "balsam")
    )
    flagfile: str = flag("configs/quickstart.cfg", "script", "flags of the training, as the job will see the file")
    name: str = flag("bnn_hvd", "script", "name of the job in the queue")
    nodes: int = flag(2, "size", "nodes", minimum=1)
    ranks_per_node: int = flag(4, "size", "ranks on each node: one per GPU, or per few cores", minimum=1)
    threads_per_rank: int = flag(8, "size", "threads of each rank", minimum=1)
    walltime: str = flag("01:00:00", "size", "time after which the job is stopped, HH:MM:SS or minutes")
    queue: str = flag("", "site", "queue or partition")
    account: str = flag("", "site", "project that pays")
    filesystems: str = flag("home:eagle", "site", "file systems that theta and pbs wait for, a:b; empty for none")


@dataclasses.dataclass(frozen=True)
class ScaleConfig:
    """Train models on more and more ranks, or collect such runs: training times, speed-up, prediction.

    The flags of `train` are those of its runs.
    """

    train: Values = dataclasses.field(default_factory=dict, metadata={"defaults": {}})

    run: str = flag("", "study", "directory of the study (required). Started again on it, the study goes on")
    models: str = flag("BNN_conv_flip,CNN_conv", "study", "the models, a,b; each takes the place of --model")
    ranks: str = flag("1,2", "study", "the numbers of ranks, a,b")
    particles: str = flag(
        "",
        "study",
        "2,4,8: instead, train so many particles of --architecture and --method: seconds per epoch",
    )
    mode: str = flag(
        "strong", "study", "strong: --batch_size is the global batch, divided among the ranks (and the learning rate "
        "stays); weak: each rank's",
        choices=("strong", "weak"),
    )  # fmt: skip
    repeats: int = flag(3, "study", "runs of each model on each number of ranks, taken in turns", minimum=1)
    ranks_per_node: int = flag(0, "study", "in an allocation; 0: as the batch system places them", minimum=0)
    runs: str = flag("", "study", "collect these run directories ('runs/scale_*', in quotes), and train nothing")
    format: str = flag("png", "study", "file format of the figures", choices=("png", "pdf", "svg"))

    allreduce: str = flag("", "prediction", "fit the network to allreduce.json of `python -m benchmarks allreduce`")
    interconnect: str = flag(
        "", "prediction", "or take a known one's constants", choices=("aries", "slingshot11", "hdr", "ndr", "10gbe")
    )
    alpha_us: float = flag(0.0, "prediction", "or give the latency of a message, in microseconds", minimum=0)
    beta_gb_per_s: float = flag(0.0, "prediction", "and its bandwidth, in GB/s", minimum=0)


@dataclasses.dataclass(frozen=True)
class ChurnConfig:
    """Train replicas that differ in one thing (seeds, order, hardware), and say how much their predictions differ.

    The flags of `train` are those of its runs; --batch_size is the global batch. All checkpoints are kept: the weights
    over training.
    """

    train: Values = dataclasses.field(default_factory=dict, metadata={
        "defaults": {"optimizer": "sgd", "momentum": 0.0, "checkpoint_every_steps": 100}
    })  # fmt: skip

    run: str = flag("", "study", "directory of the study (required). Started again on it, the study goes on")
    replicas: int = flag(3, "study", "trainings of each cell", minimum=2)
    regimes: str = flag(
        "hardware,init,batches,init+batches", "study", "what differs between the replicas, a,b: hardware (nothing: all "
        "seeds are fixed), init, batches, noise, or some of these joined by +; or ranks, blocks (ranks, with "
        "--gradient_blocks), threads, fusion, bit, nudge",
    )  # fmt: skip
    learning_rates: str = flag("", "study", "step sizes, a,b (default: --learning_rate)")
    determinism: str = flag("off,on", "study", "TensorFlow's op determinism, off, on or both")
    methods: str = flag("", "study", "methods to compare on the same network, a,b (default: --method)")
    ranks: str = flag(
        "1",
        "study",
        "number of ranks; for the regimes ranks and blocks a,b, of which fusion has the last, all others the first",
    )
    thread_counts: str = flag("1,2", "study", "threads that the regime threads compares")
    fusion_sizes_mb: str = flag("0,64", "study", "fusion thresholds that the regime fusion compares, MB")
    bits: str = flag("0,12", "study", "bits that the regime bit flips, one in each replica but the first")
    ops: bool = flag(False, "study", "train nothing: say of each operation of a training step whether it repeats")
    groups: str = flag("", "study", "a .npy of whole numbers, one a test example: churn by group, beside that by class")
    num_draws: int = flag(30, "study", "posterior draws of each replica's prediction", minimum=1)
    ranks_per_node: int = flag(0, "study", "in an allocation; 0: as the batch system places them", minimum=0)
    format: str = flag("png", "study", "file format of the figures", choices=("png", "pdf", "svg"))
