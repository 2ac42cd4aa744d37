"""Where a prediction is written: never over one of other data, and only where it can be written."""

import os
import subprocess
from pathlib import Path

import pytest

from bnn_hvd import config
from bnn_hvd.data import sources, standardize
from bnn_hvd.data.description import Description
from bnn_hvd.data.fingerprint import Fingerprint
from bnn_hvd.errors import UserError
from bnn_hvd.prediction.other_data import load_like
from bnn_hvd.prediction.place import Origin, choose_folder
from bnn_hvd.run import records
from bnn_hvd.run.checkpoint import Progress

OTHER = Fingerprint("0" * 16, "123456789abcdef0")


@pytest.fixture(scope="module")
def known() -> Description:
    arrays = sources.load("digits", "")
    return Description.of(arrays, arrays.target(), standardize.fit(arrays.x_train, "channel"))


def place(run: Path, known: Description, fingerprint: Fingerprint, out: Path | str = "", data_dir: str = "") -> Path:
    flags = config.make(config.PredictConfig, run=str(run), out=str(out), data_dir=data_dir)
    return choose_folder(flags, known, fingerprint)


def write(folder: Path, run: Path, fingerprint: Fingerprint) -> None:
    origin = Origin.of(config.resolve(run=str(run)), Progress(), "", fingerprint.test, own_data=False)
    folder.mkdir(exist_ok=True)
    records.write_json(folder / records.UNCERTAINTY, origin.report())


def test_each_data_set_has_its_place(tmp_path, known):
    run = tmp_path / "run"
    run.mkdir()
    (run / records.CONFIG).touch()
    assert place(run, known, known.fingerprint) == run
    assert place(run, known, known.fingerprint, data_dir="moved.npz") == run
    assert place(run, known, OTHER, data_dir="a/far.npz") == run / "predictions" / "far-12345678"
    assert place(run, known, OTHER, data_dir="far.npz", out=tmp_path / "mine") == tmp_path / "mine"
    with pytest.raises(UserError, match=f"--out={run} is a run directory"):
        place(run, known, OTHER, data_dir="far.npz", out=run)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["config.cfg", "run"]  # nothing is made yet


def test_a_prediction_of_other_data_or_of_another_run_is_not_overwritten(tmp_path, known):
    run, out = tmp_path / "run", tmp_path / "out"
    write(out, run, OTHER)
    assert place(run, known, OTHER, out=out, data_dir="far.npz") == out
    for other_run, fingerprint in ((run, known.fingerprint), (tmp_path / "run2", OTHER)):
        with pytest.raises(UserError, match=f"--out={out} has a prediction of other data or of another run"):
            place(other_run, known, fingerprint, out=out, data_dir="far.npz")


def test_a_place_that_can_not_be_written_is_one_sentence(tmp_path, known):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=f"file/below can't be written .{tmp_path}/file is a file.*another --out"):
        place(tmp_path, known, OTHER, out=tmp_path / "file" / "below", data_dir="far.npz")


def test_a_read_only_file_system_is_one_sentence(tmp_path, known):
    run = tmp_path / "disk"
    run.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(run)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a read-only file system needs the right to mount one")
    try:
        with pytest.raises(UserError, match=f"the folder of the prediction {run} can't be written"):
            place(run, known, known.fingerprint)
        assert place(run, known, known.fingerprint, out=tmp_path / "out") == tmp_path / "out"
    finally:
        subprocess.run(["umount", str(run)], check=True)


def test_the_data_of_a_run_that_have_changed_are_not_taken_for_its_own(known, monkeypatch):
    trained = config.resolve(dataset="digits")
    load_like(trained, known, "")
    digits = sources.digits("")
    digits.y_test[0] ^= 1
    monkeypatch.setattr(sources, "digits", lambda path: digits)
    with pytest.raises(UserError, match="digits has changed since the run was trained on it"):
        load_like(trained, known, "")
