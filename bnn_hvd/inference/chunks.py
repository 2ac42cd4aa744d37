"""Sums over a rank's examples in chunks, whose activations stay in a core's cache."""

import functools
import itertools
import operator
from collections.abc import Callable

import tensorflow as tf

from bnn_hvd.data.pipeline import Batch
from bnn_hvd.models.network import Network

OfChunk = Callable[[Batch], list[tf.Tensor]]
CHUNK_BYTES, LEAST_CHUNK = 6 << 20, 64  # bytes of the inputs, examples; of a dense network: measured (docs/log.md)
CONV_CHUNK = 64  # examples, of a convolutional network: their activations about fit into the cache
OUTPUT_BYTES = 2 << 20  # of the outputs of a chunk, with very many outputs per example: measured (docs/log.md)
ALIGNED = 16  # examples: slices that begin at a multiple of it are views of the data, others are copies


class Chunks:
    """The examples of a rank, in chunks. The forward and the backward pass of a chunk end before the next one is read.

    The matrix products of one chunk are too small for two threads, so each thread has its own sequence of chunks.

    size: examples per chunk; 0: `chunk_of(examples.x)`.
    threads: how many operations TensorFlow runs in parallel.
    """

    def __init__(self, examples: Batch, size: int = 0, threads: int = 1):
        self.examples, self.size = examples, size or chunk_of(examples.x)
        count = examples.x.shape[0]
        parts = threads if count > self.size else 1
        cuts = [count * part // parts // ALIGNED * ALIGNED for part in range(parts)] + [count]
        self.parts = [slice(first, end) for first, end in itertools.pairwise(cuts) if first < end]

    def sum(self, of_chunk: OfChunk, zeros: list[tf.Tensor]) -> list[tf.Tensor]:
        """Return the sums over the chunks of what `of_chunk` returns; `zeros` has its shapes and types."""
        if not self.parts:
            return zeros
        sums = [self._sum_of_part(part, of_chunk, zeros) for part in self.parts]
        return [functools.reduce(operator.add, terms) for terms in zip(*sums, strict=True)]

    def _sum_of_part(self, part: slice, of_chunk: OfChunk, zeros: list[tf.Tensor]) -> list[tf.Tensor]:
        """Return the sums over the examples of one thread, chunk after chunk."""
        if part.stop - part.start <= self.size:
            return of_chunk(self._batch(part))

        def body(start: tf.Tensor, *sums: tf.Tensor) -> tuple[tf.Tensor, ...]:
            batch = self._batch(slice(start, tf.minimum(start + self.size, part.stop)))
            return start + self.size, *(a + b for a, b in zip(sums, of_chunk(batch), strict=True))

        _, *sums = tf.while_loop(
            lambda start, *_: start < part.stop, body, (part.start, *zeros), parallel_iterations=1
        )  # fmt: skip
        return sums

    def _batch(self, rows: slice) -> Batch:
        return Batch(self.examples.x[rows], self.examples.y[rows])


def chunk_of(x: tf.Tensor) -> int:
    """Return the examples per chunk of a dense network: CHUNK_BYTES of the inputs x, at least LEAST_CHUNK."""
    bytes_each = 4 * max(1, x.shape[1:].num_elements())
    return max(LEAST_CHUNK, CHUNK_BYTES // bytes_each // ALIGNED * ALIGNED)


def chunk_for(network: Network, chains: int) -> int:
    """Return the examples per chunk of a network with `chains` chains on a rank; 0: what `chunk_of` returns."""
    if any(p.is_kernel and not p.is_dense for p in network.parameters):
        return CONV_CHUNK
    return max(1, OUTPUT_BYTES // (4 * chains * network.num_outputs)) if network.local_parameters else 0
