"""Faults around a run, on one rank: two jobs in one directory, a full disk, data that can't be staged.

Damaged checkpoints are in test_checkpoint.py, killed and stalled ranks in parallel/test_rank_faults.py.
"""

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import running

import bnn_hvd
from bnn_hvd import cli, config
from bnn_hvd.data import sources, standardize
from bnn_hvd.data.description import Description
from bnn_hvd.data.staging import stage
from bnn_hvd.distributed.cluster import Solo, check_agreement, on_each
from bnn_hvd.errors import UserError
from bnn_hvd.run import provenance, records, rundir
from bnn_hvd.run.lock import claimed
from bnn_hvd.run.rundir import View
from bnn_hvd.training import task

HOLD = """
import sys, time
from pathlib import Path
from bnn_hvd.distributed.cluster import Solo
from bnn_hvd.run.lock import claimed
with claimed(Path(sys.argv[1]), Solo()):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_second_job_on_a_run_directory_is_refused_until_the_first_is_gone(tmp_path):
    run = tmp_path / "run"
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD, run], env=running.environment(), stdout=subprocess.PIPE, text=True
    )
    try:
        assert first.stdout
        assert first.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=rf"another job trains on {run} \(host .*, process {first.pid}\)"):
            claimed(run, Solo()).__enter__()
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    with claimed(run, Solo()):  # a job that was killed holds no lock
        pass
    with claimed(run, Solo()):  # neither does one that ended
        pass


def test_data_are_staged_once_and_again_when_they_change(tmp_path):
    source, node = tmp_path / "data.npz", tmp_path / "node"
    np.savez(source, x=np.arange(3))
    staged = Path(stage(str(source), str(node), Solo()))
    assert staged.read_bytes() == source.read_bytes()
    made = staged.stat().st_mtime_ns
    assert stage(str(source), str(node), Solo()) == str(staged)
    assert staged.stat().st_mtime_ns == made
    np.savez(source, x=np.arange(4))
    again = Path(stage(str(source), str(node), Solo()))
    assert again != staged
    assert again.read_bytes() == source.read_bytes()


def test_a_folder_is_staged_whole(tmp_path):
    source = tmp_path / "idx"
    source.mkdir()
    (source / "a").write_text("1")
    (source / "b").write_text("2")
    staged = Path(stage(str(source), str(tmp_path / "node"), Solo()))
    assert {path.name: path.read_text() for path in staged.iterdir()} == {"a": "1", "b": "2"}


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_two_jobs_stage_the_same_data_at_once(tmp_path, monkeypatch, kind):
    """The second one has begun to copy when the first one is ready: both train on the copy that is there."""
    source, node = tmp_path / "data", tmp_path / "node"
    if kind == "folder":
        source.mkdir()
    (source / "a" if kind == "folder" else source).write_text("1")
    name = "copytree" if kind == "folder" else "copyfile"
    copy, first = getattr(shutil, name), []

    def after_the_other_job(*paths: Path) -> None:
        monkeypatch.setattr(shutil, name, copy)
        first.append(stage(str(source), str(node), Solo()))
        copy(*paths)

    monkeypatch.setattr(shutil, name, after_the_other_job)
    assert [stage(str(source), str(node), Solo())] == first
    assert [path.name for path in node.iterdir()] == [Path(first[0]).name]  # nothing is left of the other copy


def test_an_interrupted_copy_is_never_taken_for_a_whole_one(tmp_path, monkeypatch):
    source, node = tmp_path / "data.npz", tmp_path / "node"
    source.write_bytes(b"x" * 1000)

    def half_a_copy(source: Path, target: Path) -> None:
        target.write_bytes(b"x" * 500)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("shutil.copyfile", half_a_copy)
    with pytest.raises(UserError, match=f"{source} can't be staged to {node}: .*No space left"):
        stage(str(source), str(node), Solo())
    assert list(node.iterdir()) == []


def test_without_a_stage_dir_nothing_is_copied(tmp_path):
    assert stage("somewhere", "", Solo()) == "somewhere"
    assert stage("", str(tmp_path / "node"), Solo()) == ""


def test_a_file_that_does_not_fit_on_the_disk_leaves_the_old_one_whole(tmp_path, monkeypatch):
    path = tmp_path / "summary.json"
    records.write_json(path, {"old": 1})

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        records.write_json(path, {"new": 2})
    assert records.read_json(path) == {"old": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["summary.json"]


class Gathered(Solo):
    """Rank 0 of several; `gather` returns the given answers."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def gather(self, value):
        return self.answers


def test_ranks_that_do_not_agree_are_named_by_host():
    facts = {"python": "3.11.7", "code": "abc", "--seed": "0", "numpy": "2.0.2"}
    check_agreement(Gathered(("n1", facts), ("n2", dict(facts))), facts, "n1")
    for name in facts:
        other = facts | {name: "something else"}
        with pytest.raises(UserError, match=rf"rank 1 on n2 has {name} something else, rank 0 on n1 has"):
            check_agreement(Gathered(("n1", facts), ("n2", other)), facts, "n1")
    with pytest.raises(UserError, match=r"rank 1 on n2 has --epochs 3, rank 0 on n1 has none: start all ranks from"):
        check_agreement(Gathered(("n1", facts), ("n2", facts | {"--epochs": "3"})), facts, "n1")


@pytest.mark.parametrize("failing", [0, 1])
def test_a_mistake_on_one_rank_is_one_of_all_and_is_named(failing):
    """Another rank would wait for it for ever, or print a traceback of Horovod."""
    answers = [("n1", ""), ("n2", "")]
    answers[failing] = (answers[failing][0], "no such file")

    def action():
        if failing == 0:
            raise UserError("no such file")
        return 7

    two = Gathered(*answers)
    two.size = 2
    with pytest.raises(UserError, match=rf"no such file \(rank {failing} on n{failing + 1}\)"):
        on_each(two, action)
    assert on_each(Gathered(("n1", ""), ("n2", "")), lambda: 7) == 7


@pytest.mark.parametrize(
    ("views", "same_flags", "said"),
    [
        ([View("n1", True, 20), View("n2", True, 30)], True, "at step 30 on n2 .rank 1., and at step 20 on n1"),
        ([View("n1", False, 0), View("n2", True, 30)], True, "Start the job with n2 as its first host, or copy"),
        ([View("n1", True, 30), View("n2", False, 0)], False, "is a run directory on n1, and not on n2"),
        ([View("n1", False, 0), View("n2", True, 0)], False, "is a run directory on n2, and not on n1"),
    ],
)
def test_a_run_that_rank_0_does_not_see_is_refused(tmp_path, views, same_flags, said):
    with pytest.raises(UserError, match=said):
        rundir.check_views(tmp_path, views, same_flags)


def test_a_run_on_the_disk_of_the_first_host_is_fine(tmp_path):
    rundir.check_views(tmp_path, [View("n1", True, 30), View("n2", True, 20), View("n3", False, 0)], same_flags=True)


def test_a_rank_with_other_data_is_named():
    arrays = sources.load("digits", "")
    here = Description.of(arrays, arrays.target(), standardize.fit(arrays.x_train, "channel"))
    facts = {f"a {part} part with the fingerprint": digest for part, digest in here.fingerprint._asdict().items()}
    trained = config.resolve(run="nowhere")
    task.check_same_data(trained, here, Gathered(("n1", facts), ("n2", dict(facts))))
    other = facts | {"a train part with the fingerprint": "0123"}
    with pytest.raises(
        UserError, match=r"rank 1 on n2 has a train part with the fingerprint 0123, rank 0 .* same --data"
    ):
        task.check_same_data(trained, here, Gathered(("n1", facts), ("n2", other)))


def test_the_fingerprint_knows_code_flags_and_versions():
    first = provenance.fingerprint({"seed": 0})
    assert first == provenance.fingerprint({"seed": 0})
    assert first != provenance.fingerprint({"seed": 1})
    assert {"python", "code", "--seed", "world size", "numpy"} <= set(first)


def test_the_fingerprint_is_of_the_whole_package(tmp_path, monkeypatch):
    """A change of any file changes the hash, whichever folder the file that computes it is in."""
    copy = tmp_path / "bnn_hvd"
    shutil.copytree(provenance.PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(provenance, "PACKAGE", copy)
    code = provenance.fingerprint({})["code"]
    for file in (copy / "cli.py", copy / "models" / "layers.py", copy / "run" / "records.py"):
        file.write_text(file.read_text() + "# changed\n")
        assert code != (code := provenance.fingerprint({})["code"]), file


def test_the_package_that_is_hashed_is_this_one():
    assert sorted(
        path.name for path in provenance.PACKAGE.iterdir() if path.is_dir() and path.name[0] != "_"
    ) == sorted(path.name for path in Path(bnn_hvd.__file__).parent.iterdir() if path.is_dir() and path.name[0] != "_")


def test_a_full_disk_is_one_sentence_and_code_1(monkeypatch, capsys):
    def full(config: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("pkgutil.resolve_name", lambda name: full)
    assert cli.main(["bnn_hvd", "train"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("bnn_hvd: error: ")
    assert "No space left" in error and "the last checkpoint is kept" in error  # noqa: PT018 - one line, two parts


@pytest.fixture
def small_disk(tmp_path):
    """Mount a file system of 1 MB; skip the test where this user may not."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small file system needs the right to mount one")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_training_on_a_full_disk_keeps_the_last_checkpoint(small_disk):
    """A checkpoint of this network has 60 kB: about twelve fit on the disk beside the other files, thirty do not."""
    run = small_disk / "run"
    flags = [
        "--model=CNN_FC",
        "--batch_size=32",
        "--threads=1",
        "--checkpoint_every_steps=5",
        "--keep=99",
        "--steps=150",
    ]
    filler = small_disk / "filler"
    filler.write_bytes(b"\0" * 200_000)
    job = running.bnn_hvd("train", *flags, f"--run={run}")
    assert job.returncode == 1, job.stderr
    assert "No space left" in running.errors(job.stderr)[0]
    kept = running.newest_step(run)
    assert 0 < kept < 150
    filler.unlink()
    job = running.bnn_hvd("train", *[flag if flag != "--keep=99" else "--keep=1" for flag in flags], f"--run={run}")
    assert job.returncode == 0, job.stderr
    assert running.read_json(run)["steps"] == 150


@pytest.mark.parametrize(
    "flags", [["--dataset=sine", "--architecture=mlp", "--augment=flip"], ["--method=ivon", "--nudge_step=3"]]
)
def test_a_refused_command_writes_nothing(tmp_path, flags):
    """Otherwise the corrected command would be refused because of the files of the first one."""
    job = running.bnn_hvd("train", *flags, f"--run={tmp_path / 'run'}", "--steps=2", "--threads=1")
    assert job.returncode == 2, job.stderr
    assert not (tmp_path / "run").exists()
