"""Predictions from posterior draws, streamed: memory does not grow with the number of draws.

Where all draws of an example are needed at once, one block of examples is in memory at a time. Ranks share the
examples in chunks whose boundaries do not depend on the number of ranks, and the seed of a draw follows from its index,
so the result is the same on any number of ranks.
Legend: S draws, N examples, C classes, I items, O outputs of the network. Where examples have several labels, the axes
of these follow N: an array [N, C] is then [N, *label_shape, C].
"""

import copy
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from bnn_hvd import seeds
from bnn_hvd.data import shards
from bnn_hvd.data.pipeline import standardize_with
from bnn_hvd.data.standardize import Standardizer
from bnn_hvd.data.stored import Inputs
from bnn_hvd.distributed.cluster import Cluster
from bnn_hvd.inference.method import Draws, Method, State
from bnn_hvd.metrics import classification, normal_mixtures, ratings, regression
from bnn_hvd.metrics.normal_mixtures import Mixtures
from bnn_hvd.metrics.regression import Mixture
from bnn_hvd.models.layers import Dropout
from bnn_hvd.models.network import STATISTICS
from bnn_hvd.targets import Classes, ImplicitRatings, RealValues, RealVectors, Target


class PassSize(NamedTuple):
    """How many posterior draws and examples the network sees at once."""

    draws: int
    examples: int


# Measured (docs/log.md). Dense layers multiply many draws in one product; convolutions are fastest one draw
# at a time, on so few examples that their activations stay in the cache.
DENSE_PASS, CONV_PASS = PassSize(draws=16, examples=250), PassSize(draws=1, examples=40)
DEALT_BYTES = 1 << 28  # of examples in memory at once, in chunks
BLOCK_VALUES = 1 << 21  # S x N x O values in memory at once, besides the results

Found = dict[str, np.ndarray]  # arrays by name, as for predictive.npz
Result = tuple[Found, dict[str, Any]]  # arrays for predictive.npz, and content of a JSON file


class Sums(NamedTuple):
    """Sums over the draws, by name.

    sum_chunk: outputs [S, N, O], further arrays [N, ...] -> sums over S, each [N, ...]. It must be a function at the
      top of a module: TensorFlow compiles again for every new function object.
    """

    names: tuple[str, ...]
    sum_chunk: Callable[..., tuple[tf.Tensor, ...]]


class Predictor:
    """The predictive distribution of a state. Every call uses the current values of the state.

    Attributes:
      on_progress: called after each part of a prediction with how many of how many parts of this rank are done.
    """

    on_progress: Callable[[int, int], None] = staticmethod(lambda done, total: None)

    def __init__(
        self, method: Method, state: State, target: Target, standardizer: Standardizer, ranks: Cluster, seed: int
    ):
        self.method, self.state, self.target, self.ranks, self.seed = method, state, target, ranks, seed
        self.standardize = standardize_with(standardizer)
        has_conv = any(p.is_kernel and not p.is_dense for p in method.network.parameters)
        self.size = CONV_PASS if has_conv else DENSE_PASS
        self._sums = tf.function(self._sum_pass, autograph=False)  # traced once per `Sums`
        self._each = tf.function(self._predict_pass, autograph=False)

    def predict(self, x: Inputs, num_draws: int) -> Found:
        """Return means over the draws, by name, on every rank.

        probs [N, C]; entropy [N], in nats; votes [N, C]: the fraction of draws whose most probable class this is.
        """
        found = self.means(CLASS_SUMS, num_draws, x)
        return found | {"probs": found["probs"].astype(np.float32)}

    def means(self, sums: Sums, num_draws: int, x: Inputs, *more: np.ndarray) -> Found:
        """Return `sums` divided by the number of draws, by name, each [N, ...], on every rank.

        more: further arrays [N, ...] that `sums.sum_chunk` takes.
        """
        num_draws = self.method.num_draws(num_draws)
        passes, found = self.passes(num_draws), []
        blocks = self.blocks(DEALT_BYTES // example_bytes(x), len(x))
        for number, block in enumerate(blocks):
            chunks = [self.fill(part, block) for part in (x, *more)]
            totals: list[Any] = [0.0] * len(sums.names)
            for done, draws in enumerate(passes, 1):
                each = zip(totals, self._sums(sums, chunks, draws), strict=True)
                totals = [total + part.numpy().astype(np.float64) for total, part in each]
                self.on_progress(number * len(passes) + done, len(blocks) * len(passes))
            found.append([total[: block[-1].stop - block[0].start] / num_draws for total in totals])
        parts = [part for rank_parts in self.ranks.gather(found) for part in rank_parts]
        return dict(zip(sums.names, map(np.concatenate, zip(*parts, strict=True)), strict=True))

    def predict_each_draw(self, x: Inputs, num_draws: int) -> np.ndarray:
        """Return the prediction of every draw, on every rank.

        It is the probabilities [S, N, C], or for a real target the mean and the standard deviation [S, N, 2].
        """
        return self.reduce_draws(x, num_draws, lambda draws_SNO, _: {"draws": draws_SNO}, axis=1)["draws"]

    def reduce_draws(self, x: Inputs, num_draws: int, reduce: Callable[[np.ndarray, slice], Found], axis: int) -> Found:
        """Return the output of `reduce` for all examples, concatenated along `axis`, on every rank.

        reduce: takes the predictions of all draws for a block of examples [S, N, O], and the slice of these examples.
          Its output for one example must not depend on the other examples of the block.
        """
        passes = self.passes(num_draws := self.method.num_draws(num_draws))
        values = num_draws * self.method.network.num_outputs * self.target.labels_per_example
        blocks = self.blocks(BLOCK_VALUES // values, len(x))
        found = []
        for done, block in enumerate(blocks, 1):
            chunks, at = self.fill(x, block), slice(block[0].start, block[-1].stop)
            draws_SNO = np.concatenate([self._each(chunks, draws).numpy() for draws in passes])
            found.append(reduce(draws_SNO[:, : at.stop - at.start], at))
            self.on_progress(done, len(blocks))
        found = [block for part in self.ranks.gather(found) for block in part]
        return {name: np.concatenate([block[name] for block in found], axis) for name in found[0]}

    def reduce_mixtures(self, x: Inputs, num_draws: int, reduce: Callable[[Mixture, slice], Found]) -> Found:
        """Return the output of `reduce` for the mixtures of all examples, in the units of the target, each [..., N].

        reduce: takes the mixtures of a block of examples [S, n]; where examples have several labels, n counts these.
        """
        found = self.reduce_draws(x, num_draws, lambda draws_SNO, at: reduce(self._mixture(draws_SNO), at), axis=-1)
        return {name: v.reshape(*v.shape[:-1], -1, *self.target.label_shape) for name, v in found.items()}

    def reduce_mixtures_of_columns(
        self, x: Inputs, num_draws: int, reduce: Callable[[Mixtures, slice], Found]
    ) -> Found:
        """As `reduce_mixtures`, for a target with several columns, each [N, ...]."""
        units = self.target
        assert isinstance(units, RealVectors), "only targets with columns have mixtures of vectors"

        def in_units(draws_SNO: np.ndarray, at: slice) -> Found:
            return reduce(Mixtures.unpacked(draws_SNO, units.mean, units.scale), at)

        return self.reduce_draws(x, num_draws, in_units, axis=0)

    def mixture(self, x: Inputs, num_draws: int) -> Mixture:
        """Return the mixtures of all examples, [S, N] each, in the units of the target, on every rank."""

        def parts(draws: Mixture, _: slice) -> Found:
            return {"mean_SN": draws.mean_SN, "scale_SN": draws.scale_SN}  # the draws have equal weights

        return Mixture(**self.reduce_mixtures(x, num_draws, parts))

    def with_seed(self, seed: int) -> "Predictor":
        """Return this predictor for the draws of another seed; what was compiled is shared."""
        other = copy.copy(self)
        other.seed = seed
        return other

    def weights(self, num_draws: int) -> dict[str, np.ndarray]:
        """Return the draws' weights by the name of the parameter, each [S, ...]; those of batch norms, too."""
        draws = self.all_draws(num_draws)
        network, found = self.method.network, self.method.weights(self.state, draws)
        plain = {name: value.kernel if isinstance(value, Dropout) else value for name, value in found.items()}
        shapes = {p.name: p.shape for p in network.parameters} | {STATISTICS: network.initial_statistics.shape}
        shared = {name: shape for name, shape in shapes.items() if name in plain}
        return {
            name: np.broadcast_to(plain[name].numpy(), (len(draws.seeds), *shape)).copy()
            for name, shape in shared.items()
        }

    def all_draws(self, num_draws: int) -> Draws:
        """Return `num_draws` draws at once, or as many as the method has."""
        num_draws = self.method.num_draws(num_draws)
        return Draws(tf.range(num_draws), tf.constant(self._seeds(range(num_draws))))

    def _seeds(self, draws: range) -> np.ndarray:
        """Return the seeds of some draws [S, 2]."""
        return np.stack([seeds.seed(self.seed, "draw", draw) for draw in draws])

    def _mixture(self, draws_SNO: np.ndarray) -> Mixture:
        mean_SN, scale_SN = np.moveaxis(draws_SNO.astype(np.float64), -1, 0).reshape(2, len(draws_SNO), -1)
        units = self.target
        assert isinstance(units, RealValues), "only real values have a mixture of Normals"
        return Mixture(mean_SN * units.scale + units.mean, scale_SN * units.scale)

    def score(self, x: Inputs, y_N: np.ndarray, num_draws: int) -> dict[str, Any]:
        """Return the scores of the predictive distribution, by name, on every rank."""
        if isinstance(self.target, Classes):
            scores = classification.summary(self.predict(x, num_draws)["probs"], y_N)
        elif isinstance(self.target, ImplicitRatings):
            scores = ratings.summary(self.means(ITEM_SUMS, num_draws, x)["probs"], y_N)
        elif isinstance(self.target, RealVectors):
            found = self.reduce_mixtures_of_columns(
                x, num_draws, lambda draws, at: normal_mixtures.score_examples(draws, y_N[at], at.start)
            )
            scores = normal_mixtures.summary(found, y_N, self.target.names)
        else:
            found = self.reduce_mixtures(
                x, num_draws, lambda draws, at: regression.score_examples(draws, y_N[at].reshape(-1))
            )
            scores = regression.summary({name: values.reshape(-1) for name, values in found.items()}, y_N.reshape(-1))
        return {**scores, "num_draws": self.method.num_draws(num_draws)}

    def blocks(self, most_examples: int, num_examples: int) -> list[list[slice]]:
        """Return the chunks of this rank, in blocks of about `most_examples` that are in memory at once."""
        mine = shards.slices(num_examples, self.size.examples, self.ranks.rank, self.ranks.size)
        step = max(1, most_examples // self.size.examples)
        return [mine[start : start + step] for start in range(0, len(mine), step)]

    def fill(self, x: Inputs, block: list[slice]) -> np.ndarray:
        """Return the examples of a block in chunks of one size, the last padded with zeros."""
        chunks = np.zeros([len(block), self.size.examples, *x.shape[1:]], x.dtype)
        for chunk, part in zip(chunks, block, strict=True):
            chunk[: part.stop - part.start] = x[part]
        return chunks

    def passes(self, num_draws: int) -> list[Draws]:
        """Return the draws in passes of at most `size.draws`."""
        return [
            Draws(
                tf.range(first, end := min(first + self.size.draws, num_draws)),
                tf.constant(self._seeds(range(first, end))),
            )
            for first in range(0, num_draws, self.size.draws)
        ]

    def _sum_pass(self, sums: Sums, chunks: list[tf.Tensor], draws: Draws) -> tuple[tf.Tensor, ...]:
        """Return the sums over the S draws of a pass, each [N, ...], of all chunks."""
        forward = self.method.draw(self.state, draws)

        def one_chunk(parts: list[tf.Tensor]) -> tuple[tf.Tensor, ...]:
            return sums.sum_chunk(forward(self.standardize(parts[0])), *parts[1:])

        signature = (tf.float32,) * len(sums.names)
        found = tf.map_fn(one_chunk, chunks, fn_output_signature=signature, parallel_iterations=1)
        return tuple(tf.reshape(part, [-1, *part.shape[2:]]) for part in found)

    def _predict_pass(self, chunks: tf.Tensor, draws: Draws) -> tf.Tensor:
        """Return the predictions of the S draws of a pass, [S, N, O], of all chunks."""
        forward = self.method.draw(self.state, draws)

        def one_chunk(x: tf.Tensor) -> tf.Tensor:
            return self.method.likelihood.predictive(forward(self.standardize(x)))

        found = tf.map_fn(one_chunk, chunks, fn_output_signature=tf.float32, parallel_iterations=1)
        found = tf.transpose(found, [1, 0, *range(2, len(found.shape))])
        return tf.reshape(found, [tf.shape(found)[0], -1, *found.shape[3:]])


def example_bytes(x: Inputs) -> int:
    return max(1, x.dtype.itemsize * math.prod(x.shape[1:]))


def sums_of_classes(outputs_SNC: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Return the sums over S of the probabilities [N, C], of their entropy in nats [N], and of the votes [N, C]."""
    log_probs_SNC = tf.nn.log_softmax(outputs_SNC)
    probs_SNC = tf.exp(log_probs_SNC)
    votes_SNC = tf.one_hot(tf.argmax(log_probs_SNC, -1, tf.int32), log_probs_SNC.shape[-1])
    entropy_N = -tf.reduce_sum(probs_SNC * log_probs_SNC, [0, -1])
    return tf.reduce_sum(probs_SNC, 0), entropy_N, tf.reduce_sum(votes_SNC, 0)


def sums_of_items(outputs_SNI: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Return the sum over S of the probabilities that items are rated [N, I]."""
    return (tf.reduce_sum(tf.sigmoid(outputs_SNI), 0),)


CLASS_SUMS = Sums(("probs", "entropy", "votes"), sums_of_classes)
ITEM_SUMS = Sums(("probs",), sums_of_items)
