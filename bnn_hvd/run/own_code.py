"""Functions of the user's own, named by a flag: FILE.py:FUNCTION or MODULE:FUNCTION.

The run directory keeps a copy of the file. From then on the run uses the copy, so that a change of the file does not
change what was trained.
"""

import ast
import dataclasses
import functools
import hashlib
import importlib.util
import inspect
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from bnn_hvd.errors import UserError
from bnn_hvd.run import records

KERAS = ".keras"


@dataclasses.dataclass(frozen=True)
class OwnCode:
    """A function of the user's own, or a Keras model in FILE.keras.

    flag: that names it, without the hyphens. value: of the flag. copy: the place of the copy in the run directory.
    """

    flag: str
    value: str
    copy: Path

    def original(self) -> Path:
        """Return the file that the flag names; that of a module is where Python finds it.

        Raises:
          UserError: there is no such file or module.
        """
        if self._place.endswith((".py", KERAS)):
            path = Path(self._place).expanduser().absolute()
            if not path.is_file():
                raise self.error(f"there is no file {path}: correct the path, or give MODULE:FUNCTION")
            return path
        try:
            spec = importlib.util.find_spec(self._place)
        except (ImportError, ValueError):
            spec = None
        if spec is None or spec.origin is None:
            raise self.error(
                f"Python finds no module {self._place!r}: put its folder on PYTHONPATH, or give FILE.py:FUNCTION"
            )
        return Path(spec.origin)

    def file(self) -> Path:
        """Return the copy in the run directory, or the original before there is one."""
        return self.copy if self.copy.is_file() else self.original()

    def checksum(self) -> str:
        """Return the SHA-256 of `file`."""
        return _checksum(self.file())

    def keep_copy(self, source: Path | None = None) -> None:
        """Copy the file, or `source`, into the run directory, with a .json of where it was and its checksum.

        A copy that is there stays.
        """
        if self.copy.is_file():
            return
        source = source or self.original()
        with records.atomic(self.copy) as temporary:
            shutil.copyfile(source, temporary)
        records.write_json(self.copy.with_suffix(".json"), {"source": str(source), "sha256": _checksum(self.copy)})

    def change_note(self) -> str:
        """Return a sentence if the file has changed since the run directory has its copy, else ""."""
        if not self.copy.is_file():
            return ""
        try:
            source = self.original()
        except UserError:
            return ""  # it was moved or removed: the copy is all there is
        if _checksum(source) == _checksum(self.copy):
            return ""
        return f"{source} has changed since the run began: the run uses its copy {self.copy}"

    def load(self, arguments: str, first: int) -> Callable[..., Any]:
        """Return the function, with the keyword arguments in `depth=3,width=64` after its `first` positional ones.

        Raises:
          UserError: it can't be imported, has no such function, or does not take these arguments.
        """
        module, name = self._import(), self.value.rpartition(":")[2]
        function = getattr(module, name, None)
        if not callable(function):
            there = [key for key, value in vars(module).items() if inspect.isfunction(value) and key[0] != "_"]
            raise self.error(f"it has no function {name!r}; its functions are {', '.join(there) or 'none'}")
        takes = list(inspect.signature(function).parameters.values())
        known, given = [p.name for p in takes[first:] if p.kind is not p.VAR_KEYWORD], self._parsed(arguments)
        any_name = any(p.kind is p.VAR_KEYWORD for p in takes)
        if len(takes) < first or (not any_name and not set(given) <= set(known)):
            wrong = "none" if len(takes) < first else next(key for key in given if key not in known)
            raise self.error(
                f"it takes the arguments {', '.join(p.name for p in takes) or 'none'}, of which --{self.flag}_args may "
                f"give {', '.join(known) or 'none'}, not {wrong}"
            )
        needed = [p.name for p in takes[first:] if p.default is p.empty and p.name in known and p.name not in given]
        if needed:
            raise self.error(f"it needs the argument {needed[0]!r}: give --{self.flag}_args={needed[0]}=VALUE")
        return functools.partial(function, **given)

    def error(self, why: str) -> UserError:
        return UserError(f"--{self.flag}={self.value}: {why}")

    def error_in(self, doing: str, error: Exception) -> UserError:
        """Return the error of a user for an exception from the user's code."""
        first = (str(error).strip().splitlines() or [""])[0]
        return self.error(f"{doing} raises {type(error).__name__}: {first}; correct it")

    @property
    def _place(self) -> str:
        return self.value if self.value.endswith(KERAS) else self.value.rpartition(":")[0]

    def _parsed(self, arguments: str) -> dict[str, Any]:
        """Return the values in `depth=3,width=64`: Python literals, and words without quotes as text."""
        try:
            call = ast.parse(f"_({arguments})", mode="eval").body
            assert isinstance(call, ast.Call)
            if call.args:
                raise ValueError("a value without a name")
            return {
                str(each.arg): each.value.id if isinstance(each.value, ast.Name) else ast.literal_eval(each.value)
                for each in call.keywords
            }
        except (SyntaxError, ValueError):
            raise UserError(
                f"--{self.flag}_args={arguments} must be name=value, with commas: depth=3,width=64"
            ) from None

    def _import(self) -> ModuleType:
        path = self.file()
        name = f"bnn_hvd_own_{self.flag}_{_checksum(path)[:16]}"
        if name in sys.modules:
            return sys.modules[name]
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None, path
        assert spec.loader is not None, path
        module = importlib.util.module_from_spec(spec)
        if not self._place.endswith(".py"):
            module.__package__ = self._place.rpartition(".")[
                0
            ]  # the copy of a module finds what is beside the original
        sys.modules[name] = module  # dataclasses look their module up
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[name]
            raise self.error_in(f"importing {path}", error) from error
        return module


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def say_change(code: OwnCode | None, is_root: bool) -> None:
    """Print, on rank 0, that the user's file has changed since the run directory has its copy, if it has."""
    if is_root and code and (note := code.change_note()):
        print(f"bnn_hvd: note: {note}", file=sys.stderr, flush=True)
