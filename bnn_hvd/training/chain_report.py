"""The diagnostics of a run of `hmc`: diagnostics.json, and the traces of its chains for the plots.

Legend: M chains, T trajectories, K kept draws of each chain, P weights, V traced quantities, N examples, n of them
looked at, L latents.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from bnn_hvd.data.pipeline import standardize_with
from bnn_hvd.data.standardize import Standardizer
from bnn_hvd.data.stored import Inputs
from bnn_hvd.inference.draw_ring import chronological
from bnn_hvd.inference.hmc import Hmc
from bnn_hvd.metrics import mcmc
from bnn_hvd.run import records
from bnn_hvd.training.plan import Plan

# R-hat and ESS are computed of at most so many weights, examples, and outputs per example, evenly spread.
MOST_WEIGHTS, MOST_EXAMPLES, MOST_OUTPUTS = 1000, 32, 32
DRAWS_AT_ONCE = 16


def write(plan: Plan, method: Hmc, state: Any, x: Inputs, standardizer: Standardizer) -> str:
    """Write diagnostics.json and chains.npz for the state of all chains; returns the line that `train` prints.

    x: inputs [N, ...], some of which are predicted; with local latents, those of the training part.
    """
    run, steps = plan.config.folder, int(state.step)
    first, trace_MTV = chronological(state.slots["trace"].numpy(), steps)
    burn_in = min(max(method.ring.burn_in - first, 0), trace_MTV.shape[1])
    traces = {f"{name}_MT": trace_MTV[..., i] for i, name in enumerate(method.trace)}
    records.write_npz(run / records.CHAINS, {**traces, "first": np.array(first), "burn_in": np.array(burn_in)})
    _, draws_MKP = chronological(state.slots["draws"].numpy(), int(method.ring.num_written(steps)))
    report = {
        "num_chains": len(draws_MKP), "trajectories": steps, "burn_in": method.ring.burn_in,
        "leapfrog_steps": method.leapfrog_steps, "kept_draws_per_chain": draws_MKP.shape[1],
        "too_few_draws": draws_MKP.shape[1] < mcmc.FEWEST,
        **of_traces(traces, burn_in), "weights": of_weights(draws_MKP), "cost": cost(plan, method),
    }  # fmt: skip
    if draws_MKP.shape[1]:
        report["predictions"] = of_weights(predictions(method, state, draws_MKP, x, standardizer))
    if method.network.local_parameters:
        report["kept_draws_bytes"] = method.kept_bytes
    records.write_json(run / records.DIAGNOSTICS, report)
    return text(report)


def of_traces(traces: dict[str, np.ndarray], burn_in: int) -> dict[str, Any]:
    """Return R-hat, ESS, acceptance, step size and divergences after burn-in, and the divergences in burn-in."""
    after = {name: values[:, burn_in:] for name, values in traces.items()}
    if not after["accept_MT"].size:
        return {}
    return {
        "log_posterior": quality(after["log_posterior_MT"]),
        "acceptance": after["accept_MT"].mean(1).tolist(),
        "step_size": after["step_size_MT"][:, -1].tolist(),
        "divergences": int(after["divergent_MT"].sum()),
        "divergences_in_burn_in": int(traces["divergent_MT"][:, :burn_in].sum()),
    }


def of_weights(draws_MKP: np.ndarray) -> dict[str, Any]:
    """Return the median and the worst R-hat and ESS of the weights."""
    chosen = _some(draws_MKP.shape[-1], MOST_WEIGHTS)
    each = [quality(draws_MKP[..., index]) for index in chosen]
    known = {name: [one[name] for one in each if not math.isnan(one[name])] for name in each[0]}
    return {
        "examined": len(chosen),
        "r_hat_median": _of(np.median, known["r_hat"]), "r_hat_max": _of(np.max, known["r_hat"]),
        "ess_bulk_median": _of(np.median, known["ess_bulk"]), "ess_bulk_min": _of(np.min, known["ess_bulk"]),
        "ess_tail_min": _of(np.min, known["ess_tail"]),
    }  # fmt: skip


def _of(statistic: Callable[..., Any], values: list[float]) -> float:
    """Return a statistic of the values that could be computed; NaN if there are none."""
    return float(statistic(values)) if values else math.nan


def predictions(method: Hmc, state: Any, draws_MKP: np.ndarray, x: Inputs, standardizer: Standardizer) -> np.ndarray:
    """Return what each draw predicts for some of the inputs x [N, ...]: [M, K, n O] (`Likelihood.predictive`).

    Hidden units may be permuted, and the factors of a matrix factorisation rotated, without a change of what is
    predicted: the R-hat of the weights says little about whether the predictions have converged.
    """
    examples = _some(len(x), MOST_EXAMPLES)
    if not method.network.local_parameters:
        chosen, local = standardize_with(standardizer)(x[examples]), None
    else:  # the input is the number of an example
        chosen = np.arange(len(examples), dtype=np.int32)[:, None]
        written = int(method.ring.num_written(state.step))
        local = _joined(chronological(state.slots["local_draws"].numpy()[:, :, examples], written)[1])
    chains, kept = draws_MKP.shape[:2]
    draws_DP = _joined(draws_MKP)
    found = []
    for first in range(0, chains * kept, DRAWS_AT_ONCE):
        some = slice(first, first + DRAWS_AT_ONCE)
        outputs = method.posterior.forward(draws_DP[some], None if local is None else local[some])(chosen)
        predicted = method.likelihood.predictive(outputs).numpy()
        found.append(predicted[..., _some(predicted.shape[-1], MOST_OUTPUTS)])
    return np.concatenate(found).reshape(chains, kept, -1)


def _some(count: int, most: int) -> np.ndarray:
    """Return at most so many of the numbers below `count`, evenly spread."""
    return np.unique(np.linspace(0, count - 1, most).round().astype(int))


def _joined(values_MK: np.ndarray) -> np.ndarray:
    """Return the draws of all chains, one after the other: [M, K, ...] -> [M K, ...]."""
    return values_MK.reshape(-1, *values_MK.shape[2:])


def quality(x_MN: np.ndarray) -> dict[str, float]:
    """Return R-hat, bulk ESS and tail ESS of N values from each of M chains; NaN where there are too few."""
    return {
        "r_hat": mcmc.r_hat(x_MN),
        "ess_bulk": mcmc.bulk_ess(x_MN),
        "ess_tail": mcmc.tail_ess(x_MN),
    }


def cost(plan: Plan, method: Hmc) -> dict[str, float]:
    """Return the speed of the leapfrog by rank 0's calls of the loop; one leapfrog step moves all chains of a rank."""
    rows = records.read_timings(plan.config.folder, "train")
    seconds = sum(row["seconds"] for row in rows)
    if not seconds:
        return {}
    leapfrogs = sum(row["steps"] for row in rows) * method.leapfrog_steps
    return {
        "leapfrog_steps_per_s": leapfrogs / seconds,
        "examples_x_gradients_per_s": leapfrogs * plan.num_train * plan.config.method.num_particles / seconds,
        "communication_share": sum(row["communication_s"] for row in rows) / seconds,
    }


def text(report: dict[str, Any]) -> str:
    """Return the line that `train` prints at its end."""
    found, cost = report.get("log_posterior", {}), report["cost"]
    if not found:
        return "no draws yet: burn-in has not ended"
    after = report["trajectories"] - report["burn_in"]
    convergence = [f"R-hat of the log posterior {_shown(found['r_hat'])}", f"bulk ESS {_shown(found['ess_bulk'])}"]
    if after < mcmc.FEWEST:
        convergence = [f"too few draws for R-hat and ESS ({after} after burn-in, they need {mcmc.FEWEST})"]
    parts = [
        *convergence, f"acceptance {np.mean(report['acceptance']):.2f}", f"{report['divergences']} divergences",
    ]  # fmt: skip
    if cost:
        parts.append(f"{cost['leapfrog_steps_per_s']:.1f} leapfrog steps/s")
    return ", ".join(parts)


def _shown(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "unknown (all draws are equal, or not finite)"
