"""A data set in memory."""

from dataclasses import dataclass

import numpy as np

from bnn_hvd.targets import Classes, ImplicitRatings, RealValues, Target


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Who has watched what: names, in the order of a matrix of U users and I items.

    genre_IG: which of G genres an item is of. truth_UI: the probabilities that a synthetic matrix was drawn with.
    """

    users: tuple[str, ...]
    titles: tuple[str, ...]
    genres: tuple[str, ...]
    genre_IG: np.ndarray
    truth_UI: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Arrays:
    """A training part, a test part, and for curves a grid to draw.

    x: [N, H, W, C] images or [N, D] vectors, uint8 as it was in the file or float32. y [N]: class numbers,
    int32; or with num_classes = 0 real targets, float32; or [N, I] what a user has watched (data/ratings.py), int8,
    where x [N, 1] says which user that is, int32.
    input_names: of the columns of a table.
    x_grid: inputs [G, 1] at which to draw a prediction, truth_grid: the curve without noise there [G].
    catalogue: of what users have watched.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    num_classes: int
    class_names: tuple[str, ...]
    input_names: tuple[str, ...] = ()
    x_grid: np.ndarray | None = None
    truth_grid: np.ndarray | None = None
    catalogue: Catalogue | None = None

    def target(self, standardize: bool = True) -> Target:
        """Return what is predicted; real values in the units of the training part, if they are to be standardised."""
        if self.num_classes:
            return Classes(self.num_classes)
        if self.catalogue:
            return ImplicitRatings(len(self.catalogue.titles))
        return RealValues.fitted(self.y_train) if standardize else RealValues()
