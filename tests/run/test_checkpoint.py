"""Checkpoints restore bit for bit, the newest good one is found, and no half-written file is left behind."""

import types

import numpy as np
import pytest

from bnn_hvd.errors import UserError
from bnn_hvd.run import checkpoint, records
from bnn_hvd.run.checkpoint import Progress


class Variable:
    """The part of tf.Variable that a checkpoint uses."""

    def __init__(self, name: str, value: np.ndarray):
        self.name, self.value = name, value

    shape = property(lambda self: self.value.shape)

    def numpy(self) -> np.ndarray:
        return self.value

    def assign(self, value: np.ndarray) -> None:
        self.value = value


def make_state(fill: float = 0.0, size: int = 5):
    """Return variables of several types, with a NaN payload, a negative zero and a denormal number among them."""
    odd = np.array([np.nan, -0.0, 1e-42, np.inf, fill], np.float32)
    odd.view(np.uint32)[0] ^= 0x1234
    return types.SimpleNamespace(
        variables=[
            Variable("params", np.resize(odd, size)),
            Variable("square", np.full([2, 3], fill, np.float64)),
            Variable("step", np.array(int(fill), np.int64)),
        ]
    )


def save_many(folder, count: int, keep: int = 9):
    """Write checkpoints of steps 10, 20, ...; returns their paths, newest first."""
    for step in range(1, count + 1):
        checkpoint.save(folder, checkpoint.arrays_of(make_state(step)), Progress(step=10 * step), keep)
    return checkpoint.list_newest_first(folder)


def newest_step(folder) -> int | None:
    arrays = checkpoint.read_newest_good(folder)
    return None if arrays is None else int(arrays["progress/step"])


def test_what_is_restored_is_what_was_saved_bit_for_bit(tmp_path):
    saved, restored = make_state(7.3), make_state()
    progress = Progress(12, 3, 40, 1234, 0.1, 1e9 / 3, 11, 1000)
    checkpoint.save(tmp_path, checkpoint.arrays_of(saved), progress, keep=1)
    found = checkpoint.read_newest_good(tmp_path)
    checkpoint.restore(found, restored)
    assert checkpoint.read_progress(found) == progress
    for old, new in zip(saved.variables, restored.variables, strict=True):
        assert (new.value.dtype, new.value.shape) == (old.value.dtype, old.value.shape)
        assert new.value.tobytes() == old.value.tobytes()


def test_the_newest_few_are_kept_and_no_temporary_file(tmp_path):
    for keep in (3, 1):
        names = [path.name[:15] for path in save_many(tmp_path, 5, keep)]
        assert names == [f"step-{step:010d}" for step in (50, 40, 30)[:keep]]
        assert len(list(tmp_path.iterdir())) == keep


def test_a_step_saved_twice_is_one_file_if_it_is_equal(tmp_path):
    for _ in range(2):
        checkpoint.save(tmp_path, checkpoint.arrays_of(make_state(1)), Progress(step=10), keep=2)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_write_that_fails_leaves_the_others_and_no_temporary_file(tmp_path, monkeypatch):
    (path,) = save_many(tmp_path, 1)
    monkeypatch.setattr(records.os, "fsync", lambda _: (_ for _ in ()).throw(OSError("no space left on device")))
    with pytest.raises(OSError, match="no space"):
        checkpoint.save(tmp_path, checkpoint.arrays_of(make_state(2)), Progress(step=20), keep=1)
    assert list(tmp_path.iterdir()) == [path]


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def cut_in_half(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def flip_one_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


def rename(path):
    path.rename(path.with_name(path.name.replace("step-000000003", "step-000000009")[:-8] + "0000.npz"))


DAMAGES = [truncate, cut_in_half, flip_one_bit, empty, rename]


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_newest_good_one_is_used_with_a_warning(damage, tmp_path, capsys):
    newest, *_ = save_many(tmp_path, 3)
    damage(newest)
    assert newest_step(tmp_path) == 20
    warning = capsys.readouterr().err
    assert warning.count("warning: checkpoint") == 1
    assert "step-" in warning


def test_every_bit_of_the_file_counts(tmp_path):
    (path,) = save_many(tmp_path, 1)
    content = path.read_bytes()
    for position in np.random.default_rng(0).integers(8 * len(content), size=100):
        damaged = bytearray(content)
        damaged[position // 8] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        assert newest_step(tmp_path) is None


def test_a_whole_file_under_the_name_of_another_is_not_taken_for_it(tmp_path):
    newest, older = save_many(tmp_path, 2)
    newest.write_bytes(older.read_bytes())
    assert newest_step(tmp_path) == 10


def test_two_bad_ones_are_passed_over_with_two_warnings(tmp_path, capsys):
    newest, second, _ = save_many(tmp_path, 3)
    truncate(newest)
    empty(second)
    assert newest_step(tmp_path) == 10
    assert capsys.readouterr().err.count("warning") == 2


def test_without_a_good_one_there_is_none(tmp_path):
    assert newest_step(tmp_path) is None
    assert newest_step(tmp_path / "missing") is None
    for path in save_many(tmp_path, 2):
        empty(path)
    assert newest_step(tmp_path) is None


def test_other_files_in_the_folder_are_neither_read_nor_removed(tmp_path, capsys):
    others = [tmp_path / name for name in ("notes.txt", "step-0000000099.npz", ".step-0000000077-0123.npz.1.tmp")]
    for path in others:
        path.write_text("mine")
    save_many(tmp_path, 3, keep=1)
    assert newest_step(tmp_path) == 30
    assert all(path.exists() for path in others)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("keep", [1, 2])
def test_a_damaged_one_of_a_later_step_does_not_push_out_the_one_just_written(keep, tmp_path):
    for path in save_many(tmp_path, 3)[:2]:
        truncate(path)
    checkpoint.save(
        tmp_path, checkpoint.arrays_of(make_state(2)), Progress(step=15), keep
    )  # the run was resumed from step 10
    assert newest_step(tmp_path) == 15


@pytest.mark.parametrize(
    "misfit", [lambda: make_state(size=6), lambda: types.SimpleNamespace(variables=[Variable("other", np.zeros(5))])]
)
def test_a_checkpoint_of_another_network_is_a_user_error(misfit, tmp_path):
    save_many(tmp_path, 1)
    with pytest.raises(UserError, match=r"does not fit this network: (params|other)"):
        checkpoint.restore(checkpoint.read_newest_good(tmp_path), misfit())
