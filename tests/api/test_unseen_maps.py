"""The examples of docs/own_networks.md: epistemic uncertainty is highest where the network was not trained."""

import sys
from pathlib import Path

import numpy as np
import pytest

import bnn_hvd

sys.path.insert(0, str(Path(__file__).parents[2] / "docs" / "examples"))
import segmentation
import sequences

EXAMPLES = Path(segmentation.__file__).parent
TIMES = 2.0  # that the mean epistemic uncertainty is higher there


def trained(name, network, folder, **flags):
    file = EXAMPLES / f"{name}.py"
    return bnn_hvd.train(
        network=f"{file}:{network}", dataset=f"{file}:load", run=folder / name, method="ivon", learning_rate=0.1,
        eval_every_epochs=0, threads=1, **flags,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["segmentation", "sequences"])
def test_epistemic_uncertainty_is_higher_where_nothing_was_learnt(name, tmp_path):
    if name == "segmentation":
        flags = {"dataset_args": "size=16,count=160", "architecture_args": "width=4", "steps": 240, "batch_size": 16}
        run = trained(name, "unet", tmp_path, **flags)
        x, there, seen = segmentation.unseen(8, 16), segmentation.patch(16), segmentation.load("", 160, 16)["x_test"]
    else:
        flags = {"dataset_args": "steps=24,count=160", "architecture_args": "width=4", "steps": 160, "batch_size": 16}
        run = trained(name, "lstm", tmp_path, sequences=True, **flags)
        x, there, seen = sequences.unseen(8, 24), sequences.middle(24), sequences.load("", 160, 24)["x_test"]
    p, of_seen = run.predict(x, num_draws=10), run.predict(seen, num_draws=10)
    assert p.epistemic[:, there].mean() > TIMES * p.epistemic[:, ~there].mean()
    assert p.epistemic[:, there].mean() > TIMES * of_seen.epistemic.mean()
    assert np.mean(p.epistemic[:, there].mean(1) > of_seen.epistemic.mean()) >= 0.75
