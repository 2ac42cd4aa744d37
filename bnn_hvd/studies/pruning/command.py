"""The verb `prune`: scores a trained network without some of its weights, and writes a pruned run for `predict`."""

from pathlib import Path
from typing import Any

import numpy as np

from bnn_hvd.config import PruneConfig, TrainConfig, lists
from bnn_hvd.config.choices import CHOICES
from bnn_hvd.data.arrays import Arrays
from bnn_hvd.distributed import cluster, machine
from bnn_hvd.errors import UserError
from bnn_hvd.inference import parameter_index
from bnn_hvd.models import own
from bnn_hvd.plots import pruning as figures
from bnn_hvd.plots import style
from bnn_hvd.prediction import predict
from bnn_hvd.prediction.other_data import load_labelled
from bnn_hvd.prediction.predictor import Predictor
from bnn_hvd.run import checkpoint, records, rundir
from bnn_hvd.studies.pruning import masks

PARAMS = "params:0"
NO_NOISE = -200.0  # log scale of a weight that is exactly 0 in every draw: exp of it is 0 in float32
HEADS = ("fraction", "of_all_kernels")
Row = dict[str, Any]


def main(config: PruneConfig) -> int:
    """Score a run at each of --fractions pruned, and write a run pruned at --write_fraction; returns the exit code."""
    run = Path(config.run)
    trained, known = rundir.read_config(run), predict.read_description(run)
    fractions = parse_fractions(config.fractions)
    check(config, trained)
    arrays = load_labelled(trained, known, config.data_dir)

    ranks = cluster.connect()
    machine.set_up(config.threads, ranks)
    pruner = Pruner(trained, predict.restore(trained, known, ranks), config.scope.lower())
    rows = table(pruner, arrays, fractions, config.num_draws)
    if ranks.is_root:
        records.write_json(run / records.PRUNING, rows)
        print(text(rows))
        path = run / records.PLOTS / f"pruning.{config.format.lower()}"
        path.parent.mkdir(exist_ok=True)
        style.draw(lambda: figures.curves(run), path)
        print(path)
        write_run(config, trained, pruner)
    ranks.barrier()
    return 0


class Pruner:
    """Sets some weights of a run to 0 in every draw."""

    def __init__(self, trained: TrainConfig, predictor: Predictor, scope: str):
        self.predictor, self.scope, network = predictor, scope, predictor.method.network
        self.loc, self.scale = predictor.method.marginals(predictor.state)
        self.trained_params = predictor.state.params.numpy()
        named = network.slices(np.arange(network.num_parameters))
        self.kernels = [named[p.name] for p in network.parameters if p.is_kernel]
        self.theta = parameter_index.of_theta(trained.method.options, network)
        self.log_scale = parameter_index.of_log_scale(network) if self.scale.size else np.zeros(0, int)
        self.criteria = masks.CRITERIA if self.scale.size else ("magnitude",)

    def mask(self, criterion: str, fraction: float) -> np.ndarray:
        """Return which entries of theta are pruned, [..., P]."""
        groups = masks.groups(self.kernels, self.scale.shape[-1], self.scope)
        return masks.smallest(masks.scores(criterion, self.loc, self.scale), groups, fraction)

    def params(self, pruned_P: np.ndarray) -> np.ndarray:
        """Return the parameters of the method, in which the pruned weights are exactly 0."""
        params = self.trained_params.copy()
        for places_of, value in ((self.theta, 0.0), (self.log_scale, NO_NOISE)):
            here = pruned_P[..., : len(places_of)]
            params[..., places_of] = np.where(here, np.float32(value), params[..., places_of])
        return params


def table(pruner: Pruner, arrays: Arrays, fractions: list[float], num_draws: int) -> list[Row]:
    """Return a row for each criterion and fraction."""
    num_weights = sum(map(len, pruner.kernels)) * int(np.prod(pruner.loc.shape[:-1]))
    scored: dict[bytes, dict[str, Any]] = {}  # by mask: fraction 0 gives the same mask for every criterion
    rows = []
    for criterion in pruner.criteria:
        for fraction in fractions:
            pruned_P = pruner.mask(criterion, fraction)
            key = pruned_P.tobytes()
            if key not in scored:
                scored[key] = score(pruner, pruned_P, arrays, num_draws)
            count = int(pruned_P.sum())
            row = {"criterion": criterion, "scope": pruner.scope, "fraction": fraction, "pruned": count}
            rows.append(row | {"of_all_kernels": count / num_weights} | scored[key])
    return rows


def score(pruner: Pruner, pruned_P: np.ndarray, arrays: Arrays, num_draws: int) -> dict[str, Any]:
    """Return the scores on the test part without the pruned weights."""
    pruner.predictor.state.params.assign(pruner.params(pruned_P))
    return pruner.predictor.score(arrays.x_test, arrays.y_test, num_draws)


def write_run(config: PruneConfig, trained: TrainConfig, pruner: Pruner) -> None:
    """Write the run directory of the pruned network."""
    run = pruned_run(config)
    criterion = config.criterion.lower() or pruner.criteria[0]
    arrays = rundir.read_checkpoint(Path(config.run))
    pruned_P = pruner.mask(criterion, config.write_fraction)
    arrays[PARAMS] = pruner.params(pruned_P)
    records.make_run_directory(run)
    code, copied = own.code_of(trained), own.code_of(trained.replace(run=str(run)))
    if code and copied:
        copied.keep_copy(code.file())
    rundir.describe(trained.replace(run=str(run)), rundir.read_data(Path(config.run)))
    progress = checkpoint.read_progress(arrays)
    stored = {name: value for name, value in arrays.items() if not checkpoint.is_progress(name)}
    checkpoint.save(run / records.CHECKPOINTS, stored, progress, keep=1)
    origin = {
        "pruned_from": config.run, "criterion": criterion, "scope": pruner.scope, "fraction": config.write_fraction,
        "pruned": int(pruned_P.sum()),
    }  # fmt: skip
    records.write_json(run / records.PRUNED_FROM, origin)
    print(f"written: {run} ({config.write_fraction:.0%} pruned by {criterion}); `predict --run={run}` reads it")


def parse_fractions(text: str) -> list[float]:
    """Return the numbers in `0.5,0.9`, and 0, in ascending order.

    Raises:
      UserError: a part is no number from 0 to below 1.
    """
    return sorted({0.0, *lists.numbers(text, "--fractions", lambda fraction: 0 <= fraction < 1, " from 0 to below 1")})


def check(config: PruneConfig, trained: TrainConfig) -> None:
    """Check that the run can be pruned.

    Raises:
      UserError: prune or the criterion is not for its method, or --pruned_run is a run that was trained.
    """
    if not trained.method.options.prunable:
        raise UserError(
            f"--run={config.run} was trained with --method={trained.method.name}: prune knows "
            f"{', '.join(CHOICES['method'].names_with('prunable'))}"
        )
    if config.criterion.lower() == "snr" and not trained.method.options.has_scales:
        raise UserError(
            f"--criterion=snr needs weights with a scale, and --method={trained.method.name} has none: "
            "give --criterion=magnitude"
        )
    target = pruned_run(config)
    if (target / records.CONFIG).exists() and not (target / records.PRUNED_FROM).exists():
        raise UserError(f"{target} is a run that was trained: give another --pruned_run")


def pruned_run(config: PruneConfig) -> Path:
    return Path(config.pruned_run or f"{config.run.rstrip('/')}_pruned")


def text(rows: list[Row]) -> str:
    """Return the table that is printed."""
    scores = [name for name, value in rows[0].items() if isinstance(value, float) and name not in HEADS]
    lines = ["  ".join([f"{'criterion':10}", *(f"{name:>14}" for name in (*HEADS, *scores))])]
    for row in rows:
        lines.append("  ".join([f"{row['criterion']:10}", *(f"{row[name]:14.4g}" for name in (*HEADS, *scores))]))
    return "\n".join(lines)
