"""The file or folder of --data_dir, and what to do without it."""

from pathlib import Path

from bnn_hvd import registry
from bnn_hvd.errors import UserError


def existing(path: str, dataset: str) -> Path:
    if not path:
        raise UserError(f"--dataset={dataset} needs --data_dir={way_out(dataset)}")
    source = absolute(path)
    if not source.exists():
        raise UserError(f"{source} does not exist: --dataset={dataset} needs --data_dir={way_out(dataset)}")
    return source


def absolute(path: str) -> Path:
    return Path(path).expanduser().absolute()


def way_out(dataset: str) -> str:
    what = f"PATH ({registry.DATASETS[dataset].help})"
    if dataset not in ("mnist", "cifar10", "cifar100"):
        return what
    return f"{what}; `python -m bnn_hvd prepare_data --dataset={dataset} --data_dir=FOLDER` downloads it"
