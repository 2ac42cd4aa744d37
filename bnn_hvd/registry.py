"""The registries: one row per network, method, data set and named model.

Rows name their code, so that `--help` can list them without importing TensorFlow. A new network, method or data set
needs one new file, which has its properties, and one new row here.
"""

import pkgutil
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from bnn_hvd.errors import UserError


class Row(NamedTuple):
    """A function or class (`target`, as `module:attribute`), and its line in `--help`.

    options: the dataclass of its flags and properties, as `module:attribute` (config/options.py); "" if it has none.
    """

    target: str
    help: str
    options: str = ""


OWN = "FILE:FUNCTION"  # stands for every network and every data set of the user's own
NORMALIZATION = "bnn_hvd.config.options:NormalizationOptions"

NETWORKS = {
    "fc": Row("bnn_hvd.models.fc:fc", "dense 64, dense output"),
    "conv": Row("bnn_hvd.models.conv:conv", "conv 64 of 5x5, max-pool 2x2, dense output"),
    "lenet5": Row("bnn_hvd.models.lenet:lenet5", "conv 6 and 16 of 5x5, each with a max-pool, dense 120, 84, output"),
    "mlp": Row(
        "bnn_hvd.models.mlp:mlp", "dense: input, --num_blocks of two layers of --hidden, output",
        "bnn_hvd.models.mlp:MlpOptions",
    ),
    "vgg3": Row(
        "bnn_hvd.models.vgg:vgg3", "three blocks of two 3x3 convs and a pool (32, 64, 128), dense 128, dense output"
    ),
    "linear": Row(
        "bnn_hvd.models.linear:linear", "one dense layer: logistic or linear regression",
        "bnn_hvd.models.linear:LinearOptions",
    ),
    "resnet20": Row(
        "bnn_hvd.models.resnet:resnet20", "residual, three stages of three blocks (16, 32, 64)", NORMALIZATION
    ),
    "resnet18": Row(
        "bnn_hvd.models.resnet:resnet18", "residual, four stages of two blocks (64, 128, 256, 512)", NORMALIZATION
    ),
    "vgg16": Row(
        "bnn_hvd.models.vgg:vgg16", "thirteen 3x3 convs in five blocks, dense output; with --normalization=frn and "
        "adam, take --learning_rate=3e-4 or less", NORMALIZATION,
    ),
    "gw": Row(
        "bnn_hvd.models.gw:gw", "four convolutions over time, each with a max-pool of 4, dense 128, output",
        "bnn_hvd.models.gw:GwOptions",
    ),
    "matrix_factorisation": Row(
        "bnn_hvd.models.factorisation:matrix_factorisation",
        "--num_factors and a bias of each user and each item, for recommendation from implicit ratings",
        "bnn_hvd.models.factorisation:MatrixFactorisationOptions",
    ),
    OWN: Row(
        "", "your own, as my_net.py:my_net or package.module:my_net, or a Keras model, as my_model.py:build or "
        "my_model.keras (docs/own_networks.md)", "bnn_hvd.config.options:OwnNetworkOptions",
    ),
}  # fmt: skip

METHODS = {
    "point": Row(
        "bnn_hvd.inference.point:Point", "one value of each weight (maximum a posteriori)",
        "bnn_hvd.inference.point:PointOptions",
    ),
    "vi": Row(
        "bnn_hvd.inference.vi:VI", "mean-field variational inference, a Normal per weight",
        "bnn_hvd.inference.vi:VIOptions",
    ),
    "multiswag": Row(
        "bnn_hvd.inference.swag:Swag", "--num_particles times swag (Wilson & Izmailov 2020)",
        "bnn_hvd.inference.swag:MultiSwagOptions",
    ),
    "ensemble": Row(
        "bnn_hvd.inference.point:Point", "--num_particles point networks, trained independently",
        "bnn_hvd.inference.point:DeepEnsembleOptions",
    ),
    "mc_dropout": Row(
        "bnn_hvd.inference.mc_dropout:MCDropout", "point, with dropout also when predicting",
        "bnn_hvd.inference.mc_dropout:MCDropoutOptions",
    ),
    "ivon": Row(
        "bnn_hvd.inference.ivon:Ivon", "variational online Newton, a Normal per weight",
        "bnn_hvd.inference.ivon:IvonOptions",
    ),
    "swag": Row(
        "bnn_hvd.inference.swag:Swag", "a Normal fitted to the weights along the path of gradient descent",
        "bnn_hvd.inference.swag:SwagOptions",
    ),
    "laplace": Row(
        "bnn_hvd.inference.laplace:Laplace", "a Normal over the last layer of a trained point network",
        "bnn_hvd.inference.laplace:LaplaceOptions",
    ),
    "svgd": Row(
        "bnn_hvd.inference.svgd:Svgd", "Stein variational gradient descent: particles that repel each other",
        "bnn_hvd.inference.svgd:SvgdOptions",
    ),
    "hmc": Row(
        "bnn_hvd.inference.hmc:Hmc", "Hamiltonian Monte Carlo: --num_chains Markov chains on the whole data",
        "bnn_hvd.inference.hmc:HmcOptions",
    ),
}  # fmt: skip

DATASETS = {
    "digits": Row(
        "bnn_hvd.data.sources:digits", "scikit-learn's 1,797 digits of 8x8, embedded",
        "bnn_hvd.data.sources:DigitsOptions",
    ),
    "mnist": Row("bnn_hvd.data.sources:mnist", "keras mnist.npz, or a folder with the four idx files"),
    "cifar10": Row("bnn_hvd.data.sources:cifar10", "folder of python or binary batches, or an .npz"),
    "cifar100": Row("bnn_hvd.data.sources:cifar100", "folder of python or binary files, or an .npz; fine labels"),
    "sine": Row(
        "bnn_hvd.data.sine:sine", "a sine with noise that grows, embedded: regression",
        "bnn_hvd.data.sine:SineOptions",
    ),
    "table": Row(
        "bnn_hvd.data.table:table", "your own .csv (with a header), .parquet or .npz of columns",
        "bnn_hvd.data.table:TableOptions",
    ),
    "uci": Row(
        "bnn_hvd.data.uci:uci", "a table with its train-test splits: an .npz of x, y, test_index_0, ..., or the folder "
        "of a UCI set as it was published", "bnn_hvd.data.uci:UciOptions",
    ),
    "synthetic_ratings": Row(
        "bnn_hvd.data.ratings:synthetic_ratings", "implicit ratings of --num_users x --num_items, from known factors",
        "bnn_hvd.data.ratings:SyntheticRatingsOptions",
    ),
    "movielens": Row(
        "bnn_hvd.data.movielens:movielens", "folder with u.data (ml-100k), ratings.dat (ml-1m) or ratings.csv",
        "bnn_hvd.data.ratings:RatingsOptions",
    ),
    "gravitational_waves": Row(
        "bnn_hvd.data.gravitational_waves:gravitational_waves", "the .npz that prepare_data simulates: masses and spin "
        "of binary black holes", "bnn_hvd.data.gravitational_waves:GravitationalWavesOptions",
    ),
    "npy": Row(
        "bnn_hvd.data.own_arrays:npy", "folder of your own x_train.npy, y_train.npy, ...: larger than memory",
        "bnn_hvd.config.options:OwnArraysOptions",
    ),
    "hdf5": Row(
        "bnn_hvd.data.own_arrays:hdf5", "your own HDF5 file of x_train, y_train, ...: larger than memory",
        "bnn_hvd.config.options:OwnArraysOptions",
    ),
    "npz": Row(
        "bnn_hvd.data.own_arrays:npz", "your own .npz with x_train, y_train, and x_test, y_test if there are",
        "bnn_hvd.config.options:OwnArraysOptions",
    ),
    OWN: Row(
        "", "your own function, as my_data.py:load or package.module:load (docs/data.md)",
        "bnn_hvd.data.own:OwnDataOptions",
    ),
}  # fmt: skip

# A named model stands for these flags.
MODELS: dict[str, dict[str, str]] = {
    "BNN_FC_flip": {
        "architecture": "fc", "method": "vi", "estimator": "flipout", "bayesian_layers": "hidden",
    },
    "BNN_FC_nonflip": {
        "architecture": "fc", "method": "vi", "estimator": "reparam", "bayesian_layers": "hidden",
    },
    "BNN_conv_flip": {
        "architecture": "conv", "method": "vi", "estimator": "flipout", "bayesian_layers": "hidden",
    },
    "BNN_conv_nonflip": {
        "architecture": "conv", "method": "vi", "estimator": "reparam", "bayesian_layers": "hidden",
    },
    "CIFAR10_BNN_model": {
        "architecture": "vgg3", "method": "vi", "estimator": "flipout", "bayesian_layers": "all",
    },
    "CNN_conv": {"architecture": "conv", "method": "point"},
    "CNN_FC": {"architecture": "fc", "method": "point"},
}  # fmt: skip

# Defaults of a named model: the weight of the KL with which it predicts best on its own data (docs/log.md).
MODEL_DEFAULTS: dict[str, dict[str, Any]] = {
    "BNN_FC_flip": {"kl_weight": 0.1}, "BNN_FC_nonflip": {"kl_weight": 0.1}, "CIFAR10_BNN_model": {"kl_weight": 0.001},
}  # fmt: skip


def load(rows: Mapping[str, Row], name: str) -> Callable[..., Any]:
    """Import and return the function or class of row `name`."""
    return pkgutil.resolve_name(rows[known(rows, name)].target)


def is_own(name: str) -> bool:
    """Return whether a choice is of the user's own: FILE.py:FUNCTION, MODULE:FUNCTION, or a network in FILE.keras."""
    return ":" in name or name.endswith(".keras")


def short_name(name: str) -> str:
    """Return a choice without its place: of code of the user's own, the name of the function or of the .keras file."""
    return name.rpartition(":")[2].rpartition("/")[2].removesuffix(".keras")


def known(rows: Mapping[str, Any], name: str, kind: str = "name") -> str:
    """Return the key of `rows` that equals `name` without regard to case, or raise UserError with the known keys.

    Where `rows` have code of the user's own, the key of this is OWN.
    """
    if OWN in rows and is_own(name):
        return OWN
    for key in rows:
        if key.lower() == name.lower():
            return key
    raise UserError(f"unknown {kind} {name!r}; known: {', '.join(rows)}")
