"""The all-reduce: its time by hand, and the fit of its constants on made-up and on measured data."""

import json

import numpy as np
import pytest

from bnn_hvd import config
from bnn_hvd.errors import UserError
from bnn_hvd.studies.scaling import model

ALPHA, BETA = 2e-6, 1 / 8e9  # 2 µs, 8 GB/s
RANKS, BYTES = (column.ravel() for column in np.meshgrid([2, 4, 16, 64], [4, 1 << 10, 1 << 16, 1 << 20, 1 << 26]))


def seconds(ranks=RANKS, sizes=BYTES, alpha_s=ALPHA, beta_s_per_byte=BETA):
    pairs = np.broadcast(ranks, sizes)
    return np.array([model.allreduce_s(int(p), float(n), alpha_s, beta_s_per_byte) for p, n in pairs])


@pytest.mark.parametrize(
    ("ranks", "doubling", "halving", "ring"),
    [
        (1, (0, 0), (0, 0), (0, 0)),
        (2, (1, 8000), (2, 8000), (2, 8000)),
        (4, (2, 16000), (4, 12000), (6, 12000)),  # halving: 4,000 and 2,000 bytes, then 2,000 and 4,000
        (6, (4, 32000), (7, 28000), (10, 8000 * 10 / 6)),  # two ranks are folded into two others, before and after
    ],
)
def test_messages_and_bytes_by_hand(ranks, doubling, halving, ring):
    found = model.algorithms(ranks, 8000)
    expected = dict.fromkeys([doubling, halving, ring]) if ranks == 1 else [doubling, halving, ring]
    assert [tuple(cost) for cost in found] == [pytest.approx(each) for each in expected]


def test_small_messages_double_and_large_ones_do_not():
    assert model.allreduce_s(64, 4, 1.0, 1e-6) == pytest.approx(6 + 24e-6)
    assert model.allreduce_s(64, 1e9, 1.0, 1e-6) == pytest.approx(12 + 2 * 63 / 64 * 1000)
    assert model.allreduce_s(6, 1e9, 1.0, 1e-6) == pytest.approx(10 + 10 / 6 * 1000)


def test_bandwidth_hardly_depends_on_the_number_of_ranks():
    """A rank sends less than 2 n bytes to sum n, which is the optimum (Patarasuk and Yuan 2009)."""
    volume = [model.allreduce_s(p, 10**6, 0.0, 1e-6) for p in (2, 64, 100, 1024)]
    assert volume == sorted(volume)
    assert volume[-1] < 2


def test_ranks_agree_in_a_cycle_and_two_exchanges():
    assert model.coordination_s(1, ALPHA) == 0
    assert [model.coordination_s(p, ALPHA) for p in (2, 8, 1000)] == pytest.approx(
        [0.5e-3 + 2 * ALPHA, 0.5e-3 + 6 * ALPHA, 0.5e-3 + 20 * ALPHA]
    )


def test_the_fit_finds_the_constants_exactly_on_exact_data():
    assert model.fit(RANKS, BYTES, seconds()) == pytest.approx((ALPHA, BETA), rel=1e-9)


def test_the_fit_finds_the_constants_on_noisy_data():
    """With 5 % noise on 20 points, both standard errors are 2 % (by simulation), so 10 % is five of them."""
    noise = np.random.default_rng(0).normal(1, 0.05, len(RANKS))
    fitted = model.fit(RANKS, BYTES, noise * seconds())
    assert fitted == pytest.approx((ALPHA, BETA), rel=0.1)


def test_small_messages_count_as_much_as_large_ones():
    """A fit of absolute errors would miss the latency: 3 % noise on 64 MB is more than a hundred latencies."""
    ranks, sizes = np.full(5, 2), np.array([4, 64, 1 << 10, 1 << 20, 1 << 26])
    times = seconds(ranks, sizes) * [1, 1, 1, 1, 1.03]
    assert model.fit(ranks, sizes, times)[0] == pytest.approx(ALPHA, rel=0.02)


@pytest.mark.parametrize(("sizes", "times"), [([4, 1 << 20], [2e-5, 1e-5]), ([1 << 10, 1 << 20], [1e-9, 1e-5])])
def test_constants_are_never_negative(sizes, times):
    fitted = model.fit([2, 2], sizes, times)
    assert min(fitted) == 0
    assert max(fitted) > 0


# (bytes, ms) for two ranks on one host, with MPI and a cycle of 0.1 ms: the fastest of several repetitions.
MEASURED = [(4, 0.180), (1 << 10, 0.177), (16 << 10, 0.180), (64 << 10, 0.249), (256 << 10, 0.405)]
UNSEEN = (400_000, 0.35)  # measured on another day, on a quiet machine


def write(path, points, **changes):
    rows = [
        {"library": "horovod MPI", "kind": "cycle 0.1", "ranks": 2, "message_bytes": size, "step_ms": ms, **changes}
        for size, ms in points
    ]
    path.write_text(json.dumps(rows))
    return path


def test_the_fit_to_the_measured_two_ranks(tmp_path):
    """It predicts the measurements to 15 %, and an unseen one, with a larger message, to a factor of 1.6."""
    link = model.measured(write(tmp_path / "allreduce.json", MEASURED))
    sizes, times_ms = np.array(MEASURED).T
    fitted_ms = 0.1 + 1e3 * (2 * link.alpha_s + seconds(2, sizes, *link[:2]))  # a cycle, and two exchanges
    assert np.abs(fitted_ms / times_ms - 1).max() < 0.15
    unseen_ms = 0.1 + 1e3 * (2 * link.alpha_s + model.allreduce_s(2, UNSEEN[0], *link[:2]))
    assert 1 / 1.6 < unseen_ms / UNSEEN[1] < 1.6


def test_of_several_repetitions_the_fastest_counts(tmp_path):
    link = model.measured(write(tmp_path / "slow.json", [(4, 90.0), (1 << 20, 95.0)], step_ms_min=0.5))
    assert 0.1 + 1e3 * (2 * link.alpha_s + model.allreduce_s(2, 4, *link[:2])) == pytest.approx(0.5)


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
