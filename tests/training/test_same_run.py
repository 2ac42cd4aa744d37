"""A run goes on with its own flags and its own data, wherever it is; what differs is refused, and changes nothing."""

import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import running

from bnn_hvd import cli, config
from bnn_hvd.distributed.cluster import Solo
from bnn_hvd.errors import UserError
from bnn_hvd.run import lock, records, rundir
from bnn_hvd.run.lock import claimed
from bnn_hvd.studies import runs
from bnn_hvd.training import train

FAST = ("--architecture=linear", "--method=point", "--batch_size=32", "--threads=1")


class Command(NamedTuple):
    """A command, what it gave, and the files of its run before and after."""

    outcome: running.Outcome
    before: dict[Path, bytes]
    after: dict[Path, bytes]


def files(run: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def job(tmp_path_factory) -> tuple[Path, dict[str, Command]]:
    """Train runs, and give commands on copies of them that are refused, or go on."""
    folder = tmp_path_factory.mktemp("same_run")
    data = running.write_npz(folder / "data.npz")
    with np.load(data) as arrays:
        labels, test_labels = arrays["y_train"], arrays["y_test"]
    running.write_npz(folder / "scrambled.npz", y_train=np.random.default_rng(0).permutation(labels))
    running.write_npz(folder / "fewer.npz", num_train=90)
    running.write_npz(folder / "other_test.npz", y_test=test_labels[::-1])
    shutil.copy(data, folder / "copy.npz")
    npz = ["train", *FAST, "--dataset=npz"]
    particles = ["train", *FAST, f"--run={folder / 'particles'}", "--steps=3"]
    first = running.several(
        folder / "first",
        [*particles, "--num_particles=2"],
        [*npz, f"--data_dir={data}", f"--run={folder / 'whole'}", "--steps=6", "--batch_size=16"],
        [*npz, f"--data_dir={data}", f"--run={folder / 'npz'}", "--steps=3", "--batch_size=16"],
    )
    assert [ranks[0].code for ranks in first] == [0] * 3, first
    for name in ("scrambled", "fewer", "other_test", "copy", "staged", "moved"):
        shutil.copytree(folder / "npz", folder / name)
    longer = [*npz, "--steps=6", "--batch_size=16"]
    commands = {
        "particles": particles,
        **{
            name: [*longer, f"--data_dir={folder / name}.npz", f"--run={folder / name}"]
            for name in ("scrambled", "fewer", "other_test", "copy")
        },
        "staged": [*longer, f"--data_dir={data}", f"--stage_dir={folder / 'node'}", f"--run={folder / 'staged'}"],
        "moved": ["train", f"--run={folder / 'moved'}", "--steps=6"],
    }
    before = {name: files(folder / name) for name in commands}
    outcomes = running.several(
        folder / "second", *commands.values(), ["predict", f"--run={folder / 'particles'}", "--threads=1"]
    )
    *seconds, predicted = [ranks[0] for ranks in outcomes]
    found = {
        name: Command(outcome, before[name], files(folder / name))
        for name, outcome in zip(commands, seconds, strict=True)
    }
    return folder, found | {"predicted": Command(predicted, {}, {})}


def test_a_refused_command_leaves_the_run_as_it_was(job):
    """The network of one command does not fit the checkpoint of the other; `predict` reads the run as before."""
    command = job[1]["particles"]
    assert command.outcome.code == 2
    (error,) = running.errors(command.outcome.stderr)
    assert "--num_particles: 2 there, 0 here" in error
    for name in ("scrambled", "fewer", "other_test"):
        assert job[1][name].after == job[1][name].before
    for path, content in command.before.items():
        assert command.after[path] == content, path
    assert job[1]["predicted"].outcome.code == 0, job[1]["predicted"]


@pytest.mark.parametrize(("name", "part"), [("scrambled", "train"), ("fewer", "train"), ("other_test", "test")])
def test_a_run_does_not_go_on_with_other_data(job, name, part):
    folder, found = job
    assert found[name].outcome.code == 2
    (error,) = running.errors(found[name].outcome.stderr)
    assert f"{folder / name} was trained on other data than {folder / name}.npz (the fingerprint of the {part}" in error
    assert "another --run" in error


@pytest.mark.parametrize("name", ["copy", "staged", "moved"])
def test_a_run_goes_on_wherever_it_and_its_data_are(job, name):
    """`moved` is only named by --run: its other flags are those of the run."""
    folder, found = job
    assert found[name].outcome.code == 0, found[name].outcome
    here, whole = (running.read_json(folder / run) for run in (name, "whole"))
    assert (here["steps"], here["weights_sha256"]) == (6, whole["weights_sha256"])


def test_the_flags_of_a_run_are_found_in_every_folder(tmp_path, monkeypatch):
    """A --data_dir relative to the folder of one command means the same in the folder of the next."""
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    command = ["--dataset=npz", "--data_dir=data.npz", "--method=laplace", "--init_from=point", "--run=runs/a"]
    first = cli.parse(config.TrainConfig, command)
    records.make_run_directory(first.folder)
    rundir.describe(first, {})
    rundir.check_same_run(first)
    (tmp_path / "here" / "point").mkdir()
    with pytest.raises(UserError, match=f"--init_from: {tmp_path}/here/point there, {tmp_path}/here/other here"):
        rundir.check_same_run(cli.parse(config.TrainConfig, ["--run=runs/a", "--init_from=other"]))
    (tmp_path / "here" / "point").rmdir()
    rundir.check_same_run(cli.parse(config.TrainConfig, ["--run=runs/a", "--init_from=moved_too"]))
    shutil.move("runs", "../there/moved")
    monkeypatch.chdir(tmp_path / "there")
    again = cli.parse(config.TrainConfig, ["--run=moved/a"])
    assert again.folder == Path("moved/a")
    assert again.data.data_dir == str(tmp_path / "here" / "data.npz")
    assert again.method.init_from == str(tmp_path / "here" / "point")
    rundir.check_same_run(again)
    longer = cli.parse(config.TrainConfig, ["--run=moved/a", "--steps=9", "--data_dir=new.npz"])
    assert (longer.run.steps, longer.run.epochs, longer.data.data_dir) == (9, None, "new.npz")
    rundir.check_same_run(longer)
    with pytest.raises(UserError, match=r"--method: laplace there, vi here.*`train --run=moved/a` without these flags"):
        rundir.check_same_run(cli.parse(config.TrainConfig, ["--run=moved/a", "--architecture=conv"]))
    fresh = cli.parse(config.TrainConfig, ["--run=new"])
    assert fresh == config.resolve(run="new")


def test_a_study_finds_its_runs_by_full_paths(tmp_path, monkeypatch):
    """config.cfg has --init_from in full, the flags of the study may not."""
    monkeypatch.chdir(tmp_path)
    train = config.resolve(method="laplace", init_from="point", run="study/runs/a")
    records.make_run_directory(train.folder)
    rundir.describe(train, {})
    records.write_json(train.folder / records.SUMMARY, {"status": "done"})
    assert runs.finished(runs.Job(1, train))
    with pytest.raises(UserError, match="belongs to another study"):
        runs.finished(runs.Job(1, config.resolve(method="laplace", init_from="other", run="study/runs/a")))


def test_the_number_of_particles_and_of_chains_may_be_raised_on_a_moved_run(tmp_path):
    flags = {"method": "hmc", "num_chains": 2, "steps": 8, "run": str(tmp_path / "a")}
    first = config.resolve(**flags)
    records.make_run_directory(first.folder)
    rundir.describe(first, {})
    more = cli.parse(config.TrainConfig, [f"--run={tmp_path / 'a'}", "--num_chains=3"])
    assert more.method.num_particles == 3
    rundir.check_same_run(more)


def test_a_run_directory_is_read_while_it_is_locked(tmp_path, monkeypatch):
    """Another job that has just finished can't be overlooked: reading begins when the lock is held."""
    held, read = [], []
    run, read_config = tmp_path / "a", rundir.read_config

    def noted(run: Path) -> config.TrainConfig:
        read.append(bool(held))
        return read_config(run)

    make_and_lock = lock._make_and_lock
    monkeypatch.setattr(lock, "_make_and_lock", lambda run: held.append(run) or make_and_lock(run))
    monkeypatch.setattr(rundir, "read_config", noted)
    first = config.resolve(run=str(run), seed=1)
    records.make_run_directory(run)
    rundir.describe(first, {})
    monkeypatch.setattr(train, "connect", lambda config: (Solo(), 1))
    with pytest.raises(UserError, match="--seed: 1 there, 2 here"):
        train.main(config.resolve(run=str(run), seed=2, threads=1))
    assert read == [True]


def test_a_lock_of_a_directory_that_is_gone_is_not_taken(tmp_path, monkeypatch):
    """Between the opening of the lock and its locking, a refused job removes the directory that it had made."""
    run, lock_file = tmp_path / "a" / "b", lock._lock
    opened = []

    def opened_too_early(path: Path) -> int:
        descriptor = lock_file(path)
        if not opened:
            (path / records.LOCK).unlink()
            path.rmdir()
        opened.append(descriptor)
        return descriptor

    monkeypatch.setattr(lock, "_lock", opened_too_early)
    with claimed(run, Solo()):
        assert len(opened) == 2
        assert (run / records.LOCK).exists()
        with pytest.raises(UserError, match="another job trains on"):
            claimed(run, Solo()).__enter__()
        assert run.exists()
    assert list(tmp_path.iterdir()) == []  # nothing was written in it
