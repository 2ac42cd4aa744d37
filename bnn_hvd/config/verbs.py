"""The configuration of every verb except `train`: one frozen dataclass each."""

import copy
import dataclasses
from typing import Any, ClassVar

from bnn_hvd.config.flags import Fields, check, fields_of, flag, with_defaults
from bnn_hvd.config.options import Values
from bnn_hvd.config.resolution import resolve
from bnn_hvd.config.train import TrainConfig, train_flags


def flags_of(config_type: type) -> Fields:
    """Return the flags of a verb; a study has those of its runs too, some with defaults of its own."""
    if config_type is TrainConfig:
        return train_flags()
    own = fields_of(config_type)
    return own | flags_of_runs(config_type) if issubclass(config_type, StudyConfig) else own


def flags_of_runs(study: type["StudyConfig"]) -> Fields:
    """Return the flags of the runs of a study: of their training, and of their prediction if the study makes one."""
    own, of_predict = fields_of(study), fields_of(PredictConfig)  # type: ignore[arg-type] # as in choices.py
    defaults = study.run_defaults | study.predict_defaults
    fields = train_flags() | {name: of_predict[name] for name in study.predict_defaults}
    return {
        name: _with_default(field, defaults.get(name, field.default))
        for name, field in fields.items() if name not in own
    }  # fmt: skip


def make(config_type: type, **given: Any) -> Any:
    """Return the checked configuration of a verb from some of its flags; that of `train` is resolved.

    Raises:
      UserError: a value is out of bounds, flags contradict each other, or a required flag is missing.
      TypeError: an unknown flag.
    """
    if config_type is TrainConfig:
        return resolve(**given)
    fields = flags_of(config_type)
    values = with_defaults(fields, given)
    check(fields, values)
    own = fields_of(config_type)
    runs = {}
    if issubclass(config_type, StudyConfig):
        runs = {
            "train": {name: value for name, value in values.items() if name not in own},
            "given": {name: value for name, value in given.items() if name not in own and value not in ("", None)},
        }
    return config_type(**{name: values[name] for name in own}, **runs)


def _with_default(field: dataclasses.Field, default: Any) -> dataclasses.Field:
    changed = copy.copy(field)
    changed.default = default
    return changed


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """Write the predictive distribution of a trained run, and its uncertainty."""

    run: str = flag("", "run", "the directory that `train` wrote", required=True)
    out: str = flag(
        "", "run", "folder of the prediction (default: the run directory; for other data, a folder of their own in its "
        "predictions/)",
    )  # fmt: skip
    num_draws: int = flag(300, "run", "posterior draws", minimum=1)
    check_draws: int | None = flag(
        None, "run", "draws for the Pareto k-hat, which compares the approximate posterior with the exact one; 0: none "
        "(default: 1000, if network and training part are small)", minimum=0,
    )  # fmt: skip
    mode: str = flag(
        "mean", "run", "statistics to write, a,b, over the draws' probabilities (for real targets, over their means): "
        "mean, median, std, min, max",
    )  # fmt: skip
    quantiles: str = flag(
        "", "run", "quantiles to write, as in 0.05,0.5,0.95: of new observations for real targets (and of the draws' "
        "means); over the draws' probabilities for classes",
    )  # fmt: skip
    keep_draws: str = flag(
        "chosen", "run", "write every draw's prediction of a few chosen examples, or of all: class probabilities, or "
        "mean and standard deviation of a real target", choices=("chosen", "all"),
    )  # fmt: skip
    coverage: float = flag(
        0.0, "calibration", "conformal prediction: sets of classes, or intervals of real targets, that hold the truth "
        "with this probability, as 0.9; a half of the labelled examples calibrates them, and the run keeps that "
        "(docs/calibration.md); 0: as the run keeps it", minimum=0, below=1,
    )  # fmt: skip
    calibrate: str = flag(
        "", "calibration", "fit a temperature (of classes), or a map of quantiles (of a real target), to a half of the "
        "labelled examples; the run keeps it, and every later `predict` applies it",
        choices=("temperature", "quantiles"),
    )  # fmt: skip
    users: str = flag(
        "", "run", "for implicit ratings: users to recommend items to, a,b, besides the users with the most and the "
        "fewest ratings",
    )  # fmt: skip
    data_dir: str = flag(
        "", "data", "predict these data instead of the run's own, with labels or without: a table, an .npz with x, an "
        ".npy, a folder of images (docs/data.md)",
    )  # fmt: skip
    reference: str = flag(
        "",
        "data",
        "run directory of a reference posterior (hmc) to compare with, predicted on the same data; or a file of "
        "class probabilities, .npz or .csv, with the index of each row's example (docs/hmc.md)",
    )
    exact: str = flag(
        "", "data", "file that `exact` wrote: compare the predictions with exact posteriors of the same events"
    )
    ood_data_dir: str = flag(
        "", "data", "out-of-distribution data (same format); uncertainty should tell its test part from the run's"
    )
    corrupt: str = flag(
        "", "data", "score these images corrupted, too: noise, blur, contrast, brightness, rotation, translation, "
        "pixelation, jpeg at a level from 1 to 5, as noise:3,blur:1 (without a level: at all five), or all",
    )  # fmt: skip
    threads: int = flag(0, "machine", "threads per rank; 0: cores of the host / ranks on it", minimum=0)


@dataclasses.dataclass(frozen=True)
class PruneConfig:
    """Score a run with its least important weights set to 0, and write a pruned run."""

    run: str = flag("", "run", "the directory that `train` wrote", required=True)
    fractions: str = flag(
        "0.25,0.5,0.75,0.9,0.95,0.98", "run", "fractions of the weights to prune, a,b; 0 is always included"
    )
    scope: str = flag(
        "layer", "run", "layer: each kernel loses the same fraction (kernels without scales by magnitude); global: all "
        "kernels are ranked together (only those with scales, if there are any)", choices=("layer", "global"),
    )  # fmt: skip
    num_draws: int = flag(30, "run", "posterior draws per score", minimum=1)
    write_fraction: float = flag(
        0.5, "written", "fraction of the weights that is pruned in the written run, in [0, 1)", minimum=0, below=1
    )
    criterion: str = flag(
        "", "written", "ranks the weights of the written run: by the signal-to-noise ratio |loc| / scale, or by |loc| "
        "(default: snr if there are scales)", choices=("snr", "magnitude"),
    )  # fmt: skip
    pruned_run: str = flag("", "written", "directory of the written run (default: that of --run with _pruned)")
    data_dir: str = flag("", "data", "score on this data instead of the run's own (same format)")
    threads: int = flag(0, "machine", "threads per rank; 0: cores of the host / ranks on it", minimum=0)
    format: str = flag("png", "machine", "file format of the figure", choices=("png", "pdf", "svg"))


@dataclasses.dataclass(frozen=True)
class PlotConfig:
    """Draw the figures of a run from its files; needs no TensorFlow."""

    run: str = flag("", "run", "the directory that `train` wrote", required=True)
    prediction: str = flag(
        "", "run", "draw this prediction: a folder that `predict` wrote, or its name in predictions/ of the run "
        "(default: the run, and the prediction of its own data)",
    )  # fmt: skip
    format: str = flag("png", "run", "file format of the figures", choices=("png", "pdf", "svg"))


@dataclasses.dataclass(frozen=True)
class PrepareDataConfig:
    """Download a data set once, and verify its checksum, or simulate one; training never downloads."""

    dataset: str = flag(
        "mnist", "data", "the data set to download, or gravitational_waves, which are simulated (by LALSuite: `make "
        "install EXTRAS=gw`)",
        choices=("mnist", "cifar10", "cifar100", "gravitational_waves"),
    )  # fmt: skip
    data_dir: str = flag("data", "data", "folder to put the file into; of gravitational_waves, the .npz file itself")
    num_train: int | None = flag(
        None, "gravitational_waves", "binaries of the training part (default 100000)", minimum=1
    )  # fmt: skip
    num_test: int | None = flag(None, "gravitational_waves", "binaries of the test part (default 1000)", minimum=1)
    num_unseen: int | None = flag(
        None, "gravitational_waves", "examples in each of the test sets that training never sees: precessing binaries, "
        "masses beyond the prior, glitches, noise (default 500)", minimum=0,
    )  # fmt: skip
    seed: int = flag(0, "gravitational_waves", "seed of the binaries and their noise", minimum=0)


@dataclasses.dataclass(frozen=True)
class ExactConfig:
    """Write the exact posteriors of simulated gravitational waves, to compare predictions with: exact gw.npz."""

    data_dir: str = flag(
        "", "data", "the .npz that `prepare_data --dataset=gravitational_waves` wrote; `exact gw.npz` is short for it",
        required=True,
    )  # fmt: skip
    num_events: int = flag(100, "data", "test events, from the first on; ranks share them", minimum=1)
    out: str = flag("", "data", "file to write (default: --data_dir with _exact)")


@dataclasses.dataclass(frozen=True)
class JobConfig:
    """Print the job script for a batch system: job theta, job pbs, job slurm or job balsam."""

    scheduler: str = flag(
        "", "script", "batch system; `job slurm` is short for `job --scheduler=slurm`",
        choices=("theta", "pbs", "slurm", "balsam"),
    )  # fmt: skip
    flagfile: str = flag(
        "configs/quickstart.cfg", "script", "flagfile of the training, at the path where the job reads it"
    )
    name: str = flag("bnn_hvd", "script", "name of the job in the queue")
    nodes: int = flag(2, "size", "nodes", minimum=1)
    ranks_per_node: int = flag(4, "size", "ranks on each node: one per GPU, or per few cores", minimum=1)
    threads_per_rank: int = flag(8, "size", "threads of each rank", minimum=1)
    gpus_per_node: int = flag(0, "size", "GPUs on each node, for slurm and pbs; 0: the job asks for none", minimum=0)
    walltime: str = flag("01:00:00", "size", "time after which the job is stopped, HH:MM:SS or minutes")
    queue: str = flag("", "site", "queue or partition")
    account: str = flag("", "site", "project to charge")
    filesystems: str = flag("home:eagle", "site", "file systems that theta and pbs wait for, a:b; empty for none")
    setup: str = flag("", "site", "a file of bash lines (module load ...) that the script runs before it starts Python")


@dataclasses.dataclass(frozen=True)
class StudyConfig:
    """The flags of the runs of a study: those of `train`, and the flags of `predict` in predict_defaults.

    train: the value of each; given: those that the user gave. run_defaults, predict_defaults: defaults of the study's
    own.
    """

    run_defaults: ClassVar[Values] = {}
    predict_defaults: ClassVar[Values] = {}

    train: Values = dataclasses.field(default_factory=dict)
    given: Values = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class ScaleConfig(StudyConfig):
    """Train models on several numbers of ranks, or collect such runs: training times, speed-up, prediction.

    It takes the flags of `train` for its runs.
    """

    run: str = flag("", "study", "directory of the study (required); a study that stopped goes on")
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
    format: str = flag("png", "study", "file format of the figures", choices=("png", "pdf", "svg"))

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

    run: str = flag("", "study", "directory of the study (required); a study that stopped goes on")
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
    format: str = flag("png", "study", "file format of the figures", choices=("png", "pdf", "svg"))


@dataclasses.dataclass(frozen=True)
class CompareConfig(StudyConfig):
    """Train methods on networks and data sets with several seeds, predict, and write a table and figures of the scores.

    It takes the flags of `train` for its runs.
    """

    run_defaults: ClassVar[Values] = {"eval_every_epochs": 0}
    predict_defaults: ClassVar[Values] = {
        "num_draws": 64, "check_draws": 0, "ood_data_dir": "", "coverage": 0.0, "calibrate": "", "corrupt": "",
    }  # fmt: skip

    run: str = flag("", "study", "directory of the study (required); a study that stopped goes on")
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
    format: str = flag("png", "study", "file format of the figures", choices=("png", "pdf", "svg"))
