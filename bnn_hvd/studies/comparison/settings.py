"""The flags of methods, networks and data sets of a comparison: flagfiles that are named after them, in one folder."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from bnn_hvd import config as flags
from bnn_hvd import registry
from bnn_hvd.config import CompareConfig
from bnn_hvd.config.choices import CHOICES
from bnn_hvd.config.options import Values
from bnn_hvd.errors import UserError
from bnn_hvd.run.rundir import ALTERNATIVES

PATHS = ("data_dir", "ood_data_dir")  # flags whose relative paths are in --data_dir of the command line
OF_PROCESS = ("threads", "deterministic", "fusion_mb", "horovod_timeline", "max_runtime_s")  # and so of all runs


class Entry(NamedTuple):
    """A row of a table: the words that name its data set, its network and its method; "" is the flags' own choice."""

    dataset: str
    network: str
    method: str

    @property
    def name(self) -> str:
        return "_".join(filter(None, map(registry.short_name, self)))

    @property
    def pairs(self) -> list[str]:
        """The names of the method on this network, and on this data set."""
        dataset, network, method = map(registry.short_name, self)
        return [f"{method}.{network}", f"{method}.{dataset}"]


class Settings:
    """The flagfiles of --settings; place: --data_dir of the command line."""

    def __init__(self, folder: str, place: str):
        """Raise UserError if there is no such folder."""
        self.folder, self.place = Path(folder).expanduser() if folder else None, place
        if self.folder and not self.folder.is_dir():
            raise UserError(f"--settings={folder} is no folder: give one of flagfiles, as vi.cfg and mnist.cfg")

    def files(self, entry: Entry) -> list[Path]:
        """Return the flagfiles of a row, the most general first."""
        dataset, network, _ = map(registry.short_name, entry)
        return [*self._there(network, dataset, f"{network}.{dataset}"), *self.files_of_method(entry)]

    def files_of_method(self, entry: Entry) -> list[Path]:
        """Return those of the files that are named after the method."""
        return self._there(registry.short_name(entry.method), *entry.pairs)

    def flags(self, entry: Entry) -> Values:
        """Return the flags that the words of a row stand for; an empty word stands for none.

        Raises:
          UserError: a word is neither a name in the registry nor that of a flagfile, or a flagfile can't be read.
        """
        return merged([self._chosen(entry), *map(self.read, self.files(entry))])

    def is_row(self, word: str) -> bool:
        """Return whether a word can name a row of a table."""
        return word in registry.METHODS or bool(self._there(word))

    def read(self, path: Path) -> Values:
        """Return the flags of a file; its relative paths are in `place`.

        Raises:
          UserError: it can't be read, or has a flag that can't differ between the runs of one process.
        """
        found = flags.read_flagfile(path, flags.flags_of_runs(CompareConfig))
        if refused := [name for name in OF_PROCESS if name in found]:
            raise UserError(f"{path}: --{refused[0]} is of the whole comparison: give it on the command line")
        places = {name: str(Path(self.place, Path(found[name]).expanduser())) for name in PATHS if found.get(name)}
        return found | places

    def _there(self, *names: str) -> list[Path]:
        paths = [self.folder / f"{name}.cfg" for name in names] if self.folder else []
        return [path for path in paths if path.is_file()]

    def _chosen(self, entry: Entry) -> Values:
        """Return the choices that the words make themselves, as names in a registry."""
        found: Values = {}
        for part, word in zip(("data", "network", "method"), entry, strict=True):
            choice = CHOICES[part]
            if word and (registry.is_own(word) or word.lower() in map(str.lower, choice.rows)):
                found[choice.flag] = word
            elif word and not any(choice.flag in self.read(path) for path in self._there(word)):
                file = f"{self.folder / f'{word}.cfg'} with --{choice.flag}" if self.folder else "--settings"
                raise UserError(
                    f"unknown {choice.flag} {word!r}: there is no {file}, and known are {', '.join(choice.rows)}"
                )
        return found


def merged(layers: Iterable[Values]) -> Values:
    """Return the flags of several layers: what a later one says goes before an earlier one."""
    found: Values = {}
    for layer in layers:
        for names in ALTERNATIVES:  # --steps of a later layer goes before --epochs of an earlier one
            if set(names) & set(layer):
                found = {name: value for name, value in found.items() if name not in names}
        found |= layer
    return found
