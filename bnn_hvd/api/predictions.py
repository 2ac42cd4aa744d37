"""The predictive distribution of some examples. What needs all draws at once is computed when it is asked for.

Legend: S draws, N examples, C classes, D columns of a target, I items, B = 2 bounds of an interval. Where examples have
several labels, as one per pixel, the axes of these follow N: [N, C] is then [N, H, W, C].
"""

import functools
from typing import TYPE_CHECKING

import numpy as np

from bnn_hvd import registry
from bnn_hvd.data.description import Description
from bnn_hvd.errors import UserError
from bnn_hvd.metrics import calibration, conformal, normal_mixtures, regression
from bnn_hvd.metrics.normal_mixtures import Mixtures
from bnn_hvd.targets import RealVectors

if TYPE_CHECKING:
    from bnn_hvd.prediction.calibration import Calibration
    from bnn_hvd.prediction.predictor import Predictor


class ClassPrediction:
    """The predictive distribution of N examples over C classes.

    Attributes:
      mean: class probabilities, averaged over the draws [N, C], float32.
      total, aleatoric, epistemic: uncertainty of each example in nats [N]: entropy of the mean, mean entropy of the
        draws (noise in the data), and their difference (disagreement of the draws: what the network does not know).
      class_names: of the C classes, in the order of the axis C.
      num_draws: S.
    """

    def __init__(
        self, predictor: "Predictor", x: np.ndarray, num_draws: int, known: Description, kept: "Calibration | None"
    ):
        from bnn_hvd.prediction import classes

        self._predictor, self._x, self._kept, self.class_names = predictor, x, kept, known.class_names
        self.num_draws = predictor.method.num_draws(num_draws)
        found = classes.distribution(predictor.predict(x, num_draws), self.num_draws == 1)
        self.mean: np.ndarray = found["probs_NC"]
        self.total: np.ndarray = found["predictive_entropy_N"]
        self.aleatoric: np.ndarray = found["expected_entropy_N"]
        self.epistemic: np.ndarray = found["mutual_information_N"]

    @property
    def labels(self) -> np.ndarray:
        """The most probable class of each example [N]: its name, or its number where the names are the numbers."""
        index_N = self.mean.argmax(-1)
        numbered = self.class_names == tuple(map(str, range(len(self.class_names))))
        return index_N if numbered else np.array(self.class_names)[index_N]

    @functools.cached_property
    def draws(self) -> np.ndarray:
        """The class probabilities of each draw [S, N, C], float32."""
        return self._predictor.predict_each_draw(self._x, self.num_draws)

    def quantile(self, level: float) -> np.ndarray:
        """Return a quantile over the draws of each class probability [N, C]; level in [0, 1]."""
        return np.quantile(self.draws, _checked(level), axis=0)

    @property
    def calibrated(self) -> np.ndarray:
        """The class probabilities at the temperature that the run keeps [N, C], float32.

        Raises:
          UserError: the run keeps no temperature of as many draws of the same seed.
        """
        kept = _calibrated(self._kept, "temperature", 'calibrate="temperature"')
        return calibration.tempered(self.mean, kept.temperature).astype(np.float32)

    def conformal_sets(self, score: str = "raps") -> np.ndarray:
        """Return which classes are in the conformal set of each example, bool [N, C].

        The set has the class of a new example with the probability that `predict --coverage` was asked for.

        score: thr, aps or raps (metrics/conformal.py).

        Raises:
          UserError: the run keeps no calibration of as many draws of the same seed; or an unknown score.
        """
        kept = _calibrated(self._kept, "coverage", "coverage=0.9")
        limit = registry.known(kept.thresholds, score, "score")
        return conformal.CLASS_SCORES[limit](self.mean, kept.uniform(len(self.mean))) <= kept.thresholds[limit]


class RealPrediction:
    """The predictive distribution of N real targets: a mixture of S Normals each. All in the units of the target.

    Attributes:
      mean: [N].
      total, aleatoric, epistemic: standard deviations [N], total^2 = aleatoric^2 + epistemic^2: of a new observation,
        of the noise in the data, and of the means of the draws (what the network does not know).
      num_draws: S.
    """

    def __init__(
        self, predictor: "Predictor", x: np.ndarray, num_draws: int, known: Description, kept: "Calibration | None"
    ):
        self._predictor, self._x, self._kept = predictor, x, kept
        self.num_draws = predictor.method.num_draws(num_draws)
        found = predictor.reduce_mixtures(x, num_draws, lambda draws, _: regression.moments(draws))
        self.mean: np.ndarray = found["mean_N"]
        self.total: np.ndarray = found["total_std_N"]
        self.aleatoric: np.ndarray = found["aleatoric_std_N"]
        self.epistemic: np.ndarray = found["epistemic_std_N"]

    @functools.cached_property
    def draws(self) -> np.ndarray:
        """The mean of each draw [S, N], without the noise."""
        return self._predictor.mixture(self._x, self.num_draws).mean_SN

    def quantile(self, level: float) -> np.ndarray:
        """Return a quantile of new observations [N], with their noise; level in [0, 1]."""
        return self._quantiles(_checked(level))[0]

    def calibrated_quantile(self, level: float) -> np.ndarray:
        """Return the recalibrated quantile of new observations [N], by the map that the run keeps; level in [0, 1].

        Raises:
          UserError: the run keeps no map of as many draws of the same seed.
        """
        kept = _calibrated(self._kept, "quantile_map", 'calibrate="quantiles"')
        mapped = calibration.predicted_level(np.array([_checked(level)]), np.array(kept.quantile_map))
        return self._quantiles(*mapped.tolist())[0]

    def conformal_intervals(self, score: str = "cqr") -> np.ndarray:
        """Return the ends of the conformal interval of each example [N, B].

        It has the target of a new example with the probability that `predict --coverage` was asked for.

        score: cqr or scaled (metrics/conformal.py).

        Raises:
          UserError: the run keeps no calibration of as many draws of the same seed; or an unknown score.
        """
        kept = _calibrated(self._kept, "coverage", "coverage=0.9")
        name = registry.known(kept.thresholds, score, "score")
        if name == "scaled":
            return conformal.scaled_interval(self.mean, self.total, kept.thresholds[name])
        levels = conformal.central_levels(kept.coverage)
        return conformal.cqr_interval(self._quantiles(*levels).T, kept.thresholds[name])

    def _quantiles(self, *levels: float) -> np.ndarray:
        found = self._predictor.reduce_mixtures(
            self._x, self.num_draws, lambda draws, _: {"quantiles": regression.quantiles(draws, levels)}
        )
        return found["quantiles"]


def _calibrated(kept: "Calibration | None", name: str, flag: str) -> "Calibration":
    """Return the calibration, if it has the attribute `name`, which `flag` makes."""
    if not (kept and getattr(kept, name)):
        raise UserError(
            f"the run keeps no such calibration of so many draws of this seed: run.evaluate({flag}) makes it"
        )
    return kept


class VectorPrediction:
    """The predictive distribution of N targets with D columns: a mixture. All in the units of the columns.

    Attributes:
      mean: [N, D].
      total, aleatoric, epistemic: standard deviations [N, D], as of `RealPrediction`, of each column.
      aleatoric_covariance, epistemic_covariance: of the columns [N, D, D]; their sum is the total covariance.
      target_names: of the D columns.
      num_draws: S.
    """

    def __init__(self, predictor: "Predictor", x: np.ndarray, num_draws: int, known: Description):
        assert isinstance(known.target, RealVectors), "columns have names"
        self._predictor, self._x, self.target_names = predictor, x, known.target.names
        self.num_draws = predictor.method.num_draws(num_draws)
        found = predictor.reduce_mixtures_of_columns(x, num_draws, lambda draws, _: normal_mixtures.moments(draws))
        self.mean: np.ndarray = found["mean_ND"]
        self.total: np.ndarray = found["total_std_ND"]
        self.aleatoric: np.ndarray = found["aleatoric_std_ND"]
        self.epistemic: np.ndarray = found["epistemic_std_ND"]
        self.aleatoric_covariance: np.ndarray = found["aleatoric_covariance_NDD"]
        self.epistemic_covariance: np.ndarray = found["epistemic_covariance_NDD"]

    @functools.cached_property
    def draws(self) -> np.ndarray:
        """The mean of each draw [S, N, D], without the noise."""

        def means(draws: Mixtures, _: slice) -> dict[str, np.ndarray]:
            return {"means": np.moveaxis(draws.means_of_draws(), 1, 0)}  # blocks are joined along N

        found = self._predictor.reduce_mixtures_of_columns(self._x, self.num_draws, means)
        return np.moveaxis(found["means"], 0, 1)

    def quantile(self, level: float) -> np.ndarray:
        """Return a quantile of new observations of each column [N, D], with their noise; level in [0, 1]."""
        level, columns = _checked(level), range(len(self.target_names))

        def quantiles(draws: Mixtures, _: slice) -> dict[str, np.ndarray]:
            each = [regression.quantiles(draws.column(d), [level])[0] for d in columns]
            return {"quantiles": np.stack(each, axis=-1)}

        return self._predictor.reduce_mixtures_of_columns(self._x, self.num_draws, quantiles)["quantiles"]


class RatingPrediction:
    """The predictive distribution of which of I items each of N users has rated, or would rate.

    Attributes:
      mean: probabilities, averaged over the draws [N, I]; the items are in the order of the data.
      total, aleatoric, epistemic: uncertainty of each in nats [N, I], as of `ClassPrediction`.
      num_draws: S.
    """

    def __init__(self, predictor: "Predictor", users: np.ndarray, num_draws: int, known: Description):
        from bnn_hvd.prediction import ratings

        if (users < 0).any() or (users >= known.num_train).any() or (users != np.floor(users)).any():
            raise UserError(f"x must be the numbers of users of the run, 0 to {known.num_train - 1}")
        self._predictor, self._x = predictor, users
        self.num_draws = predictor.method.num_draws(num_draws)
        found = ratings.uncertainties(predictor, users, num_draws)
        self.mean: np.ndarray = found["probs_NI"]
        self.total: np.ndarray = found["total_NI"]
        self.aleatoric: np.ndarray = found["aleatoric_NI"]
        self.epistemic: np.ndarray = found["epistemic_NI"]

    @functools.cached_property
    def draws(self) -> np.ndarray:
        """The probabilities of each draw [S, N, I], float32."""
        return self._predictor.predict_each_draw(self._x, self.num_draws)

    def quantile(self, level: float) -> np.ndarray:
        """Return a quantile over the draws of each probability [N, I]; level in [0, 1]."""
        return np.quantile(self.draws, _checked(level), axis=0)


Prediction = ClassPrediction | RealPrediction | VectorPrediction | RatingPrediction


def _checked(level: float) -> float:
    if not 0 <= level <= 1:
        raise UserError(f"the level {level} of a quantile must be in [0, 1]")
    return level
