"""Means, standard errors, relative costs and what the tables make of them."""

import numpy as np
import pytest

from bnn_hvd.studies.comparison import collect, columns, tables


def row(method, nll, cost=1.0, dataset="digits", inference=""):
    return {
        "dataset": dataset, "network": "mlp", "method": method, "inference": inference or method,
        "runs": ["a"] * len(nll), "scores": {"nll": collect.summary(nll, range(len(nll)))},
        "cost": dict.fromkeys(collect.COSTS, cost),
    }  # fmt: skip


def with_costs(rows):
    for one in rows:
        one["relative_cost"] = collect.relative(one, rows)
    return rows


def cells(text, method):
    (line,) = (line for line in text.splitlines() if line.startswith(f"| {method} |"))
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_the_standard_error_is_that_of_the_mean():
    found = collect.summary([1.0, 2.0, 4.0, 9.0], [0, 1, 2, 3])
    assert found["mean"] == 4.0
    variance = ((1 - 4) ** 2 + (2 - 4) ** 2 + 0 + (9 - 4) ** 2) / 3
    assert found["standard_error"] == pytest.approx(np.sqrt(variance / 4))
    assert collect.summary([3.0], [0])["standard_error"] is None


def test_seeds_on_one_split_count_once():
    """With two seeds on each of three splits, three means are independent."""
    found = collect.summary([1.0, 3.0, 5.0, 5.0, 8.0, 8.0], [0, 0, 1, 1, 4, 4])
    assert found["mean"] == 5.0
    assert found["standard_error"] == pytest.approx(np.sqrt((9 + 0 + 9) / 2 / 3))


def test_a_column_is_found_by_its_place():
    report = {"nll": 1, "ood": {"auroc_entropy": 0.75}, "why": "word"}
    assert columns.value(report, "nll") == 1.0
    assert columns.value(report, "ood.auroc_entropy") == 0.75
    assert columns.value({"corrupted": [{"nll": 9.0, "level": 0}, {"nll": 0.0}, {"nll": 3.0}]}, "corrupted.nll") == 1.5
    assert columns.value({"corrupted": [{"nll": 1.0}, {}]}, "corrupted.nll") is None
    assert [columns.value(report, place) for place in ("ece", "nll.deeper", "ood.none", "why")] == [None] * 4


def test_costs_are_multiples_of_those_of_point():
    """The row called point is the unit; without it, the first one that is trained by point."""
    rows = with_costs([row("other", [1.0], 8, inference="point"), row("point", [1.0], 2), row("vi", [1.0], 6)])
    assert [one["relative_cost"]["step_ms"] for one in rows] == [4, 1, 3]
    rows = with_costs([row("other", [1.0], 8, inference="point"), row("vi", [1.0], 6)])
    assert [one["relative_cost"]["step_ms"] for one in rows] == [1, 0.75]
    assert collect.relative(row("vi", [1.0]), [row("vi", [1.0])]) is None
    far = row("point", [1.0], 2, dataset="other")
    assert collect.relative(row("vi", [1.0]), [far]) is None


def test_a_table_has_the_digits_of_the_standard_error_and_the_best_is_bold():
    rows = with_costs([row("point", [0.30, 0.34]), row("vi", [0.25, 0.29]), row("swag", [0.20, 0.32])])
    text = tables.text("study", rows, {})
    assert cells(text, "vi")[:3] == ["vi", "2", "**0.270 ± 0.020**"]  # 0.01 above swag, whose error is 0.06
    assert cells(text, "swag")[2] == "**0.260 ± 0.060**"
    rows = with_costs([row("point", [0.300, 0.301]), row("vi", [0.250, 0.251])])
    text = tables.text("study", rows, {})
    assert (cells(text, "point")[2], cells(text, "vi")[2]) == ("0.30050 ± 0.00050", "**0.25050 ± 0.00050**")
    assert "Runs that failed" not in text


def test_several_data_sets_have_a_table_of_each_score():
    rows = with_costs([row("point", [0.3]), row("vi", [0.2]), row("vi", [0.1], dataset="other")])
    text = tables.text("study", rows, {"run7": "the loss is not finite"})
    assert "## NLL ↓" in text
    assert cells(text, "other") == ["other", "mlp", "-", "**0.1**"]
    assert "- run7: the loss is not finite" in text
    assert "1,000 predictions, ms" in text  # the other data set has no row of point
