"""Gravitational waves of binary black holes: simulating a file of them, and reading it.

An example is one second of whitened strain (data/waveforms.py); the targets are the logarithm of the chirp mass, the
logit of the mass ratio and the effective spin (data/binaries.py). The training part has no noise: training adds it,
afresh in every epoch (data/pipeline.py). The test part has noise of its own.

Legend: N examples, T = 2,048 times, D = 3 targets.
"""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import numpy as np

from bnn_hvd.config import PrepareDataConfig, fill
from bnn_hvd.config.options import FILES, DataOptions, Values
from bnn_hvd.data import binaries, formats, waveforms
from bnn_hvd.data.arrays import Arrays
from bnn_hvd.errors import UserError
from bnn_hvd.run import records

NUM_TRAIN, NUM_TEST, NUM_UNSEEN = 100_000, 1000, 500
PARTS = ("train", "test", "precessing", "beyond", "glitch", "noise")  # their seeds: append new ones at the end
UNSEEN = PARTS[2:]  # test sets of what training never saw


@dataclasses.dataclass(frozen=True)
class GravitationalWavesOptions(DataOptions):
    """Facts of gravitational waves; they have no flags of their own."""

    takes = FILES | {"standardize_targets"}
    defaults: ClassVar[Values] = {"standardize": "none"}  # whitened strain has a standard deviation of 1
    fresh_noise = True

    @classmethod
    def fill(cls, values: Values) -> None:
        fill(values, architecture="gw")


def gravitational_waves(path: str) -> Arrays:
    """Read the file that `prepare_data --dataset=gravitational_waves` writes.

    Raises:
      UserError: there is no such file, or it is another one.
    """
    file = Path(path).expanduser().absolute()
    if not path or not file.is_file():
        raise UserError(
            f"--dataset=gravitational_waves needs --data_dir=FILE, and {path or 'none'} is no file: `python -m bnn_hvd "
            "prepare_data --dataset=gravitational_waves --data_dir=gw.npz` makes it"
        )
    parts = formats.read_npz(file)
    with formats.reading(file), np.load(file, allow_pickle=False) as archive:
        further = {name: archive[name] for name in archive.files if name not in formats.KEYS}
    if "snr_test" not in further or parts["y_train"].shape[1:] != (len(binaries.TARGETS),):
        raise UserError(f"{file} has no gravitational waves: give the file that prepare_data wrote")
    unseen = {name: further[f"x_{name}"].astype(np.float32) for name in UNSEEN if f"x_{name}" in further}
    facts = {"snr_N": further["snr_test"], "signal_NT": further["signal_test"], "strain_NT": parts["x_test"]}
    x_train, x_test = (parts[name].astype(np.float32) for name in ("x_train", "x_test"))
    return Arrays(
        x_train, parts["y_train"], x_test, parts["y_test"], num_classes=0, class_names=(),
        target_names=binaries.TARGETS, unseen=unseen, facts_test=facts,
    )  # fmt: skip


def prepare(config: PrepareDataConfig) -> int:
    """Simulate --num_train and --num_test binaries, and test sets of what training never sees; return the exit code.

    Strain is stored as float16, to halve the file: the rounding is a thousand times smaller than the noise.
    """
    file = Path(config.data_dir).expanduser().absolute()
    if file.suffix != ".npz":
        raise UserError(f"--data_dir={config.data_dir} must end in .npz: gravitational waves are one file")
    waveforms.lalsimulation()
    records.make_writable("the folder of --data_dir", file.parent)
    train = binaries.draw(_random(config, "train"), config.num_train or NUM_TRAIN)
    test = binaries.draw(_random(config, "test"), config.num_test or NUM_TEST)
    print(f"simulating {len(train.snr):,} binaries for training and {len(test.snr):,} for the test ...", flush=True)
    signal_test = _stacked(waveforms.signals(test))
    arrays = {
        "x_train": _stacked(waveforms.signals(train)), "y_train": train.targets(),
        "x_test": _with_noise(signal_test, _random(config, "test", 1)), "y_test": test.targets(),
        "signal_test": signal_test, "snr_test": test.snr.astype(np.float32),
        "arrival_s_test": test.arrival_s, "phase_test": test.phase,
    }  # fmt: skip
    num_unseen = NUM_UNSEEN if config.num_unseen is None else config.num_unseen
    arrays |= {f"x_{name}": simulate_unseen(name, _random(config, name), num_unseen) for name in UNSEEN if num_unseen}
    records.write_npz(file, arrays)
    print(f"{file} is complete ({file.stat().st_size / 1e6:.0f} MB). Next:")
    print(f"  python -m bnn_hvd train --dataset=gravitational_waves --data_dir={config.data_dir}")
    return 0


def simulate_unseen(name: str, random: np.random.Generator, count: int) -> np.ndarray:
    """Return strain [N, T] with noise, of the set `name` of UNSEEN."""
    found = (binaries.draw_beyond if name == "beyond" else binaries.draw)(random, count)
    where = list(zip(found.snr, found.arrival_s, found.phase, strict=True))
    if name == "beyond":
        waves = list(waveforms.signals(found))
    elif name == "precessing":
        waves = [
            waveforms.signal(waveforms.precessing(chirp_mass, mass_ratio, random), *place)
            for chirp_mass, mass_ratio, place in zip(found.chirp_mass, found.mass_ratio, where, strict=True)
        ]
    elif name == "glitch":
        waves = [waveforms.signal(waveforms.sine_gaussian(random), *place) for place in where]
    else:
        waves = [np.zeros(waveforms.TIMES)] * count
    return _with_noise(_stacked(waves), random)


def _random(config: PrepareDataConfig, part: str, purpose: int = 0) -> np.random.Generator:
    return np.random.default_rng([config.seed, PARTS.index(part), purpose])


def _stacked(waves: Iterable[np.ndarray]) -> np.ndarray:
    """Return waveforms [N, T] as float16, one at a time: in float64 they would need four times the memory."""
    return np.stack([wave.astype(np.float16) for wave in waves])


def _with_noise(signal_NT: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return (signal_NT + random.standard_normal(signal_NT.shape, np.float32)).astype(np.float16)
