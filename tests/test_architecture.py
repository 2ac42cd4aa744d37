"""Imports of the package: only from a module's own floor and those below; heavy packages are imported in one place."""

import ast
import functools
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bnn_hvd import registry

PACKAGE = Path(__file__).parent.parent / "bnn_hvd"
FLOORS = (  # a folder or a module of the package imports from its own floor and from those below
    "errors seeds registry noise metrics",
    "distributed",
    "config jobs legacy",
    "targets run plots",
    "data",
    "models",
    "inference",
    "prediction",
    "training",
    "studies api",
    "cli __main__",
)
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names.split()}
# The modules that do not import TensorFlow, so that their import takes milliseconds.
LIGHT = {
    "": "errors seeds registry targets legacy config run metrics plots jobs api.run api.predictions api.train",
    "distributed.": "environment launcher particles settings",
    "data.": "arrays augment binaries checks columns description download formats gravitational_waves inputs labels "
    "movielens new_data own own_arrays places ratings shards sine sources split standardize stored table table_files "
    "uci waveforms",
    "training.": "pace plan rank_times schedules stopping",
    "prediction.": "exact_posterior other_data reference statistics",
    "studies.": "launch runs scaling text_table churn.measures pruning.masks comparison.settings comparison.rows "
    "comparison.columns comparison.collect comparison.tables comparison.child",
}
ONLY_IN = {
    "horovod": ["bnn_hvd.distributed.cluster"],
    "mpi4py": ["bnn_hvd.distributed.cluster"],
    "absl": ["bnn_hvd.cli"],
    "lalsimulation": ["bnn_hvd.data.waveforms"],
    "matplotlib": ["bnn_hvd.plots", "bnn_hvd.studies.scaling", "bnn_hvd.api.run"],
    "bnn_hvd.legacy": ["bnn_hvd.cli"],
}
NEVER = {  # a module or folder, and what it never imports, not even inside a function
    "bnn_hvd.plots": ["tensorflow", "bnn_hvd.data", "bnn_hvd.distributed"],
    "bnn_hvd.jobs": ["tensorflow", "bnn_hvd.distributed"],
    "bnn_hvd.models": ["bnn_hvd.distributed", "bnn_hvd.data"],
    "bnn_hvd.noise": ["bnn_hvd"],
    "bnn_hvd.metrics": ["bnn_hvd"],
}
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}


@functools.cache
def imports(module: str, at_top_only: bool = False) -> set[str]:
    """Return the full names of what a module imports; `from a import b` is a.b where that is a module."""
    tree, found = ast.parse(MODULES[module].read_text()), set()
    for node in tree.body if at_top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} has a relative import"
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in full}
    return found


def belongs(module: str, to: str) -> bool:
    return module == to or module.startswith(to + ".")


def top(module: str) -> str:
    """Return the folder or the module right under the package that a module is in."""
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"bnn_hvd"}))
def test_every_module_has_a_floor_and_imports_point_down(module):
    assert top(module) in FLOOR_OF, f"{module} has no floor: give it one in {__file__}"
    upward = {
        name for name in imports(module) - {"bnn_hvd"} if belongs(name, "bnn_hvd")
        and FLOOR_OF[top(name)] > FLOOR_OF[top(module)]
    }  # fmt: skip
    assert not upward


@pytest.mark.parametrize("module", MODULES)
def test_what_is_heavy_or_special_is_imported_in_one_place(module):
    for name in imports(module):
        for what, places in ONLY_IN.items():
            assert not belongs(name, what) or any(belongs(module, place) for place in places), (module, name)
        for who, whats in NEVER.items():
            forbidden = belongs(module, who) and any(belongs(name, what) for what in whats)
            assert not forbidden or belongs(name, who), (module, name)


def test_seeds_are_derived_in_one_place():
    """A step has one seed; others are made of it with `seeds.derive`, and never by adding numbers to it."""
    by_hand = re.compile(r"\bseeds?(_\w+)?( \+ |\[.*\] \+ )|\+ (\w+\.)?seeds?\b")
    for module, path in MODULES.items():
        lines = path.read_text().splitlines()
        assert module == "bnn_hvd.seeds" or not [line for line in lines if by_hand.search(line)], module
        if belongs(module, "bnn_hvd.inference"):
            assert not [line for line in lines if "seeds.seed(" in line], f"{module} makes a seed of its own"


def test_methods_never_import_each_other():
    methods = {row.target.split(":")[0] for row in registry.METHODS.values()}
    for module in MODULES:
        assert not (belongs(module, "bnn_hvd.inference") and imports(module) & methods), module


def test_no_two_modules_import_each_other():
    graph = {module: imports(module, at_top_only=True) & set(MODULES) for module in MODULES}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the cycle


def test_no_two_folders_import_each_other():
    """The imports between folders have no cycle: of two folders on one floor, at most one imports the other."""
    graph: dict[str, set[str]] = {}
    for module in set(MODULES) - {"bnn_hvd"}:
        known = {top(name) for name in imports(module) - {"bnn_hvd"} if belongs(name, "bnn_hvd")}
        graph.setdefault(top(module), set()).update(known - {top(module)})
    graphlib.TopologicalSorter(graph).prepare()


def test_what_is_light_comes_without_tensorflow():
    """The modules in LIGHT import neither TensorFlow nor Horovod, not even through other modules."""
    light = {f"bnn_hvd.{folder}{name}" for folder, names in LIGHT.items() for name in names.split()}
    names = [module for module in MODULES if any(belongs(module, one) for one in light)]
    assert all(any(belongs(module, one) for module in names) for one in light), light - set(names)
    names.remove("bnn_hvd.run.lock")  # it communicates with the other ranks
    code = f"import sys, {', '.join(names)}; print(*{{n.split('.')[0] for n in sys.modules}})"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"tensorflow", "keras", "horovod", "mpi4py", "absl"} & set(loaded)
