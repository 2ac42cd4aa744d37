"""Networks of the user's own: --architecture=FILE.py:FUNCTION, MODULE:FUNCTION or FILE.keras.

The run directory keeps a copy of the file. From then on the run uses the copy, so that a change of the file does not
change what was trained.
"""

import ast
import functools
import hashlib
import importlib.util
import inspect
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from bnn_hvd import registry
from bnn_hvd.config import TrainConfig
from bnn_hvd.errors import UserError
from bnn_hvd.run import records

KERAS = ".keras"


def is_own(config: TrainConfig) -> bool:
    return registry.is_own(config.network.architecture)


def is_keras_file(config: TrainConfig) -> bool:
    return _place(config).endswith(KERAS)


def original(config: TrainConfig) -> Path:
    """Return the file that --architecture names; that of a module is where Python finds it.

    Raises:
      UserError: there is no such file or module.
    """
    place = _place(config)
    if place.endswith((".py", KERAS)):
        path = Path(place).expanduser().absolute()
        if not path.is_file():
            _refuse(config, f"there is no file {path}: give FILE.py:FUNCTION, MODULE:FUNCTION or FILE.keras")
        return path
    try:
        spec = importlib.util.find_spec(place)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None:
        _refuse(config, f"Python finds no module {place}: put its folder on PYTHONPATH, or give FILE.py:FUNCTION")
    return Path(spec.origin)


def file(config: TrainConfig) -> Path:
    """Return the file of the network: the copy in the run directory, or the original before there is one."""
    copy = _copy(config)
    return copy if copy.is_file() else original(config)


def keep_copy(config: TrainConfig, source: Path | None = None) -> None:
    """Copy the file of the network, or `source`, into the run directory, unless it has one.

    It does nothing for the networks of the registry.
    """
    if not is_own(config) or _copy(config).is_file():
        return
    source = source or original(config)
    with records.atomic(_copy(config)) as temporary:
        shutil.copyfile(source, temporary)
    found = {"source": str(source), "sha256": checksum(_copy(config))}
    records.write_json(config.folder / f"{records.NETWORK}.json", found)


def change_note(config: TrainConfig) -> str:
    """Return a sentence if the file has changed since the run directory has its copy, else ""."""
    if not is_own(config) or not _copy(config).is_file():
        return ""
    try:
        now = checksum(original(config))
    except UserError:
        return ""  # it was moved or removed: the copy is all there is
    if now == checksum(_copy(config)):
        return ""
    return f"{original(config)} has changed since the run began: the run uses its copy {_copy(config)}"


def say_change(config: TrainConfig, is_root: bool) -> None:
    """Print `change_note`, on rank 0."""
    if is_root and (note := change_note(config)):
        print(f"bnn_hvd: note: {note}", file=sys.stderr, flush=True)


def checksums(config: TrainConfig) -> dict[str, str]:
    """Return what all ranks must have alike, by name, with the checksum of the network's file."""
    return {"file of the network": checksum(file(config))} if is_own(config) else {}


def checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load_function(config: TrainConfig) -> Callable[..., Any]:
    """Return the function that --architecture names, with the arguments of --architecture_args.

    Raises:
      UserError: it can't be imported, has no such function, or does not take these arguments.
    """
    module, name = _import(config), config.network.architecture.rpartition(":")[2]
    function = getattr(module, name, None)
    if not callable(function):
        there = [key for key, value in vars(module).items() if inspect.isfunction(value) and not key.startswith("_")]
        _refuse(config, f"it has no function {name}; its functions are {', '.join(there) or 'none'}")
    takes = [p for p in inspect.signature(function).parameters.values() if p.kind is not p.VAR_KEYWORD]
    given = _arguments(config)
    known = [p.name for p in takes[2:]]
    if unknown := [key for key in given if key not in known]:
        takes_these = ", ".join(known) or "none"
        _refuse(config, f"it takes no argument {unknown[0]!r} (--architecture_args); it takes {takes_these}")
    missing = [p.name for p in takes[2:] if p.default is p.empty and p.name not in given]
    if missing:
        _refuse(config, f"it needs the argument {missing[0]!r}: give --architecture_args={missing[0]}=VALUE")
    return functools.partial(function, **given)


def first_parameter(function: Callable[..., Any]) -> str:
    """Return the name of the first parameter of a function; "" without one."""
    return next(iter(inspect.signature(function).parameters), "")


def refuse_error(config: TrainConfig, doing: str, error: Exception) -> NoReturn:
    """Raise UserError for an exception from the user's code."""
    lines = str(error).strip().splitlines() or [""]
    _refuse(config, f"{doing} raises {type(error).__name__}: {lines[0]}", error)


def _arguments(config: TrainConfig) -> dict[str, Any]:
    """Return the values in `depth=3,width=64`: Python literals, and words without quotes as text."""
    text = config.network.options.architecture_args
    try:
        call = ast.parse(f"_({text})", mode="eval").body
        assert isinstance(call, ast.Call)
        if call.args:
            raise ValueError("a value without a name")
        return {
            str(each.arg): each.value.id if isinstance(each.value, ast.Name) else ast.literal_eval(each.value)
            for each in call.keywords
        }
    except (SyntaxError, ValueError):
        raise UserError(f"--architecture_args={text} must be name=value, with commas: depth=3,width=64") from None


def _import(config: TrainConfig) -> ModuleType:
    path, place = file(config), _place(config)
    digest = checksum(path)
    name = f"bnn_hvd_own_network_{digest[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, path
    assert spec.loader is not None, path
    module = importlib.util.module_from_spec(spec)
    if not place.endswith(".py"):
        module.__package__ = place.rpartition(".")[0]  # so that the copy of a module finds what is beside the original
    sys.modules[name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # noqa: BLE001 - whatever the user's file raises
        del sys.modules[name]
        refuse_error(config, f"importing {path}", error)
    return module


def _place(config: TrainConfig) -> str:
    """Return the file or the module in --architecture."""
    architecture = config.network.architecture
    return architecture if architecture.endswith(KERAS) else architecture.rpartition(":")[0]


def _copy(config: TrainConfig) -> Path:
    return config.folder / f"{records.NETWORK}{KERAS if is_keras_file(config) else '.py'}"


def _refuse(config: TrainConfig, why: str, cause: Exception | None = None) -> NoReturn:
    raise UserError(f"--architecture={config.network.architecture}: {why}") from cause
