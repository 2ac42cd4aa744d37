"""A run uses every example once an epoch, and its calls end where something is due."""

import dataclasses

import numpy as np
import pytest

from bnn_hvd import seeds
from bnn_hvd.config import compose, resolve
from bnn_hvd.data import shards
from bnn_hvd.errors import UserError
from bnn_hvd.run.checkpoint import Progress
from bnn_hvd.training import pace
from bnn_hvd.training.plan import Plan

CONFIG = compose(batch_size=4, seed=5, epochs=3, checkpoint_every_steps=0)


def make_plan(num_train: int = 50, rank: int = 0, size: int = 1, **changes) -> Plan:
    return Plan(CONFIG.replace(**changes), num_train, rank, size)


def course(plan: Plan, most_steps: int, progress: Progress | None = None):
    """Yield (progress before, call, progress after) to the end of the run."""
    progress = progress or Progress()
    while not plan.finished(progress):
        call = plan.next_call(progress, most_steps)
        assert 1 <= call.steps <= most_steps
        after = plan.advance(progress, call.steps)
        yield progress, call, after
        progress = after


def ends(plan: Plan, most_steps: int) -> list[int]:
    """Return the steps at which the calls of a run end."""
    return [after.step for _, _, after in course(plan, most_steps)]


def test_calls_end_at_the_epoch():
    assert make_plan().steps_per_epoch == 12  # of 50 examples, 4 a step
    assert ends(make_plan(), 100) == [12, 24, 36]
    assert ends(make_plan(), 5) == [5, 10, 12, 17, 22, 24, 29, 34, 36]


@pytest.mark.parametrize("size", [1, 2])
def test_accumulated_steps_have_the_examples_of_one_larger_batch(size):
    for rank in range(size):
        several, one = (
            make_plan(rank=rank, size=size, **changes)
            for changes in ({"batch_size": 2, "accumulate_steps": 3}, {"batch_size": 6})
        )
        for (_, call, after), (_, expected, same) in zip(course(several, 5), course(one, 5), strict=True):
            np.testing.assert_array_equal(call.examples, expected.examples)
            assert after == same


def test_calls_end_at_checkpoints():
    plan = make_plan(checkpoint_every_steps=9)
    assert ends(plan, 100) == [9, 12, 18, 24, 27, 36]
    due = [after.step for _, _, after in course(plan, 100) if plan.checkpoint_due(after)]
    assert due == [9, 18, 27, 36]


def test_calls_end_with_the_run():
    plan = make_plan(epochs=None, steps=15)
    assert ends(plan, 100) == [12, 15]
    assert [plan.checkpoint_due(after) for _, _, after in course(plan, 100)] == [False, True]
    assert ends(make_plan(epochs=None, steps=12), 7) == [7, 12]


def test_finished_under_steps_and_under_epochs():
    by_steps, by_epochs = make_plan(epochs=None, steps=15), make_plan(epochs=2)
    assert [by_steps.finished(Progress(step=step)) for step in (14, 15, 16)] == [False, True, True]
    assert [by_epochs.finished(Progress(step=99, epoch=epoch)) for epoch in (0, 1, 2, 3)] == [False, False, True, True]
    assert (by_steps.total_steps, by_epochs.total_steps) == (15, 24)


def test_evaluation_is_due_at_the_end_of_every_kth_epoch_and_of_the_run():
    def due(plan: Plan) -> list[int]:
        return [after.step for _, _, after in course(plan, 7) if plan.evaluation_due(after)]

    assert due(make_plan(eval_every_epochs=1)) == [12, 24, 36]
    assert due(make_plan(eval_every_epochs=2)) == [24, 36]
    assert due(make_plan(eval_every_epochs=0)) == [36]
    assert due(make_plan(eval_every_epochs=1, epochs=None, steps=15)) == [12, 15]


def test_calls_end_with_each_round_and_the_learning_rate_falls_in_each():
    plan = make_plan(epochs=None, steps=40, until_converged=True, learning_rate=1.0, lr_schedule="tail")
    calls = [(after.step, call) for _, call, after in course(plan, 100)]
    assert [step for step, _ in calls] == [5, 10, 12, 20, 24, 36, 40]  # an epoch has 12 steps
    assert [plan.round_ended(Progress(step=step)) is not None for step, _ in calls] == [True, True, False, True] + [
        False, False, True
    ]  # fmt: skip
    rates = np.concatenate([call.learning_rate_T for _, call in calls])
    np.testing.assert_allclose(rates[[0, 4, 5, 9, 10, 19, 20, 39]], [1, 0.4, 1, 0.4, 1, 0.2, 1, 0.1], rtol=1e-6)


def test_a_run_that_has_converged_is_finished():
    plan = make_plan(until_converged=True)
    assert plan.finished(Progress(epoch=1, converged=True))
    assert plan.checkpoint_due(Progress(epoch=1, converged=True))
    assert not plan.finished(Progress(epoch=1))


def test_advance_counts_examples_of_all_ranks_and_drops_what_fills_no_batch():
    plan = make_plan(size=3)  # 12 examples a step, 4 steps an epoch; 2 examples are left over
    assert plan.advance(Progress(), 3) == Progress(step=3, epoch=0, offset=36, examples_seen=36)
    assert plan.advance(Progress(), 4) == Progress(step=4, epoch=1, offset=0, examples_seen=48)
    assert plan.fractional_epoch(Progress(epoch=2, offset=25)) == 2.5


@pytest.mark.parametrize("size", [2, 3, 4])
def test_the_ranks_of_a_step_together_take_the_window_of_a_single_rank(size):
    single = list(course(make_plan(batch_size=12), 3))
    ranks = [list(course(make_plan(batch_size=12 // size, rank=rank, size=size), 3)) for rank in range(size)]
    for (_, alone, expected_progress), *parts in zip(single, *ranks, strict=True):
        together = np.concatenate([call.examples for _, call, _ in parts], axis=1)
        np.testing.assert_array_equal(np.sort(together, axis=1), np.sort(alone.examples, axis=1))
        assert all(progress == expected_progress for _, _, progress in parts)


def test_a_run_does_not_depend_on_how_its_steps_are_cut_into_calls():
    def rows(most_steps: int, **changes) -> list[np.ndarray]:
        calls = [call.inputs for _, call, _ in course(make_plan(kl_warmup_epochs=2.0, **changes), most_steps)]
        return [np.concatenate(column) for column in zip(*calls, strict=True)]

    for one, many in zip(rows(1), rows(100, checkpoint_every_steps=7), strict=True):
        np.testing.assert_array_equal(one, many)


def test_nor_on_a_number_of_steps_that_changes_from_call_to_call():
    """With --steps_per_call=0, the number of steps in a call follows the time of a step, which varies."""
    plan, progress = make_plan(kl_warmup_epochs=2.0, checkpoint_every_steps=7), Progress()
    rng, calls = np.random.default_rng(0), []
    while not plan.finished(progress):
        calls.append(plan.next_call(progress, pace.steps_of_call(0, rng.uniform(0.01, 1.5))))
        progress = plan.advance(progress, calls[-1].steps)
    assert len({call.steps for call in calls}) > 2
    together = [call.inputs for _, call, _ in course(make_plan(kl_warmup_epochs=2.0), 100)]
    for cut, whole in zip(zip(*(call.inputs for call in calls), strict=True), zip(*together, strict=True), strict=True):
        np.testing.assert_array_equal(np.concatenate(cut), np.concatenate(whole))


def test_an_epoch_is_its_permutation_in_order():
    calls = [call for before, call, _ in course(make_plan(), 5) if before.epoch == 1]
    used = np.concatenate([call.examples for call in calls]).ravel()
    np.testing.assert_array_equal(used, shards.epoch_permutation(5, 1, 50)[:48])


def member_plan(members: range, rank: int = 0, size: int = 1, **changes) -> Plan:
    config = resolve(
        method="ensemble", num_particles=4, member_batches="own", batch_size=4, epochs=2, shuffle_seed=5, **changes
    )
    return Plan(config, 50, rank, size, members)


def test_each_member_takes_the_examples_in_its_own_order():
    calls = [call for before, call, _ in course(member_plan(range(3)), 5) if before.epoch == 1]
    used_MN = np.concatenate([call.examples for call in calls]).swapaxes(0, 1).reshape(3, -1)
    for member, used in enumerate(used_MN):
        np.testing.assert_array_equal(used, shards.epoch_permutation(5, 1, 50, member)[:48])
    assert all(len(np.unique(used)) == 48 for used in used_MN)
    assert np.mean(used_MN[0] == used_MN[1]) < 0.25  # 1 of 48 agrees on average; 12 or more with probability 1e-9
    np.testing.assert_array_equal(used_MN[0], shards.epoch_permutation(5, 1, 50)[:48])  # that of a single network


@pytest.mark.parametrize("augment", ["", "crop_flip"])
def test_the_order_of_a_member_depends_on_no_rank_and_no_other_member(augment):
    alone = member_plan(range(2, 3), augment=augment).next_call(Progress(), 3)
    beside = member_plan(range(1, 4), augment=augment).next_call(Progress(), 3)
    np.testing.assert_array_equal(alone.examples[:, 0], beside.examples[:, 1])
    halves = [member_plan(range(2, 3), rank, 2, augment=augment).next_call(Progress(), 1) for rank in range(2)]
    together = np.concatenate([half.examples[0, 0] for half in halves])
    np.testing.assert_array_equal(np.sort(together), np.sort(alone.examples[:2, 0].ravel()))
    if augment:
        np.testing.assert_array_equal(alone.augmentation[:, 0], beside.augmentation[:, 1])
        assert (beside.augmentation[:, 0] != beside.augmentation[:, 1]).any()
        assert alone.augmentation.shape == (*alone.examples.shape, 3)


def test_without_batches_of_their_own_members_share_the_order_of_a_single_network():
    shared = dataclasses.replace(
        member_plan(range(3)), config=member_plan(range(3)).config.replace(member_batches="shared")
    )
    assert (shared.batch_shape, member_plan(range(3)).batch_shape) == ((4,), (3, 4))
    np.testing.assert_array_equal(
        shared.next_call(Progress(), 3).examples, member_plan(range(1)).next_call(Progress(), 3).examples[:, 0]
    )


def test_each_rank_and_step_has_its_own_noise():
    size = 3
    plans = [make_plan(rank=rank, size=size, batch_size=2) for rank in range(size)]
    runs = [np.concatenate([call.seeds_T2 for _, call, _ in course(plan, 5)]) for plan in plans]
    assert len(np.unique(np.concatenate(runs), axis=0)) == size * 24  # 3 epochs of 8 steps
    np.testing.assert_array_equal(runs[2][13], seeds.seed(5, "noise", 2, 13))


def test_step_sizes_follow_the_fraction_of_the_epoch():
    plan = make_plan(
        size=2,
        lr_schedule="constant",
        lr_scaling="linear",
        lr_warmup_epochs=1.0,
        learning_rate=0.1,
        kl_warmup_epochs=2.0,
    )
    calls = [call for _, call, _ in course(plan, 4)]
    epochs = np.concatenate([np.arange(6) * 8 / 50 + epoch for epoch in range(3)])
    rates, weights = np.concatenate([c.learning_rate_T for c in calls]), np.concatenate([c.kl_weight_T for c in calls])
    np.testing.assert_allclose(rates, 0.1 * (1 + np.minimum(1, epochs)), rtol=1e-6)
    np.testing.assert_allclose(weights, np.minimum(1, epochs / 2), rtol=1e-6)
    assert rates.dtype == weights.dtype == np.float32


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1), (2, 3), (5, 1)])
@pytest.mark.parametrize("steps_before", [1, 3])
def test_another_number_of_ranks_goes_on_without_repeating_or_skipping_an_example(before, after, steps_before):
    """If the position in the epoch were counted in steps instead of examples, it would jump."""
    num_train = 90

    def one_epoch(size: int, progress: Progress, most_steps: int) -> tuple[np.ndarray, Progress]:
        plans = [make_plan(num_train, rank, size) for rank in range(size)]
        calls = [plan.next_call(progress, most_steps).examples for plan in plans]
        return np.concatenate(calls, axis=1).ravel(), plans[0].advance(progress, len(calls[0]))

    first, progress = one_epoch(before, Progress(), steps_before)
    assert progress.examples_seen == progress.offset == len(first)
    second, progress = one_epoch(after, progress, 100)
    used = np.concatenate([first, second])
    left_over = (num_train - len(first)) % (4 * after)
    assert len(np.unique(used)) == len(used) == num_train - left_over
    np.testing.assert_array_equal(np.sort(used), np.sort(shards.epoch_permutation(5, 0, num_train)[: len(used)]))
    assert (progress.epoch, progress.offset) == (1, 0)


def test_a_rest_that_fills_no_batch_of_more_ranks_leads_to_the_next_epoch():
    """Few ranks have used 38 of 50 examples; the other 12 do not fill a batch of 5 ranks x 4."""
    plan = make_plan(size=5)
    rest = Progress(step=9, offset=38, examples_seen=38)
    assert plan.advance(rest, 0) == Progress(step=9, epoch=1, offset=0, examples_seen=38)
    fits = Progress(step=7, offset=30, examples_seen=30)
    assert plan.advance(fits, 0) == fits


def test_fewer_examples_than_ranks_times_batch_size_is_an_error_that_names_the_way_out():
    make_plan(num_train=12, size=3)
    with pytest.raises(UserError, match=r"11 training examples.*3 ranks x batch size 4.*at most 3"):
        make_plan(num_train=11, size=3)


def test_where_a_step_sees_all_examples_it_is_an_epoch():
    plan = make_plan(num_train=7, method="hmc", epochs=None, steps=5, rank=1, size=2)
    calls = list(course(plan, 100))
    assert [after.step for _, _, after in calls] == [after.epoch for _, _, after in calls] == [1, 2, 3, 4, 5]
    assert [call.examples.shape for _, call, _ in calls] == [(1, 0)] * 5
    assert calls[-1][2].examples_seen == 5 * 7
    assert (plan.batch_shape, plan.global_batch_size, plan.shard) == ((0,), 7, slice(3, 7))


def test_all_ranks_of_a_chain_have_its_seeds():
    first, second = (make_plan(method="hmc", steps=9, epochs=None, rank=rank, size=2) for rank in range(2))
    for plan in (first, second):
        call = plan.next_call(Progress(step=4, epoch=4), 1)
        np.testing.assert_array_equal(call.seeds_T2, [seeds.seed(5, "chain", 4)])


def test_blocks_must_fit_ranks_and_batch_and_their_noise_is_that_of_rank_0():
    changes = {"gradient_blocks": 4, "lr_scaling": "none"}
    calls = [make_plan(rank=rank, size=2, **changes).next_call(Progress(), 3) for rank in (0, 1)]
    np.testing.assert_array_equal(calls[0].seeds_T2, calls[1].seeds_T2)
    with pytest.raises(UserError, match="--gradient_blocks=4 must be a multiple of the 8 ranks, and divide"):
        make_plan(size=8, **changes)
    with pytest.raises(UserError, match=r"--gradient_blocks=8 must .* divide the global batch of 12"):
        make_plan(**changes | {"gradient_blocks": 8, "batch_size": 12})


def test_more_ranks_than_examples_is_an_error():
    with pytest.raises(UserError, match="2 training examples can't be split over 3 ranks"):
        make_plan(num_train=2, method="hmc", steps=1, epochs=None, size=3)
