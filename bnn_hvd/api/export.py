"""Exports the predictive distribution as a TensorFlow SavedModel.

Legend: S draws, N examples, C classes. Where examples have several labels, the axes of these follow N.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from bnn_hvd.data.description import Description
from bnn_hvd.errors import UserError
from bnn_hvd.inference.method import Draws
from bnn_hvd.models.layers import Dropout
from bnn_hvd.models.network import DROPOUT
from bnn_hvd.prediction.predictor import Predictor
from bnn_hvd.run import records
from bnn_hvd.targets import Classes, RealValues

FACTS = "bnn_hvd.json"  # beside the model: the classes, the number of draws and their seed


class Exported(tf.Module):
    """The predictive distribution of S fixed draws, as a function of raw x [N, ...]."""

    def __init__(self, predictor: Predictor, known: Description, draws: Draws):
        super().__init__()
        found = predictor.method.weights(predictor.state, draws)
        if DROPOUT in found or any(isinstance(value, Dropout) for value in found.values()):
            raise UserError(
                "mc_dropout draws masks for each example, which an exported model can't: export a run of another method"
            )
        self.drawn = {name: tf.Variable(value, trainable=False) for name, value in found.items()}
        self.names = tuple(self.drawn)
        network, target, parts = predictor.method.network, known.target, _parts_of(known)
        likelihood, standardize = predictor.method.likelihood, predictor.standardize
        one_draw = len(draws.seeds) == 1

        def predict(x: tf.Tensor) -> dict[str, tf.Tensor]:
            weights = {name: tf.convert_to_tensor(self.drawn[name]) for name in self.names}
            outputs = network.apply(weights, standardize(tf.reshape(x, [-1, *network.given_shape])))
            with_draws = outputs if len(outputs.shape) == 3 + len(target.label_shape) else outputs[None]
            found = parts(tf.cast(likelihood.predictive(with_draws), tf.float64), target, one_draw)
            return {name: tf.cast(value, tf.float32) for name, value in found.items()}

        signature = [tf.TensorSpec([None, *network.example_shape], tf.float32, "x")]
        self.__call__ = tf.function(predict, input_signature=signature, autograph=False)


def write(folder: Path, predictor: Predictor, known: Description, num_draws: int) -> None:
    """Write the SavedModel of `num_draws` draws, and FACTS beside it.

    Raises:
      UserError: as `Run.export`.
    """
    if not isinstance(known.target, Classes | RealValues):
        raise UserError(f"a run that predicts {known.target} can't be exported: take one on classes or one real target")
    if num_draws < 1:
        raise UserError(f"num_draws={num_draws} must be at least 1")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is there already: give an empty folder, or a new one")
    draws = predictor.all_draws(num_draws)
    model = Exported(predictor, known, draws)
    records.check_writable("the folder of the export", folder, "folder")
    tf.saved_model.save(model, str(folder), signatures=model.__call__)
    facts = {
        "class_names": list(known.class_names), "example_shape": list(predictor.method.network.example_shape),
        "num_draws": len(draws.seeds), "seed": predictor.seed,
    }  # fmt: skip
    records.write_json(folder / FACTS, facts)


def _parts_of(known: Description) -> Callable[[tf.Tensor, Any, bool], dict[str, tf.Tensor]]:
    return _class_parts if isinstance(known.target, Classes) else _real_parts


def _class_parts(probs_SNC: tf.Tensor, target: Classes, one_draw: bool) -> dict[str, tf.Tensor]:
    """Return the mean [N, C], the uncertainties in nats [N], and the draws [S, N, C] (classes.distribution)."""
    mean_NC = tf.reduce_mean(probs_SNC, 0)
    total_N = _entropy(mean_NC)
    aleatoric_N = total_N if one_draw else tf.minimum(tf.reduce_mean(_entropy(probs_SNC), 0), total_N)
    return {
        "mean": mean_NC, "total": total_N, "aleatoric": aleatoric_N, "epistemic": total_N - aleatoric_N,
        "draws": probs_SNC,
    }  # fmt: skip


def _entropy(probs: tf.Tensor) -> tf.Tensor:
    return -tf.reduce_sum(tf.math.xlogy(probs, probs), -1)


def _real_parts(normals_SN2: tf.Tensor, target: RealValues, one_draw: bool) -> dict[str, tf.Tensor]:
    """Return the mean and the standard deviations [N], and the draws' means [S, N], in the units of the target."""
    mean_SN = normals_SN2[..., 0] * target.scale + target.mean
    scale_SN = normals_SN2[..., 1] * target.scale
    aleatoric_N, epistemic_N = tf.reduce_mean(scale_SN**2, 0), tf.math.reduce_variance(mean_SN, 0)
    return {
        "mean": tf.reduce_mean(mean_SN, 0), "total": tf.sqrt(aleatoric_N + epistemic_N),
        "aleatoric": tf.sqrt(aleatoric_N), "epistemic": tf.sqrt(epistemic_N), "draws": mean_SN,
    }  # fmt: skip
