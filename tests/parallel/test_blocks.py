"""--gradient_blocks: one rank and two train the same weights, bit for bit, at the same global batch."""

from pathlib import Path

import pytest
import running
from gw_file import write_gw

from bnn_hvd.run import records

pytestmark = [pytest.mark.parallel, running.needs_horovodrun]
GLOBAL_BATCH, STEPS = 32, 12
MLP = ("--architecture=mlp", "--hidden=16", "--num_blocks=1")
CASES = {
    "conv": ("--model=CNN_conv", "--gradient_blocks=2"),
    "flipout": ("--model=BNN_conv_flip", "--gradient_blocks=2"),
    "ivon": (*MLP, "--method=ivon", "--learning_rate=0.1", "--gradient_blocks=4"),
    "mc_dropout": (*MLP, "--method=mc_dropout", "--optimizer=sgd", "--gradient_blocks=8"),
    "gravitational_waves": (
        "--dataset=gravitational_waves",
        "--data_dir=GW",
        "--filters=2",
        "--method=vi",
        "--bayesian_layers=all",
        "--likelihood=gaussian_mixture",
        "--components=2",
        "--gradient_blocks=2",
    ),
    "without": (*MLP, "--method=point"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Train each case on one rank (`NAME1`) and on two (`NAME2`)."""
    folder = tmp_path_factory.mktemp("blocks")
    gw = str(write_gw(folder / "gw.npz"))
    cases = {name: [flag.replace("GW", gw) for flag in flags] for name, flags in CASES.items()}
    for ranks in (1, 2):
        commands = [
            ["train", *flags, f"--batch_size={GLOBAL_BATCH // ranks}", f"--steps={STEPS}", "--threads=1", "--checksums",
             "--deterministic", "--lr_scaling=none", "--eval_every_epochs=0", "--log_every_steps=1",
             f"--run={folder / f'{name}{ranks}'}"]
            for name, flags in cases.items()
        ]  # fmt: skip
        running.all_succeed(folder / f"outcomes{ranks}", *commands, ranks=ranks)
    return folder


@pytest.mark.parametrize("name", [name for name in CASES if name != "without"])
def test_one_rank_and_two_train_the_same_bits(folder, name):
    one, two = (running.read_json(folder / f"{name}{ranks}") for ranks in (1, 2))
    assert (one["ranks"], two["ranks"]) == (1, 2)
    assert one["weights_sha256"] == two["weights_sha256"]
    assert one["test"] == two["test"]
    for file in (records.CHECKSUMS, records.METRICS):  # checksums of gradient and weights; losses
        lines = (folder / f"{name}1" / file).read_text().splitlines()
        assert len(lines) >= STEPS
        assert lines == (folder / f"{name}2" / file).read_text().splitlines()


def test_without_blocks_they_differ(folder):
    """Without blocks, the first gradients differ already: so the test above compares runs that could differ."""
    lines = [records.read_jsonl(folder / f"without{ranks}" / records.CHECKSUMS) for ranks in (1, 2)]
    assert lines[0][0]["gradient"] != lines[1][0]["gradient"]
    assert (
        running.read_json(folder / "without1")["weights_sha256"]
        != (running.read_json(folder / "without2")["weights_sha256"])
    )
