"""The exact posterior: its integrals against quadrature, its cells, and its levels on events of the prior."""

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
from gw_file import write_gw

from bnn_hvd.config import ExactConfig
from bnn_hvd.data import binaries, sources, waveforms
from bnn_hvd.errors import UserError
from bnn_hvd.prediction import exact, exact_posterior
from bnn_hvd.prediction.exact_posterior import PRIOR, Grid
from bnn_hvd.prediction.reference import read_exact

RANDOM = np.random.default_rng(0)
EVENTS = 6


def test_snr_and_phase_are_integrated_out():
    """Against integrals over both by quadrature: uniform in ln SNR and in the phase."""
    low, high = binaries.SNR
    z, log_of_z = exact_posterior._over_snr()
    for size in (0.0, 5.0, 20.0):

        def density(phase: float, snr: float, size: float = size) -> float:
            return np.exp(snr * size * np.cos(phase) - snr**2 / 2) / (2 * np.pi * snr * np.log(high / low))

        expected = scipy.integrate.dblquad(density, low, high, -np.pi, np.pi, epsrel=1e-6)[0]
        assert np.interp(size, z, log_of_z) == pytest.approx(np.log(expected), rel=1e-3)


def test_shears_are_undone_and_keep_volumes():
    values, shear = RANDOM.normal(size=[50, 3]), RANDOM.normal(size=6)
    np.testing.assert_allclose(exact_posterior.unsheared(exact_posterior.sheared(values, shear), shear), values)
    steps = 1e-6 * np.eye(3)
    jacobian = (exact_posterior.sheared(values[:1] + steps, shear) - exact_posterior.sheared(values[:1], shear)) / 1e-6
    assert np.linalg.det(jacobian) == pytest.approx(1, abs=1e-5)


def test_drawn_values_have_the_moments_of_the_cells():
    """False-fail rate: means and variances within 6 standard errors."""
    centre_CP, half_P = exact_posterior._cells(PRIOR, (6, 5, 4))
    grid = Grid(centre_CP, half_P, RANDOM.normal(size=len(centre_CP)), np.zeros(6))
    values_MP, weights_C = grid.draw(40_000, RANDOM), grid.weights()
    mean_P = weights_C @ centre_CP
    variance_P = weights_C @ (centre_CP - mean_P) ** 2 + half_P**2 / 3
    assert np.abs((values_MP.mean(0) - mean_P) / np.sqrt(variance_P / 40_000)).max() < 6
    np.testing.assert_allclose(values_MP.var(0), variance_P, rtol=6 * np.sqrt(2 / 40_000))


def template_without_lalsuite(chirp_mass: float, mass_ratio: float, spin: float) -> np.ndarray:
    """Return a smooth spectrum of SNR 1 with three parameters of its own: a chirp of Newtonian form."""
    frequency = np.maximum(waveforms.FREQUENCIES, 1)
    amplitude = frequency ** (-7 / 6) * np.exp(-((frequency * chirp_mass / 4000) ** 2))
    phase = 0.02 * chirp_mass * (frequency / 100) ** (-5 / 3) * (1 + mass_ratio) + 3 * spin * (frequency / 100) ** 2
    spectrum = np.where(waveforms.FREQUENCIES < 25, 0, amplitude * np.exp(1j * phase))
    return spectrum / waveforms.norm(spectrum)


@pytest.fixture
def toy(monkeypatch):
    """Another waveform and coarser grids: the same code in a tenth of the time, and without LALSuite."""
    monkeypatch.setattr(waveforms, "template", template_without_lalsuite)
    monkeypatch.setattr(exact_posterior, "FIRST_CELLS", (16, 6, 6))
    monkeypatch.setattr(exact_posterior, "SHEARED_CELLS", ((10, 6, 6), (12, 6, 6), (14, 8, 8)))
    exact_posterior._first_templates.cache_clear()
    yield
    exact_posterior._first_templates.cache_clear()


def test_events_of_the_prior_have_uniform_levels(toy):
    """Of EVENTS x 3 levels; false-fail rate 1e-6. A posterior twice as narrow or off by two deviations fails."""
    drawn, levels = binaries.draw(RANDOM, EVENTS), []
    for number, wave in enumerate(waveforms.signals(drawn)):
        grid = exact_posterior.posterior(wave + RANDOM.standard_normal(waveforms.TIMES))
        truth = (np.log(drawn.chirp_mass[number]), drawn.mass_ratio[number], drawn.spin[number])
        levels.append(np.mean(grid.draw(2000, RANDOM) < truth, axis=0))
        assert 1 / np.sum(grid.weights() ** 2) > 10
    assert scipy.stats.kstest(np.ravel(levels), "uniform").pvalue > 1e-6
    assert np.abs(scipy.special.ndtri(np.clip(levels, 5e-4, 1 - 5e-4))).max() < 3.3


def test_the_verb_writes_posteriors_of_the_first_events(toy, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(waveforms, "lalsimulation", lambda: None)
    gw = write_gw(tmp_path / "gw.npz", num_test=3)
    with pytest.raises(UserError, match="--num_events=4 is more than the 3"):
        exact.main(ExactConfig(data_dir=str(gw), num_events=4))
    assert exact.main(ExactConfig(data_dir=str(gw), num_events=2)) == 0
    assert capsys.readouterr().out.count("p-value of uniform levels") == 3
    arrays = sources.load("gravitational_waves", str(gw))
    found = read_exact(tmp_path / "gw_exact.npz", arrays)
    assert (found["event_E"].tolist(), found["exact_values_EMD"].shape) == ([0, 1], (2, exact.NUM_DRAWN, 3))
    log_mass, _, spin = np.moveaxis(found["exact_values_EMD"], -1, 0)
    for values, (low, high) in ((log_mass, PRIOR[0]), (spin, PRIOR[2])):
        assert low - 1e-4 <= values.min() < values.max() <= high + 1e-4
    np.testing.assert_array_equal(found["y_ED"], arrays.y_test[:2])
