"""Binary black holes: the prior of their parameters, and the targets that a network learns.

The two holes have the same spin, aligned with the orbit, which is then the effective spin: a waveform has three
intrinsic parameters, and the exact posterior is on a grid of three (prediction/exact_posterior.py). Chirp masses are
those seen by the detector, in solar masses.

Legend: N binaries, D = 3 targets.
"""

from typing import NamedTuple

import numpy as np

TARGETS = ("ln_chirp_mass", "logit_mass_ratio", "effective_spin")
CHIRP_MASS, MASS_RATIO, SPIN = (20.0, 60.0), (0.25, 1.0), (-0.8, 0.8)  # uniform in ln chirp mass, and in the others
SNR = (8.0, 40.0)  # uniform in its logarithm
ARRIVAL_S = (0.85, 0.95)  # of the largest amplitude, in the second of data
HEAVY, UNEQUAL = (66.0, 110.0), (0.1, 0.22)  # chirp masses and mass ratios beyond the prior


class Binaries(NamedTuple):
    """Parameters of N binaries, each [N]: mass ratio q = m2 / m1 <= 1, arrival in seconds, phase in radians."""

    chirp_mass: np.ndarray
    mass_ratio: np.ndarray
    spin: np.ndarray
    snr: np.ndarray
    arrival_s: np.ndarray
    phase: np.ndarray

    def targets(self) -> np.ndarray:
        """Return [N, D], the columns TARGETS."""
        return np.stack([np.log(self.chirp_mass), logit(self.mass_ratio), self.spin], axis=-1).astype(np.float32)


def draw(random: np.random.Generator, count: int) -> Binaries:
    """Return binaries from the prior."""
    return Binaries(
        chirp_mass=_log_uniform(random, CHIRP_MASS, count),
        mass_ratio=random.uniform(*MASS_RATIO, count),
        spin=random.uniform(*SPIN, count),
        snr=_log_uniform(random, SNR, count),
        arrival_s=random.uniform(*ARRIVAL_S, count),
        phase=random.uniform(0, 2 * np.pi, count),
    )


def draw_beyond(random: np.random.Generator, count: int) -> Binaries:
    """Return binaries that are outside of the prior: the first half too heavy, the others too unequal."""
    inside, heavy = draw(random, count), np.arange(count) < count // 2
    return inside._replace(
        chirp_mass=np.where(heavy, _log_uniform(random, HEAVY, count), inside.chirp_mass),
        mass_ratio=np.where(heavy, inside.mass_ratio, random.uniform(*UNEQUAL, count)),
    )


def _log_uniform(random: np.random.Generator, ends: tuple[float, float], count: int) -> np.ndarray:
    low, high = np.log(ends)
    return np.exp(random.uniform(low, high, count))


def logit(q: np.ndarray) -> np.ndarray:
    return np.log(q / (1 - q))


def component_masses(chirp_mass: float, mass_ratio: float) -> tuple[float, float]:
    """Return the masses m1 >= m2: chirp mass = (m1 m2)^(3/5) / (m1 + m2)^(1/5)."""
    m1 = chirp_mass * (1 + mass_ratio) ** 0.2 / mass_ratio**0.6
    return m1, mass_ratio * m1
