"""The house, as its imports tell it: they point down only, and what is heavy is imported in one place."""

import ast
import functools
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

from bnn_hvd import registry

PACKAGE = Path(__file__).parent.parent / "bnn_hvd"
LAYERS = {  # a folder or a module, and how high it stands
    0: "config registry errors seeds records rundir checkpoint launcher schedules plan pace provenance legacy "
       "stopping uncertainty ratings diagnostics fidelity rank_times particles jobs regression targets over_draws data "
       "data.arrays data.sine data.table data.ratings data.movielens data.sources data.formats data.shards "
       "data.standardize data.download pruning.masks churn.measures data.augment",
    1: "cluster machine noise plots lock watchdog data.staging",
    2: "models data.pipeline",
    3: "inference",
    4: "population predictor predict predict_classes predict_reals predict_ratings logbook report chains scaling",
    5: "train pruning churn",
    6: "cli __main__",
}  # fmt: skip
LAYER_OF = {f"bnn_hvd.{name}": layer for layer, names in LAYERS.items() for name in names.split()} | {"bnn_hvd": 0}
ONLY_IN = {
    "horovod": ["bnn_hvd.cluster"],
    "mpi4py": ["bnn_hvd.cluster"],
    "absl": ["bnn_hvd.cli"],
    "matplotlib": ["bnn_hvd.plots", "bnn_hvd.scaling"],
    "bnn_hvd.legacy": ["bnn_hvd.cli"],
}
NEVER = {  # who, and what it imports nowhere, not even inside a function
    "bnn_hvd.plots": ["tensorflow", "bnn_hvd.data", "bnn_hvd.cluster"],
    "bnn_hvd.jobs": ["tensorflow", "bnn_hvd.cluster"],
    "bnn_hvd.models": ["bnn_hvd.inference", "bnn_hvd.cluster", "bnn_hvd.data", "bnn_hvd.machine"],
    "bnn_hvd.noise": ["bnn_hvd"],
    "bnn_hvd.inference": ["bnn_hvd.predict", "bnn_hvd.train", "bnn_hvd.plan", "bnn_hvd.seeds"],
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


def layer(module: str) -> int:
    """Return the layer of a module, or of the nearest folder that has one."""
    while module not in LAYER_OF:
        module = module.rpartition(".")[0]
    return LAYER_OF[module]


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_a_place_and_imports_point_down(module):
    top = ".".join(module.split(".")[:2])
    assert top in LAYER_OF, f"{module} has no layer: give it one in {__file__}"
    upward = {name for name in imports(module) if belongs(name, "bnn_hvd") and layer(name) > layer(module)}
    assert not upward


@pytest.mark.parametrize("module", MODULES)
def test_what_is_heavy_or_special_is_imported_in_one_place(module):
    for name in imports(module):
        for what, places in ONLY_IN.items():
            assert not belongs(name, what) or any(belongs(module, place) for place in places), (module, name)
        for who, whats in NEVER.items():
            forbidden = belongs(module, who) and any(belongs(name, what) for what in whats)
            assert not forbidden or belongs(name, who), (module, name)


def test_methods_never_import_each_other():
    methods = {row.target.split(":")[0] for row in registry.METHODS.values()}
    for module in MODULES:
        assert not (belongs(module, "bnn_hvd.inference") and imports(module) & methods), module


def test_no_two_modules_import_each_other():
    graph = {module: imports(module, at_top_only=True) & set(MODULES) for module in MODULES}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, naming the cycle


def test_layer_0_and_the_plots_come_without_tensorflow():
    """Also through what they import themselves."""
    names = [module for module in MODULES if layer(module) == 0 or belongs(module, "bnn_hvd.plots")]
    code = f"import sys, {', '.join(names)}; print(*{{n.split('.')[0] for n in sys.modules}})"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"tensorflow", "keras", "horovod", "mpi4py", "absl"} & set(loaded)
