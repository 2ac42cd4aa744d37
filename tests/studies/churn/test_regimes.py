"""The runs of a study, and the flags in which they differ."""

import pytest

from bnn_hvd.config import ChurnConfig, make, to_flags
from bnn_hvd.errors import UserError
from bnn_hvd.studies.churn import regimes


def cells(**flags):
    return regimes.cells(make(ChurnConfig, **{"run": "s", "architecture": "fc", "method": "point", "steps": 5} | flags))


def differing(job, base) -> dict:
    flags, others = to_flags(job.config), to_flags(base.config)
    return {name: value for name, value in flags.items() if name != "run" and value != others.get(name)}


def test_the_default_is_four_regimes_with_and_without_determinism():
    found = cells(learning_rates="0.1,0.2")
    assert [(cell.regime, cell.learning_rate, cell.deterministic) for cell in found] == [
        (regime, rate, mode)
        for rate in (0.1, 0.2)
        for regime in ("hardware", "init", "batches", "init+batches")
        for mode in (False, True)
    ]
    assert {len(cell.jobs) for cell in found} == {3}
    # per learning rate and mode: all regimes share the first run, and each has two of its own
    assert len(regimes.jobs(found)) == 2 * 2 * (1 + 4 * 2)


def test_replicas_differ_in_what_the_regime_says_and_nothing_else():
    for regime, expected in {
        "hardware": [{}, {}],
        "init": [{"init_seed": 8}, {"init_seed": 9}],
        "batches": [{"shuffle_seed": 8}, {"shuffle_seed": 9}],
        "noise": [{"noise_seed": 8}, {"noise_seed": 9}],
        "init+noise": [{"init_seed": 8, "noise_seed": 8}, {"init_seed": 9, "noise_seed": 9}],
    }.items():
        (cell,) = cells(regimes=regime, determinism="on", seed=7, method="vi")
        base, *others = cell.jobs
        assert [differing(job, base) for job in others] == expected
        assert len({job.config.run.folder for job in cell.jobs}) == 3
        assert base.config.machine.deterministic
        assert (base.config.schedule.optimizer, base.config.schedule.momentum) == ("sgd", 0.0)


def test_settings_are_compared_at_the_same_global_batch():
    (cell,) = cells(regimes="ranks", ranks="1,2,4", determinism="off", batch_size=32)
    assert [(job.ranks, job.config.data.batch_size, job.config.schedule.lr_scaling) for job in cell.jobs] == [
        (1, 32, "none"), (2, 16, "none"), (4, 8, "none"),
    ]  # fmt: skip
    (cell,) = cells(regimes="blocks", ranks="1,2,4", determinism="on", batch_size=32)
    assert [(job.ranks, job.config.data.batch_size, job.config.machine.gradient_blocks) for job in cell.jobs] == [
        (1, 32, 4), (2, 16, 4), (4, 8, 4),
    ]  # fmt: skip
    assert "base" not in {job.name.split("_")[-1] for job in cell.jobs}  # none is the shared first run
    for regime, changes in {
        "threads": [{"threads": 2}],
        "bit": [{"flip_bit": 0}, {"flip_bit": 12}],
        "nudge": [{"nudge_step": 10}],
    }.items():
        (cell,) = cells(regimes=regime, determinism="off")
        assert [differing(job, cell.jobs[0]) for job in cell.jobs[1:]] == changes


def test_ranks_that_have_other_particles_share_no_batch():
    (cell,) = cells(
        method="ensemble", num_particles=2, regimes="ranks", ranks="1,2,4", determinism="off", batch_size=32
    )
    assert [(job.ranks, job.config.data.batch_size) for job in cell.jobs] == [(1, 32), (2, 32), (4, 16)]


def test_fusion_is_compared_on_several_ranks():
    for ranks, first in {"2": "base", "1,2": "ranks2"}.items():
        (cell,) = cells(regimes="fusion", ranks=ranks, determinism="off")
        assert [job.ranks for job in cell.jobs] == [2, 2, 2]
        assert cell.jobs[0].name.endswith(first)
        assert [differing(job, cell.jobs[0]) for job in cell.jobs[1:]] == [{"fusion_mb": 0.0}, {"fusion_mb": 64.0}]


def test_methods_share_the_network_of_the_model():
    found = cells(architecture="", method="", model="BNN_conv_flip", methods="point,vi,ensemble", determinism="off",
                  regimes="init", num_particles=4)  # fmt: skip
    configs = [cell.jobs[0].config for cell in found]
    assert [(c.network.architecture, c.method.name, c.method.num_particles) for c in configs] == [
        ("conv", "point", 0), ("conv", "vi", 0), ("conv", "ensemble", 4),
    ]  # fmt: skip


def test_runs_with_and_without_determinism_alternate():
    modes = [job.config.machine.deterministic for job in regimes.jobs(cells())]
    assert modes == [False, True] * (len(modes) // 2)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            {"regimes": "weather"},
            "unknown source in --regimes: 'weather'; known: hardware, init, batches, noise, ranks",
        ),
        ({"regimes": "init+ranks"}, "init\\+ranks can't be joined; only init, batches, noise can"),
        ({"regimes": "ranks"}, "--ranks has one value, and the regime ranks compares several: give 1,2"),
        ({"regimes": "blocks"}, "--ranks has one value, and the regime blocks compares several"),
        ({"regimes": "fusion"}, "--ranks=1 has no all-reduce"),
        ({"regimes": "ranks", "ranks": "1,3"}, "--batch_size=64 can't be divided among 3 ranks"),
        ({"learning_rates": "fast"}, "--learning_rates=fast must be numbers"),
        ({"replicas": 1}, "--replicas=1 must be at least 2"),
        ({"determinism": "maybe"}, "unknown --determinism 'maybe'; known: off, on"),
        ({"methods": "magic"}, "unknown method in --methods: 'magic'"),
        ({"deterministic": True}, "give --determinism"),
    ],
)
def test_mistakes(flags, message):
    with pytest.raises(UserError, match=message):
        cells(**flags)
