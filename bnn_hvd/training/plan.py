"""The course of a run: the examples, seeds and learning rates of each step of this rank.

Everything here is a pure function of the configuration and the progress, so a run that was stopped and goes on
makes the same steps as one that was not.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from bnn_hvd import seeds
from bnn_hvd.config import TrainConfig
from bnn_hvd.data import augment, shards
from bnn_hvd.errors import UserError
from bnn_hvd.run import rundir
from bnn_hvd.run.checkpoint import Progress
from bnn_hvd.training import schedules
from bnn_hvd.training.schedules import Place, Round

NOTHING_AHEAD = np.zeros([0, 0], np.int32)


class Call(NamedTuple):
    """The inputs of one call of the compiled loop. Legend: T steps, B examples per rank, M members."""

    examples: np.ndarray  # int32, indices into the training part: [T, B], or [T, M, B] with batches for each member
    seeds_T2: np.ndarray  # int64, of this rank's noise
    learning_rate_T: np.ndarray  # float32
    kl_weight_T: np.ndarray  # float32
    scale_rate_T: np.ndarray  # float32
    scale_ceiling_T: np.ndarray  # float32
    augmentation: np.ndarray = augment.NOTHING  # int32: first row, first column, flip of each: [..., 3]
    strain_seeds_T2: np.ndarray = np.zeros([0, 2], np.int64)  # of the noise that is added to examples, on all ranks
    ahead: np.ndarray = NOTHING_AHEAD  # int32: the examples that the next call will probably have

    @property
    def steps(self) -> int:
        return len(self.examples)

    @property
    def inputs(self) -> tuple[np.ndarray, ...]:
        """What decides the steps: all but what is ahead of them."""
        return self[:-1]

    def part(self, first: int, most_steps: int) -> "Call":
        """Return at most `most_steps` of these steps, from `first` on; what follows them here is ahead of them."""
        last = min(first + most_steps, self.steps)
        ahead = self.examples[last:] if last < self.steps else self.ahead
        parts = {name: values[first:last] for name, values in self._asdict().items()}
        return Call(**parts | {"ahead": ahead})


@dataclasses.dataclass(frozen=True)
class Plan:
    """The course of a run for one `rank` of the `size` ranks that train the same `members`; None without members."""

    config: TrainConfig
    num_train: int
    rank: int
    size: int
    members: range | None = None
    labels_per_example: int = 1

    def __post_init__(self) -> None:
        if self.full_batch:
            if self.num_train < self.size:
                raise UserError(f"{self.num_train} training examples can't be split over {self.size} ranks: take fewer")
            return
        if self.num_train < self.global_batch_size:
            raise UserError(
                f"{self.num_train} training examples are fewer than {self.size} ranks x batch size "
                f"{self.config.data.examples_per_rank}: lower --batch_size to at most "
                f"{self.num_train // (self.size * self.config.data.accumulate_steps)}"
            )
        blocks = self.config.machine.gradient_blocks
        if blocks and (blocks % self.size or self.global_batch_size % blocks):
            raise UserError(
                f"--gradient_blocks={blocks} must be a multiple of the {self.size} ranks, and divide the global batch "
                f"of {self.global_batch_size}"
            )

    @property
    def num_labels(self) -> int:
        """The labels of all training examples."""
        return self.num_train * self.labels_per_example

    @property
    def full_batch(self) -> bool:
        """Whether each step sees all examples, so that a step is an epoch. Each rank then sees its shard."""
        return bool(self.config.method.options.full_batch)

    @property
    def shard(self) -> slice:
        """The examples of this rank in full-batch training."""
        return shards.shard(self.num_train, self.rank, self.size)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """How many examples this rank chooses for each step: (B,), or (M, B); B is 0 in full-batch training."""
        chosen = 0 if self.full_batch else self.config.data.examples_per_rank
        return (len(self._orders), chosen) if self.own_batches else (chosen,)

    @property
    def own_batches(self) -> bool:
        """Whether each member has its own order of the examples, crops and flips."""
        return self.members is not None and self.config.method.member_batches == "own"

    @property
    def _orders(self) -> range:
        """The members whose orders of the examples are used; all share that of member 0 unless each has its own."""
        return self.members if self.members is not None and self.own_batches else range(1)

    @property
    def global_batch_size(self) -> int:
        return self.num_train if self.full_batch else self.config.data.examples_per_rank * self.size

    @property
    def steps_per_epoch(self) -> int:
        return self.num_train // self.global_batch_size

    @property
    def total_steps(self) -> int:
        """Steps of the whole run, if the number of ranks stays."""
        return self.config.run.steps or (self.config.run.epochs or 0) * self.steps_per_epoch

    def finished(self, progress: Progress) -> bool:
        return rundir.finished(self.config, progress)

    def fractional_epoch(self, progress: Progress) -> float:
        return progress.epoch + progress.offset / self.num_train

    def next_call(self, progress: Progress, most_steps: int) -> Call:
        """Return the next steps: at most `most_steps`, and none past an epoch, a checkpoint, a log row or the end."""
        steps = min(most_steps, self._steps_to_boundary(progress))
        epochs = [
            progress.epoch + (progress.offset + i * self.global_batch_size) / self.num_train for i in range(steps)
        ]
        places = [self._place(progress.step + i, epoch) for i, epoch in enumerate(epochs)]
        index, augmentation, schedule = *self._examples(progress, steps), self.config.schedule
        return Call(
            index,
            np.stack([self._seed(progress.step + i) for i in range(steps)]),
            np.array(
                [schedules.learning_rate(schedule, e, p, self.size) for e, p in zip(epochs, places, strict=True)],
                np.float32,
            ),
            np.array([schedules.kl_weight(schedule, epoch) for epoch in epochs], np.float32),
            np.array([schedules.scale_rate(place) for place in places], np.float32),
            np.array([schedules.scale_ceiling(place) for place in places], np.float32),
            augmentation,
            np.stack([seeds.seed(self.config.run.root_seed("shuffle"), "strain", progress.epoch)] * steps),
            self._ahead(self.advance(progress, steps), steps),
        )

    def _ahead(self, progress: Progress, steps: int) -> np.ndarray:
        """Return the examples of the next call, if it has as many steps: [at most `steps`, *batch_shape]."""
        if self.full_batch or self.finished(progress):
            return NOTHING_AHEAD
        return self._examples(progress, min(steps, self._steps_to_boundary(progress)))[0]

    @property
    def rounds(self) -> list[Round]:
        """The rounds of the run, in steps if --steps is given, else in epochs."""
        run = self.config.run
        return schedules.rounds(run.steps or run.epochs or 1, run.until_converged)

    def _place(self, step: int, epoch: float) -> Place:
        """Return where in the schedules a step is."""
        done = step if self.config.run.steps else epoch
        first, last = next(one for one in self.rounds if done < one.last)
        steps = (last - first) * (1 if self.config.run.steps else self.steps_per_epoch)
        return Place((done - first) / (last - first), done / (last - first), 1 / steps)

    def round_ended(self, progress: Progress) -> Round | None:
        """Return the round that ends here, if one does."""
        steps = self.config.run.steps
        done = progress.step if steps else progress.epoch
        at_its_end = [one for one in self.rounds if one.last == done and (steps or not progress.offset)]
        return at_its_end[0] if at_its_end else None

    def _examples(self, progress: Progress, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the examples of each step for this rank, [steps, *batch_shape], and how they are augmented."""
        if self.full_batch:
            return np.zeros([steps, 0], np.int32), augment.NOTHING
        what = self.config.run.root_seed("shuffle"), progress.epoch, self.num_train, self._orders
        index = shards.batches(
            shards.epoch_permutations(*what),
            progress.offset,
            steps,
            self.config.data.examples_per_rank,
            self.rank,
            self.size,
        )
        member = slice(None) if self.own_batches else 0
        how = self.config.data.augment
        if not how:
            return index[:, member], augment.NOTHING
        each = augment.epoch_augmentations(*what, "crop" in how, "flip" in how)
        return index[:, member], each[np.arange(len(each))[:, None], index][:, member]

    def _seed(self, step: int) -> np.ndarray:
        """Return the seed [2] of a step: of this rank's noise, or in full-batch training of the chain, on all ranks.

        The noise of gradient blocks depends on the block and not on the rank: all ranks then have the seed of rank 0.
        """
        if self.full_batch:
            return seeds.seed(self.config.run.seed, "chain", step)
        rank = 0 if self.config.machine.gradient_blocks else self.rank
        return seeds.seed(self.config.run.root_seed("noise"), "noise", rank, step)

    def advance(self, progress: Progress, steps: int) -> Progress:
        """Return the progress after `steps` more steps (of one epoch)."""
        examples = steps * self.global_batch_size
        offset, epoch = progress.offset + examples, progress.epoch
        if offset + self.global_batch_size > self.num_train:  # the rest of the epoch fills no batch
            offset, epoch = 0, epoch + 1
        return dataclasses.replace(
            progress, step=progress.step + steps, epoch=epoch, offset=offset,
            examples_seen=progress.examples_seen + examples,
        )  # fmt: skip

    def checkpoint_due(self, progress: Progress) -> bool:
        every = self.config.run.checkpoint_every_steps
        return self.finished(progress) or bool(every and progress.step % every == 0)

    def evaluation_due(self, progress: Progress) -> bool:
        every = self.config.run.eval_every_epochs
        return self.finished(progress) or bool(every and progress.offset == 0 and progress.epoch % every == 0)

    def _steps_to_boundary(self, progress: Progress) -> int:
        ahead = [shards.steps_left(progress.offset, self.num_train, self.global_batch_size)]
        if self.config.run.steps is not None:
            ahead.append(next(one.last for one in self.rounds if progress.step < one.last) - progress.step)
        for every in (self.config.run.checkpoint_every_steps, self.config.run.log_every_steps):
            if every:
                ahead.append(every - progress.step % every)
        return min(ahead)
