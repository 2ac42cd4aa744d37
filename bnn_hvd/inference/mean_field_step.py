"""The step of vi: any update rule for the means, and natural gradients for the standard deviations.

The equations, and why the optimum is that of the ELBO, are in docs/maths.md.
Legend: B weights with a distribution, P all weights, M members.
"""

import dataclasses
import math
from collections.abc import Mapping

import tensorflow as tf

from bnn_hvd import noise
from bnn_hvd.inference.controls import Controls, Scalars
from bnn_hvd.inference.mean_field import effective_size, mean_of_kernels
from bnn_hvd.inference.optimizers import SGD, Adam, Optimizer

# Standard deviation at which the steps of a mean are twice those of a deterministic weight.
REFERENCE_SCALE = 0.02


@dataclasses.dataclass(frozen=True)
class MeanFieldStep(Optimizer):
    """An update of params = [log scale (B), loc (B), deterministic weights (P - B)], [..., P + B].

    loc: by `rule`, times 1 + scale / REFERENCE_SCALE. Deterministic weights: by `rule`. Its slots are [..., P].
    log scale: by a natural gradient of controls.scale_rate, for a loss per label of `num_labels` labels. As long as
    controls.scale_ceiling is below 1, no scale grows beyond that part (in logarithms) of the way from `init_scale` to
    `prior_scale`.
    """

    rule: Adam | SGD
    num_bayesian: int
    num_labels: int
    init_scale: float
    prior_scale: float
    kernels: Mapping[str, slice]  # of the weights with a distribution

    def slots(self, params: tf.Variable) -> dict[str, tf.Variable]:
        return self.rule.slots(params[..., self.num_bayesian :])

    def apply(
        self, params: tf.Variable, slots: dict[str, tf.Variable], gradient: tf.Tensor, controls: Controls,
        step: tf.Tensor,
    ) -> Scalars:  # fmt: skip
        numbers = tf.stack([controls.learning_rate, tf.cast(step + 1, tf.float32), *self._of_scales(controls)])
        before = tf.convert_to_tensor(params)
        new, new_slots = _updated(
            self.rule, self.num_bayesian, before, {name: tf.convert_to_tensor(slots[name]) for name in slots},
            gradient, numbers,
        )  # fmt: skip
        params.assign(tf.concat(new, -1))
        for name, value in new_slots.items():
            slots[name].assign(value)
        size = effective_size(self.num_labels, controls.kl_weight)
        return {name: size * pull for name, pull in self._pulls(before, gradient).items()}

    def _pulls(self, params: tf.Tensor, gradient: tf.Tensor) -> Scalars:
        """Return the means over the weights, and over those of each kernel, of the gradients by log scale, and the mean
        of those by the log of the factor of all means; all are 0 on average at an optimum."""
        to_log_scale, loc = gradient[..., : self.num_bayesian], slice(self.num_bayesian, 2 * self.num_bayesian)
        sums = {
            "scale_pull": tf.reduce_sum(to_log_scale, -1),
            "mean_pull": tf.reduce_sum(params[..., loc] * gradient[..., loc], -1),
        }
        pulls = {name: total / max(1, self.num_bayesian) for name, total in sums.items()}
        return pulls | mean_of_kernels("scale_pull", to_log_scale, self.kernels)

    def _of_scales(self, controls: Controls) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the factor of the gradient in the step of the log precision, and the largest log scale."""
        start, end = math.log(self.init_scale), math.log(max(self.init_scale, self.prior_scale))
        ceiling = tf.where(controls.scale_ceiling < 1.0, start + (end - start) * controls.scale_ceiling, math.inf)
        return controls.scale_rate * effective_size(self.num_labels, controls.kl_weight), ceiling


@noise.compiled
def _updated(
    rule: Adam | SGD,
    bayesian: int,
    params: tf.Tensor,
    slots: dict[str, tf.Tensor],
    gradient: tf.Tensor,
    numbers: tf.Tensor,
) -> tuple[list[tf.Tensor], dict[str, tf.Tensor]]:
    """Return the three parts of the new params, and the new slots.

    The parts are concatenated outside: XLA would decide for each number anew to which it belongs. For the same reason
    no sum is computed here. The factor of the precision, 1 + u + u^2 / 2 with u a rate times the gradient by log scale
    in nats, is positive for every u (Lin, Schmidt & Khan 2020).
    """
    learning_rate, count, scale_rate, ceiling = tf.unstack(numbers)
    log_scale, weights = params[..., :bayesian], params[..., bayesian:]
    change, slots = rule.change(slots, gradient[..., bayesian:], learning_rate, count)
    u = scale_rate * gradient[..., :bayesian]
    stepped = log_scale - 0.5 * tf.math.log(1.0 + u + 0.5 * u * u)
    new = [
        tf.minimum(stepped, tf.maximum(log_scale, ceiling)),
        weights[..., :bayesian] + change[..., :bayesian] * (1.0 + tf.exp(log_scale) / REFERENCE_SCALE),
        weights[..., bayesian:] + change[..., bayesian:],
    ]
    return new, slots
