"""Every Keras model of tests/models/keras_zoo.py through all commands.

Run them with `python -m pytest -m zoo tests/zoo`, which takes minutes; without `-m zoo`, they are deselected.
"""

from pathlib import Path

import running


def pytest_collection_modifyitems(config, items):
    """Deselect these tests unless `-m` names their marker."""
    running.only_when_asked_for("zoo", Path(__file__).parent, config, items)
