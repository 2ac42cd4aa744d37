"""The ring all-reduce: its time by hand, and the fit of its constants on made-up and on measured data."""

import json

import numpy as np
import pytest

from bnn_hvd import config
from bnn_hvd.errors import UserError
from bnn_hvd.studies.scaling import model

ALPHA, BETA = 2e-6, 1 / 8e9  # 2 µs, 8 GB/s
RANKS, BYTES = (column.ravel() for column in np.meshgrid([2, 4, 16, 64], [4, 1 << 10, 1 << 16, 1 << 20, 1 << 26]))


def test_ring_by_hand():
    """Four ranks with 4,000 bytes send 3 + 3 messages of 1,000 bytes, which take 1 s + 1,000 * 1 ms each."""
    assert model.ring_s(4, 4000, alpha_s=1.0, beta_s_per_byte=1e-3) == pytest.approx(6 * (1 + 1))
    assert model.ring_s(2, 500, 1.0, 0.0) == pytest.approx(2)
    assert model.ring_s(1, 500, 1.0, 1.0) == 0


def test_bandwidth_does_not_depend_on_the_number_of_ranks():
    """The ring is bandwidth-optimal (Patarasuk and Yuan 2009), as a rank sends less than 2 n bytes to sum n."""
    volume = model.ring_s([2, 64, 1024], 10**6, 0.0, 1e-6)
    assert (np.diff(volume) > 0).all()
    assert (volume < 2).all()


def test_the_fit_finds_the_constants_exactly_on_exact_data():
    assert model.fit(RANKS, BYTES, model.ring_s(RANKS, BYTES, ALPHA, BETA)) == pytest.approx((ALPHA, BETA), rel=1e-9)


def test_the_fit_finds_the_constants_on_noisy_data():
    """With 5 % noise on 20 points, both standard errors are 2 % (by simulation), so 10 % is five of them."""
    noise = np.random.default_rng(0).normal(1, 0.05, len(RANKS))
    fitted = model.fit(RANKS, BYTES, noise * model.ring_s(RANKS, BYTES, ALPHA, BETA))
    assert fitted == pytest.approx((ALPHA, BETA), rel=0.1)


def test_small_messages_count_as_much_as_large_ones():
    """A fit of absolute errors would miss the latency: 3 % noise on 64 MB is more than a hundred latencies."""
    ranks, sizes = np.full(5, 2), np.array([4, 64, 1 << 10, 1 << 20, 1 << 26])
    seconds = model.ring_s(ranks, sizes, ALPHA, BETA) * [1, 1, 1, 1, 1.03]
    assert model.fit(ranks, sizes, seconds)[0] == pytest.approx(ALPHA, rel=0.02)


@pytest.mark.parametrize(("sizes", "seconds"), [([4, 1 << 20], [2e-5, 1e-5]), ([1 << 10, 1 << 20], [1e-9, 1e-5])])
def test_constants_are_never_negative(sizes, seconds):
    fitted = model.fit([2, 2], sizes, seconds)
    assert min(fitted) == 0
    assert max(fitted) > 0


# (bytes, ms) for two ranks on one host, with MPI and a cycle of 0.1 ms: the fastest of several repetitions.
MEASURED = [(4, 0.180), (1 << 10, 0.177), (16 << 10, 0.180), (64 << 10, 0.249), (256 << 10, 0.405)]
UNSEEN = (400_000, 0.35)  # measured on another day, on a quiet machine


def write(path, points, **changes):
    rows = [
        {"library": "horovod MPI", "kind": "cycle 0.5", "ranks": 2, "message_bytes": size, "step_ms": ms, **changes}
        for size, ms in points
    ]
    path.write_text(json.dumps(rows))
    return path


def test_the_fit_to_the_measured_two_ranks(tmp_path):
    """It predicts the measurements to 15 %, and an unseen one, with a larger message, to a factor of 1.6."""
    link = model.measured(write(tmp_path / "allreduce.json", MEASURED))
    sizes, times_ms = np.array(MEASURED).T
    fitted_ms = 1e3 * model.ring_s(2, sizes, link.alpha_s, link.beta_s_per_byte)
    assert np.abs(fitted_ms / times_ms - 1).max() < 0.15
    unseen_ms = 1e3 * model.ring_s(2, UNSEEN[0], link.alpha_s, link.beta_s_per_byte)
    assert 1 / 1.6 < unseen_ms / UNSEEN[1] < 1.6


def test_of_several_repetitions_the_fastest_counts(tmp_path):
    link = model.measured(write(tmp_path / "slow.json", [(4, 90.0), (1 << 20, 95.0)], step_ms_min=0.5))
    assert 1e3 * model.ring_s(2, 4, link.alpha_s, link.beta_s_per_byte) == pytest.approx(0.5)


def test_of_several_settings_the_one_of_training_is_fitted(tmp_path):
    settings = [("horovod Gloo", "cycle 0.5"), ("horovod MPI", "cycle 1"), ("horovod MPI", "cycle 0.5")]
    files = [
        write(tmp_path / f"{i}.json", [(4, 1.0 + i), (1 << 20, 2.0 + i)], library=library, kind=kind)
        for i, (library, kind) in enumerate(settings)
    ]
    together = tmp_path / "together.json"
    together.write_text(json.dumps([row for file in files for row in json.loads(file.read_text())]))
    assert model.measured(together)[:2] == model.measured(files[2])[:2]


@pytest.mark.parametrize("content", ["[]", "{", '[{"library": "horovod MPI"}]', "3"])
def test_another_file_is_a_mistake_that_is_explained(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(UserError, match="python -m benchmarks allreduce"):
        model.measured(tmp_path / "x.json")


def test_every_named_interconnect_is_a_choice_of_the_flag():
    (field,) = (f for f in config.ScaleConfig.__dataclass_fields__.values() if f.name == "interconnect")
    assert set(field.metadata["choices"]) == set(model.INTERCONNECTS)
    for name in model.INTERCONNECTS:
        link = model.named(name)
        assert 1e-7 < link.alpha_s < 1e-4
        assert 1 <= link.gb_per_s <= 100
