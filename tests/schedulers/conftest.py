"""Real schedulers, which the testbeds beside the repository start on loopback and stop again.

Run them with `python -m pytest -m schedulers tests/schedulers`; without `-m schedulers`, they are deselected.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
import running

TESTBEDS = Path(os.environ.get("BNN_HVD_TESTBEDS", running.REPOSITORY.parent / "shared" / "testbeds"))
# Two ranks on two cores; every step is a call of the loop, so that a signal comes in the middle of the run.
FLAGS = (
    *running.TINY, "--steps_per_call=1", "--checkpoint_every_steps=100", "--eval_every_epochs=0",
    "--log_every_steps=50",
)  # fmt: skip
STEPS = 2500


def pytest_collection_modifyitems(config, items):
    """Deselect these tests unless `-m` names their marker."""
    running.only_when_asked_for("schedulers", Path(__file__).parent, config, items)


def need(programs, packages):
    """Skip the test, with the reason, where the testbeds, root or Debian packages are missing."""
    if not (TESTBEDS / "README.md").is_file():
        pytest.skip(f"no testbeds: {TESTBEDS} is missing (BNN_HVD_TESTBEDS names the folder)")
    if os.geteuid():
        pytest.skip("the testbeds need root")
    missing = [program for program in programs if not (shutil.which(program) or Path(program).exists())]
    if missing:
        pytest.skip(f"{', '.join(missing)} missing: apt-get install -y --no-install-recommends {packages}")


@contextlib.contextmanager
def open_folder():
    """Make a folder that the users of daemons (munge, postgres) can enter, as they can't those of pytest."""
    folder = Path(tempfile.mkdtemp(prefix="bnn_hvd_testbed_"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_testbed(script, *args, env=None):
    """Run a script of the testbeds; its output is discarded, because its daemons keep that open."""
    command = [TESTBEDS / script, *map(str, args)]
    subprocess.run(
        command, env=running.environment(env), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, timeout=300, check=True,
    )  # fmt: skip


@pytest.fixture(scope="session")
def flagfile(tmp_path_factory):
    """Write the flags of a run that takes some seconds."""
    path = tmp_path_factory.mktemp("flags") / "run.cfg"
    path.write_text("\n".join([*FLAGS, f"--steps={STEPS}"]) + "\n")
    return path


@pytest.fixture(scope="session")
def reference(tmp_path_factory, flagfile):
    """Train the same run uninterrupted on two ranks under horovodrun."""
    run = tmp_path_factory.mktemp("reference") / "run"
    job = running.bnn_hvd("train", f"--flagfile={flagfile}", f"--run={run}", ranks=2, fresh=True, env=running.OPEN_MPI)
    assert job.returncode == 0, job.stderr
    return running.read_json(run)


@pytest.fixture(scope="session")
def same_result(reference):
    """Return a function that asserts that a run finished on two ranks, with the weights of the reference."""

    def check(run):
        summary = running.read_json(run)
        assert (summary["status"], summary["steps"], summary["ranks"]) == ("done", STEPS, 2)
        assert summary["weights_sha256"] == reference["weights_sha256"]

    return check
