"""What there is to choose from: one row per network, method, data set and named model.

Rows point at their code by name, so that `--help` can list them without importing TensorFlow.
Adding a network, a method or a data set is one new file and one new row here.
"""

import pkgutil
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from bnn_hvd.errors import UserError


class Row(NamedTuple):
    """`target` is `module:attribute`; `help` is the line that `--help` shows."""

    target: str
    help: str


NETWORKS = {
    "fc": Row("bnn_hvd.models.fc:fc", "dense 64, dense output"),
    "conv": Row("bnn_hvd.models.conv:conv", "conv 64 of 5x5, max-pool 2x2, dense output"),
    "lenet5": Row("bnn_hvd.models.lenet:lenet5", "conv 6 and 16 of 5x5, each with a max-pool, dense 120, 84, output"),
    "mlp": Row("bnn_hvd.models.mlp:mlp", "dense: input, --num_blocks of two layers of --hidden, output"),
    "vgg3": Row(
        "bnn_hvd.models.vgg:vgg3",
        "three blocks of two 3x3 convs and a pool (32, 64, 128), dense 128, dense output",
    ),
    "linear": Row("bnn_hvd.models.linear:linear", "one dense layer: logistic or linear regression"),
    "resnet20": Row("bnn_hvd.models.resnet:resnet20", "residual, three stages of three blocks (16, 32, 64)"),
    "resnet18": Row("bnn_hvd.models.resnet:resnet18", "residual, four stages of two blocks (64, 128, 256, 512)"),
    "vgg16": Row("bnn_hvd.models.vgg:vgg16", "thirteen 3x3 convs in five blocks, dense output"),
    "matrix_factorisation": Row(
        "bnn_hvd.models.factorisation:matrix_factorisation",
        "--num_factors and a bias of each user and each item: who has watched what",
    ),
}

SINGLE_LAYER = ("linear", "matrix_factorisation")  # networks without a hidden layer
LOCAL = ("matrix_factorisation",)  # networks with parameters of each example, which live on its rank alone

METHODS = {
    "point": Row("bnn_hvd.inference.point:Point", "one setting of the weights (maximum a posteriori)"),
    "vi": Row("bnn_hvd.inference.vi:VI", "mean-field variational inference, a Normal per weight"),
    "multiswag": Row("bnn_hvd.inference.swag:Swag", "--num_particles times swag (Wilson & Izmailov 2020)"),
    "ensemble": Row("bnn_hvd.inference.point:Point", "--num_particles point networks, trained independently"),
    "mc_dropout": Row("bnn_hvd.inference.mc_dropout:MCDropout", "one setting, and dropout also when predicting"),
    "ivon": Row("bnn_hvd.inference.ivon:Ivon", "variational online Newton, a Normal per weight"),
    "swag": Row("bnn_hvd.inference.swag:Swag", "a Normal through the places that gradient descent visits"),
    "laplace": Row("bnn_hvd.inference.laplace:Laplace", "a Normal over the last layer of a trained point network"),
    "svgd": Row("bnn_hvd.inference.svgd:Svgd", "Stein variational gradient descent: particles that keep apart"),
    "hmc": Row("bnn_hvd.inference.hmc:Hmc", "Hamiltonian Monte Carlo: --num_chains chains of draws from the posterior"),
}

# Methods that are nothing without particles; any other becomes an ensemble of itself by --num_particles.
POPULATIONS = ("ensemble", "multiswag", "svgd", "hmc")
INTERACTING = ("svgd",)  # its particles can't be trained one after the other
BATCH_NORM = ("point", "ensemble", "vi")  # whose draws share running means and variances (--normalization=batch)
FULL_BATCH = ("hmc",)  # a step sees all examples, each rank its shard of them

DATASETS = {
    "digits": Row("bnn_hvd.data.sources:digits", "scikit-learn's 1,797 digits of 8x8, embedded"),
    "mnist": Row("bnn_hvd.data.sources:mnist", "keras mnist.npz, or a folder with the four idx files"),
    "cifar10": Row("bnn_hvd.data.sources:cifar10", "folder of python or binary batches, or an .npz"),
    "cifar100": Row("bnn_hvd.data.sources:cifar100", "folder of python or binary files, or an .npz; fine labels"),
    "sine": Row("bnn_hvd.data.sine:sine", "a sine with noise that grows, embedded: regression"),
    "table": Row("bnn_hvd.data.table:table", "your own .csv (with a header) or .npz of columns, for regression"),
    "synthetic_ratings": Row(
        "bnn_hvd.data.ratings:synthetic_ratings", "--num_users x --num_items of who watched what, from known factors"
    ),
    "movielens": Row(
        "bnn_hvd.data.movielens:movielens", "folder with u.data (ml-100k), ratings.dat (ml-1m) or ratings.csv"
    ),
    "npz": Row("bnn_hvd.data.sources:npz", "your own .npz with x_train, y_train, x_test, y_test"),
}

RATINGS = ("synthetic_ratings", "movielens")  # of users and items

# A named model is short for these flags.
MODELS: dict[str, dict[str, str]] = {
    "BNN_FC_flip": {
        "network": "fc", "method": "vi", "estimator": "flipout", "bayesian_layers": "hidden",
    },
    "BNN_FC_nonflip": {
        "network": "fc", "method": "vi", "estimator": "reparam", "bayesian_layers": "hidden",
    },
    "BNN_conv_flip": {
        "network": "conv", "method": "vi", "estimator": "flipout", "bayesian_layers": "hidden",
    },
    "BNN_conv_nonflip": {
        "network": "conv", "method": "vi", "estimator": "reparam", "bayesian_layers": "hidden",
    },
    "CIFAR10_BNN_model": {
        "network": "vgg3", "method": "vi", "estimator": "flipout", "bayesian_layers": "all",
    },
    "CNN_conv": {"network": "conv", "method": "point"},
    "CNN_FC": {"network": "fc", "method": "point"},
}  # fmt: skip


def load(rows: Mapping[str, Row], name: str) -> Callable[..., Any]:
    """Import and return what row `name` points at."""
    return pkgutil.resolve_name(rows[known(rows, name)].target)


def known(rows: Mapping[str, Any], name: str, kind: str = "name") -> str:
    """Return the key of `rows` that equals `name` in any case, or raise with the list of keys."""
    for key in rows:
        if key.lower() == name.lower():
            return key
    raise UserError(f"unknown {kind} {name!r}; known: {', '.join(rows)}")
