"""What a method says in `takes` is true: a common flag that it takes changes its training, and one that it refuses
would change nothing.

Two steps on one rank, outside of a graph. --compression and --gradient_blocks act where ranks average: the cluster here
takes part in both.
"""

import functools
from typing import Any

import numpy as np
import point_runs
import pytest
import tensorflow as tf
from oracles import draws

from bnn_hvd import registry, seeds
from bnn_hvd.config import TrainConfig, compose
from bnn_hvd.config.choices import CHOICES
from bnn_hvd.config.options import BAYESIAN, GRADIENT, LEARNING_RATE, MINI_BATCHES, OPTIMIZER, TEMPERING
from bnn_hvd.data.pipeline import Batch, Examples, Shard
from bnn_hvd.data.standardize import Standardizer
from bnn_hvd.distributed.cluster import Solo
from bnn_hvd.inference import checksums
from bnn_hvd.inference.build import build_method
from bnn_hvd.inference.controls import Controls
from bnn_hvd.models.build import build_network
from bnn_hvd.run.checkpoint import Progress
from bnn_hvd.targets import Classes
from bnn_hvd.training.plan import Plan

THREE = Classes(3)
RANDOM = np.random.default_rng(0)
X = RANDOM.integers(256, size=[48, 4, 4, 1], dtype=np.uint8)
Y = RANDOM.integers(3, size=48).astype(np.int32)
RAW = Standardizer(np.float32(128), np.float32(1 / 64))
# Another value of each common flag, with the flag that it needs.
CHANGES: dict[str, dict[str, Any]] = {
    "batch_size": {"batch_size": 12}, "shuffle_seed": {"shuffle_seed": 5}, "augment": {"augment": "crop_flip"},
    "learning_rate": {"learning_rate": 0.03}, "lr_scaling": {"lr_scaling": "none"},
    "lr_warmup_epochs": {"lr_warmup_epochs": 9.0}, "lr_schedule": {"lr_schedule": "cosine"},
    "lr_step_epochs": {"lr_schedule": "step", "lr_step_epochs": 1},
    "lr_step_factor": {"lr_schedule": "step", "lr_step_epochs": 1, "lr_step_factor": 0.3},
    "optimizer": {"optimizer": "sgd"}, "momentum": {"optimizer": "sgd", "momentum": 0.3},
    "nudge_step": {"nudge_step": 1},
    "kl_weight": {"kl_weight": 0.2}, "kl_warmup_epochs": {"kl_warmup_epochs": 4.0}, "init_seed": {"init_seed": 5},
    "noise_seed": {"noise_seed": 5}, "compression": {"compression": "fp16"},
    "gradient_blocks": {"gradient_blocks": 4}, "accumulate_steps": {"accumulate_steps": 2},
    "bayesian_layers": {"bayesian_layers": "all"},
    "bayesian_biases": {"bayesian_biases": True}, "num_particles": {"num_particles": 3},
    "member_batches": {"num_particles": 3, "member_batches": "own"},
}  # fmt: skip
BESIDE = {"member_batches": {"num_particles": 3}, "momentum": {"optimizer": "sgd"},
          "lr_step_factor": {"lr_schedule": "step", "lr_step_epochs": 1},
          "lr_step_epochs": {"lr_schedule": "step"}}  # fmt: skip
OWN = {
    "swag": {"swag_rank": 2, "swag_start_steps": 1, "swag_every_steps": 1},
    "hmc": {"num_chains": 2, "num_particles": 2, "hmc_burn_in_steps": 0, "hmc_kept_draws": 2, "hmc_leapfrog_steps": 2},
    "ensemble": {"num_particles": 2}, "svgd": {"num_particles": 2},
}  # fmt: skip
OWN["multiswag"] = OWN["swag"] | {"num_particles": 2}
# Of a method that refuses these, another value moves the weights about, or means another flag.
NOT_FORCED = BAYESIAN | GRADIENT | {"num_particles", "member_batches", "nudge_step", "init_seed"}


def config_of(method: str, changes: dict[str, Any]) -> TrainConfig:
    return compose(**{
        "method": method, "architecture": "mlp", "hidden": 3, "num_blocks": 0, "batch_size": 8, "epochs": 20,
        "bayesian_layers": "hidden", **OWN.get(method, {}), **changes,
    })  # fmt: skip


class OneOfTwo(Solo):
    """One of two ranks that have the same numbers: what they average is unchanged, but for its compression."""

    def __init__(self, config: TrainConfig):
        super().__init__(gradient_blocks=config.machine.gradient_blocks)
        self.compression = config.machine.compression
        self.size = 2 if self.compression != "none" else 1

    def sum(self, tensors, name):
        return [self.size * tensor for tensor in tensors]


def outcome(config: TrainConfig) -> bytes:
    """Return the state after two steps in the second epoch, and the outputs of two draws."""
    network = build_network(config, X.shape[1:], THREE)
    method = build_method(config, network, THREE, len(X), OneOfTwo(config))
    init = seeds.seed(config.run.root_seed("init"), "init")
    if config.method.num_particles and config.method.name in ("svgd", "hmc"):
        init = seeds.derive(init, member=np.arange(config.method.num_particles))
    state = method.init(init)
    step = checksums.with_checksums(method, config)
    plan = Plan(config, len(X), 0, 2, range(config.method.num_particles) if config.method.num_particles else None)
    progress = Progress(epoch=1)
    for _ in range(2):
        call = plan.next_call(progress, 1)
        progress = plan.advance(progress, 1)
        if plan.full_batch:
            batch = Shard(X, Y, RAW, slice(None)).take(tf.constant(0))
        else:
            crops = tf.constant(call.augmentation[0]) if config.data.augment else None
            batch = Examples(X, Y, RAW).take(tf.constant(call.examples[0]), crops)
        controls = Controls(*(tf.constant(part[0]) for part in call[1:6]))
        step(state, Batch(*batch)._replace(micro_batches=config.data.accumulate_steps), controls)
    outputs = method.draw(state, draws([0, 1]))((tf.cast(X[:5], tf.float32) - 128) / 64)
    return b"".join(variable.numpy().tobytes() for variable in state.variables) + outputs.numpy().tobytes()


@functools.cache
def usual(method: str, beside: tuple[tuple[str, Any], ...]) -> bytes:
    return outcome(config_of(method, dict(beside)))


def test_the_changes_are_of_all_common_flags():
    assert set(CHANGES) == MINI_BATCHES | LEARNING_RATE | OPTIMIZER | TEMPERING | GRADIENT | BAYESIAN | {
        "init_seed", "noise_seed", "num_particles", "member_batches",
    }  # fmt: skip


@pytest.mark.parametrize("method", registry.METHODS)
def test_a_flag_is_taken_where_it_changes_the_training(method):
    takes, wrong = CHOICES["method"].options_of(method).takes, []
    for name, change in CHANGES.items():
        if name not in takes and name in NOT_FORCED:
            continue
        beside = tuple(BESIDE.get(name, {}).items())
        same = outcome(config_of(method, change)) == usual(method, beside)
        if same == (name in takes):
            wrong.append((name, "is taken and changes nothing" if same else "is refused and would change something"))
    assert not wrong


def test_a_start_from_trained_weights_changes_the_training(tmp_path):
    run, _ = point_runs.write(tmp_path / "point", X.shape[1:], THREE,
                              flags={"architecture": "mlp", "hidden": 3, "num_blocks": 0})  # fmt: skip
    for method in registry.METHODS:
        if "init_from" in CHOICES["method"].options_of(method).takes:
            assert outcome(config_of(method, {"init_from": str(run)})) != usual(method, ()), method
