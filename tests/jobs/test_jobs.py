"""Job scripts: the checked-in ones are what `job` prints, are valid bash, and act on exit codes as documented."""

import dataclasses
import os
import random
import re
import shlex
import signal
import subprocess
import time

import pytest
import running

from bnn_hvd import cli, config, jobs
from bnn_hvd.errors import UserError
from bnn_hvd.jobs.spec import JobSpec, hh_mm_ss, parse_walltime

QUEUED = ("theta", "pbs", "slurm")  # the schedulers whose scripts put themselves into the queue again
FULL = JobSpec(3, 5, 7, "90", "prod", "Project-1", "home:flare", "configs/my run's.cfg", "job.1")


def printed(capsys, *words):
    code = cli.main(["bnn_hvd", "job", *words])
    out = capsys.readouterr()
    return code, out.out, out.err


@pytest.mark.parametrize("scheduler", QUEUED)
def test_checked_in_scripts_are_what_is_printed(capsys, scheduler):
    path = running.REPOSITORY / "scripts" / f"submit_{scheduler}.sh"
    assert printed(capsys, scheduler) == (0, path.read_text(), "")
    assert os.access(path, os.X_OK)


@pytest.mark.parametrize("scheduler", jobs.SCHEDULERS)
@pytest.mark.parametrize("spec", [JobSpec(), FULL], ids=["default", "full"])
def test_scripts_are_bash(scheduler, spec):
    text = jobs.SCHEDULERS[scheduler](spec)
    checked = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert text.startswith("#!/bin/bash\n")
    assert not re.search("@[A-Z_]+@", text)  # no placeholder is left
    assert max(map(len, text.splitlines())) <= 120 or spec is FULL  # FULL has a long command in a comment
    assert [line for line in text.splitlines() if line != line.rstrip()] == []


@pytest.mark.parametrize(
    ("scheduler", "lines"),
    [
        (
            "theta",
            [
                "#COBALT -n 3", "#COBALT -t 90", "#COBALT -q prod", "#COBALT -A Project-1", "#COBALT -O job.1",
                "#COBALT --attrs mcdram=cache:numa=quad:filesystems=home,flare", "PPN=5", "T=7",
                "aprun -n $((COBALT_JOBSIZE*PPN)) -N $PPN -cc depth -d $T -j 2 -e OMP_NUM_THREADS=$T -b \\",
                "MAX_RUNTIME_S=$((5400 - 540))", "export PMI_NO_FORK=1",
            ],
        ),
        (
            "pbs",
            [
                "#PBS -N job.1", "#PBS -l select=3", "#PBS -l walltime=01:30:00", "#PBS -l filesystems=home:flare",
                "#PBS -q prod", "#PBS -A Project-1", "#PBS -r y", "PPN=5", "export OMP_NUM_THREADS=7",
                'mpiexec -n $((NODES * PPN)) --ppn "$PPN" --depth="$OMP_NUM_THREADS" --cpu-bind depth \\',
            ],
        ),
        (
            "slurm",
            [
                "#SBATCH --job-name=job.1", "#SBATCH --nodes=3", "#SBATCH --ntasks-per-node=5",
                "#SBATCH --cpus-per-task=7", "#SBATCH --time=01:30:00", "#SBATCH --partition=prod",
                "#SBATCH --account=Project-1", "#SBATCH --signal=B:USR1@120", "#SBATCH --requeue",
                "#SBATCH --open-mode=append", '    scontrol requeue "$SLURM_JOB_ID"',
            ],
        ),
        (
            "balsam",
            ["    --num-nodes=3 --ranks-per-node=5 --threads-per-rank=7", "    --queue=prod --project=Project-1"],
        ),
    ],
)  # fmt: skip
def test_what_the_spec_says_is_in_the_script(scheduler, lines):
    text = jobs.SCHEDULERS[scheduler](FULL).splitlines()
    assert [line for line in lines if line not in text] == []


SETUP = """module load cuda/12  # of @NODES@
export SITE="$HOME/`hostname`"
"""


@pytest.fixture
def setup_file(tmp_path):
    path = tmp_path / "modules.sh"
    path.write_text(SETUP)
    return path


@pytest.mark.parametrize(
    ("scheduler", "line"), [("slurm", "#SBATCH --gpus-per-node=4"), ("pbs", "#PBS -l select=2:ngpus=4")]
)
def test_gpus_are_asked_for_only_where_they_are_given(capsys, scheduler, line):
    with_gpus = printed(capsys, scheduler, "--gpus_per_node=4")[1].splitlines()
    directives = [line for line in with_gpus if line.startswith(("#SBATCH", "#PBS"))]
    assert line in directives
    without = printed(capsys, scheduler)[1].splitlines()
    assert not [line for line in without if line.startswith(("#SBATCH", "#PBS")) and "gpu" in line]


@pytest.mark.parametrize("scheduler", QUEUED)
def test_setup_lines_run_unchanged_before_python(capsys, setup_file, scheduler):
    code, text, _ = printed(capsys, scheduler, f"--setup={setup_file}")
    assert (code, text.count(SETUP)) == (0, 1)
    assert text.index(SETUP) < text.index("bin/activate")
    assert max(text.rindex(line) for line in re.findall(r"^#(?:SBATCH|PBS|COBALT) .*", text, re.M)) < text.index(SETUP)
    checked = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    command = re.search(r"python -m bnn_hvd job (.*)", text)[1]
    assert printed(capsys, *shlex.split(command)) == (0, text, "")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "modules.sh can't be read: No such file"),
        (b"\xff\xfe", "modules.sh is not a text file"),
        (b"module load x\n#SBATCH --gpus-per-node=4\n", "line 2: '#SBATCH --gpus-per-node=4' has no effect"),
    ],
)
def test_a_bad_setup_file_is_refused_and_nothing_is_printed(capsys, tmp_path, content, message):
    path = tmp_path / "modules.sh"
    if content is not None:
        path.write_bytes(content)
    code, out, err = printed(capsys, "slurm", f"--setup={path}")
    assert (code, out) == (2, "")
    assert message in err


@pytest.mark.parametrize(
    "words", [("theta", "--gpus_per_node=4"), ("balsam", "--gpus_per_node=4"), ("balsam", "--setup=modules.sh")]
)
def test_what_a_scheduler_has_no_place_for_is_refused(capsys, words):
    code, out, err = printed(capsys, *words)
    assert (code, out) == (2, "")
    assert f"error: {words[1]}: " in err
    assert "leave it out" in err


@pytest.mark.parametrize("scheduler", jobs.SCHEDULERS)
def test_directives_stand_before_the_first_command(scheduler):
    lines = jobs.SCHEDULERS[scheduler](JobSpec()).splitlines()
    first = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    assert not [line for line in lines[first:] if line.startswith(("#SBATCH", "#PBS", "#COBALT"))]


def test_cobalt_directives_follow_the_first_line():
    lines = jobs.SCHEDULERS["theta"](FULL).splitlines()[1:]
    count = sum(line.startswith("#COBALT") for line in lines)
    assert all(line.startswith("#COBALT") for line in lines[:count])


@pytest.mark.parametrize("scheduler", jobs.SCHEDULERS)
def test_a_script_names_the_command_that_prints_it(capsys, scheduler):
    text = jobs.SCHEDULERS[scheduler](FULL)
    command = re.search(r"python -m bnn_hvd job (.*)", text)[1]
    assert printed(capsys, *shlex.split(command)) == (0, text, "")


def test_random_specs():
    """Ranks, times and margins of 300 random specs; every script names the flagfile so that bash reads it back."""
    rng = random.Random(0)
    for _ in range(300):
        seconds = rng.randrange(300, 500_000)
        nodes, per_node, threads = (rng.randrange(1, 5000) for _ in range(3))
        flagfile = "".join(rng.choices("ab /'\"$`\\!*~#@NODES@{}é", k=12)).strip() or "x"
        spec = JobSpec(nodes, per_node, threads, hh_mm_ss(seconds), flagfile=flagfile)
        assert spec.ranks == nodes * per_node
        assert spec.walltime_s == seconds == parse_walltime(hh_mm_ss(seconds))
        assert seconds <= 60 * spec.walltime_minutes < seconds + 60
        assert 120 <= spec.margin_s <= 600
        assert spec.margin_s < spec.walltime_s
        assert JobSpec(walltime=str(spec.walltime_minutes)).walltime_s == 60 * spec.walltime_minutes
        for script in jobs.SCHEDULERS.values():
            (line,) = [line for line in script(spec).splitlines() if line.startswith("FLAGFILE=${FLAGFILE:-")]
            assert line == f"FLAGFILE=${{FLAGFILE:-{shlex.quote(flagfile)}}}".rstrip()


@pytest.mark.parametrize("flagfile", ["configs/a b.cfg", "it's.cfg", "$HOME/`x`.cfg", "}x.cfg", '"q".cfg', "@NODES@"])
def test_bash_reads_the_flagfile_back(flagfile):
    text = jobs.SCHEDULERS["slurm"](JobSpec(flagfile=flagfile))
    (line,) = [line for line in text.splitlines() if line.startswith("FLAGFILE=")]
    command = f'{line}\nprintf %s "$FLAGFILE"'
    env = {"PATH": os.environ["PATH"]}
    assert (
        subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, env=env).stdout == flagfile
    )


def test_default_spec_is_the_default_of_the_flags():
    assert jobs.spec_of(config.JobConfig(scheduler="slurm")) == JobSpec()
    assert {f.name for f in dataclasses.fields(config.JobConfig)} - {"scheduler"} == {
        f.name for f in dataclasses.fields(JobSpec)
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nodes": 0}, "--nodes=0 must be at least 1"),
        ({"ranks_per_node": -1}, "--ranks_per_node=-1 must be at least 1"),
        ({"threads_per_rank": 0}, "--threads_per_rank=0 must be at least 1"),
        ({"walltime": "4"}, "--walltime=4 must be at least 00:05:00"),
        ({"walltime": "1:60:00"}, "must be HH:MM:SS or a number of minutes"),
        ({"walltime": "1h"}, "must be HH:MM:SS or a number of minutes"),
        ({"walltime": ""}, "must be HH:MM:SS or a number of minutes"),
        ({"walltime": "-60"}, "must be HH:MM:SS or a number of minutes"),
        ({"walltime": "٦٠"}, "must be HH:MM:SS or a number of minutes"),
        ({"queue": "a b"}, "--queue='a b' can't stand in a job script"),
        ({"account": "x\n#SBATCH --nodes=9"}, "can't stand in a job script"),
        ({"name": "$(rm)"}, "--name='$(rm)' can't stand in a job script"),
        ({"name": ""}, "--name='' must begin with a letter"),
        ({"name": "1st"}, "--name='1st' must begin with a letter"),
        ({"flagfile": ""}, "--flagfile is required"),
        ({"flagfile": "a\nb"}, "--flagfile"),
        ({"gpus_per_node": -1}, "--gpus_per_node=-1 must be at least 0"),
        ({"setup": "a\nb"}, "--setup='a\\nb' must be the path of a file"),
    ],
)
def test_bad_specs(changes, message):
    with pytest.raises(UserError) as error:
        JobSpec(**changes)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give a scheduler: python -m bnn_hvd job {theta|pbs|slurm|balsam}"),
        (["lsf"], "unknown --scheduler 'lsf'; known: theta, pbs, slurm, balsam"),
        (["slurm", "pbs"], "'pbs' is not a flag"),
        (["slurm", "--nodes=0"], "--nodes=0 must be at least 1"),
        (["slurm", "--node=2"], "node"),
        (["slurm", "--walltime=soon"], "--walltime='soon' must be HH:MM:SS or a number of minutes"),
    ],
)
def test_bad_flags(capsys, words, message):
    code, out, err = printed(capsys, *words)
    assert (code, out) == (2, "")
    assert message in err


def test_flagfile_is_named_and_not_read(capsys):
    assert "FLAGFILE=${FLAGFILE:-nowhere.cfg}" in printed(capsys, "pbs", "--flagfile=nowhere.cfg")[1]
    assert "FLAGFILE=${FLAGFILE:-nowhere.cfg}" in printed(capsys, "pbs", "--flagfile", "nowhere.cfg")[1]


# What the scripts do; short bash programs take the place of launchers and queues.

LAUNCHER = """#!/bin/bash
trap 'sleep 0.03; exit 75' USR1
trap 'exit 143' TERM
echo "$0 $*" >> launched
[ "$BEHAVIOUR" = sleep ] || exit "$BEHAVIOUR"
touch ready
for i in $(seq 200); do sleep 0.05; done
"""


@pytest.fixture
def site(tmp_path):
    """Make a folder with programs that record how they are called; returns a function that starts a script there."""
    programs = dict.fromkeys(("aprun", "mpiexec", "srun"), LAUNCHER)
    programs |= dict.fromkeys(("qsub", "scontrol"), '#!/bin/bash\necho "$*" >> queued\n')
    programs["squeue"] = '#!/bin/bash\necho "${STATE:-RUNNING}"\n'
    (tmp_path / "bin").mkdir()
    for name, text in programs.items():
        path = tmp_path / "bin" / name
        path.write_text(text)
        path.chmod(0o755)
    (tmp_path / "nodes").write_text("n1\nn1\nn2\n")

    def start(scheduler, behaviour, **env):
        env = {
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "BEHAVIOUR": str(behaviour), "COBALT_JOBSIZE": "2",
            "PBS_NODEFILE": "nodes", "PBS_O_WORKDIR": str(tmp_path), "SLURM_JOB_ID": "7", **env,
        }  # fmt: skip
        script = running.REPOSITORY / "scripts" / f"submit_{scheduler}.sh"
        return subprocess.Popen([script, "--seed=3"], cwd=tmp_path, env=env, start_new_session=True)

    return start


def queued(tmp_path):
    path = tmp_path / "queued"
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize("scheduler", QUEUED)
@pytest.mark.parametrize("code", [0, 1, 2, 75, 137])
def test_exit_code_75_and_no_other_goes_back_to_the_queue(tmp_path, site, scheduler, code):
    assert site(scheduler, code).wait(timeout=60) == code
    again = queued(tmp_path)
    assert len(again) == (code == 75)
    if code == 75:
        wanted = {"theta": "--env RESTARTS=1:", "pbs": "-v RESTARTS=1,", "slurm": "requeue 7"}
        assert again[0].startswith(wanted[scheduler])
        assert scheduler != "theta" or again[0].endswith("submit_theta.sh --seed=3")
    launched = (tmp_path / "launched").read_text()
    assert "python -m bnn_hvd train --flagfile=configs/quickstart.cfg --threads=" in launched
    assert launched.endswith(" --seed=3\n")
    assert scheduler == "slurm" or "-n 8 " in launched


@pytest.mark.parametrize("scheduler", QUEUED)
@pytest.mark.parametrize("signals", [[signal.SIGUSR1], [signal.SIGUSR1] * 5, [signal.SIGTERM]])
def test_signals_reach_the_launcher(tmp_path, site, scheduler, signals):
    """Any number of USR1 saves the run and queues it again once. TERM, from qdel or scancel, only saves it."""
    job = site(scheduler, "sleep")
    running.wait_until(lambda: (tmp_path / "ready").exists(), job)
    for number in signals:
        job.send_signal(number)
        time.sleep(0.01)
    assert job.wait(timeout=60) == 75
    assert len(queued(tmp_path)) == (signals[0] == signal.SIGUSR1)


@pytest.mark.parametrize(
    ("scheduler", "env"),
    [
        ("theta", {"RESTARTS": "20"}),
        ("pbs", {"RESTARTS": "20"}),
        ("slurm", {"SLURM_RESTART_COUNT": "20"}),
        ("pbs", {"MAX_RESTARTS": "0"}),
        ("slurm", {"STATE": "COMPLETING"}),
    ],
)
def test_not_queued_again(tmp_path, site, scheduler, env):
    """The job has been restarted as often as it may, or it was cancelled while the ranks saved."""
    assert site(scheduler, 75, **env).wait(timeout=60) == 75
    assert queued(tmp_path) == []
