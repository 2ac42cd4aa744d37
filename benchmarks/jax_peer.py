"""The peers in JAX: Hamiltonian Monte Carlo on logistic regression, each trajectory in one jit.

One is written in plain JAX, on its newest version; the other is TensorFlow Probability's, on the newest JAX that it can
be imported with. Each has its own environment: see environments.py.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import environments, workload
from benchmarks.workers import Case


class Environment(NamedTuple):
    """The name of an environment, and its packages."""

    name: str
    packages: tuple[str, ...]


PLAIN, TFP = "jax", "tfp on jax"
INSTALL = {
    PLAIN: Environment("jax", ("jax==0.10.2",)),
    TFP: Environment("tfp_jax", ("jax==0.6.2", "tensorflow-probability==0.25.0")),  # not importable with JAX 0.7
}
CHAINS, LEAPFROGS, STEP_SIZE = (1, 2), 100, 1e-4  # as in hmc.py


def environment(peer: str, create: bool) -> Path | None:
    """Return the Python that has a peer's JAX; None if it does not exist, and `create` is false or fails."""
    return environments.python_of(INSTALL[peer].name, [INSTALL[peer].packages], create)


def cases(spec: dict[str, Any]) -> Iterator[Case]:
    """Yield the trajectories of each number of chains, by the peer that `spec` names."""
    if spec["threads"] == 1:
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    for chains in CHAINS:
        yield chain(chains, {PLAIN: by_jax, TFP: by_tfp}[spec["peer"]])


def chain(chains: int, sampler: Callable[..., tuple[Any, Any]]) -> Case:
    """Return trajectories of this number of chains; one matrix product with the data serves all of them."""
    import jax
    import jax.numpy as jnp

    x, y = workload.training_part("linear")
    x = jnp.asarray((x.reshape(len(x), -1).astype("float32") - workload.MEAN) / workload.STD)
    y = jnp.asarray(y)
    held, trajectory = sampler([jnp.zeros([chains, x.shape[1], 10]), jnp.zeros([chains, 10])], x, y)
    holder = [held]

    def run(steps: int) -> None:
        for i in range(max(1, steps // LEAPFROGS)):
            holder[0] = trajectory(holder[0], jax.random.PRNGKey(i), x, y)
        jax.block_until_ready(holder[0])

    return Case("linear", f"{chains} chain{'s' * (chains > 1)}", run, steps=LEAPFROGS)


def log_posterior(kernel: Any, bias: Any, x: Any, y: Any) -> Any:
    """Return the log posterior of each chain [M], up to a constant: kernel [M, D, K], bias [M, K], x [N, D], y [N]."""
    import jax
    import jax.numpy as jnp

    logits_NMK = jnp.einsum("nd,mdk->nmk", x, kernel) + bias
    chosen_NM = jnp.take_along_axis(logits_NMK, y[:, None, None], -1)[..., 0]
    likelihood_M = (chosen_NM - jax.nn.logsumexp(logits_NMK, -1)).sum(0)
    return likelihood_M - 0.5 * (kernel**2).sum((1, 2)) - 0.5 * (bias**2).sum(1)


def by_jax(start: list[Any], x: Any, y: Any) -> tuple[Any, Any]:
    """Return the first state and a trajectory, in plain JAX. The state holds the value and the gradient at its end."""
    import jax
    import jax.numpy as jnp

    def value_and_gradient(position: Any, x: Any, y: Any) -> Any:
        def total(position: Any) -> Any:
            value_M = log_posterior(*position, x, y)
            return value_M.sum(), value_M

        (_, value_M), gradient = jax.value_and_grad(total, has_aux=True)(position)
        return value_M, gradient

    def plus(a: Any, factor: float, b: Any) -> Any:
        return jax.tree.map(lambda a, b: a + factor * b, a, b)

    def kinetic(momentum: Any) -> Any:
        return sum(0.5 * (p**2).reshape(len(p), -1).sum(1) for p in momentum)

    @jax.jit
    def trajectory(state: Any, key: Any, x: Any, y: Any) -> Any:
        position, value_M, gradient = state
        *keys, accept_key = jax.random.split(key, 1 + len(position))
        first = [jax.random.normal(one, q.shape) for one, q in zip(keys, position, strict=True)]

        def leapfrog(_: Any, moving: Any) -> Any:
            position, momentum, _, gradient = moving
            momentum = plus(momentum, 0.5 * STEP_SIZE, gradient)
            position = plus(position, STEP_SIZE, momentum)
            value_M, gradient = value_and_gradient(position, x, y)
            return position, plus(momentum, 0.5 * STEP_SIZE, gradient), value_M, gradient

        end = jax.lax.fori_loop(0, LEAPFROGS, leapfrog, (position, first, value_M, gradient))
        log_ratio_M = end[2] - value_M + kinetic(first) - kinetic(end[1])
        accept_M = jnp.log(jax.random.uniform(accept_key, log_ratio_M.shape)) < log_ratio_M

        def choose(new: Any, old: Any) -> Any:
            return jnp.where(accept_M.reshape(-1, *[1] * (new.ndim - 1)), new, old)

        return jax.tree.map(choose, (end[0], end[2], end[3]), state)

    value_M, gradient = jax.jit(value_and_gradient)(start, x, y)
    return (start, value_M, gradient), trajectory


def by_tfp(start: list[Any], x: Any, y: Any) -> tuple[Any, Any]:
    """Return the first state and a trajectory of TensorFlow Probability."""
    import jax
    from tensorflow_probability.substrates import jax as tfp

    def kernel(x: Any, y: Any) -> Any:
        return tfp.mcmc.HamiltonianMonteCarlo(lambda k, b: log_posterior(k, b, x, y), STEP_SIZE, LEAPFROGS)

    @jax.jit
    def trajectory(state: Any, key: Any, x: Any, y: Any) -> Any:
        return kernel(x, y).one_step(*state, key)[:2]

    first = jax.jit(lambda position, x, y: kernel(x, y).bootstrap_results(position))
    return (start, first(start, x, y)), trajectory
