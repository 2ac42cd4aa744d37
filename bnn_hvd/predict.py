"""`predict`: posterior draws -> the predictive distribution, and how sure it is.

Draws stream: memory does not grow with their number. Examples are dealt to the ranks in chunks whose
boundaries do not depend on the number of ranks, and draws are seeded by their index, so the result is
the same on any number of ranks. Legend: S draws, N examples, C classes, K chosen examples.
"""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from bnn_hvd import checkpoint, cluster, machine, population, records, rundir, seeds, uncertainty
from bnn_hvd.cluster import Cluster
from bnn_hvd.config import PredictConfig, TrainConfig
from bnn_hvd.data import shards, sources
from bnn_hvd.data.pipeline import standardize_with
from bnn_hvd.data.standardize import Standardizer
from bnn_hvd.errors import UserError
from bnn_hvd.inference import build as inference
from bnn_hvd.inference.objective import Draws
from bnn_hvd.models.network import build
from bnn_hvd.records import Stopwatch


class PassSize(NamedTuple):
    """How many posterior draws and examples the network sees at once."""

    draws: int
    examples: int


# Measured (docs/log.md). Dense layers multiply many draws in one product; convolutions are fastest one draw
# at a time, on so few examples that their activations stay in the cache.
DENSE_PASS, CONV_PASS = PassSize(draws=16, examples=250), PassSize(draws=1, examples=40)


def main(config: PredictConfig) -> int:
    """Predict the test part of a run's data, or of other data; returns the exit code."""
    run = Path(config.run)
    trained = rundir.read_config(run)
    described = rundir.read_data(run)
    arrays = load_like(trained, described, config.data_dir)
    ood = load_like(trained, described, config.ood_data_dir, same_classes=False) if config.ood_data_dir else None

    ranks = cluster.connect()
    threads = machine.set_up(config.threads, ranks)
    network = build(trained, arrays.x_test.shape[1:], described["num_classes"])
    stored = rundir.read_checkpoint(run)
    if trained.num_particles:  # if particles are being added, those that are there
        trained = dataclasses.replace(trained, num_particles=population.num_particles(stored))
    method = inference.build(trained, network, described["num_train"], ranks)
    state = method.init(seeds.seed(trained.seed, "init"))
    checkpoint.restore(stored, state)
    predictor = Predictor(method, state, Standardizer.from_dict(described["standardizer"]), ranks, trained.seed)

    num_draws = method.num_draws(config.num_draws)
    watch = Stopwatch()
    probs_NC, expected_entropy_N = predictor.predict(arrays.x_test, num_draws)
    seconds = watch.elapsed_s()
    found = distribution(probs_NC, expected_entropy_N)
    report = measures(found, arrays.y_test) | {
        "num_draws": num_draws, "num_examples": len(probs_NC), "predict_wall_s": seconds,
        "ranks": ranks.size, "threads": threads,
    }  # fmt: skip
    if ood:
        outside = distribution(*predictor.predict(ood.x_test, num_draws))
        report["ood"] = separation(found, outside) | {"data_dir": config.ood_data_dir, "num_examples": len(ood.x_test)}
        found |= {f"ood_{name.replace('_N', '_M')}": values for name, values in outside.items() if name != "probs_NC"}
    if ranks.is_root:
        index_K = uncertainty.choose_examples(arrays.y_test, found["predictive_entropy_N"])
        chosen = {
            "labels_N": arrays.y_test, "example_index_K": index_K, "examples_K": arrays.x_test[index_K],
            "draws_SKC": predictor.each_draw(arrays.x_test[index_K], num_draws),
            "class_names": np.array(arrays.class_names),
        }  # fmt: skip
        records.write_npz(run / records.PREDICTIVE, {**found, **chosen})
        records.write_json(run / records.UNCERTAINTY, report)
        print(text(report, run))
    ranks.barrier()
    return 0


def load_like(
    trained: TrainConfig, described: dict[str, Any], data_dir: str, same_classes: bool = True
) -> sources.Arrays:
    """Read other data in the format of the run's own (or the run's own), that its network can take.

    Raises:
      UserError: examples of another shape, or labels that the run does not know.
    """
    if data_dir and trained.dataset == "digits":  # they are built in: other data for them come as an .npz
        arrays = sources.load("npz", data_dir)
    else:
        arrays = sources.load(trained.dataset, data_dir or trained.data_dir)
    shape, largest = list(arrays.x_test.shape[1:]), int(arrays.y_test.max(initial=0))
    if shape != described["example_shape"]:
        raise UserError(
            f"{data_dir} has examples of shape {shape}, the run was trained on {described['example_shape']}"
        )
    if same_classes and largest >= described["num_classes"]:
        raise UserError(f"{data_dir} has the label {largest}, the run knows {described['num_classes']} classes")
    return arrays


def distribution(probs_NC: np.ndarray, expected_entropy_N: np.ndarray) -> dict[str, np.ndarray]:
    """Return the arrays of predictive.npz: total uncertainty = aleatoric + epistemic, in nats."""
    predictive_entropy_N = uncertainty.entropy(probs_NC)
    return {
        "probs_NC": probs_NC,
        "predictive_entropy_N": predictive_entropy_N,
        "expected_entropy_N": expected_entropy_N,
        "mutual_information_N": predictive_entropy_N - expected_entropy_N,
    }


def measures(found: dict[str, np.ndarray], labels_N: np.ndarray) -> dict[str, Any]:
    return uncertainty.summary(found["probs_NC"], labels_N) | {
        "total_uncertainty": float(found["predictive_entropy_N"].mean()),
        "aleatoric_uncertainty": float(found["expected_entropy_N"].mean()),
        "epistemic_uncertainty": float(found["mutual_information_N"].mean()),
    }


def separation(inside: dict[str, np.ndarray], outside: dict[str, np.ndarray]) -> dict[str, float]:
    """Return how well two measures of uncertainty tell other data from the test part."""
    names = {"auroc_entropy": "predictive_entropy_N", "auroc_mutual_information": "mutual_information_N"}
    return {key: uncertainty.auroc(inside[name], outside[name]) for key, name in names.items()}


def text(report: dict[str, Any], run: Path) -> str:
    """Return what `predict` prints."""
    lines = [f"{name:24} {report[name]:.4f}" for name in ("accuracy", "nll", "brier", "ece")]
    lines += [f"{name:24} {report[name]:.4f} nats" for name in report if name.endswith("uncertainty")]
    lines += [f"ood {name:20} {value:.4f}" for name, value in report.get("ood", {}).items() if name.startswith("auroc")]
    return "\n".join([*lines, f"written: {run / records.PREDICTIVE}, {run / records.UNCERTAINTY}"])


class Predictor:
    """The predictive distribution of a state, as it stands whenever it is asked."""

    def __init__(self, method: Any, state: Any, standardizer: Standardizer, ranks: Cluster, seed: int):
        self.method, self.state, self.ranks, self.seed = method, state, ranks, seed
        self.standardize = standardize_with(standardizer)
        has_conv = any(len(p.shape) == 4 for p in method.network.parameters)
        self.size = CONV_PASS if has_conv else DENSE_PASS
        self._sums = tf.function(self._sums_of_pass, autograph=False)

    def predict(self, x: np.ndarray, num_draws: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean probabilities [N, C] and the mean entropy of single draws [N], on every rank."""
        num_draws = self.method.num_draws(num_draws)
        mine = shards.slices(len(x), self.size.examples, self.ranks.rank, self.ranks.size)
        chunks = np.zeros([len(mine), self.size.examples, *x.shape[1:]], x.dtype)  # the last may stay partly zero
        for chunk, part in zip(chunks, mine, strict=True):
            chunk[: part.stop - part.start] = x[part]
        probs = np.zeros([len(mine) * self.size.examples, self.method.network.num_outputs])
        entropy = np.zeros(len(probs))
        for draws in self._passes(num_draws):
            if mine:
                sums = self._sums(chunks, draws)
                probs += sums[0].numpy()
                entropy += sums[1].numpy()
        num_mine = sum(part.stop - part.start for part in mine)
        parts = self.ranks.gather((probs[:num_mine] / num_draws, entropy[:num_mine] / num_draws))
        return np.concatenate([p for p, _ in parts]).astype(np.float32), np.concatenate([e for _, e in parts])

    def score(self, x: np.ndarray, labels_N: np.ndarray, num_draws: int) -> dict[str, Any]:
        """Return accuracy, nll, brier and ece of the mean over the draws, on every rank."""
        probs_NC, _ = self.predict(x, num_draws)
        return {**uncertainty.summary(probs_NC, labels_N), "num_draws": self.method.num_draws(num_draws)}

    def each_draw(self, x: np.ndarray, num_draws: int) -> np.ndarray:
        """Return the probabilities of every single draw [S, K, C] for a few examples."""
        parts = []
        for draws in self._passes(self.method.num_draws(num_draws)):
            logits = self.method.draw(self.state, draws)(self.standardize(x))
            parts.append(tf.nn.softmax(logits).numpy())
        return np.concatenate(parts)

    def _passes(self, num_draws: int) -> list[Draws]:
        return [
            Draws(
                tf.range(first, end := min(first + self.size.draws, num_draws)),
                tf.constant(np.stack([seeds.seed(self.seed, "draw", draw) for draw in range(first, end)])),
            )
            for first in range(0, num_draws, self.size.draws)
        ]

    def _sums_of_pass(self, chunks: tf.Tensor, draws: Draws) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the sums over S draws of the probabilities and of their entropy, for all chunks."""
        forward = self.method.draw(self.state, draws)

        def one_chunk(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            log_probs_SNC = tf.nn.log_softmax(forward(self.standardize(x)))
            probs_SNC = tf.exp(log_probs_SNC)
            return tf.reduce_sum(probs_SNC, 0), -tf.reduce_sum(probs_SNC * log_probs_SNC, [0, 2])

        probs, entropy = tf.map_fn(
            one_chunk, chunks, fn_output_signature=(tf.float32, tf.float32), parallel_iterations=1
        )
        return tf.reshape(probs, [-1, probs.shape[-1]]), tf.reshape(entropy, [-1])
