"""Examples as TensorFlow tensors: kept in the type of the file (uint8), standardised batch by batch."""

import math
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from bnn_hvd import noise, seeds
from bnn_hvd.data.augment import BORDER
from bnn_hvd.data.standardize import Standardizer
from bnn_hvd.data.stored import Inputs, StoredArray

CALL_BYTES = 1 << 26  # of inputs that one call of the loop gets from files; as many again are read ahead


class Batch(NamedTuple):
    """One rank's part of a step's batch: x [N, ...] float32, y [N] int32 or float32, or ratings [N, I] int8.

    has_members: x and y have the axis M before N; each member has a batch of its own. micro_batches: into how many
    parts of equal size the batch is cut, to be computed one after the other.
    """

    x: tf.Tensor
    y: tf.Tensor
    has_members: bool = False
    micro_batches: int = 1

    def every(self, count: int, first: tf.Tensor) -> "Batch":
        """Return the examples first, first + count, ...; count divides N."""
        axis = int(self.has_members)

        def rows(values: tf.Tensor) -> tf.Tensor:
            lead, rest = values.shape[:axis], values.shape[axis + 1 :]
            return tf.gather(tf.reshape(values, [*lead, -1, count, *rest]), first, axis=axis + 1)

        return self._replace(x=rows(self.x), y=rows(self.y))


class Examples:
    """The examples of one part of a data set, standardised when they are taken.

    inputs: the tensors that a call of the loop gets from `read` beside the indices. most_steps: of one such call.
    """

    inputs: tuple[tf.TensorSpec, ...] = ()
    fresh_noise = False
    most_steps = sys.maxsize

    def __init__(
        self, x: np.ndarray, y: np.ndarray, standardizer: Standardizer, augmented: bool = False,
        fresh_noise: bool = False,
    ):  # fmt: skip
        self.x, self.y, self.augmented, self.fresh_noise = tf.constant(x), tf.constant(y), augmented, fresh_noise
        self.standardize = standardize_with(standardizer)

    def read(self, index: np.ndarray, ahead: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return what a call needs beside the indices: nothing, as the examples are in memory."""
        return ()

    def take(self, index: tf.Tensor, augment: tf.Tensor | None = None, seed: tf.Tensor | None = None) -> Batch:
        """Return the batch of these examples; inside a graph.

        index: [N], or [M, N] where each member has its own examples.
        augment: how they are cropped and flipped (data/augment.py), [N, 3] or [M, N, 3], if they are `augmented`.
        seed: [2], of the epoch, of the standard normals that are added to them, if they get `fresh_noise`.
        """
        return self.as_batch(tf.gather(self.x, index), index, augment, seed)

    def as_batch(self, x: tf.Tensor, index: tf.Tensor, augment: tf.Tensor | None, seed: tf.Tensor | None) -> Batch:
        """Return the batch of these raw inputs."""
        if augment is not None:
            images = crop_and_flip(tf.reshape(x, [-1, *x.shape[-3:]]), tf.reshape(augment, [-1, 3]))
            x = tf.reshape(images, x.shape)
        if seed is not None:
            x = add_noise(x, index, seed)
        return Batch(self.standardize(x), tf.gather(self.y, index), has_members=len(index.shape) == 2)


def add_noise(x: tf.Tensor, index: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Return x [..., N, D] + standard normals. The noise of an example follows from its number and the seed [2].

    So it depends neither on the rank nor on the batch that has the example, and is the same for all members.
    """
    numbers = tf.cast(tf.reshape(index, [-1]), tf.int64)
    return x + tf.reshape(noise.normals(seeds.derive(seed, example=numbers), x.shape[-1]), x.shape)


class StoredExamples(Examples):
    """The examples of a part that is in files. A call of the loop gets the inputs of its steps, in numpy."""

    def __init__(
        self, x: StoredArray, y: np.ndarray, standardizer: Standardizer, augmented: bool, batch_shape: tuple[int, ...]
    ):
        self.y, self.augmented, self.standardize = tf.constant(y), augmented, standardize_with(standardizer)
        self.reader = ReadAhead(x)
        self.inputs = (tf.TensorSpec([None, *batch_shape, *x.shape[1:]], x.dtype),)
        self.most_steps = max(1, CALL_BYTES // (math.prod(batch_shape) * x.example_bytes))

    def read(self, index: np.ndarray, ahead: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the inputs of T steps [T, B, ...], and go on reading those that will probably be asked for next."""
        return (self.reader.read(index, ahead[: self.most_steps]),)

    def take(
        self, index: tf.Tensor, augment: tf.Tensor | None = None, seed: tf.Tensor | None = None,
        x: tf.Tensor | None = None,
    ) -> Batch:  # fmt: skip
        """Return the batch of the raw inputs x, which are those of these examples."""
        return self.as_batch(x, index, augment, seed)


class ReadAhead:
    """Reads examples of a stored array; a thread reads the next ones beside the computation.

    What is read ahead is a guess: `read` returns the examples that are asked for, whatever was read.
    """

    def __init__(self, x: StoredArray):
        self.x = x
        self.thread = ThreadPoolExecutor(1, "read_ahead")
        self.ahead = np.zeros([0, 0], np.int32)
        self.coming: Future[np.ndarray] | None = None

    def read(self, index: np.ndarray, ahead: np.ndarray) -> np.ndarray:
        """Return x[index], and begin to read x[ahead]; both are [T, ...], for T steps each."""
        found = self._found(index)
        self.ahead, self.coming = ahead, self.thread.submit(self.x.__getitem__, ahead)
        return found

    def _found(self, index: np.ndarray) -> np.ndarray:
        steps = min(len(index), len(self.ahead))
        if self.coming is None or not np.array_equal(self.ahead[:steps], index[:steps]):
            return self.x[index]
        read = self.coming.result()[:steps]
        return read if steps == len(index) else np.concatenate([read, self.x[index[steps:]]])


def crop_and_flip(x: tf.Tensor, augment_N3: tf.Tensor) -> tf.Tensor:
    """Return images [N, H, W, C], padded with zeros, cropped at (row, column), and flipped if the third entry is 1."""
    height, width = x.shape[1:3]
    padded = tf.pad(x, [[0, 0], [BORDER, BORDER], [BORDER, BORDER], [0, 0]])
    row_N, column_N, flip_N = tf.unstack(augment_N3, num=3, axis=1)
    rows_NH = row_N[:, None] + tf.range(height)
    across_NW = tf.where(flip_N[:, None] > 0, width - 1 - tf.range(width), tf.range(width))
    cropped = tf.gather(padded, rows_NH, axis=1, batch_dims=1)
    return tf.gather(cropped, column_N[:, None] + across_NW, axis=2, batch_dims=1)


class Shard(Examples):
    """All examples of this rank, standardised once: the batch of every full-batch step."""

    augmented = fresh_noise = False

    def __init__(self, x: Inputs, y: np.ndarray, standardizer: Standardizer, mine: slice):
        self.batch = Batch(standardize_with(standardizer)(tf.constant(x[mine])), tf.constant(y[mine]))

    def take(self, index: tf.Tensor, augment: tf.Tensor | None = None, seed: tf.Tensor | None = None) -> Batch:
        """Return the whole shard; the arguments are not used."""
        return self.batch


def standardize_with(standardizer: Standardizer) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return the function x [N, ...] -> (x - mean) * inv_std, float32, of raw x."""
    mean, inv_std = tf.constant(standardizer.mean), tf.constant(standardizer.inv_std)
    return lambda x: (tf.cast(x, tf.float32) - mean) * inv_std
