"""A sweep of trainings, models x ranks x seeds, as Balsam jobs.

    python scripts/balsam/submit_sweep.py --name=scaling --flagfile=configs/quickstart.cfg \\
        --models=BNN_conv_flip,CNN_conv --ranks=1,2,4 --seeds=0 --ranks_per_node=2 \\
        --site=polaris1 --python=.venv/bin/python --queue=prod --project=MyProject --walltime_min=60

`--dry_run` prints the plan as JSON and needs no Balsam. With `--collect` added, the same command prints the states of
the jobs and the command that makes the scaling study of their runs. With `--resume` added, it submits one more
BatchJob, which resumes the jobs that ran out of time.
"""

import argparse
import itertools
import json
import os
import sys
import time

ENDED = ("JOB_FINISHED", "FAILED", "KILLED", "DELETED")
WAITING = ("PREPROCESSED", "RESTART_READY")  # the states of jobs that wait for a BatchJob


def main():
    flags = parse_flags()
    if flags.dry_run:
        print(json.dumps(plan(flags), indent=2))
        return 0
    if flags.collect:
        return collect(flags)
    planned = plan(flags)
    if not flags.resume:
        create_jobs(flags, planned["jobs"])
    batch_job = submit_batch_job(flags, planned["batch_job"])
    return wait(flags, batch_job) if flags.wait_min else 0


def parse_flags():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    say = parser.add_argument
    say("--name", required=True, help="of the sweep: a tag, and a folder below the site's data/")
    say("--flagfile", required=True, help="flags that all runs share, one a line")
    say("--models", type=words, required=True, help="named models, with commas")
    say("--ranks", type=counts, default=[1], help="ranks of a run, with commas")
    say("--seeds", type=numbers, default=[0], help="seeds, with commas")
    say("--ranks_per_node", type=positive, default=1, help="at most so many ranks on a node")
    say("--threads_per_rank", type=positive, default=1)
    say("--num_nodes", type=int, default=0, help="of the BatchJob; default: of its largest job")
    say("--walltime_min", type=positive, default=60, help="of the BatchJob, in minutes")
    say("--site", default="", help="name of the Balsam site")
    say("--python", default=sys.executable, help="the Python that has bnn_hvd")
    say("--queue", default="local")
    say("--project", default="local")
    say("--dry_run", action="store_true", help="print the plan as JSON, submit nothing")
    say("--resume", action="store_true", help="submit one more BatchJob for the jobs that are there")
    say("--collect", action="store_true", help="say how far the jobs are, and how to compare their runs")
    say("--wait_min", type=float, default=0, help="wait so many minutes for the jobs to finish")
    flags = parser.parse_args()
    if not (flags.dry_run or flags.site):
        parser.error("--site is required: the name of the Balsam site (`balsam site ls`)")
    uneven = [n for n in flags.ranks if n > flags.ranks_per_node and n % flags.ranks_per_node]
    if uneven:
        parser.error(f"--ranks={uneven[0]} does not fill nodes of --ranks_per_node={flags.ranks_per_node}")
    if not os.path.isfile(flags.flagfile):
        parser.error(f"--flagfile={flags.flagfile} does not exist")
    return flags


def words(text):
    found = [word for word in text.split(",") if word]
    if not found:
        raise argparse.ArgumentTypeError("at least one is needed")
    return found


def counts(text):
    return [positive(word) for word in words(text)]


def numbers(text):
    return [int(word) for word in words(text)]


def positive(text):
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} must be at least 1")
    return int(text)


def plan(flags):
    """Return what is to be submitted: one job per model, number of ranks and seed, and the BatchJob for them."""
    jobs = [job(flags, *setting) for setting in itertools.product(flags.models, flags.ranks, flags.seeds)]
    return {
        "jobs": jobs,
        "batch_job": {
            "num_nodes": flags.num_nodes or max(job["num_nodes"] for job in jobs),
            "wall_time_min": flags.walltime_min,
            "job_mode": "mpi",
            "queue": flags.queue,
            "project": flags.project,
            "filter_tags": {"sweep": flags.name},
        },
    }


def job(flags, model, ranks, seed):
    """Return one Balsam job; `workdir` is below the site's data/, and the run directory is `run` in it."""
    per_node = min(ranks, flags.ranks_per_node)
    return {
        "workdir": f"{flags.name}/{model}_ranks{ranks}_seed{seed}",
        "tags": {"sweep": flags.name, "model": model, "ranks": str(ranks), "seed": str(seed)},
        "num_nodes": ranks // per_node,
        "ranks_per_node": per_node,
        "threads_per_rank": flags.threads_per_rank,
        "parameters": {
            "flagfile": os.path.abspath(flags.flagfile),
            "model": model,
            "seed": str(seed),
            "threads": str(flags.threads_per_rank),
        },
    }


def create_jobs(flags, jobs):
    """Define bnn_hvd at the site, and create all jobs in one call."""
    from app import define
    from balsam.api import Job

    if list(sweep_jobs(flags)):
        sys.exit(f"there are jobs of a sweep {flags.name!r}: --resume it, or give another --name")
    application = define(flags.site, os.path.abspath(flags.python))
    application.sync()
    made = Job.objects.bulk_create([Job(app_id=application.__app_id__, **fields) for fields in jobs])
    print(f"{len(list(made))} jobs created")


def submit_batch_job(flags, fields):
    """Submit a BatchJob, which asks for nodes; returns it."""
    from balsam.api import BatchJob, Site

    batch_job = BatchJob.objects.create(site_id=Site.objects.get(name=flags.site).id, **fields)
    print(f"BatchJob of {fields['num_nodes']} nodes for {fields['wall_time_min']} minutes submitted")
    return batch_job


def sweep_jobs(flags):
    from balsam.api import Job

    return Job.objects.filter(tags={"sweep": flags.name})


def states(flags):
    """Return the states of the sweep's jobs: {workdir: state}."""
    return {str(job.workdir): spelled(job.state) for job in sweep_jobs(flags)}


def spelled(state):
    """Return a state in capitals, as in Balsam's documentation; the server sends lower case."""
    return str(getattr(state, "value", state)).upper()


def wait(flags, batch_job):
    """Wait until every job has ended, or until the BatchJob has ended and the other jobs wait for the next one.

    Returns the exit code of `collect`.
    """
    deadline = time.monotonic() + 60 * flags.wait_min
    while time.monotonic() < deadline:
        batch_job.refresh_from_db()
        over = spelled(batch_job.state) in ("FINISHED", "SUBMIT_FAILED")
        still = ENDED + WAITING if over else ENDED
        if all(state in still for state in states(flags).values()):
            break
        time.sleep(2)
    return collect(flags)


def collect(flags):
    """Print the state of each job, and the command that compares the runs; exit code 0 if all are finished."""
    from balsam.api import Site

    site = Site.objects.get(name=flags.site)
    now = states(flags)
    for workdir, state in sorted(now.items()):
        print(f"{state:15}{workdir}")
    data = os.path.join(str(site.path), "data", flags.name)
    print(f"\npython -m bnn_hvd scale --runs='{data}/*/run' --run=runs/{flags.name}")
    return 0 if now and all(state == "JOB_FINISHED" for state in now.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
