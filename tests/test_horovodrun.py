"""horovodrun parses the whole command line: it must not take a flag of bnn_hvd for its own, or find it ambiguous."""

import sys

import pytest

from bnn_hvd import cli, config

FLAGS = sorted({name for verb in cli.VERBS.values() for name in config.flags_of(verb.config_type)})


def parsed(monkeypatch, words: list[str]) -> list[str]:
    """Return the command that horovodrun starts when it is given these arguments."""
    launch = pytest.importorskip("horovod.runner.launch", reason="Horovod is not installed")
    monkeypatch.setattr(sys, "argv", ["horovodrun", "-np", "2", *words])
    return launch.parse_args().command


@pytest.mark.parametrize("form", ["--{}=1", "--{}", "--no{}"])
def test_every_flag_of_every_verb_reaches_the_program(monkeypatch, form):
    command = ["python", "-m", "bnn_hvd", "train", *(form.format(name) for name in FLAGS)]
    assert len(FLAGS) > 100
    assert parsed(monkeypatch, command) == command


def test_a_flag_that_abbreviates_two_of_its_own_would_not(monkeypatch):
    """`--network` would be refused: it abbreviates both --network-interface and --network-interfaces."""
    with pytest.raises(SystemExit):
        parsed(monkeypatch, ["python", "-m", "bnn_hvd", "train", "--network=conv"])
