"""The exact posterior of a binary black hole, on a grid of its three intrinsic parameters.

The strain is the waveform plus standard normal noise, so that with the whitened template u of SNR 1 the log likelihood
ratio to noise alone is rho Re(exp(i phase) Z(t)) - rho^2 / 2, where Z(t) is the matched filter at the arrival t. The
phase is integrated out in closed form, a Bessel function of rho |Z| (Whalen 1971), SNR rho and arrival t on grids.

The prior (data/binaries.py) is uniform in ln chirp mass, mass ratio and spin, so a cell of a grid in these weighs its
likelihood. A loud event fills a small and bent part of the prior: boxes are narrowed around it, and the last grid is in
a sheared coordinate, ln chirp mass less a quadratic function of the other two, which leaves volumes as they are.

Legend: C cells, F frequencies, M drawn values, P = 3 parameters (ln chirp mass, mass ratio, spin).
"""

import functools
from typing import NamedTuple

import numpy as np
import scipy.fft
from scipy import special

from bnn_hvd.data import binaries, waveforms

PRIOR = np.array([np.log(binaries.CHIRP_MASS), binaries.MASS_RATIO, binaries.SPIN])  # [P, 2]
FIRST_CELLS, NEXT_CELLS = (20, 8, 8), (12, 8, 8)  # of each parameter
SHEARED_CELLS = ((12, 8, 8), (16, 8, 8), (28, 13, 13))  # of the last grids
KEPT_FRACTIONS = (
    0.12,
    0.04,
    0.01,
)  # of the largest log likelihood: cells that far below it are kept, for each narrowing
LEAST_KEPT, LAST_KEPT = 14.0, 12.0  # nats below the largest
TIME_STEPS = 1 << 14  # per second: several per width of the arrival at SNR 40
TEMPLATES_AT_ONCE = 64
SNR_POINTS, MOST_FILTER, FILTER_STEP = 400, 60.0, 0.01


class Grid(NamedTuple):
    """Cells of a posterior: centres in sheared coordinates [C, P], half widths [P], log weights [C], and the shear."""

    centre_CP: np.ndarray
    half_P: np.ndarray
    log_weight_C: np.ndarray
    shear: np.ndarray

    def weights(self) -> np.ndarray:
        """Return the posterior probability of each cell [C]."""
        powers_C = np.exp(self.log_weight_C - self.log_weight_C.max())
        return powers_C / powers_C.sum()

    def draw(self, count: int, random: np.random.Generator) -> np.ndarray:
        """Return values [M, P] from the posterior, uniform within a cell."""
        cell_M = random.choice(len(self.centre_CP), count, p=self.weights())
        jitter_MP = random.uniform(-1, 1, [count, len(self.half_P)]) * self.half_P
        return unsheared(self.centre_CP[cell_M] + jitter_MP, self.shear)


def posterior(strain_T: np.ndarray) -> Grid:
    """Return the posterior of one event from its whitened strain [T]."""
    data_F = np.conj(np.fft.rfft(strain_T.astype(np.float64)))
    grid = Grid(*_cells(PRIOR, FIRST_CELLS), np.zeros(0), np.zeros(6))
    grid = grid._replace(log_weight_C=log_likelihoods(_first_templates(), data_F))
    for fraction in KEPT_FRACTIONS:
        kept_CP = grid.centre_CP[_near_best(grid, max(LEAST_KEPT, fraction * grid.log_weight_C.max()))]
        grid = _evaluated(_around(kept_CP, grid.half_P), NEXT_CELLS, np.zeros(6), data_F)
    for counts in SHEARED_CELLS:
        shear = _bend(grid)
        kept_CP = unsheared(grid.centre_CP[_near_best(grid, LAST_KEPT)], grid.shear)
        corners_CP = np.concatenate([kept_CP + 1.5 * grid.half_P * sign for sign in _corners()])
        box = _around(sheared(corners_CP, shear), np.zeros(3))
        box[1:] = np.clip(box[1:], PRIOR[1:, :1], PRIOR[1:, 1:])
        grid = _evaluated(box, counts, shear, data_F)
    return grid


def log_likelihoods(template_CF: np.ndarray, data_F: np.ndarray) -> np.ndarray:
    """Return the log likelihood ratio of each template [C], with SNR, arrival and phase integrated out over the prior.

    data_F: complex conjugate of the spectrum of the strain.
    """
    first, last = (round(edge * TIME_STEPS) for edge in binaries.ARRIVAL_S)
    filter_CT = scipy.fft.fft((2 / waveforms.TIMES) * template_CF * data_F, TIME_STEPS, axis=-1)[:, first:last]
    z, log_of_z = _over_snr()
    log_CT = np.interp(np.abs(filter_CT), z, log_of_z)
    return special.logsumexp(log_CT, axis=-1) - np.log(last - first)


@functools.cache
def _over_snr() -> tuple[np.ndarray, np.ndarray]:
    """Return |Z| and the logarithm of the mean over SNR and phase of exp(rho |Z| cos(phase) - rho^2 / 2)."""
    z = np.arange(0, MOST_FILTER, FILTER_STEP)
    low, high = np.log(binaries.SNR)
    edges = np.linspace(low, high, SNR_POINTS + 1)
    snr = np.exp((edges[1:] + edges[:-1]) / 2)[:, None]
    log_each = np.log(special.i0e(snr * z)) + snr * z - snr**2 / 2
    return z, special.logsumexp(log_each, axis=0) - np.log(SNR_POINTS)


def sheared(values_CP: np.ndarray, shear: np.ndarray) -> np.ndarray:
    """Return the values with ln chirp mass less the quadratic function of the other two."""
    return values_CP - _bending(values_CP, shear)


def unsheared(values_CP: np.ndarray, shear: np.ndarray) -> np.ndarray:
    return values_CP + _bending(values_CP, shear)


def _bending(values_CP: np.ndarray, shear: np.ndarray) -> np.ndarray:
    bent = np.zeros_like(values_CP)
    bent[:, 0] = _quadratic(values_CP[:, 1:]) @ shear
    return bent


def _quadratic(others_C2: np.ndarray) -> np.ndarray:
    q, spin = others_C2.T
    return np.stack([np.ones_like(q), q, spin, q**2, q * spin, spin**2], axis=-1)


def _bend(grid: Grid) -> np.ndarray:
    """Return the quadratic function of mass ratio and spin that fits ln chirp mass best, tempered to the finest cells.

    The small ridge keeps it flat in a direction in which the posterior has a single cell.
    """
    root_C = np.exp(0.5 * np.maximum((grid.log_weight_C - grid.log_weight_C.max()) / 3, -20))
    values_CP = unsheared(grid.centre_CP, grid.shear)
    features = np.concatenate([root_C[:, None] * _quadratic(values_CP[:, 1:]), 1e-3 * np.eye(6)])
    return np.linalg.lstsq(features, np.concatenate([root_C * values_CP[:, 0], np.zeros(6)]), rcond=None)[0]


def _near_best(grid: Grid, nats: float) -> np.ndarray:
    return grid.log_weight_C > grid.log_weight_C.max() - nats


def _corners() -> np.ndarray:
    return np.stack(np.meshgrid(*[[-1.0, 1.0]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)


def _around(values_CP: np.ndarray, margin_P: np.ndarray) -> np.ndarray:
    """Return the box [P, 2] around some cells, and a margin beyond it."""
    return np.stack([values_CP.min(axis=0) - 2 * margin_P, values_CP.max(axis=0) + 2 * margin_P], axis=-1)


def _evaluated(box: np.ndarray, counts: tuple[int, ...], shear: np.ndarray, data_F: np.ndarray) -> Grid:
    """Return the grid of a box, with the likelihood of the cells whose centres are in the prior."""
    centre_CP, half_P = _cells(box if shear.any() else np.clip(box, PRIOR[:, :1], PRIOR[:, 1:]), counts)
    values_CP = unsheared(centre_CP, shear)
    inside_C = np.all((values_CP > PRIOR[:, 0]) & (values_CP < PRIOR[:, 1]), axis=-1)
    centre_CP, values_CP = centre_CP[inside_C], values_CP[inside_C]
    parts = [
        log_likelihoods(_templates(values_CP[start : start + TEMPLATES_AT_ONCE]), data_F)
        for start in range(0, len(values_CP), TEMPLATES_AT_ONCE)
    ]
    return Grid(centre_CP, half_P, np.concatenate(parts), shear)


def _cells(box: np.ndarray, counts: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the centres [C, P] and the half widths [P] of the cells of a box [P, 2]."""
    half_P = (box[:, 1] - box[:, 0]) / (2 * np.array(counts))
    axes = [low + half * (2 * np.arange(n) + 1) for (low, _), half, n in zip(box, half_P, counts, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(box)), half_P


def _templates(values_CP: np.ndarray) -> np.ndarray:
    found = [waveforms.template(np.exp(log_mass), q, spin) for log_mass, q, spin in values_CP]
    return np.stack(found).astype(np.complex64)


@functools.cache
def _first_templates() -> np.ndarray:
    """Return the templates of the first grid, which is that of every event."""
    return _templates(_cells(PRIOR, FIRST_CELLS)[0])
