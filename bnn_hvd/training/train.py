"""`train`: the one loop, for every method, on one rank and on many. Read `main`, then `fit`."""

import dataclasses
import math
import socket
import sys
from collections.abc import Callable
from typing import Any

from bnn_hvd.config import TrainConfig, to_flags
from bnn_hvd.data import own, sources, staging
from bnn_hvd.data.arrays import Arrays
from bnn_hvd.data.pipeline import Batch, Examples, Shard, StoredExamples
from bnn_hvd.data.stored import StoredArray
from bnn_hvd.distributed import cluster, machine, network
from bnn_hvd.distributed.cluster import Cluster, Communication
from bnn_hvd.errors import EXIT_INTERRUPTED
from bnn_hvd.inference import checksums
from bnn_hvd.inference.compression import COMPRESSIONS
from bnn_hvd.inference.controls import Controls, Scalars
from bnn_hvd.inference.hmc import Hmc
from bnn_hvd.inference.method import State
from bnn_hvd.metrics.convergence import Verdict
from bnn_hvd.models import own as own_network
from bnn_hvd.prediction.predictor import Predictor
from bnn_hvd.run import checkpoint, lock, provenance, records, rundir
from bnn_hvd.run.checkpoint import Progress
from bnn_hvd.run.own_code import say_change
from bnn_hvd.run.records import Stopwatch
from bnn_hvd.training import agreement, chain_report, pace, report, verdict
from bnn_hvd.training.agreement import Outcome
from bnn_hvd.training.logbook import Logbook
from bnn_hvd.training.loop import Loop, compile_loop
from bnn_hvd.training.plan import Call, Plan
from bnn_hvd.training.population import GatheredState
from bnn_hvd.training.stopping import StopRequest
from bnn_hvd.training.task import Task, prepare
from bnn_hvd.training.watchdog import Place, Watchdog

Scores = dict[str, Any]  # by name, of an evaluation on the test part


@dataclasses.dataclass(frozen=True)
class Session:
    """One session of training: the task and its loop, and the log, stop request and watchdog of the session."""

    task: Task
    loop: Loop
    evaluate: Callable[[Progress], Scores]
    judge: Callable[[Progress], Verdict]
    logbook: Logbook
    stop: StopRequest
    watchdog: Watchdog

    @property
    def way_out(self) -> str:
        """What the user can try if the loss or the weights are not finite."""
        lower = "--hmc_step_size" if self.task.plan.full_batch else "--learning_rate"
        hint = COMPRESSIONS[self.task.config.machine.compression].hint
        return f"Lower {lower}, or look at the data of that step{hint}"


def main(config: TrainConfig) -> int:
    """Train, or go on from the newest checkpoint of the run directory; returns the exit code.

    config: resolved, so that no field is left to be filled.
    """
    ranks, threads = connect(config)
    if config.run.dry_run:
        task = open_task(config, ranks, threads)
        if ranks.is_root:
            print(report.plan_text(task))
        return 0
    with lock.claimed(config.folder, ranks):  # before anything of the run directory is read
        return train(open_task(config, ranks, threads))


def connect(config: TrainConfig) -> tuple[Cluster, int]:
    """Return the ranks that the launcher started, and the number of threads of this one.

    Raises:
      UserError: versions, code or flags differ between the ranks, or rank 0 does not see the whole run directory.
    """
    options = config.machine
    communication = Communication(
        timeline=config.folder / records.TIMELINE if options.horovod_timeline else None,
        groups=config.method.num_particles > 1,
        compression=options.compression,
        fusion_mb=options.fusion_mb,
        gradient_blocks=options.gradient_blocks,
    )
    ranks = cluster.connect(communication)
    threads = machine.set_up(options.threads, ranks, options.deterministic, config.method.options.full_batch)
    flags = to_flags(config)
    views = ranks.gather((rundir.view(config.folder), flags))
    same_flags = all(other == flags for _, other in views)
    rundir.check_views(config.folder, [view for view, _ in views], same_flags)
    facts = provenance.fingerprint(flags)
    for what, code in (("data set", own.code_of(config)), ("network", own_network.code_of(config))):
        if code:
            facts |= {f"file of the {what}": code.checksum()}
    cluster.check_agreement(ranks, facts, socket.gethostname())
    return ranks, threads


def open_task(config: TrainConfig, ranks: Cluster, threads: int) -> Task:
    """Return what this rank trains. All that a command can be refused for is checked here, and nothing is written."""
    cluster.on_root(ranks, lambda: rundir.check_same_run(config))
    say_change(own_network.code_of(config), ranks.is_root)
    return prepare(config, load(config, ranks), ranks, threads)


def load(config: TrainConfig, ranks: Cluster) -> Arrays:
    """Return the data. Every rank reads them, with --stage_dir from a copy on its own host."""
    path = staging.stage(config.data.data_dir, config.data.stage_dir, ranks)
    arrays = cluster.on_each(ranks, lambda: sources.load_configured(config, path))
    say_change(own.code_of(config), ranks.is_root)
    for note in arrays.notes if ranks.is_root else ():
        print(f"bnn_hvd: note: {note}", file=sys.stderr, flush=True)
    return arrays


def train(task: Task) -> int:
    """Train to the end of the run, or until the job is told to stop; returns the exit code."""
    config, ranks, plan = task.config, task.ranks, task.plan
    # With more ranks than before, the rest of the epoch may fill no batch.
    progress = plan.advance(task.population.progress, 0)
    gathered = GatheredState(task.method, task.state, task.population, config)
    loop = make_loop(task)
    places = ranks.gather(Place(socket.gethostname(), network.addresses(), lock.holder(config.folder)))
    write_start(task, [place.host for place in places])
    if config.machine.checksums:
        loop = checksums.writing(loop, config.folder, progress, ranks.is_root)
    with (
        Logbook(config.folder, plan, progress, ranks) as logbook,
        StopRequest(config.run.max_runtime_s) as stop,
        Watchdog(config.folder, ranks, config.machine.stall_timeout_s, places) as watchdog,
    ):
        evaluate = make_evaluate(task, gathered, logbook)
        logbook.say(report.start_text(task, progress))
        if config.run.verbose:
            logbook.say(task.method.network.table(config.method.options.has_scales))
        if progress.step == 0:
            gathered.update()
            logbook.posterior(progress, task.method.network, gathered.method.marginals(gathered.state))
        judge = make_judge(task, gathered, logbook)
        progress, scores = fit(Session(task, loop, evaluate, judge, logbook, stop, watchdog), progress)
    times = report.gather_times(logbook.timed, config.machine.straggler_factor, ranks)
    found = judge(progress)
    if ranks.is_root:
        report.write(task, gathered.state, progress, scores, times, found)
        if scores:
            logbook.say("\n".join(filter(None, [found.why, report.end_text(task, progress)])))
    ranks.barrier()
    if ranks.is_root:
        watchdog.forget()
    return 0 if scores else EXIT_INTERRUPTED


def make_loop(task: Task) -> Loop:
    """Return the compiled loop over this rank's examples."""
    config, plan = task.config, task.plan
    known = task.description

    def step(state: State, batch: Batch, controls: Controls) -> Scalars:
        return task.step(state, batch._replace(micro_batches=config.data.accumulate_steps), controls)

    x, y = task.arrays.x_train, known.target.standardized(task.arrays.y_train)
    augmented, fresh_noise = bool(config.data.augment), config.data.options.fresh_noise
    examples: Examples
    if plan.full_batch:
        examples = Shard(x, y, known.standardizer, plan.shard)
    elif isinstance(x, StoredArray):
        examples = StoredExamples(x, y, known.standardizer, augmented, plan.batch_shape)
    else:
        examples = Examples(x, y, known.standardizer, augmented, fresh_noise)
    return compile_loop(step, task.state, examples, plan.batch_shape, task.ranks)


def make_evaluate(task: Task, gathered: GatheredState, logbook: Logbook) -> Callable[[Progress], Scores]:
    """Return the function that evaluates the gathered state on the test part; every rank calls it."""
    known, seed = task.description, task.config.run.seed
    predictor = Predictor(gathered.method, gathered.state, known.target, known.standardizer, task.ranks, seed)

    def evaluate(progress: Progress) -> Scores:
        gathered.update()
        scores = predictor.score(task.arrays.x_test, task.arrays.y_test, task.config.run.eval_draws)
        logbook.evaluation(progress, scores)
        logbook.posterior(progress, task.method.network, gathered.method.marginals(gathered.state))
        return scores

    return evaluate


def make_judge(task: Task, gathered: GatheredState, logbook: Logbook) -> Callable[[Progress], Verdict]:
    """Return the function that says whether the last round has converged; every rank calls it."""
    base, plan, ranks = gathered.method.base, task.plan, task.ranks
    found: dict[int, Verdict] = {}  # by step: that of the last round is asked for again when the run ends

    def judge(progress: Progress) -> Verdict:
        if progress.step not in found:
            gathered.update()
            if isinstance(base, Hmc) and ranks.is_root:
                local, arrays = base.network.local_parameters, task.arrays
                x = arrays.x_train if local or not len(arrays.x_test) else arrays.x_test
                logbook.say(chain_report.write(plan, base, gathered.state, x, task.description.standardizer))
            here = verdict.of_round(task, gathered, progress) if ranks.is_root else None
            found[progress.step] = ranks.broadcast(here)
        return found[progress.step]

    return judge


def fit(session: Session, progress: Progress) -> tuple[Progress, Scores | None]:
    """Train until the plan is finished, or all ranks agree to stop.

    Returns the progress, and the scores of the last evaluation; None if the run is not finished.

    Raises:
      TrainingError: the loss of some rank is not finite, or the weights of the ranks differ.
    """
    task, plan, ranks, config = session.task, session.task.plan, session.task.ranks, session.task.config
    scores = session.evaluate(progress) if plan.finished(progress) else None
    first_call, step_s = True, math.inf
    while not plan.finished(progress):
        # The first call is one step. Most of its time is tracing, so it does not count as training time.
        steps = 1 if first_call else pace.steps_of_call(config.machine.steps_per_call, step_s)
        progress, stopping, step_s = run_call(session, progress, plan.next_call(progress, steps), first_call)
        first_call = False

        if config.run.until_converged and (ended := plan.round_ended(progress)):
            session.watchdog.enter("evaluation", f"the verdict after step {progress.step}")
            verdict = session.judge(progress)  # one round alone can't tell what twice as many epochs would change
            progress = dataclasses.replace(progress, converged=bool(ended.first and verdict.converged))
        if stopping or plan.evaluation_due(progress) or plan.checkpoint_due(progress):
            agreement.assert_weights_finite(task.state, progress.step, ranks, session.way_out)
        if plan.evaluation_due(progress):
            session.watchdog.enter("evaluation", f"the evaluation after step {progress.step}")
            watch = Stopwatch()
            scores = session.evaluate(progress)
            session.logbook.time(progress, "eval", watch.elapsed_s())
        if stopping or plan.checkpoint_due(progress):
            session.watchdog.enter("checkpoint", f"the checkpoint after step {progress.step}")
            watch = Stopwatch()
            save(task, progress)
            session.logbook.time(progress, "checkpoint", watch.elapsed_s())
        if stopping and not plan.finished(progress):
            session.logbook.say(f"stopped early at step {progress.step}; the same command goes on from there")
            return progress, None
    return progress, scores


def run_call(session: Session, progress: Progress, call: Call, first_call: bool) -> tuple[Progress, bool, float]:
    """Make the steps of one call, and log them.

    Returns the progress, whether all ranks stop now, and the seconds per step of the slowest rank.
    """
    plan = session.task.plan
    first, last = progress.step + 1, progress.step + call.steps
    session.watchdog.enter("first call" if first_call else "steps", f"steps {first} to {last}", call.steps)
    watch = Stopwatch()
    history = session.loop(call)
    seconds = watch.elapsed_s()
    here = Outcome(progress.step, history["loss_here"], seconds / call.steps, session.stop.requested())
    stopping, step_s = agreement.agree(here, session.task.ranks, session.way_out)
    progress = add_time(plan.advance(progress, call.steps), call.steps, seconds, first_call, plan)
    communication_s = float(history["communication_s"].sum())
    phase = "compile" if first_call else "train"
    session.logbook.time(progress, phase, seconds, steps=call.steps, communication_s=communication_s)
    session.logbook.steps(progress, history, call, stopping)
    return progress, stopping, step_s


def add_time(progress: Progress, steps: int, seconds: float, first_call: bool, plan: Plan) -> Progress:
    """Return the progress with the time of a call: the first call is compilation, the others are training."""
    if first_call:
        return dataclasses.replace(progress, compile_s=progress.compile_s + seconds)
    return dataclasses.replace(
        progress,
        train_wall_s=progress.train_wall_s + seconds,
        timed_steps=progress.timed_steps + steps,
        timed_examples=progress.timed_examples + steps * plan.global_batch_size,
    )


def save(task: Task, progress: Progress) -> None:
    """Write a checkpoint of the gathered state.

    Raises:
      TrainingError: ranks that train the same particles hold different weights.
    """
    task.population.assert_same(task.state, progress.step)
    arrays = task.population.gather_on_root(task.state)
    if arrays is not None:
        checkpoint.save(task.config.folder / records.CHECKPOINTS, arrays, progress, task.config.run.keep)


def write_start(task: Task, hosts: list[str]) -> None:
    """Let rank 0 write the description of the run, and the provenance of this session: hosts, versions, threads.

    hosts: of each rank.
    """
    config, ranks = task.config, task.ranks
    session = provenance.session(hosts, ranks.size, task.threads)
    if ranks.is_root:
        records.make_run_directory(config.folder)
        for code in (own.code_of(config), own_network.code_of(config)):
            if code:
                code.keep_copy()
        rundir.describe(config, task.description.to_dict())
        path = config.folder / records.PROVENANCE
        records.write_json(path, [*(records.read_json(path) if path.exists() else []), session])
