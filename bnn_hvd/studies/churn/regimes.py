"""What is varied from replica to replica: the cells of the study, and the ordinary training runs that they need.

The first replica of every regime is the same run, with all seeds as given: cells share it, and it is trained once.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from bnn_hvd import config as flags
from bnn_hvd import registry
from bnn_hvd.config import ChurnConfig, lists
from bnn_hvd.errors import UserError
from bnn_hvd.studies.runs import RUNS, Job

T = TypeVar("T")
HARDWARE = "hardware"  # the source that varies nothing: the same run, several times
SEEDS = {"init": "init_seed", "batches": "shuffle_seed", "noise": "noise_seed"}  # sources that can be joined by +
DEFAULT_NUDGE_STEP = 10
SWITCH = {"off": False, "on": True}
EVERY_CHECKPOINT = 10**6


class Replica(NamedTuple):
    """One training of a cell: what its run is called, its number of ranks, and the flags that make it different."""

    name: str
    ranks: int
    changes: dict[str, Any]


class Cell(NamedTuple):
    """Replicas that differ by the regime alone."""

    method: str
    regime: str
    learning_rate: float
    deterministic: bool
    jobs: list[Job]


def cells(config: ChurnConfig) -> list[Cell]:
    """Return all cells of the study; deterministic ones right after their partners.

    Raises:
      UserError: an unknown regime or method, flags that contradict each other.
    """
    if config.train["deterministic"] or config.train["checksums"] or config.train["flip_bit"] >= 0:
        raise UserError("--deterministic, --checksums and --flip_bit are the study's: give --determinism, --bits")
    methods = [registry.known(registry.METHODS, name, "method in --methods:") for name in lists.words(config.methods)]
    rates = lists.numbers(config.learning_rates, "--learning_rates") or [config.train["learning_rate"]]
    modes = [SWITCH[registry.known(SWITCH, mode, "--determinism")] for mode in lists.words(config.determinism)]
    return [
        Cell(method, regime, rate, mode, [_job(config, replica, method, rate, mode) for replica in replicas])
        for method in methods or [""]
        for rate in rates
        for regime, replicas in regimes(config).items()
        for mode in modes
    ]


def jobs(cells: list[Cell]) -> list[Job]:
    """Return the runs, each once: the first replicas of all cells, then the second ones.

    So runs with and without determinism alternate, and a study that is stopped has something of every cell.
    """
    most = max(len(cell.jobs) for cell in cells)
    turns = [cell.jobs[k] for k in range(most) for cell in cells if k < len(cell.jobs)]
    return list({job.config.run: job for job in turns}.values())


def regimes(config: ChurnConfig) -> dict[str, list[Replica]]:
    """Return the replicas of each regime that the flags name."""
    if config.replicas < 2:
        raise UserError(f"--replicas={config.replicas} must be at least 2: one can't disagree with itself")
    found = {}
    for regime in lists.words(config.regimes):
        sources = [source.strip().lower() for source in regime.split("+")]
        for source in sources:
            registry.known({HARDWARE: 0, **SEEDS, **FIXED_SEEDS}, source, "source in --regimes:")
        if len(sources) > 1 and not set(sources) <= set(SEEDS):
            raise UserError(f"--regimes: {regime} joins what stands alone; only {', '.join(SEEDS)} can be joined by +")
        vary = FIXED_SEEDS.get(sources[0])
        found["+".join(sources)] = vary(config) if vary else _vary_seeds(config, sources)
    if not found:
        raise UserError("--regimes is empty: hardware,init,batches,init+batches is the default")
    return found


def _vary_seeds(config: ChurnConfig, sources: list[str]) -> list[Replica]:
    """Vary the seeds of the sources; none of them (hardware): train the same several times."""
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
    """Vary the number of ranks that share the gradient blocks. The base has no blocks, so it is not one of these."""
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


# Sources that can't be joined. Their replicas share all seeds, and differ in the machine or in one number.
FIXED_SEEDS: dict[str, Callable[[ChurnConfig], list[Replica]]] = {
    "ranks": _vary_ranks, "blocks": _vary_ranks_of_blocks, "threads": _vary_threads, "fusion": _vary_fusion,
    "bit": _vary_bit, "nudge": _vary_nudge,
}  # fmt: skip


def _base(ranks: int) -> Replica:
    """Return the run that all regimes on so many ranks share."""
    return Replica("base", ranks, {})


def _rank_counts(config: ChurnConfig) -> list[int]:
    return lists.counts(config.ranks, "--ranks")


def _each_once(*values: T) -> list[T]:
    return list(dict.fromkeys(values))


def _several(values: list[int], flag: str, regime: str) -> list[int]:
    """Return the values.

    Raises:
      UserError: there is only one, so that the regime has nothing to compare.
    """
    if len(values) < 2:
        raise UserError(f"{flag} has one value, and the regime {regime} compares several: give 1,2")
    return values


def _job(config: ChurnConfig, replica: Replica, method: str, rate: float, deterministic: bool) -> Job:
    """Return the ordinary training of a replica. --batch_size is the global batch, whatever the number of ranks.

    Particles are laid out over the ranks: a batch is shared by the ranks that have the same ones.
    """
    values = dict(config.train)
    if values["model"] and method:  # the model's network, by another method
        row = registry.MODELS[registry.known(registry.MODELS, values["model"], "--model")]
        values |= {"model": "", **{name: value for name, value in row.items() if name != "method"}}
    values |= {
        "method": method or values["method"], "learning_rate": rate, "lr_scaling": "none",
        "threads": config.train["threads"] or 1,
        "deterministic": deterministic, "checksums": True,
        "keep": EVERY_CHECKPOINT, "dry_run": False, "nudge_step": 0, **replica.changes,
    }  # fmt: skip
    if values["method"] != "ensemble" and method:
        values["num_particles"] = 0
    mode = "deterministic" if deterministic else "usual"
    name = "_".join([*[method] * bool(method), f"lr{rate:g}", mode, replica.name])
    resolved = flags.resolve(**values | {"run": str(Path(config.run, RUNS, name))})
    sharing = replica.ranks // min(resolved.method.num_particles or 1, replica.ranks)
    if config.train["batch_size"] % sharing:
        raise UserError(f"--batch_size={config.train['batch_size']} can't be divided among {sharing} ranks")
    return Job(replica.ranks, resolved.replace(batch_size=config.train["batch_size"] // sharing))
