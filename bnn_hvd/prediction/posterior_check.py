"""How far q is from the posterior: the Pareto k-hat of importance ratios (Yao, Vehtari, Simpson & Gelman 2018).

The equations are in docs/maths.md. Legend: S draws, N training examples, K chunks of n examples.
"""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from bnn_hvd.config import TrainConfig
from bnn_hvd.data.stored import Inputs
from bnn_hvd.inference.method import Draws
from bnn_hvd.metrics import pareto
from bnn_hvd.prediction.predictor import DEALT_BYTES, Predictor, example_bytes

DRAWS = 1000
MOST_WORK = 2e10  # examples x parameters x draws: 4 s of a dense network on one core, 9 s of a small convolutional one


@dataclasses.dataclass(frozen=True)
class PosteriorCheck:
    """The check of a run's state.

    train: the examples and the targets that it was trained on, as in `Arrays`; None if they are not there.
    """

    predictor: Predictor
    trained: TrainConfig
    train: tuple[Inputs, np.ndarray] | None

    def report(self, num_draws: int | None) -> dict[str, Any] | None:
        """Return the entry of uncertainty.json, or None where the draws have no density, or with num_draws = 0.

        num_draws: of q; None: DRAWS, where the network and the data are small enough.
        """
        if not self.predictor.method.base.num_random() or num_draws == 0:
            return None
        if reason := self._reason_against(num_draws):
            return {"left_out": reason}
        log_ratios_S = self.log_ratios(num_draws or DRAWS)
        k = pareto.k_hat(log_ratios_S)
        with np.errstate(invalid="ignore"):  # a run that diverged has no finite ratios
            std = float(log_ratios_S.std())
        return {
            "pareto_k": k, "log_ratio_std": std, "num_draws": len(log_ratios_S),
            "target": self._target(), "meaning": pareto.meaning(k),
        }  # fmt: skip

    def log_ratios(self, num_draws: int) -> np.ndarray:
        """Return log p(w_s, data) - log q(w_s) of each draw, up to a constant, in nats, float64 [S], on every rank."""
        method, state = self.predictor.method, self.predictor.state
        log_likelihood_S = self.log_likelihoods(num_draws)
        ratios = tf.function(lambda draws, part_S: method.log_ratios(state, draws, part_S), autograph=False)
        passes = self.predictor.passes(num_draws)
        cuts = np.cumsum([len(draws.seeds) for draws in passes])[:-1]
        parts = zip(passes, np.split(log_likelihood_S, cuts), strict=True)
        return np.concatenate([ratios(draws, part_S).numpy() for draws, part_S in parts])

    def log_likelihoods(self, num_draws: int) -> np.ndarray:
        """Return the log likelihood of all training examples under each draw, in nats, float64 [S], on every rank.

        Each rank computes it for its chunks; every rank adds all chunks up in the same order.
        """
        assert self.train is not None
        x, y_N = self.train[0], self.predictor.target.standardized(self.train[1])
        parts = (x, y_N, np.ones(len(y_N)))  # the ones become zeros where a chunk is padded
        blocks = self.predictor.blocks(DEALT_BYTES // example_bytes(x), len(y_N))
        of_pass, passes = tf.function(self._chunk_sums, autograph=False), self.predictor.passes(num_draws)
        found_KS = [np.zeros([0, num_draws])]
        for number, block in enumerate(blocks):
            chunks = [self.predictor.fill(part, block) for part in parts]
            of_block = []
            for done, draws in enumerate(passes, 1):
                of_block.append(of_pass(chunks, draws).numpy())
                self.predictor.on_progress(number * len(passes) + done, len(blocks) * len(passes))
            found_KS.append(np.concatenate(of_block, 1))
        return np.concatenate(self.predictor.ranks.gather(np.concatenate(found_KS))).sum(0)

    def _chunk_sums(self, chunks: list[tf.Tensor], draws: Draws) -> tf.Tensor:
        """Return the log likelihood of each chunk under the S draws of a pass, float64 [K, S]."""
        method = self.predictor.method
        forward = method.draw(self.predictor.state, draws)

        def one_chunk(parts: list[tf.Tensor]) -> tf.Tensor:
            x, y, is_example = parts
            nll = method.likelihood.nll(forward(self.predictor.standardize(x)), y)
            counts = tf.repeat(is_example, method.likelihood.labels_per_example)
            return -tf.reduce_sum(tf.cast(nll, tf.float64) * counts, -1)

        return tf.map_fn(one_chunk, chunks, fn_output_signature=tf.float64, parallel_iterations=1)

    def _reason_against(self, num_draws: int | None) -> str:
        """Return why there is no k-hat, "" if there is one."""
        trained, network = self.trained, self.predictor.method.network
        if trained.method.num_particles:
            return "the members of an ensemble have a density each, and the ensemble has none that is computed"
        if trained.data.options.fresh_noise:
            return "the run had new noise in every epoch: there is no set of data whose posterior it could be"
        if trained.data.augment:
            return "the run was trained on augmented images, whose posterior has no likelihood"
        if network.initial_statistics.size:
            return "with batch norm, the likelihood of an example depends on its batch"
        if not trained.schedule.kl_weight:
            return "with --kl_weight=0 there is no posterior"
        if self.train is None:
            return "these data have another training part than those of the run"
        work = float(len(self.train[0])) * network.num_parameters * DRAWS
        if num_draws is None and work > MOST_WORK:
            return f"{work:.1e} examples x parameters x draws take long: ask for it with --check_draws={DRAWS}"
        return ""

    def _target(self) -> str:
        """Return what q is compared with, in words."""
        method, kl_weight = self.predictor.method, self.trained.schedule.kl_weight
        rest = method.network.num_parameters - method.num_random()
        given = f" given the other {rest:,}" if rest else ""
        tempered = "" if kl_weight == 1 else f", tempered by --kl_weight={kl_weight:g}"
        return f"the posterior of {method.num_random():,} weights{given}{tempered}"


def check_lines(report: dict[str, Any]) -> list[str]:
    """Return the line that `predict` prints."""
    if not (found := report.get("posterior_check")):
        return []
    if "left_out" in found:
        return [f"{'pareto_k':24} left out: {found['left_out']}"]
    return [f"{'pareto_k':24} {found['pareto_k']:.2f} ({found['target']}): {found['meaning']}"]
