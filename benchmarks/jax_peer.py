"""The peer in JAX: TensorFlow Probability's Hamiltonian Monte Carlo on logistic regression, in one jit.

It has its own environment: see environments.py.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import environments, workload
from benchmarks.workers import Case

INSTALL = (("numpy==2.0.2", "jax==0.4.38", "tensorflow-probability==0.25.0", "tf-keras==2.18.0", "psutil"),)
CHAINS, LEAPFROGS, STEP_SIZE = (1, 2), 100, 1e-4  # as in hmc.py


def environment(create: bool) -> Path | None:
    """Return the Python that has JAX; None if it does not exist, and `create` is false or fails."""
    return environments.python_of("jax", INSTALL, create)


def cases(spec: dict[str, Any]) -> Iterator[Case]:
    """Yield the trajectories of each number of chains."""
    if spec["threads"] == 1:
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    for chains in CHAINS:
        yield chain(chains)


def chain(chains: int) -> Case:
    """Return trajectories of this number of chains; one matrix product with the data serves all of them."""
    import jax
    import jax.numpy as jnp
    from tensorflow_probability.substrates import jax as tfp

    x, y = workload.training_part("linear")
    x = jnp.asarray((x.reshape(len(x), -1).astype("float32") - workload.MEAN) / workload.STD)
    y = jnp.asarray(y)

    def target(kernel: Any, bias: Any, x: Any, y: Any) -> Any:
        logits_NMK = jnp.einsum("nd,mdk->nmk", x, kernel) + bias
        chosen_NM = jnp.take_along_axis(logits_NMK, y[:, None, None], -1)[..., 0]
        likelihood_M = (chosen_NM - jax.nn.logsumexp(logits_NMK, -1)).sum(0)
        return likelihood_M - 0.5 * (kernel**2).sum((1, 2)) - 0.5 * (bias**2).sum(1)

    @jax.jit
    def trajectory(state: Any, results: Any, seed: Any, x: Any, y: Any) -> Any:
        kernel = tfp.mcmc.HamiltonianMonteCarlo(lambda k, b: target(k, b, x, y), STEP_SIZE, LEAPFROGS)
        return kernel.one_step(state, results, seed)

    @jax.jit
    def first(state: Any, x: Any, y: Any) -> Any:
        kernel = tfp.mcmc.HamiltonianMonteCarlo(lambda k, b: target(k, b, x, y), STEP_SIZE, LEAPFROGS)
        return kernel.bootstrap_results(state)

    held: dict[str, Any] = {"state": [jnp.zeros([chains, x.shape[1], 10]), jnp.zeros([chains, 10])]}
    held["results"] = first(held["state"], x, y)

    def run(steps: int) -> None:
        for i in range(max(1, steps // LEAPFROGS)):
            held["state"], held["results"] = trajectory(held["state"], held["results"], jax.random.PRNGKey(i), x, y)
        jax.block_until_ready(held["state"])

    return Case("linear", f"{chains} chain{'s' * (chains > 1)}", run, steps=LEAPFROGS)
