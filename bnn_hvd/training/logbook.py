"""The log of a training run: metrics.jsonl, timings.jsonl, TensorBoard, and a progress bar or plain lines.

Only rank 0 writes and prints; on the other ranks the methods of `Logbook` do nothing.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from bnn_hvd.distributed.cluster import Cluster
from bnn_hvd.inference.method import Marginals
from bnn_hvd.models.network import Network
from bnn_hvd.run import records
from bnn_hvd.run.checkpoint import Progress
from bnn_hvd.run.heartbeat import Heartbeat
from bnn_hvd.training.plan import Call, Plan
from bnn_hvd.training.rank_times import Call as TimedCall

HISTOGRAM_BINS = 80
SHOWN_SCORES = (
    "accuracy", "rmse", "standardized_rmse", "nll", "region_coverage_90", "ece", "calibration_error", "auroc",
)  # fmt: skip
OF_CONVERGENCE = ("scale_pull", "mean_pull")  # how the names of scalars begin that are logged, and not printed
OF_THIS_RANK = ("loss_here", "communication_s")  # scalars of a step that are not averaged over the ranks


class Logbook:
    """The log of one session of a run.

    Attributes:
      timed: the calls of the loop that this rank timed; the one attribute that every rank fills.
    """

    def __init__(self, run: Path, plan: Plan, progress: Progress, ranks: Cluster):
        self.run, self.plan, self.quiet = run, plan, not ranks.is_root
        self._window: list[dict[str, np.ndarray]] = []
        self.timed: list[TimedCall] = []
        if self.quiet:
            return
        for name in (records.METRICS, records.TIMINGS):
            records.drop_rows_after(run / name, progress.step, progress.first_member)
        rows = records.read_jsonl(run / records.METRICS)
        self._evaluated = {(row["first_member"], row["step"]) for row in rows if row["kind"] == "eval"}
        self._board = tf.summary.create_file_writer(str(run / records.TENSORBOARD))
        on_terminal = sys.stderr.isatty()
        self._bar = tqdm(total=plan.total_steps, initial=progress.step, unit="step") if on_terminal else None
        self._heartbeat = Heartbeat(self.say)

    def __enter__(self) -> "Logbook":
        return self

    def __exit__(self, *error: object) -> None:
        if not self.quiet:
            self._board.close()
            if self._bar:
                self._bar.close()

    def say(self, text: str) -> None:
        """Print lines above the progress bar, each in one piece: launchers mark every piece with the rank."""
        if not self.quiet:
            for line in text.splitlines():
                tqdm.write(line, file=sys.stdout)
            sys.stdout.flush()
            self._heartbeat.said()

    def time(self, progress: Progress, phase: str, seconds: float, **more: float) -> None:
        """Write a row of timings.jsonl: how long a phase (compile, train, eval, checkpoint) took."""
        if phase == "train":
            self.timed.append(TimedCall(seconds, int(more["steps"]), more["communication_s"]))
        if not self.quiet:
            row = {**self._position(progress), "phase": phase, "seconds": seconds, **more}
            records.append_jsonl(self.run / records.TIMINGS, row)

    def steps(self, progress: Progress, history: dict[str, np.ndarray], call: Call, stopping: bool) -> None:
        """Collect the scalars of each step. Write their means every --log_every_steps and at the end of an epoch.

        The first step has a row of its own: it shows where the training began, and that it has. A run that goes on
        after a checkpoint has a row up to there, so that no step is missing in the log.
        """
        if self.quiet:
            return
        self._window.append(history)
        if self._bar:
            self._bar.update(call.steps)
        every = self.plan.config.run.log_every_steps
        due = progress.step // every > (progress.step - call.steps) // every or progress.step == call.steps
        if not (due or progress.offset == 0 or stopping or self.plan.checkpoint_due(progress)):
            if not self._bar:
                self._heartbeat.beat(f"step {progress.step}/{self.plan.total_steps}")
            return
        means = {
            name: float(np.mean(np.concatenate([part[name] for part in self._window])))
            for name in history if name not in OF_THIS_RANK
        }  # fmt: skip
        self._window = []
        if "kl" in means:
            means["elbo"] = -means["nll"] - means["kl"] / self.plan.num_labels
        schedule = {"learning_rate": float(call.learning_rate_T[-1]), "kl_weight": float(call.kl_weight_T[-1])}
        self._row(progress, "train", {**means, **schedule})
        if self._bar:
            self._bar.set_postfix(loss=f"{means['loss']:.4f}")
        else:
            shown = "  ".join(
                f"{name} {value:.4f}" for name, value in means.items() if not name.startswith(OF_CONVERGENCE)
            )
            self.say(f"step {progress.step}/{self.plan.total_steps}  {shown}")

    def evaluation(self, progress: Progress, scores: dict[str, Any]) -> None:
        """Write and print the scores of the test part."""
        if self.quiet:
            return
        # A finished run that is started again evaluates again: its row is there already.
        if (progress.first_member, progress.step) not in self._evaluated:
            self._row(progress, "eval", scores)
        epoch = self.plan.fractional_epoch(progress)
        shown = "  ".join(f"{name} {scores[name]:.4f}" for name in SHOWN_SCORES if name in scores)
        self.say(f"epoch {epoch:.4g}: test {shown}  ({scores['num_draws']} draws)")

    def posterior(self, progress: Progress, network: Network, marginals: Marginals) -> None:
        """Write the histograms of loc and scale of each parameter."""
        if self.quiet:
            return
        arrays: dict[str, np.ndarray] = {}
        for kind, values in (("loc", network.slices(marginals.loc_P)), ("scale", network.slices(marginals.scale_B))):
            for name, part in values.items():
                arrays[f"{name}/{kind}_counts"], arrays[f"{name}/{kind}_edges"] = np.histogram(part, HISTOGRAM_BINS)
        records.write_npz(self.run / records.POSTERIOR / f"step_{progress.step:08d}.npz", arrays)

    def _position(self, progress: Progress) -> dict[str, int]:
        """Return the position of a row: particles that were added to a finished run begin at step 0 again."""
        return {"first_member": progress.first_member, "step": progress.step}

    def _row(self, progress: Progress, kind: str, values: dict[str, Any]) -> None:
        position = {
            "kind": kind, **self._position(progress), "epoch": self.plan.fractional_epoch(progress),
            "examples_seen": progress.examples_seen,
        }  # fmt: skip
        records.append_jsonl(self.run / records.METRICS, {**position, **values})
        # One record for all values: tf.summary.scalar takes 0.4 ms per value, the time of three small steps.
        scalars = [tf.compat.v1.Summary.Value(tag=f"{kind}/{name}", simple_value=v) for name, v in values.items()]
        with self._board.as_default():
            tf.summary.experimental.write_raw_pb(
                tf.compat.v1.Summary(value=scalars).SerializeToString(), step=progress.step
            )
