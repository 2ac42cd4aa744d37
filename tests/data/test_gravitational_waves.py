"""Gravitational waves: the file, the noise that training adds, and the waveforms against LALSuite's own SNR."""

import sys

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from gw_file import TIMES, write_gw

from bnn_hvd.config import PrepareDataConfig, resolve
from bnn_hvd.data import binaries, download, gravitational_waves, sources, waveforms
from bnn_hvd.data.pipeline import Examples
from bnn_hvd.data.standardize import fit
from bnn_hvd.errors import UserError
from bnn_hvd.training.plan import Plan, Progress

FLAGS = {"dataset": "gravitational_waves", "method": "point", "steps": 4}
STANDARDIZER = fit(np.zeros([1, 1], np.float32), "none")


def needs_lalsuite() -> None:
    pytest.importorskip("lalsimulation", reason="LALSuite is not installed: make install EXTRAS=gw")


def prepare(path, **flags) -> dict[str, np.ndarray]:
    config = PrepareDataConfig(dataset="gravitational_waves", data_dir=str(path), **flags)
    assert download.main(config) == 0
    with np.load(path) as arrays:
        return dict(arrays)


def test_the_file_is_read_with_its_names_and_further_sets(tmp_path):
    config = resolve(**FLAGS, data_dir=str(write_gw(tmp_path / "gw.npz")))
    arrays = sources.load_configured(config)
    assert (config.network.architecture, config.data.standardize) == ("gw", "none")
    assert arrays.target_names == binaries.TARGETS == arrays.target().names
    assert (arrays.x_train.shape, arrays.y_train.shape, arrays.x_train.dtype) == ((96, TIMES), (96, 3), np.float32)
    assert set(arrays.unseen) == {"noise", "glitch"}
    assert arrays.facts_test["snr_N"].shape == (24,)


def test_another_file_and_flags_that_do_not_fit_are_users_mistakes(tmp_path):
    np.savez(tmp_path / "other.npz", x_train=np.zeros([2, 3]), y_train=[0, 1], x_test=np.zeros([2, 3]), y_test=[0, 1])
    for path, says in ((tmp_path / "other.npz", "has no gravitational waves"), ("none.npz", "none.npz is no file")):
        with pytest.raises(UserError, match=says):
            sources.load("gravitational_waves", str(path))
    with pytest.raises(UserError, match="samples the posterior of fixed data: take another method"):
        resolve(**(FLAGS | {"method": "hmc"}))
    with pytest.raises(UserError, match="--num_train is of --dataset=gravitational_waves, not of mnist"):
        download.main(PrepareDataConfig(dataset="mnist", data_dir=str(tmp_path), num_train=10))
    with pytest.raises(UserError, match=r"must end in \.npz"):
        prepare(tmp_path / "folder")


def test_without_lalsuite_one_sentence_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lalsimulation", None)
    waveforms.lalsimulation.cache_clear()
    with pytest.raises(UserError, match="make install EXTRAS=gw"):
        prepare(tmp_path / "gw.npz")
    assert not (tmp_path / "gw.npz").exists()


def batch(seed: list[int], index: list[int]) -> np.ndarray:
    """Return strain [N, T] of signals that are 100 x the number of the example."""
    signal = np.repeat(100 * np.arange(8, dtype=np.float32)[:, None], TIMES, axis=1)
    examples = Examples(signal, np.zeros([8, 3], np.float32), STANDARDIZER, fresh_noise=True)
    return examples.take(tf.constant(index), None, tf.constant(seed, tf.int64)).x.numpy()


def test_noise_is_added_to_the_signal_as_standard_normals():
    """False-fail rate 1e-6 each: Kolmogorov-Smirnov, and neighbouring times without correlation (6 deviations)."""
    noise_NT = batch([5, 6], list(range(8))) - 100 * np.arange(8)[:, None]
    assert scipy.stats.kstest(noise_NT.ravel(), "norm").pvalue > 1e-6
    for correlation in (np.mean(noise_NT[:, 1:] * noise_NT[:, :-1]), np.mean(noise_NT[1:] * noise_NT[:-1])):
        assert abs(correlation) < 6 / np.sqrt(noise_NT.size)


def test_the_noise_belongs_to_the_example_and_the_epoch():
    """It depends neither on the batch nor on the rank, so that a run is the same on any number of ranks."""
    together, other_epoch = batch([5, 6], [1, 4, 7]), batch([5, 7], [1, 4, 7])
    np.testing.assert_array_equal(together[1:], batch([5, 6], [4, 7]))
    assert np.abs(together - other_epoch).min(axis=1).max() < 1  # no example keeps its noise
    assert (np.abs(together - other_epoch).max(axis=1) > 1).all()
    config = resolve(**FLAGS, batch_size=4)
    first, same = (Plan(config, 8, rank, 2).next_call(Progress(), 1).strain_seeds_T2 for rank in range(2))
    later = Plan(config, 8, 0, 2).next_call(Progress(step=1, epoch=1), 1).strain_seeds_T2
    np.testing.assert_array_equal(first, same)
    assert (first != later).any()


def test_binaries_are_in_the_prior_or_beyond_it():
    """False-fail rate of each Kolmogorov-Smirnov test: 1e-6."""
    drawn = binaries.draw(np.random.default_rng(0), 2000)
    for values, low_high in (
        (np.log(drawn.chirp_mass), np.log(binaries.CHIRP_MASS)), (drawn.mass_ratio, binaries.MASS_RATIO),
        (drawn.spin, binaries.SPIN), (np.log(drawn.snr), np.log(binaries.SNR)),
    ):  # fmt: skip
        low, high = low_high
        assert scipy.stats.kstest((values - low) / (high - low), "uniform").pvalue > 1e-6
    beyond = binaries.draw_beyond(np.random.default_rng(0), 100)
    assert (beyond.chirp_mass[:50] > binaries.CHIRP_MASS[1]).all()
    assert (beyond.mass_ratio[50:] < binaries.MASS_RATIO[0]).all()
    m1, m2 = binaries.component_masses(drawn.chirp_mass, drawn.mass_ratio)
    np.testing.assert_allclose((m1 * m2) ** 0.6 / (m1 + m2) ** 0.2, drawn.chirp_mass)
    np.testing.assert_allclose(m2 / m1, drawn.mass_ratio)


def test_whitened_waveforms_have_the_snr_of_the_integral_over_frequencies():
    """rho^2 = 4 integral |h|^2 / S df of LALSimulation's own strain, for one binary at three distances."""
    needs_lalsuite()
    model, found = waveforms.lalsimulation(), []
    m1, m2 = (mass * waveforms.SOLAR_MASS_KG for mass in binaries.component_masses(30.0, 0.5))
    for distance in (1e24, 1e25):
        series = model.SimIMRPhenomDGenerateFD(0.0, 0.0, 1.0, m1, m2, 0.3, 0.3, 25.0, 1024.0, distance, None, 0)
        density = [model.SimNoisePSDaLIGOZeroDetHighPower(float(f)) for f in range(25, 1024)]
        strain = series.data.data[25:1024]
        found.append(np.sqrt(4 * np.sum(np.abs(strain) ** 2 / density)))
        # Whitened so that noise of that density has a variance of 1 at 2,048 Hz.
        spectrum = np.concatenate([np.zeros(25), strain / np.sqrt(density) * np.sqrt(2 * TIMES), [0]])
        np.testing.assert_allclose(waveforms.norm(spectrum), found[-1], rtol=1e-6)
        template = waveforms.template(30.0, 0.5, 0.3)
        np.testing.assert_allclose(template, spectrum / found[-1], atol=1e-5)
    assert found[0] == pytest.approx(10 * found[1])


def test_a_signal_has_its_snr_arrives_in_time_and_lies_within_the_second():
    needs_lalsuite()
    for number, wave in enumerate(waveforms.signals(drawn := binaries.draw(np.random.default_rng(1), 50))):
        assert np.linalg.norm(wave) == pytest.approx(drawn.snr[number], rel=1e-6)
        assert abs(np.abs(wave).argmax() / TIMES - drawn.arrival_s[number]) < 0.03
        assert np.sum(wave[: TIMES // 40] ** 2) < 0.01 * np.sum(wave**2)


def test_prepared_files_are_the_same_for_a_seed_and_their_test_part_has_standard_noise(tmp_path):
    needs_lalsuite()
    sizes = {"num_train": 20, "num_test": 30, "num_unseen": 10}
    first, again, other = (prepare(tmp_path / f"{seed}.npz", seed=seed, **sizes) for seed in (3, 3, 4))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["x_test"], other["x_test"])
    noise = (first["x_test"].astype(np.float64) - first["signal_test"]).ravel()
    assert scipy.stats.kstest(noise, "norm").pvalue > 1e-6
    np.testing.assert_allclose(np.linalg.norm(first["signal_test"].astype(float), axis=1), first["snr_test"], rtol=1e-3)
    arrays = gravitational_waves.gravitational_waves(str(tmp_path / "3.npz"))
    assert {name: x.shape for name, x in arrays.unseen.items()} == dict.fromkeys(
        gravitational_waves.UNSEEN, (10, TIMES)
    )
    assert scipy.stats.kstest(arrays.unseen["noise"].ravel().astype(float), "norm").pvalue > 1e-6
