"""Implicit ratings: a matrix of users and items, the split of its entries, and a synthetic matrix.

An example is a user; its target is a row of the matrix. Legend: U users, I items, D factors, G genres.
"""

import dataclasses
from typing import ClassVar

import numpy as np

from bnn_hvd.config import fill
from bnn_hvd.config.flags import flag
from bnn_hvd.config.options import FILES, DataOptions, FactorOptions, HeldOutOptions, Values
from bnn_hvd.data.arrays import Arrays, Catalogue
from bnn_hvd.errors import UserError

RATED, NOT_RATED, UNKNOWN = 1, -1, 0  # y of an item; for a logit z, y z is the log odds of a known entry
MOST_ENTRIES = 1 << 29  # of a matrix; both parts hold an int8 per entry
BLOCK_ENTRIES = 1 << 24  # of a matrix that are drawn at once


@dataclasses.dataclass(frozen=True)
class RatingsOptions(HeldOutOptions, DataOptions):
    """Flags of implicit ratings. By default their one network is used, with the one method that trains it."""

    takes = FILES
    defaults: ClassVar[Values] = {"standardize": "none"}  # the inputs are numbers of users
    ratings = True

    num_users: int | None = flag(
        None, "data", "users of synthetic_ratings (default 3500), or of movielens: those with the most ratings "
        "(default all)", minimum=1,
    )  # fmt: skip
    num_items: int | None = flag(
        None, "data", "items of synthetic_ratings (default 2500), or of movielens: those with the most ratings "
        "(default all)", minimum=1,
    )  # fmt: skip

    @classmethod
    def fill(cls, values: Values) -> None:
        fill(values, architecture="matrix_factorisation", method="hmc")


@dataclasses.dataclass(frozen=True)
class SyntheticRatingsOptions(FactorOptions, RatingsOptions):
    """Flags of ratings that are drawn from random factors."""

    takes: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def fill(cls, values: Values) -> None:
        super().fill(values)
        fill(values, num_users=3500, num_items=2500)


def arrays(rated_UI: np.ndarray, catalogue: Catalogue, test_fraction: float, source: str) -> Arrays:
    """Split the entries of the matrix rated_UI, bool, into a training part and a test part.

    An entry of one part is UNKNOWN in the other. The split is the same for every --seed. x is the number of the user.

    Raises:
      UserError: the matrix is too large, or one of the two parts is empty.
    """
    users, items = rated_UI.shape
    check_size(users, items, source)
    y_train = np.where(rated_UI, np.int8(RATED), np.int8(NOT_RATED))
    y_test = np.full_like(y_train, UNKNOWN)
    random, rows = np.random.default_rng(0), max(1, BLOCK_ENTRIES // items)
    for start in range(0, len(y_train), rows):  # views: a held-out entry moves from y_train to y_test
        train, test = y_train[start : start + rows], y_test[start : start + rows]
        held_out = random.random(train.shape, np.float32) < test_fraction
        test[held_out] = train[held_out]
        train[held_out] = UNKNOWN
    if not (y_test.any() and y_train.any()):
        raise UserError(
            f"{source}: --test_fraction={test_fraction} of {rated_UI.size} entries leaves none in one of the two "
            "parts: give another fraction, or more data"
        )
    users_U1 = np.arange(users, dtype=np.int32)[:, None]
    return Arrays(users_U1, y_train, users_U1, y_test, num_classes=0, class_names=(), catalogue=catalogue)


def synthetic_ratings(
    path: str, *, num_users: int | None, num_items: int | None, num_factors: int, test_fraction: float
) -> Arrays:
    """Draw a matrix from the prior of matrix_factorisation at --prior_scale=1: P(rated) = sigma(U V^T + u + v).

    It is the same for every --seed. The genre of an item is its largest factor.
    """
    if path:
        raise UserError(f"--dataset=synthetic_ratings is built in and reads no --data_dir={path}: leave it out")
    users, items, factors = num_users or 1, num_items or 1, num_factors
    check_size(users, items, "--num_users and --num_items")
    random = np.random.default_rng([users, items, factors, 271])
    user_UD, item_ID = (random.normal(size=[count, factors]) * factors**-0.25 for count in (users, items))
    bias_U, bias_I = random.normal(size=users), random.normal(size=items)
    truth_UI = sigmoid(user_UD @ item_ID.T + bias_U[:, None] + bias_I)
    catalogue = Catalogue(
        users=tuple(map(str, range(users))), titles=tuple(f"item {i}" for i in range(items)),
        genres=tuple(f"factor {d}" for d in range(factors)),
        genre_IG=np.eye(factors, dtype=bool)[item_ID.argmax(1)], truth_UI=truth_UI.astype(np.float32),
    )  # fmt: skip
    return arrays(random.random(truth_UI.shape) < truth_UI, catalogue, test_fraction, "synthetic_ratings")


def check_size(users: int, items: int, source: str) -> None:
    if users * items > MOST_ENTRIES:
        raise UserError(
            f"{source}: {users} users x {items} items are {users * items:.1e} entries, and the matrix is kept whole in "
            "memory: give a smaller --num_users or --num_items"
        )


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))
