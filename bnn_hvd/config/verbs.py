"""The configuration of every verb except `train` and the studies: one frozen dataclass each; and the flags of all."""

import copy
import dataclasses
from typing import Any

from bnn_hvd.config.flags import Fields, check, fields_of, flag, with_defaults
from bnn_hvd.config.resolution import resolve
from bnn_hvd.config.studies import StudyConfig
from bnn_hvd.config.train import TrainConfig, train_flags


def flags_of(config_type: type) -> Fields:
    """Return the flags of a verb; a study has those of its runs too, some with defaults of its own."""
    if config_type is TrainConfig:
        return train_flags()
    own = fields_of(config_type)
    return own | flags_of_runs(config_type) if issubclass(config_type, StudyConfig) else own


def flags_of_runs(study: type[StudyConfig]) -> Fields:
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
