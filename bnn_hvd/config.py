"""One frozen dataclass per verb; every flag is generated from a field, defaults and help included.

A field without a fixed default (None or "") is filled in by `resolve`, so that what is written to
`config.cfg` repeats the run. `identity` marks the flags that make a run what it is: a run directory
can be continued only with the same ones.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from bnn_hvd import registry
from bnn_hvd.errors import UserError

DEFAULT_PARTICLES = 8
ESTIMATORS = ("flipout", "reparam", "local_reparam")


def flag(
    default: Any,
    section: str,
    help: str,
    *,
    choices: Sequence[str] = (),
    minimum: float | None = None,
    identity: bool = True,
) -> Any:
    """A dataclass field that becomes a command-line flag.

    `minimum` is a bound that `resolve` checks; `choices` are compared without regard to case.
    """
    metadata = {
        "section": section, "help": help, "choices": tuple(choices), "minimum": minimum, "identity": identity,
    }  # fmt: skip
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Train a network, or go on with a run that stopped."""

    run: str = flag(
        "", "run", "run directory; default: runs/<dataset>_<model>. Started again on it, training goes on",
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

    model: str = flag(
        "", "network", "short for a row of --network, --method, --estimator and --bayesian_layers",
        choices=tuple(registry.MODELS), identity=False,
    )  # fmt: skip
    network: str = flag("", "network", "the network (default conv)", choices=tuple(registry.NETWORKS))
    method: str = flag("", "network", "how its weights are inferred (default vi)", choices=tuple(registry.METHODS))
    estimator: str = flag("", "network", "gradient estimator of vi (default flipout)", choices=ESTIMATORS)
    hidden: int = flag(64, "network", "units of each hidden layer of mlp", minimum=1)
    num_blocks: int = flag(2, "network", "blocks of two dense layers in mlp", minimum=0)
    normalization: str = flag(
        "frn", "network", "of resnet18, resnet20 and vgg16: filter-response normalisation, or none",
        choices=("frn", "none"),
    )  # fmt: skip
    bayesian_layers: str = flag(
        "", "network", "layers whose kernels have a distribution under vi (default hidden: all but the output; of a "
        "linear network, all)",
        choices=("hidden", "all"),
    )  # fmt: skip
    bayesian_biases: bool = flag(False, "network", "biases of the Bayesian layers have a distribution too")
    prior: str = flag(
        "normal", "prior", "of each weight: N(0, prior_scale^2), or under vi a mixture of that with a narrow Normal",
        choices=("normal", "scale_mixture"),
    )  # fmt: skip
    prior_scale: float = flag(
        1.0, "prior", "standard deviation of the prior (of the mixture: of its wide part)", minimum=1e-12
    )
    prior_narrow_scale: float = flag(0.0025, "prior", "standard deviation of the mixture's narrow part", minimum=1e-12)
    prior_wide_weight: float = flag(0.5, "prior", "weight of the mixture's wide part, in (0, 1)", minimum=1e-12)
    prior_mean: str = flag(
        "zero", "prior", "where vi's prior is centred: at 0, or at the weights of --init_from (MOPED)",
        choices=("zero", "init_from"),
    )  # fmt: skip
    init_scale: float = flag(
        0.01, "prior", "standard deviation that each weight's posterior starts with", minimum=1e-12
    )
    init_relative_scale: float = flag(
        0.0, "prior", "or, with --init_from, so many times the size of the weight there, as 0.1; 0: --init_scale",
        minimum=0,
    )  # fmt: skip

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

    dataset: str = flag("digits", "data", "what to train on", choices=tuple(registry.DATASETS))
    data_dir: str = flag("", "data", "file or folder of the data set; digits needs none", identity=False)
    target: str = flag("", "data", "column of a table that is to be predicted")
    test_fraction: float = flag(
        0.2,
        "data",
        "part of a table's rows that is the test part, in (0, 1); the same rows for every --seed",
        minimum=0,
    )
    standardize_targets: bool = flag(
        True, "data", "learn real targets as (y - mean) / standard deviation of the training part; what is written is "
        "in their own units either way",
    )  # fmt: skip
    standardize: str = flag(
        "channel", "data", "subtract the mean and divide by the standard deviation of the training part: "
        "per channel, per pixel (or feature), or not at all; unit: only divide by the largest value of all",
        choices=("channel", "pixel", "none", "unit"),
    )  # fmt: skip
    augment: str = flag(
        "", "data", "crop (after a border of 4 zeros) or flip (left to right) training images at random, or both",
        choices=("crop", "flip", "crop_flip"),
    )  # fmt: skip
    batch_size: int = flag(64, "data", "examples per step and rank", minimum=1)

    likelihood: str = flag(
        "", "objective", "of the targets (default: categorical for classes, gaussian for real targets)",
        choices=("categorical", "gaussian", "heteroscedastic"),
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


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """Write the predictive distribution of a trained run, and how sure it is."""

    run: str = flag("", "run", "run directory (required)")
    num_draws: int = flag(300, "run", "posterior draws", minimum=1)
    mode: str = flag(
        "mean", "run", "what to write of the draws' probabilities (or of their means, in a regression): "
        "mean,median,std,min,max",
    )  # fmt: skip
    quantiles: str = flag("", "run", "and their quantiles, as 0.05,0.5,0.95")
    data_dir: str = flag("", "data", "predict this data instead of the run's own (same format)")
    reference: str = flag(
        "", "data", "run directory of a reference posterior (hmc), predicted on the same data, to be compared with"
    )
    ood_data_dir: str = flag("", "data", "out-of-distribution data to tell apart, by its test part (same format)")
    threads: int = flag(0, "machine", "threads per rank; 0: cores of the host / ranks on it", minimum=0)


@dataclasses.dataclass(frozen=True)
class PruneConfig:
    """Score a run with its least needed weights set to 0, and write it without some of them."""

    run: str = flag("", "run", "run directory (required)")
    fractions: str = flag("0.25,0.5,0.75,0.9,0.95,0.98", "run", "parts of the weights to prune, a,b; 0 is always there")
    scope: str = flag(
        "layer", "run", "layer: each kernel loses the same part (one without scales by magnitude); global: all kernels "
        "together (of those with scales, if there are)", choices=("layer", "global"),
    )  # fmt: skip
    num_draws: int = flag(30, "run", "posterior draws of each score", minimum=1)
    write_fraction: float = flag(0.5, "written", "part of the weights that the written run lacks, in [0, 1)", minimum=0)
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

    run: str = flag("", "run", "run directory (required)")
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
class ScaleConfig(TrainConfig):
    """Train models on more and more ranks, or collect such runs: training times, speed-up, prediction.

    The flags of `train` are those of its runs.
    """

    run: str = flag("", "study", "directory of the study (required). Started again on it, the study goes on")
    models: str = flag("BNN_conv_flip,CNN_conv", "study", "the models, a,b; each takes the place of --model")
    ranks: str = flag("1,2", "study", "the numbers of ranks, a,b")
    particles: str = flag(
        "", "study", "2,4,8: instead, train so many particles of the --network and --method of train: seconds per epoch"
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
class ChurnConfig(TrainConfig):
    """Train replicas that differ in one thing (seeds, order, hardware), and say how much their predictions differ.

    The flags of `train` are those of its runs; --batch_size is the global batch.
    """

    run: str = flag("", "study", "directory of the study (required). Started again on it, the study goes on")
    replicas: int = flag(3, "study", "trainings of each cell", minimum=2)
    regimes: str = flag(
        "hardware,init,batches,init+batches", "study", "what differs between the replicas, a,b: hardware (nothing: all "
        "seeds are fixed), init, batches, noise, or some of these joined by +; or ranks, threads, fusion, bit, nudge",
    )  # fmt: skip
    learning_rates: str = flag("", "study", "step sizes, a,b (default: --learning_rate)")
    determinism: str = flag("off,on", "study", "TensorFlow's op determinism, off, on or both")
    methods: str = flag("", "study", "methods to compare on the same network, a,b (default: --method)")
    ranks: str = flag("1", "study", "number of ranks; for the regime ranks a,b, of which all others have the first")
    thread_counts: str = flag("1,2", "study", "threads that the regime threads compares")
    fusion_sizes_mb: str = flag("0,64", "study", "fusion thresholds that the regime fusion compares, MB")
    bits: str = flag("0,12", "study", "bits that the regime bit flips, one in each replica but the first")
    ops: bool = flag(False, "study", "train nothing: say of each operation of a training step whether it repeats")
    groups: str = flag("", "study", "a .npy of whole numbers, one a test example: churn by group, beside that by class")
    num_draws: int = flag(30, "study", "posterior draws of each replica's prediction", minimum=1)
    ranks_per_node: int = flag(0, "study", "in an allocation; 0: as the batch system places them", minimum=0)
    format: str = flag("png", "study", "file format of the figures", choices=("png", "pdf", "svg"))

    optimizer: str = flag("sgd", "objective", "update rule", choices=("adam", "sgd"))
    momentum: float = flag(0.0, "objective", "momentum of sgd, in [0, 1)", minimum=0)
    checkpoint_every_steps: int = flag(
        100, "machine", "steps between checkpoints, all of which are kept: the weights over training", minimum=1,
        identity=False,
    )  # fmt: skip


Config = TypeVar("Config", TrainConfig, PredictConfig, PlotConfig, PrepareDataConfig)


def check(config: Any) -> None:
    """Raise UserError unless every field is within its choices and bounds."""
    for field in dataclasses.fields(config):
        value, meta = getattr(config, field.name), field.metadata
        if meta["choices"] and value:
            registry.known(dict.fromkeys(meta["choices"]), value, f"--{field.name}")
        if meta["minimum"] is not None and value is not None and not value >= meta["minimum"]:
            raise UserError(f"--{field.name}={value} must be at least {meta['minimum']:g}")
        if field.name == "run" and not value and not isinstance(config, TrainConfig):
            raise UserError("--run is required: the directory that `train` wrote")


def resolve(config: TrainConfig) -> TrainConfig:
    """Fill in everything that was left open in checked flags, from the model's row first.

    Raises:
      UserError: flags that contradict each other.
    """
    if config.epochs is not None and config.steps is not None:
        raise UserError("--epochs and --steps both say how long to train: give one of them")
    if config.lr_schedule.lower() == "cosine" and config.steps is not None:
        raise UserError("--lr_schedule=cosine ends with the last epoch: give --epochs instead of --steps")
    fractions = ("momentum", "dropout_rate", "ivon_beta1", "ivon_beta2", "test_fraction", "prior_wide_weight",
                 "hmc_target_accept")  # fmt: skip
    for name in fractions:
        if getattr(config, name) >= 1:
            raise UserError(f"--{name}={getattr(config, name)} must be below 1")
    values = {f.name: _canonical(f, getattr(config, f.name)) for f in dataclasses.fields(config)}
    if values["model"]:
        for name, value in registry.MODELS[values["model"]].items():
            if values[name] not in ("", value):
                raise UserError(
                    f"--{name}={values[name]} contradicts --model={values['model']}, which is short for "
                    f"--{name}={value}: leave one of the two out"
                )
            values[name] = value
    _fill(values, network="conv", method="vi", estimator="flipout")
    _fill(values, bayesian_layers="all" if values["network"] in registry.SINGLE_LAYER else "hidden")
    _resolve_chains(values)
    if values["method"] in registry.POPULATIONS:
        values["num_particles"] = values["num_particles"] or DEFAULT_PARTICLES
    if config.steps is None:
        _fill(values, epochs=1 if values["method"] == "laplace" else 10)  # laplace sees each example once
    if values["method"] == "laplace" and not values["init_from"]:
        raise UserError("--method=laplace needs --init_from, the run directory of a point run")
    _check_prior(values)
    values["model"] = values["model"] or model_name(values)
    _fill(values, run=str(Path("runs", f"{values['dataset']}_{values['model']}")))
    return TrainConfig(**values)


def _check_prior(values: dict[str, Any]) -> None:
    mixture, centred = values["prior"] == "scale_mixture", values["prior_mean"] == "init_from"
    if values["method"] != "vi" and (mixture or centred):
        given = "--prior=scale_mixture" if mixture else "--prior_mean=init_from"
        raise UserError(f"{given} is a prior of --method=vi: leave it out, or take that method")
    if mixture and values["estimator"] == "local_reparam":
        raise UserError(
            "--prior=scale_mixture needs draws of the weights, and --estimator=local_reparam draws activations: take "
            "flipout or reparam"
        )
    if centred and not values["init_from"]:
        raise UserError("--prior_mean=init_from needs --init_from, the run directory of a point run")


def _resolve_chains(values: dict[str, Any]) -> None:
    """Fill in the flags of the chains. Chains are what particles are elsewhere."""
    if values["method"] not in registry.FULL_BATCH:
        if values["num_chains"]:
            raise UserError(f"--num_chains is of hmc, not of {values['method']}: take --num_particles")
        return
    for name, needed, why in (
        ("kl_weight", 1.0, "draws from the posterior as it is"),
        ("kl_warmup_epochs", 0.0, "draws from the posterior as it is"),
        ("compression", "none", "needs the gradient as it is"),
        ("augment", "", "takes the data as they are"),
    ):
        if values[name] != needed:
            raise UserError(f"hmc {why}: leave --{name}={values[name]} out")
    chains, particles = values["num_chains"], values["num_particles"]
    if chains and particles and chains != particles:
        raise UserError(f"--num_chains={chains} and --num_particles={particles} mean the same of hmc: give one of them")
    values["num_chains"] = values["num_particles"] = chains or particles or 1
    total = values["steps"] or values["epochs"] or 10
    _fill(values, hmc_burn_in_steps=total // 2)
    kept = (total - values["hmc_burn_in_steps"]) // values["hmc_keep_every_steps"]
    if kept < 1 and not values["hmc_kept_draws"]:
        raise UserError(
            f"of {total} steps, {values['hmc_burn_in_steps']} of them burn-in, none is kept: raise --steps, or lower "
            "--hmc_burn_in_steps or --hmc_keep_every_steps"
        )
    _fill(values, hmc_kept_draws=kept)


def root_seed(config: TrainConfig, stream: str) -> int:
    """Return the seed of init, shuffle or noise: its own flag, else --seed."""
    own = getattr(config, f"{stream}_seed")
    return config.seed if own is None else own


def _canonical(field: dataclasses.Field, value: Any) -> Any:
    """Spell a choice as the registry does: --model=bnn_fc_flip is BNN_FC_flip."""
    choices = field.metadata["choices"]
    return registry.known(dict.fromkeys(choices), value) if choices and value else value


def _fill(values: dict[str, Any], **defaults: Any) -> None:
    for name, default in defaults.items():
        if values[name] in ("", None):
            values[name] = default


def model_name(values: dict[str, Any]) -> str:
    """Return the named model whose row these flags match, or a name made of them."""
    for name, row in registry.MODELS.items():
        if all(values[key] == value for key, value in row.items()):
            return name
    parts = [values["network"], values["method"]]
    return "_".join(parts + [values["estimator"]] * (values["method"] == "vi"))


def differences(old: TrainConfig, new: TrainConfig) -> list[str]:
    """Return `--flag: old -> new` for the flags that make a run what it is, where they differ."""
    return [
        f"--{f.name}: {getattr(old, f.name)} there, {getattr(new, f.name)} here"
        for f in dataclasses.fields(TrainConfig)
        if f.metadata["identity"] and getattr(old, f.name) != getattr(new, f.name)
    ]


def to_flagfile(config: Any) -> str:
    """Return the flagfile text that repeats `config`; flags left open are not written."""
    lines = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        made_up = field.name == "model" and value not in registry.MODELS  # by `model_name`: no flag takes it
        if value not in ("", None) and field.name != "dry_run" and not made_up:
            lines.append(f"--{field.name}={str(value).lower() if isinstance(value, bool) else value}")
    return "\n".join(lines) + "\n"


def from_flagfile(text: str, path: Path, config_type: Callable[..., Config]) -> Config:
    """Read what `to_flagfile` wrote: the run directory's own `config.cfg`."""
    pairs = dict(line[2:].split("=", 1) for line in text.splitlines() if line.startswith("--"))
    types = {f.name: f.type for f in dataclasses.fields(config_type)}  # type: ignore[arg-type]
    unknown = sorted(set(pairs) - set(types))
    if unknown:
        raise UserError(f"{path} has flags that this version does not know: {', '.join(unknown)}")
    return config_type(**{name: parse(types[name], value) for name, value in pairs.items()})


def parse(kind: Any, text: str) -> Any:
    """Return `text` as the type of a field."""
    if kind is bool:
        return text == "true"
    for number in (int, float):
        if kind in (number, number | None):
            return number(text)
    return text


def sections(config_type: type) -> Iterable[tuple[str, list[dataclasses.Field]]]:
    """Yield (section, fields) in the order of the fields."""
    grouped: dict[str, list[dataclasses.Field]] = {}
    for field in dataclasses.fields(config_type):
        grouped.setdefault(field.metadata["section"], []).append(field)
    return grouped.items()
