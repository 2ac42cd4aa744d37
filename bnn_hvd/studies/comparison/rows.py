"""The runs of a comparison: for each row of its tables, one per seed, and per split of the data."""

import re
from pathlib import Path
from typing import NamedTuple, cast

from bnn_hvd import config as flags
from bnn_hvd.config import CompareConfig, PredictConfig, lists
from bnn_hvd.config.choices import CHOICES
from bnn_hvd.config.options import MethodOptions, Values
from bnn_hvd.data import uci
from bnn_hvd.errors import UserError
from bnn_hvd.studies.comparison.settings import Entry, Settings, merged
from bnn_hvd.studies.runs import RUNS, Job, check_used

START = "point"  # the row to whose runs a fitted method is fitted, unless its --init_from names another
LENGTH = ("epochs", "steps")
MANY = 10**9  # epochs


class Repeat(NamedTuple):
    """One of the trainings of a row: the end of its name, and the flags in which it differs from the others.

    group: repeats with one split are a group; without splits, each is one.
    """

    name: str
    group: int
    changes: Values


class Run(NamedTuple):
    """One training and its prediction.

    predict: its flags of `predict`. start: the name of the run that it begins with, "" for none. in_table: false of a
    run that is made only because another one begins with it.
    """

    entry: Entry
    repeat: Repeat
    job: Job
    predict: Values
    start: str
    in_table: bool = True

    @property
    def name(self) -> str:
        return self.job.name

    @property
    def folder(self) -> Path:
        return self.job.config.folder

    @property
    def predict_config(self) -> PredictConfig:
        threads = self.job.config.machine.threads
        return cast(PredictConfig, flags.make(PredictConfig, run=str(self.folder), threads=threads, **self.predict))


def runs(config: CompareConfig) -> list[Run]:
    """Return all runs, each after the one that it begins with; those with one seed are together.

    Raises:
      UserError: a method, network or data set is unknown, or flags contradict each other or change nothing.
    """
    if config.budget and (given := set(LENGTH) & set(config.given)):
        raise UserError(f"--budget and --{given.pop()} both say how long to train: give one of them")
    settings = Settings(config.settings, config.given.get("data_dir", ""))
    found: dict[str, Run] = {}
    for entries in tables(config):
        for repeat in repeats(config, settings, entries[0]):
            for entry in entries:
                for run in _chain(config, settings, entry, repeat):
                    _add(found, run)
    _check_flags(config, settings, list(found.values()))
    return list(found.values())


def tables(config: CompareConfig) -> list[list[Entry]]:
    """Return the rows of the table of each data set and network, without those of --leave_out.

    Raises:
      UserError: --leave_out names none of them.
    """
    asked = [lists.words(words) or [""] for words in (config.datasets, config.networks, config.methods)]
    every = [[Entry(dataset, network, m) for m in asked[2]] for dataset in asked[0] for network in asked[1]]
    out = lists.words(config.leave_out)
    for word in out:
        if not any(word in row.pairs for rows in every for row in rows):
            raise UserError(f"--leave_out={word} is no row of the table: give METHOD.DATASET or METHOD.NETWORK")
    kept = [[row for row in rows if not set(out) & set(row.pairs)] for rows in every]
    return [rows for rows in kept if rows]


def repeats(config: CompareConfig, settings: Settings, entry: Entry) -> list[Repeat]:
    """Return one repeat per seed and, with --splits, per split of the data set.

    Raises:
      UserError: they are no whole numbers, or the data set has no such split.
    """
    if not config.splits:
        return [Repeat(f"seed{seed}", seed, {"seed": seed}) for seed in _whole(config.seeds or "0,1,2", "--seeds")]
    seeds = _whole(config.seeds or "0", "--seeds")
    return [
        Repeat(f"split{split}" + f"_seed{seed}" * (len(seeds) > 1), split, {"split": split, "seed": seed})
        for split in _splits(config, settings, entry) for seed in seeds
    ]  # fmt: skip


def _splits(config: CompareConfig, settings: Settings, entry: Entry) -> list[int]:
    values = _flags(config, settings, entry)
    if "split" not in CHOICES["data"].fields_of(name := values.get("dataset", "")):
        raise UserError(
            f"--splits is for data sets that come with splits, and {name or 'digits'} has none: leave it out"
        )
    count = uci.num_splits(values.get("data_dir", ""))
    asked = range(count) if config.splits == "all" else _whole(config.splits, "--splits")
    if max(asked) >= count:
        raise UserError(f"--splits={config.splits}: {entry.dataset} has {count}, from 0 on; all names these")
    return list(asked)


def _whole(text: str, name: str) -> list[int]:
    words = lists.words(text)
    if not words or not all(word.isdecimal() for word in words):
        raise UserError(f"{name}={text} must be whole numbers, separated by commas")
    return list(map(int, words))


def part_of(runs: list[Run], part: str) -> list[Run]:
    """Return the runs of one part; runs that begin with another are in its part.

    Raises:
      UserError: --part is not K/N, with K from 1 to N.
    """
    if not part:
        return runs
    match = re.fullmatch(r"(\d+)/(\d+)", part)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UserError(f"--part={part} must be K/N with K from 1 to N, as 2/8")
    number, count = int(match[1]), int(match[2])
    first_of: dict[str, str] = {}  # of each chain of runs
    for run in runs:
        first_of[run.name] = first_of[run.start] if run.start else run.name
    mine = set(list(dict.fromkeys(first_of.values()))[number - 1 :: count])
    return [run for run in runs if first_of[run.name] in mine]


def _chain(config: CompareConfig, settings: Settings, entry: Entry, repeat: Repeat) -> list[Run]:
    """Return the run of a row and a seed, after the one that it begins with, if it begins with one of this study."""
    values = _flags(config, settings, entry) | repeat.changes
    options = cast("type[MethodOptions]", CHOICES["method"].options_of(values.get("method", "")))
    if options.fitted:  # one pass is enough, whatever the length of the others
        own = merged(map(settings.read, settings.files_of_method(entry)))
        values = {name: value for name, value in values.items() if name not in LENGTH or name in own}
    first = values.get("init_from") or (START if options.fitted else "")
    before: list[Run] = []
    if first and settings.is_row(first):
        before = _chain(config, settings, entry._replace(method=first), repeat)
        before = [run._replace(in_table=False) for run in before]
        values["init_from"] = str(before[-1].folder)
    predict = {name: values.pop(name) for name in config.predict_defaults}
    if config.budget and not options.fitted:
        values = _within_budget(values, config.budget)
    name = "_".join(filter(None, [entry.name, repeat.name]))
    values |= {"run": str(Path(config.run, RUNS, name)), "dry_run": False}
    job = Job(1, flags.resolve_used(**values))
    return [*before, Run(entry, repeat, job, predict, before[-1].name if before else "")]


def _flags(config: CompareConfig, settings: Settings, entry: Entry) -> Values:
    """Return the flags of a row."""
    given = {name: value for name, value in config.given.items() if name != "data_dir"}
    place = {"data_dir": settings.place} if settings.place else {}
    defaults = {**config.run_defaults, **config.predict_defaults, **place}
    return merged([defaults, settings.flags(entry), given])


def _within_budget(values: Values, budget: int) -> Values:
    """Return the flags with so many epochs that each example has at most `budget` gradient evaluations.

    Raises:
      UserError: one epoch has more.
    """
    values = {name: value for name, value in values.items() if name not in LENGTH}
    method = flags.resolve_used(**values, epochs=MANY).method
    each = method.options.evaluations(method.num_particles)
    if each > budget:
        raise UserError(f"--budget={budget} is less than {each}, an epoch of {method.name}: give at least that")
    return values | {"epochs": budget // each}


def _add(found: dict[str, Run], run: Run) -> None:
    """Add a run, unless it is there already.

    Raises:
      UserError: another one has its name.
    """
    there = found.setdefault(run.name, run)
    if there.entry != run.entry:
        raise UserError(f"{there.entry} and {run.entry} have the same name {run.name}: rename one")
    found[run.name] = there._replace(in_table=there.in_table or run.in_table)


def _check_flags(config: CompareConfig, settings: Settings, runs: list[Run]) -> None:
    """Raise UserError for a flag of the command line or of a flagfile that no run uses."""
    check_used([name for name in config.given if name not in config.predict_defaults], [run.job for run in runs])
    jobs: dict[Path, list[Job]] = {}
    for run in runs:
        for path in settings.files(run.entry):
            jobs.setdefault(path, []).append(run.job)
    for path, mine in jobs.items():
        names = [name for name in settings.read(path) if name not in config.predict_defaults]
        if not config.budget:
            check_used(names, mine, f"{path}: ")
