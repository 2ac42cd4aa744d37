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
    """An update of params = [loc (B), log scale (B), deterministic weights (P - B)], [..., P + B].

    loc: by `rule`, times 1 + scale / REFERENCE_SCALE. Deterministic weights: by `rule`. Its slots are [..., P].
    log scale: by a natural gradient of controls.scale_rate, for a loss per example of `num_train` examples. As long as
    controls.scale_ceiling is below 1, no scale grows beyond that part (in logarithms) of the way from `init_scale` to
    `prior_scale`.
    """

    rule: Adam | SGD
    num_bayesian: int
    num_train: int
    init_scale: float
    prior_scale: float
    kernels: Mapping[str, slice]  # of the weights with a distribution

    def slots(self, params: tf.Variable) -> dict[str, tf.Variable]:
        return self.rule.slots(params[..., self.num_bayesian :])

    def apply(
        self, params: tf.Variable, slots: dict[str, tf.Variable], gradient: tf.Tensor, controls: Controls,
        step: tf.Tensor,
    ) -> Scalars:  # fmt: skip
        numbers = [controls.learning_rate, tf.cast(step + 1, tf.float32), *self._of_scales(controls)]
        new, new_slots, pulls = _updated(
            self.rule, self.num_bayesian, tf.convert_to_tensor(params),
            {name: tf.convert_to_tensor(slots[name]) for name in self.rule.slot_names}, gradient, tf.stack(numbers),
        )  # fmt: skip
        params.assign(new)
        for name, value in new_slots.items():
            slots[name].assign(value)
        to_log_scale = gradient[..., self.num_bayesian : 2 * self.num_bayesian]
        pulls |= mean_of_kernels("scale_pull", to_log_scale, self.kernels)
        return {name: effective_size(self.num_train, controls.kl_weight) * pull for name, pull in pulls.items()}

    def _of_scales(self, controls: Controls) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the factor of the gradient in the step of the log precision, and the largest log scale."""
        start, end = math.log(self.init_scale), math.log(max(self.init_scale, self.prior_scale))
        ceiling = tf.where(controls.scale_ceiling < 1.0, start + (end - start) * controls.scale_ceiling, math.inf)
        return controls.scale_rate * effective_size(self.num_train, controls.kl_weight), ceiling


@noise.compiled
def _updated(
    rule: Adam | SGD,
    bayesian: int,
    params: tf.Tensor,
    slots: dict[str, tf.Tensor],
    gradient: tf.Tensor,
    numbers: tf.Tensor,
) -> tuple[tf.Tensor, dict[str, tf.Tensor], Scalars]:  # fmt: skip
    """Return the new params and slots, and the means over the weights of the gradients by log scale and by the log of
    the factor of all means; both are 0 on average at an optimum.

    The factor of the precision, 1 + u + u^2 / 2 with u a rate times the gradient by log scale in nats, is positive
    for every u (Lin, Schmidt & Khan 2020).
    """
    learning_rate, count, scale_rate, ceiling = tf.unstack(numbers)
    sizes = [bayesian, bayesian, params.shape[-1] - 2 * bayesian]
    (loc, log_scale, rest), (to_loc, to_log_scale, to_rest) = (tf.split(x, sizes, -1) for x in (params, gradient))
    change, slots = rule.change(slots, tf.concat([to_loc, to_rest], -1), learning_rate, count)
    change_loc, change_rest = tf.split(change, [sizes[0], sizes[2]], -1)
    u = scale_rate * to_log_scale
    stepped = log_scale - 0.5 * tf.math.log(1.0 + u + 0.5 * u * u)
    new = [
        loc + change_loc * (1.0 + tf.exp(log_scale) / REFERENCE_SCALE),
        tf.minimum(stepped, tf.maximum(log_scale, ceiling)),
        rest + change_rest,
    ]
    sums = {"scale_pull": tf.reduce_sum(to_log_scale, -1), "mean_pull": tf.reduce_sum(loc * to_loc, -1)}
    pulls = {name: total / max(1, bayesian) for name, total in sums.items()}
    return tf.concat(new, -1), slots, pulls
