"""What is varied from replica to replica: the cells of the study, and the ordinary training runs that they need.

The first replica of every regime is the same run, with all seeds as given: cells share it, and it is trained once.
"""

from pathlib import Path
from typing import Any, NamedTuple

from bnn_hvd import config as flags
from bnn_hvd import registry
from bnn_hvd.config import ChurnConfig, lists
from bnn_hvd.errors import UserError
from bnn_hvd.studies.runs import RUNS, Job

HARDWARE = "hardware"
SEEDS = {"init": "init_seed", "batches": "shuffle_seed", "noise": "noise_seed"}  # sources that can be joined by +
SETTINGS = ("ranks", "blocks", "threads", "fusion", "bit", "nudge")  # sources that stand alone: all seeds are fixed
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
            registry.known({HARDWARE: 0, **SEEDS, **dict.fromkeys(SETTINGS)}, source, "source in --regimes:")
        if len(sources) > 1 and not set(sources) <= set(SEEDS):
            raise UserError(f"--regimes: {regime} joins what stands alone; only {', '.join(SEEDS)} can be joined by +")
        found["+".join(sources)] = (
            _settings(config, sources[0]) if sources[0] in SETTINGS else _seeds(config, sources)
        )  # fmt: skip
    if not found:
        raise UserError("--regimes is empty: hardware,init,batches,init+batches is the default")
    return found


def _seeds(config: ChurnConfig, sources: list[str]) -> list[Replica]:
    ranks = lists.counts(config.ranks, "--ranks")[0]
    replicas = []
    for k in range(config.replicas):
        varied = [source for source in sources if source in SEEDS]
        changes = {SEEDS[source]: config.train["seed"] + k for source in varied if k}
        name = "_".join(f"{source}{k}" for source in varied) or f"again{k}"
        replicas.append(Replica(name if k else "base", ranks, changes))
    return replicas


def _settings(config: ChurnConfig, source: str) -> list[Replica]:
    """Return a replica for each value of a setting; the first is that of all other regimes, but for `blocks`."""
    ranks, threads = lists.counts(config.ranks, "--ranks"), config.train["threads"] or 1
    if source == "ranks":
        _need_several(ranks, "--ranks", source)
        return [_replica("ranks", count, count, {}, i) for i, count in enumerate(ranks)]
    if source == "blocks":
        _need_several(ranks, "--ranks", source)
        blocks = {"gradient_blocks": config.train["gradient_blocks"] or ranks[-1]}
        return [Replica(f"blocks{count}", count, blocks) for count in ranks]
    if source == "threads":
        counts = list(dict.fromkeys([threads, *map(int, lists.numbers(config.thread_counts, "--thread_counts"))]))
        _need_several(counts, "--thread_counts", source)
        return [_replica("threads", count, ranks[0], {"threads": count}, i) for i, count in enumerate(counts)]
    if source == "fusion":
        most = ranks[-1]  # one rank has nothing to join
        if most == 1:
            raise UserError("--ranks=1 has no all-reduce, whose fusion the regime fusion compares: give --ranks=2")
        sizes = list(
            dict.fromkeys([config.train["fusion_mb"], *lists.numbers(config.fusion_sizes_mb, "--fusion_sizes_mb")])
        )
        first = _replica("ranks", most, most, {}, index=most != ranks[0])
        return [first, *(_replica("fusion", f"{size:g}", most, {"fusion_mb": size}, index=1) for size in sizes[1:])]
    if source == "bit":
        bits = [-1, *map(int, lists.numbers(config.bits, "--bits"))]
        return [_replica("bit", bit, ranks[0], {"flip_bit": bit}, i) for i, bit in enumerate(bits)]
    step = config.train["nudge_step"] or DEFAULT_NUDGE_STEP
    return [_replica("nudge", value, ranks[0], {"nudge_step": value}, i) for i, value in enumerate((0, step))]


def _replica(source: str, value: Any, ranks: int, changes: dict[str, Any], index: int) -> Replica:
    return Replica(f"{source}{value}" if index else "base", ranks, changes)


def _need_several(values: list[int], flag: str, source: str) -> None:
    if len(values) < 2:
        raise UserError(f"{flag} has one value, and the regime {source} compares several: give 1,2")


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
