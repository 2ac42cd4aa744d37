"""CIFAR-100 from its two kinds of files: the fine labels are read, not the coarse ones."""

import pickle

import numpy as np
import pytest

from bnn_hvd.data import sources


@pytest.mark.parametrize("kind", ["python", "binary"])
def test_fine_labels_and_names(tmp_path, kind):
    rng = np.random.default_rng(0)
    folder = tmp_path / f"cifar-100-{kind}"
    folder.mkdir()
    parts = {"train": [0, 99, 55], "test": [4, 8]}
    pixels = {name: rng.integers(0, 255, [len(fine), 3072]).astype(np.uint8) for name, fine in parts.items()}
    for name, fine in parts.items():
        if kind == "python":
            batch = {b"data": pixels[name], b"fine_labels": fine, b"coarse_labels": [1] * len(fine)}
            (folder / name).write_bytes(pickle.dumps(batch))
        else:
            labels = np.array([[7, label] for label in fine], np.uint8)
            (folder / f"{name}.bin").write_bytes(np.concatenate([labels, pixels[name]], axis=1).tobytes())
    arrays = sources.load("cifar100", str(tmp_path))
    assert arrays.y_train.tolist() == parts["train"]
    assert arrays.y_test.tolist() == parts["test"]
    assert (arrays.num_classes, arrays.class_names[0], arrays.class_names[99]) == (100, "apple", "worm")
    np.testing.assert_array_equal(arrays.x_train[0, :, :, 1], pixels["train"][0, 1024:2048].reshape(32, 32))
