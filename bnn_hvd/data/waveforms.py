"""Whitened waveforms of binary black holes in one detector, by LALSuite (LIGO Scientific Collaboration 2018).

A second of data at 2,048 Hz is divided by the amplitude spectral density of Advanced LIGO at its design sensitivity.
Its noise is then standard normals, independent between the times, and the squared signal-to-noise ratio (SNR) of a
waveform is the sum of its squares. A second is taken as periodic, between F_LOW and the Nyquist frequency: the
waveforms of the prior (data/binaries.py) are shorter than it.

Legend: N waveforms, F frequencies from 0 to 1,024 Hz, T = 2,048 times.
"""

import functools
from collections.abc import Iterator
from types import ModuleType

import numpy as np

from bnn_hvd.data import binaries
from bnn_hvd.data.binaries import Binaries
from bnn_hvd.errors import UserError

TIMES = RATE = 2048  # one second
FREQUENCIES = np.arange(TIMES // 2 + 1)
F_LOW = 25  # Hz
DISTANCE_M = 1e25  # any: the amplitude follows from the SNR


@functools.cache
def lalsimulation() -> ModuleType:
    """Return LALSimulation.

    Raises:
      UserError: LALSuite is not installed.
    """
    try:
        import lalsimulation as module
    except ImportError:
        raise UserError(
            "the waveforms of binary black holes need LALSuite, which is not installed: `make install EXTRAS=gw` does; "
            "training and prediction need the file alone"
        ) from None
    return module


@functools.cache
def whitening() -> np.ndarray:
    """Return 1 / sqrt(power spectral density) [F], and 0 below F_LOW and at the Nyquist frequency."""
    density = lalsimulation().SimNoisePSDaLIGOZeroDetHighPower
    found = np.zeros(len(FREQUENCIES))
    found[F_LOW:-1] = [density(float(frequency)) ** -0.5 for frequency in FREQUENCIES[F_LOW:-1]]
    return found


def norm(spectrum: np.ndarray) -> np.ndarray:
    """Return the root of the sum of squares over time of whitened waveforms, their SNR: [..., F] -> [...]."""
    return np.sqrt(2 / TIMES * np.sum(np.abs(spectrum) ** 2, axis=-1))


def template(chirp_mass: float, mass_ratio: float, spin: float) -> np.ndarray:
    """Return the whitened spectrum [F] of a waveform of SNR 1 whose amplitude is largest at time 0.

    IMRPhenomD (Khan et al. 2016): the dominant mode, spins aligned with the orbit.
    """
    masses = [mass * SOLAR_MASS_KG for mass in binaries.component_masses(chirp_mass, mass_ratio)]
    series = lalsimulation().SimIMRPhenomDGenerateFD(
        0.0, 0.0, 1.0, *masses, spin, spin, float(F_LOW), float(FREQUENCIES[-1]), DISTANCE_M, None, 0
    )
    return _unit(series.data.data)


def precessing(chirp_mass: float, mass_ratio: float, random: np.random.Generator) -> np.ndarray:
    """Return the whitened spectrum [F] of a binary with large spins in the plane of its orbit, of SNR 1.

    IMRPhenomXPHM (Pratten et al. 2021) seen from a random side, with a random polarisation.
    """
    spins = [_in_plane(random) for _ in range(2)]
    masses = [mass * SOLAR_MASS_KG for mass in binaries.component_masses(chirp_mass, mass_ratio)]
    inclination, polarisation = np.arccos(random.uniform(-1, 1)), random.uniform(0, np.pi)
    model = lalsimulation()
    plus, cross = model.SimInspiralChooseFDWaveform(
        *masses, *spins[0], *spins[1], DISTANCE_M, inclination, 0.0, 0.0, 0.0, 0.0, 1.0, float(F_LOW),
        float(FREQUENCIES[-1]), float(F_LOW), None, model.IMRPhenomXPHM,
    )  # fmt: skip
    return _unit(np.cos(2 * polarisation) * plus.data.data + np.sin(2 * polarisation) * cross.data.data)


def sine_gaussian(random: np.random.Generator) -> np.ndarray:
    """Return the whitened spectrum [F] of a glitch, a sine times a Gaussian, of SNR 1, around time 0."""
    frequency, quality = np.exp(random.uniform(np.log(40), np.log(400))), np.exp(random.uniform(np.log(3), np.log(30)))
    duration_s = quality / (2 * np.pi * frequency)
    return _unit(np.exp(-0.5 * (2 * np.pi * duration_s * (FREQUENCIES - frequency)) ** 2).astype(complex))


def signal(spectrum: np.ndarray, snr: float, arrival_s: float, phase: float) -> np.ndarray:
    """Return the waveform over time [T] of a spectrum of SNR 1."""
    turned = spectrum * np.exp(1j * phase - 2j * np.pi * arrival_s * FREQUENCIES)
    return snr * np.fft.irfft(turned, TIMES)


def signals(found: Binaries) -> Iterator[np.ndarray]:
    """Yield the waveform over time [T] of each binary."""
    for chirp_mass, mass_ratio, spin, *where in zip(*found, strict=True):
        yield signal(template(chirp_mass, mass_ratio, spin), *where)


SOLAR_MASS_KG = 1.988409870698051e30  # of LAL


def _unit(spectrum: np.ndarray) -> np.ndarray:
    whitened = spectrum[: len(FREQUENCIES)] * whitening()
    return whitened / norm(whitened)


def _in_plane(random: np.random.Generator) -> tuple[float, float, float]:
    size, angle = random.uniform(0.6, 0.9), random.uniform(0, 2 * np.pi)
    return size * np.cos(angle), size * np.sin(angle), 0.0
