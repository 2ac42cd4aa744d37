"""What varies from replica to replica: the cells of a churn study, and their training runs.

A regime names one or more sources of variation. The first replica of most regimes is the base, in which nothing
varies: cells share this run, and it is trained once.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from bnn_hvd import config as flags
from bnn_hvd import registry
from bnn_hvd.config import ChurnConfig, lists
from bnn_hvd.config.options import Values
from bnn_hvd.errors import UserError
from bnn_hvd.studies.runs import RUNS, Job, check_used, run_flags

T = TypeVar("T")
HARDWARE = "hardware"  # no flag varies: the same training, several times
SEEDS = {"init": "init_seed", "batches": "shuffle_seed", "noise": "noise_seed"}  # sources that can be joined by +
DEFAULT_NUDGE_STEP = 10
SWITCH = {"off": False, "on": True}
EVERY_CHECKPOINT = 10**6


class Replica(NamedTuple):
    """One training of a cell: the end of its run's name, its number of ranks, and the flags in which it differs."""

    name: str
    ranks: int
    changes: dict[str, Any]


class Cell(NamedTuple):
    """Replicas of one method at one learning rate, which differ in the sources of the regime alone."""

    method: str
    regime: str
    learning_rate: float
    deterministic: bool
    jobs: list[Job]


def cells(config: ChurnConfig) -> list[Cell]:
    """Return all cells of the study; a cell with determinism follows the same cell without.

    Raises:
      UserError: a regime or method is unknown, or flags contradict each other.
    """
    if config.train["deterministic"] or config.train["checksums"] or config.train["flip_bit"] >= 0:
        raise UserError(
            "the study sets --deterministic, --checksums and --flip_bit itself: leave them out, and give --determinism "
            "or --bits"
        )
    methods = [registry.known(registry.METHODS, name, "method in --methods:") for name in lists.words(config.methods)]
    rates = lists.numbers(config.learning_rates, "--learning_rates")
    modes = [SWITCH[registry.known(SWITCH, mode, "--determinism")] for mode in lists.words(config.determinism)]
    found = [
        Cell(method, regime, rate, mode, [_job(config, replica, method, rate, mode) for replica in replicas])
        for method in methods or [""]
        for rate in rates or [_learning_rate(config, method)]
        for regime, replicas in regimes(config).items()
        for mode in modes
    ]
    for regime, replicas in regimes(config).items():  # under several methods, some may vary nothing: a control
        jobs_of_regime = [job for cell in found if cell.regime == regime for job in cell.jobs]
        check_used({name for replica in replicas for name in replica.changes}, jobs_of_regime, "--regimes: ")
    check_used([*config.given, *["learning_rate"] * bool(rates)], [job for cell in found for job in cell.jobs])
    return found


def jobs(cells: list[Cell]) -> list[Job]:
    """Return the runs in the order of training, each once: the first replicas of all cells, then the second ones.

    So runs with and without determinism alternate, and a study that was stopped has some replicas of each cell.
    """
    most = max(len(cell.jobs) for cell in cells)
    turns = [cell.jobs[k] for k in range(most) for cell in cells if k < len(cell.jobs)]
    return list({job.config.run: job for job in turns}.values())


def regimes(config: ChurnConfig) -> dict[str, list[Replica]]:
    """Return the replicas of each regime that the flags name."""
    if config.replicas < 2:
        raise UserError(f"--replicas={config.replicas} must be at least 2: one replica has no other to differ from")
    found = {}
    for regime in lists.words(config.regimes):
        sources = [source.strip().lower() for source in regime.split("+")]
        for source in sources:
            registry.known({HARDWARE: 0, **SEEDS, **FIXED_SEEDS}, source, "source in --regimes:")
        if len(sources) > 1 and not set(sources) <= set(SEEDS):
            raise UserError(f"--regimes: {regime} can't be joined; only {', '.join(SEEDS)} can be joined by +")
        vary = FIXED_SEEDS.get(sources[0])
        found["+".join(sources)] = vary(config) if vary else _vary_seeds(config, sources)
    if not found:
        raise UserError("--regimes is empty: hardware,init,batches,init+batches is the default")
    return found


def _vary_seeds(config: ChurnConfig, sources: list[str]) -> list[Replica]:
    """Vary the seeds of the sources; for `hardware` no flag varies."""
    ranks = _rank_counts(config)[0]
    replicas = []
    for k in range(config.replicas):
        varied = [source for source in sources if source in SEEDS]
        changes = {SEEDS[source]: config.train["seed"] + k for source in varied if k}
        name = "_".join(f"{source}{k}" for source in varied) or f"again{k}"
        replicas.append(Replica(name if k else "base", ranks, changes))
    return replicas


def _vary_ranks(config: ChurnConfig) -> list[Replica]:
    """Vary the number of ranks that share the global batch."""
    first, *others = _several(_rank_counts(config), "--ranks", "ranks")
    return [_base(first), *(Replica(f"ranks{count}", count, {}) for count in others)]


def _vary_ranks_of_blocks(config: ChurnConfig) -> list[Replica]:
    """Vary the number of ranks that share the gradient blocks. No replica is the base, which has no blocks."""
    counts = _several(_rank_counts(config), "--ranks", "blocks")
    blocks = {"gradient_blocks": config.train["gradient_blocks"] or counts[-1]}
    return [Replica(f"blocks{count}", count, blocks) for count in counts]


def _vary_threads(config: ChurnConfig) -> list[Replica]:
    """Vary the number of threads of each rank."""
    given = map(int, lists.numbers(config.thread_counts, "--thread_counts"))
    counts = _several(_each_once(config.train["threads"] or 1, *given), "--thread_counts", "threads")
    ranks = _rank_counts(config)[0]
    return [_base(ranks), *(Replica(f"threads{count}", ranks, {"threads": count}) for count in counts[1:])]


def _vary_fusion(config: ChurnConfig) -> list[Replica]:
    """Vary how many megabytes of gradients Horovod joins in one all-reduce, on the largest number of ranks."""
    counts = _rank_counts(config)
    most = counts[-1]
    if most == 1:
        raise UserError("--ranks=1 has no all-reduce, whose fusion the regime fusion compares: give --ranks=2")
    sizes = _each_once(config.train["fusion_mb"], *lists.numbers(config.fusion_sizes_mb, "--fusion_sizes_mb"))
    first = _base(most) if most == counts[0] else Replica(f"ranks{most}", most, {})
    return [first, *(Replica(f"fusion{size:g}", most, {"fusion_mb": size}) for size in sizes[1:])]


def _vary_bit(config: ChurnConfig) -> list[Replica]:
    """Vary which bit of one initial weight is flipped; in the base, none is."""
    ranks, bits = _rank_counts(config)[0], map(int, lists.numbers(config.bits, "--bits"))
    return [_base(ranks), *(Replica(f"bit{bit}", ranks, {"flip_bit": bit}) for bit in bits)]


def _vary_nudge(config: ChurnConfig) -> list[Replica]:
    """Vary whether one entry of the gradient changes by one ulp, at one step."""
    ranks, step = _rank_counts(config)[0], config.train["nudge_step"] or DEFAULT_NUDGE_STEP
    return [_base(ranks), Replica(f"nudge{step}", ranks, {"nudge_step": step})]


# Sources that can't be joined by +: all replicas have the same seeds.
FIXED_SEEDS: dict[str, Callable[[ChurnConfig], list[Replica]]] = {
    "ranks": _vary_ranks, "blocks": _vary_ranks_of_blocks, "threads": _vary_threads, "fusion": _vary_fusion,
    "bit": _vary_bit, "nudge": _vary_nudge,
}  # fmt: skip


def _base(ranks: int) -> Replica:
    """Return the replica in which nothing varies."""
    return Replica("base", ranks, {})


def _rank_counts(config: ChurnConfig) -> list[int]:
    return lists.counts(config.ranks, "--ranks")


def _each_once(*values: T) -> list[T]:
    return list(dict.fromkeys(values))


def _several(values: list[int], flag: str, regime: str) -> list[int]:
    """Return the values.

    Raises:
      UserError: there is only one value, and the regime compares several.
    """
    if len(values) < 2:
        raise UserError(f"{flag} has one value, and the regime {regime} compares several: give 1,2")
    return values


def _method_flags(config: ChurnConfig, method: str) -> Values:
    """Return the flags of the runs of a method of --methods; "" for that of --method or --model."""
    values = run_flags(config, "")
    if not method:
        return values
    if values.get("model"):  # the network of the model, with another method
        row = registry.MODELS[registry.known(registry.MODELS, values["model"], "--model")]
        values |= {"model": "", **row}
    if method != "ensemble":
        values["num_particles"] = 0
    return values | {"method": method}


def _learning_rate(config: ChurnConfig, method: str) -> float:
    """Return the learning rate without --learning_rates: the given one, or the default of the method."""
    return flags.resolve_used(**_method_flags(config, method)).schedule.learning_rate


def _job(config: ChurnConfig, replica: Replica, method: str, rate: float, deterministic: bool) -> Job:
    """Return the training run of a replica. --batch_size is the global batch, which the ranks divide.

    With particles, the ranks that train the same particles divide it.
    """
    mode = "deterministic" if deterministic else "usual"
    name = "_".join([*[method] * bool(method), f"lr{rate:g}", mode, replica.name])
    resolved = flags.resolve_used(**_method_flags(config, method) | {
        "run": str(Path(config.run, RUNS, name)), "learning_rate": rate, "lr_scaling": "none",
        "threads": config.train["threads"] or 1, "deterministic": deterministic, "checksums": True,
        "keep": EVERY_CHECKPOINT, "nudge_step": 0, **replica.changes,
    })  # fmt: skip
    sharing = replica.ranks // min(resolved.method.num_particles or 1, replica.ranks)
    if config.train["batch_size"] % sharing:
        raise UserError(
            f"--batch_size={config.train['batch_size']} can't be divided among {sharing} ranks: give a multiple"
        )
    return Job(replica.ranks, resolved.replace(batch_size=config.train["batch_size"] // sharing))
