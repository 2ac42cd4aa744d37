"""The verb `exact`: the exact posteriors of simulated gravitational waves, to compare predictions with.

Ranks share the events. Legend: E events, M drawn values, D = 3 targets.
"""

from pathlib import Path

import numpy as np
from scipy import stats

from bnn_hvd.config import ExactConfig
from bnn_hvd.data import binaries, waveforms
from bnn_hvd.data.gravitational_waves import gravitational_waves
from bnn_hvd.distributed import cluster
from bnn_hvd.errors import UserError
from bnn_hvd.prediction import exact_posterior
from bnn_hvd.run import records
from bnn_hvd.run.heartbeat import Heartbeat

NUM_DRAWN = 4096  # values from each posterior


def main(config: ExactConfig) -> int:
    """Write the posteriors of the first --num_events test events of --data_dir; return the exit code."""
    waveforms.lalsimulation()
    arrays = gravitational_waves(config.data_dir)
    if config.num_events > len(arrays.x_test):
        raise UserError(f"--num_events={config.num_events} is more than the {len(arrays.x_test)} of {config.data_dir}")
    out = Path(config.out or Path(config.data_dir).with_suffix("").as_posix() + "_exact.npz")
    records.make_writable("the folder of --out", out.absolute().parent)
    ranks = cluster.connect()
    x_test = arrays.x_test[:]
    mine = range(ranks.rank, config.num_events, ranks.size)
    heartbeat = Heartbeat(lambda text: print(text, flush=True))
    found = []
    for done, event in enumerate(mine):
        if ranks.is_root:
            heartbeat.beat(f"exact: {done / len(mine):.0%} of the events of this rank")
        found.append((event, *draw_posterior(x_test[event], event)))
    events = sorted((one for part in ranks.gather(found) for one in part), key=lambda one: one[0])
    if ranks.is_root:
        event_E, values_EMD, cells_E = (np.stack(part) for part in zip(*events, strict=True))
        y_ED = arrays.y_test[event_E]
        level_ED = np.mean(values_EMD < y_ED[:, None], axis=1)
        records.write_npz(out, {
            "event_E": event_E, "exact_values_EMD": values_EMD, "level_ED": level_ED, "effective_cells_E": cells_E,
            "y_ED": y_ED, "snr_E": arrays.facts_test["snr_N"][event_E]
        })  # fmt: skip
        for d, name in enumerate(binaries.TARGETS):
            print(f"{name:20} p-value of uniform levels {stats.kstest(level_ED[:, d], 'uniform').pvalue:.3f}")
        print(f"written: {out}, the posteriors of {len(event_E)} events. Next:")
        print(f"  python -m bnn_hvd predict --run=RUN --exact={out}")
    ranks.barrier()
    return 0


def draw_posterior(strain_T: np.ndarray, event: int) -> tuple[np.ndarray, float]:
    """Return values [M, D] of the targets that are drawn from the posterior of an event, and its number of cells."""
    grid = exact_posterior.posterior(strain_T)
    values_MP = grid.draw(NUM_DRAWN, np.random.default_rng([event, NUM_DRAWN]))
    inside_MP = np.clip(values_MP, exact_posterior.PRIOR[:, 0], exact_posterior.PRIOR[:, 1] - 1e-6)
    log_mass, q, spin = inside_MP.T
    values_MD = np.stack([log_mass, binaries.logit(q), spin], axis=-1).astype(np.float32)
    return values_MD, float(1 / np.sum(grid.weights() ** 2))
