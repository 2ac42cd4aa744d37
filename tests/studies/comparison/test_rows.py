"""Which runs a comparison has, with which flags. Nothing is trained."""

from pathlib import Path

import numpy as np
import pytest
import running

from bnn_hvd import cli, config
from bnn_hvd.config import CompareConfig
from bnn_hvd.errors import UserError
from bnn_hvd.studies.comparison import rows
from bnn_hvd.studies.comparison.settings import Settings


def compared(**flags):
    return rows.runs(config.make(CompareConfig, run="study", **flags))


def folder(tmp_path, **files):
    """Write flagfiles; `__` in a name is a dot."""
    for name, text in files.items():
        (tmp_path / f"{name.replace('__', '.')}.cfg").write_text(text.replace(" ", "\n"))
    return str(tmp_path)


def test_a_run_for_each_row_and_seed():
    found = compared(methods="point,vi", networks="fc,mlp", seeds="0,3")
    assert [run.name for run in found] == [
        f"{network}_{method}_seed{seed}" for network in ("fc", "mlp") for seed in (0, 3) for method in ("point", "vi")
    ]
    assert {run.job.config.run.seed for run in found} == {0, 3}
    assert found[0].job.config.folder.parts == ("study", "runs", "fc_point_seed0")
    assert [run.name for run in compared(seeds="1")] == ["seed1"]  # of --method, --architecture and --dataset


def test_a_flagfile_is_the_flags_of_what_it_is_named_after_and_the_special_goes_before_the_general(tmp_path):
    settings = folder(
        tmp_path,
        digits="--epochs=3 --batch_size=16", mlp="--hidden=8 --learning_rate=0.5", vi="--steps=7 --learning_rate=0.2",
        vi__digits="--learning_rate=0.3", tempered="--method=vi --kl_weight=0.1",
    )  # fmt: skip
    point, vi, tempered = (
        run.job.config
        for run in compared(
            methods="point,vi,tempered", networks="mlp", datasets="digits", seeds="0", settings=settings, batch_size=32
        )
    )
    assert (point.run.epochs, point.run.steps, point.schedule.learning_rate) == (3, None, 0.5)
    assert (vi.run.epochs, vi.run.steps, vi.schedule.learning_rate) == (None, 7, 0.3)
    assert (tempered.method.name, tempered.schedule.kl_weight) == ("vi", 0.1)
    assert {one.data.batch_size for one in (point, vi, tempered)} == {32}  # of the command line
    assert {one.network.options.hidden for one in (point, vi, tempered)} == {8}


def test_paths_in_a_flagfile_are_in_the_data_dir_of_the_command_line(tmp_path):
    settings = folder(
        tmp_path, fashion="--dataset=mnist --data_dir=fashion.npz --ood_data_dir=mnist.npz", far="--dataset=mnist "
        "--data_dir=/far/mnist.npz",
    )  # fmt: skip
    fashion, far, plain = compared(
        datasets="fashion,far,mnist", seeds="0", method="point", settings=settings, data_dir="/data"
    )
    assert fashion.job.config.data.data_dir == "/data/fashion.npz"
    assert fashion.predict_config.ood_data_dir == "/data/mnist.npz"
    assert far.job.config.data.data_dir == "/far/mnist.npz"
    assert plain.job.config.data.data_dir == "/data"


def test_a_fitted_method_follows_the_run_that_it_is_fitted_to(tmp_path):
    point, laplace = compared(methods="laplace", networks="mlp", seeds="5", epochs=4)
    assert (point.name, point.in_table, laplace.in_table) == ("mlp_point_seed5", False, True)
    assert laplace.start == point.name
    assert laplace.job.config.method.init_from == str(point.folder)
    assert (point.job.config.run.epochs, laplace.job.config.run.epochs) == (4, 1)
    assert [run.in_table for run in compared(methods="laplace,point", networks="mlp", seeds="5")] == [True, True]
    settings = folder(tmp_path, wide="--method=point --prior_scale=3", laplace="--init_from=wide")
    wide, fitted = compared(methods="laplace", networks="mlp", seeds="5", settings=settings)
    assert (wide.name, fitted.start) == ("mlp_wide_seed5", "mlp_wide_seed5")


def test_a_budget_counts_the_gradients_of_all_particles_and_leapfrog_steps(tmp_path):
    settings = folder(tmp_path, hmc="--hmc_leapfrog_steps=5 --num_chains=2", four="--method=ensemble --num_particles=4")
    found = compared(methods="point,vi,four,hmc,laplace", seeds="0", settings=settings, budget=100)
    assert {run.entry.method: run.job.config.run.epochs for run in found} == {
        "point": 100, "vi": 100, "four": 25, "hmc": 10, "laplace": 1
    }  # fmt: skip
    with pytest.raises(UserError, match="--budget=9 is less than 10, an epoch of hmc"):
        compared(methods="point,hmc", seeds="0", settings=settings, budget=9)
    with pytest.raises(UserError, match="--budget and --epochs"):
        compared(methods="point", budget=9, epochs=3)


def test_parts_are_disjoint_and_complete_and_keep_chains_together():
    found = compared(methods="point,vi,laplace", networks="fc,mlp", seeds="0,1,2")
    parts = [rows.part_of(found, f"{k}/4") for k in (1, 2, 3, 4)]
    names = [[run.name for run in part] for part in parts]
    assert sorted(name for mine in names for name in mine) == sorted(run.name for run in found)
    assert all(run.start in mine for part, mine in zip(parts, names, strict=True) for run in part if run.start)
    assert min(map(len, names)) >= 3
    for part in ("0/4", "5/4", "2", "a/b", "1/0"):
        with pytest.raises(UserError, match="--part"):
            rows.part_of(found, part)


def test_a_method_may_be_left_out_on_a_network_or_a_data_set():
    found = compared(methods="point,vi", networks="fc,mlp", datasets="digits", seeds="0", leave_out="vi.fc")
    assert [run.entry[1:] for run in found] == [("fc", "point"), ("mlp", "point"), ("mlp", "vi")]
    found = compared(methods="point,vi", networks="fc", datasets="digits", seeds="0", leave_out="vi.digits")
    assert [run.entry.method for run in found] == ["point"]
    with pytest.raises(UserError, match=r"--leave_out=vi\.conv is no row"):
        compared(methods="point,vi", networks="fc", seeds="0", leave_out="vi.conv")


def test_a_run_for_each_split_of_the_data(tmp_path):
    path = tmp_path / "set.npz"
    np.savez(path, x=np.zeros([9, 2]), y=np.zeros(9), **{f"test_index_{k}": [k] for k in range(3)})
    settings = folder(tmp_path, small="--dataset=uci --data_dir=set.npz")
    flags = {"datasets": "small", "method": "point", "settings": settings, "data_dir": str(tmp_path)}
    found = compared(**flags, splits="all")
    assert [run.name for run in found] == ["small_split0", "small_split1", "small_split2"]
    assert [(run.job.config.data.options.split, run.job.config.run.seed) for run in found] == [(0, 0), (1, 0), (2, 0)]
    found = compared(**flags, splits="2,0", seeds="5,6")
    assert [(run.name, run.repeat.group) for run in found] == [
        ("small_split2_seed5", 2), ("small_split2_seed6", 2), ("small_split0_seed5", 0), ("small_split0_seed6", 0),
    ]  # fmt: skip
    with pytest.raises(UserError, match="--splits=3: small has 3, from 0 on"):
        compared(**flags, splits="3")


def test_every_flagfile_of_the_repository_is_of_a_row_and_has_flags_that_are_used(tmp_path, monkeypatch):
    """`rows.runs` refuses flags that are not used."""
    monkeypatch.chdir(running.REPOSITORY)
    used: set[Path] = set()
    for name in ("compare_uci", "compare_mnist", "compare_cifar10"):
        words = [f"--flagfile=configs/{name}.cfg", f"--data_dir={tmp_path}"]
        study = cli.parse(CompareConfig, words)
        if study.splits:
            for dataset in study.datasets.split(","):
                np.savez(tmp_path / f"{dataset}.npz", x=np.zeros([9, 2]), y=np.zeros(9), test_index_0=[1])
        found = rows.runs(study)
        left_out = study.leave_out.count(".")
        seeds = len(study.seeds.split(","))
        assert len(found) == seeds * len(study.datasets.split(",")) * len(study.methods.split(",")) - left_out
        settings = Settings(study.settings, "")
        used |= {path for run in found for path in settings.files(run.entry)}
    assert used == set(Path("configs").glob("compare_*/*.cfg"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"methods": "pont"}, "unknown method 'pont': there is no --settings, and known are point, vi"),
        ({"networks": "lenet6"}, "unknown architecture 'lenet6'"),
        ({"datasets": "mnits"}, "unknown dataset 'mnits'"),
        ({"seeds": "0,x"}, "--seeds=0,x must be whole numbers"),
        ({"seeds": ","}, "--seeds=, must be"),
        ({"splits": "all"}, "--splits is for data sets that come with splits, and digits has none"),
        ({"settings": "/nowhere"}, "--settings=/nowhere is no folder"),
        ({"methods": "point", "init_scale": 0.1}, "--init_scale changes nothing"),
        ({"networks": "a/net.py:net,b/net.py:net"}, "have the same name"),
    ],
)
def test_mistakes(flags, message):
    with pytest.raises(UserError, match=message):
        compared(**flags)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--learning_rat=1", "'--learning_rat=1' is no flag of a run"),
        ("hidden=3", "'hidden=3' is no flag"),
        ("--epochs=many", "--epochs=many must be a number"),
        ("--hidden=3", r"point.cfg: --hidden changes nothing"),
        ("--threads=2", "--threads is of the whole comparison"),
    ],
)
def test_mistakes_in_a_flagfile(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        compared(methods="point", networks="fc", settings=folder(tmp_path, point=text))


def test_switches_of_a_flagfile(tmp_path):
    settings = folder(tmp_path, vi="--bayesian_biases --noverbose")
    (run,) = compared(methods="vi", seeds="0", settings=settings)
    assert (run.job.config.network.bayesian_biases, run.job.config.run.verbose) == (True, False)
