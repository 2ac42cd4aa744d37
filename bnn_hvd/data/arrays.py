"""A data set in memory."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from bnn_hvd.data.columns import Column
from bnn_hvd.data.stored import Inputs
from bnn_hvd.targets import Classes, ImplicitRatings, RealValues, RealVectors, Target


@dataclass(frozen=True, eq=False)
class Catalogue:
    """The names of U users and I items, in the order of the rows and columns of a matrix of implicit ratings.

    genre_IG: whether an item has a genre, of G genres. truth_UI: the true probabilities of a synthetic matrix.
    """

    users: tuple[str, ...]
    titles: tuple[str, ...]
    genres: tuple[str, ...]
    genre_IG: np.ndarray
    truth_UI: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Arrays:
    """A training part, a test part and, for curves, a grid of inputs.

    x: in memory, or in files (data/stored.py): images [N, H, W, C] or vectors [N, D], uint8 if the file has uint8, else
    float32; for ratings the number of the user [N, 1], int32.
    y: class numbers [N, *label_shape], int32; real values [N, *label_shape] or [N, D], float32 (num_classes is 0); or
    implicit ratings [N, I], int8 (data/ratings.py; num_classes is 0). In data to predict, a label that is not there is
    -1 or NaN, and the training part may be empty.
    target_names: of the D columns of y [N, D].
    rows_test: the place of each example of the test part in the file that it is from, from 0; by default its place in
    the test part. names_test: what they are called, if they have names.
    columns: of a table, how they are encoded as inputs.
    x_grid: inputs [G, 1] at which a prediction is drawn; truth_grid: the curve without noise there [G].
    catalogue: the names of users and items, for ratings.
    unseen: examples [M, ...] of what training never sees, by name; predictions should be uncertain of them.
    facts_test: what is known of each test example besides its target [N, ...], by name, for the figures.
    notes: what a user may not expect of these data, a sentence each; `train` prints them.
    """

    x_train: Inputs
    y_train: np.ndarray
    x_test: Inputs
    y_test: np.ndarray
    num_classes: int
    class_names: tuple[str, ...]
    columns: tuple[Column, ...] = ()
    target_names: tuple[str, ...] = ()
    rows_test: np.ndarray | None = None
    names_test: tuple[str, ...] = ()
    x_grid: np.ndarray | None = None
    truth_grid: np.ndarray | None = None
    catalogue: Catalogue | None = None
    unseen: Mapping[str, np.ndarray] = field(default_factory=dict)
    facts_test: Mapping[str, np.ndarray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names of a table's inputs, () if they have none."""
        return tuple(name for column in self.columns for name in column.input_names)

    def target(self, standardize: bool = True) -> Target:
        """Return the target; with `standardize`, real values are in the units of the training part."""
        if self.num_classes:
            return Classes(self.num_classes, label_shape=self.y_train.shape[1:])
        if self.catalogue:
            return ImplicitRatings(len(self.catalogue.titles))
        if self.target_names:
            vectors = RealVectors.fitted(self.target_names, self.y_train)
            return vectors if standardize else RealVectors.unscaled(self.target_names)
        return RealValues.fitted(self.y_train) if standardize else RealValues(label_shape=self.y_train.shape[1:])
