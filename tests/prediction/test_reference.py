"""The predictions of another run are read as a reference, and compared with it."""

import numpy as np
import pytest

from bnn_hvd.config import PredictConfig, make
from bnn_hvd.errors import UserError
from bnn_hvd.prediction import classes, reals
from bnn_hvd.prediction.predict import check_kind
from bnn_hvd.prediction.reference import read_probs, read_reference, reference_lines
from bnn_hvd.run import records
from bnn_hvd.targets import Classes, ImplicitRatings, RealValues, RealVectors

NAMES = ("probs_NC",)
P = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.0, 0.0, 1.0]])


def test_a_reference_must_have_predicted_the_same_data(tmp_path):
    with pytest.raises(UserError, match="predict --run="):
        read_reference(tmp_path, "abc", NAMES)
    records.write_npz(tmp_path / records.PREDICTIVE, {"probs_NC": P, "origin_fingerprint": np.array("abc")})
    np.testing.assert_array_equal(read_reference(tmp_path, "abc", NAMES)["probs_NC"], P)
    with pytest.raises(UserError, match="other examples"):
        read_reference(tmp_path, "def", NAMES)


def test_a_reference_may_be_among_the_predictions_of_other_data(tmp_path):
    """It is found in the run, and by its own folder."""
    folder = tmp_path / records.PREDICTIONS / "far-def"
    folder.mkdir(parents=True)
    records.write_npz(tmp_path / records.PREDICTIVE, {"probs_NC": P, "origin_fingerprint": np.array("abc")})
    records.write_npz(folder / records.PREDICTIVE, {"probs_NC": P[::-1], "origin_fingerprint": np.array("def")})
    for place in (tmp_path, folder):
        np.testing.assert_array_equal(read_reference(place, "def", NAMES)["probs_NC"], P[::-1])


def test_a_reference_must_have_predicted_the_same_kind_of_target(tmp_path):
    """Of a regression, the predictive means and the epistemic standard deviations are read."""
    written = {"mean_N": P[0], "epistemic_std_N": P[1], "origin_fingerprint": np.array("abc")}
    records.write_npz(tmp_path / records.PREDICTIVE, written)
    found = read_reference(tmp_path, "abc", reals.COMPARED)
    assert {name: values.tolist() for name, values in found.items()} == {
        "mean_N": P[0].tolist(), "epistemic_std_N": P[1].tolist()
    }  # fmt: skip
    with pytest.raises(UserError, match="another kind of target"):
        read_reference(tmp_path, "abc", classes.COMPARED)


def probs_file(folder, name, index_M, probs_MC, heads="index,a,b,c"):
    if name.endswith(".npz"):
        np.savez(folder / name, probs=probs_MC, index=index_M)
    else:
        lines = [",".join(map(str, [i, *row])) for i, row in zip(index_M, probs_MC.tolist(), strict=True)]
        (folder / name).write_text("\n".join([heads, *lines]))
    return folder / name


def test_the_rows_of_a_file_are_found_by_their_index(tmp_path):
    """The examples 4, 9 and 2 are predicted; the file has four, in an order of its own."""
    index_M, rows = np.array([9, 4, 7, 2]), np.array([1, 0, 3, 2])
    probs_MC = np.stack([P[1], P[0], np.full(3, 1 / 3), P[2]])
    for name, heads in (("a.npz", ""), ("a.csv", "index,a,b,c"), ("b.csv", "row,x,y,z")):
        found = read_probs(probs_file(tmp_path, name, index_M, probs_MC, heads), np.array([4, 9, 2]), ("a", "b", "c"))
        np.testing.assert_allclose(found["probs_NC"], P)
    again = probs_file(tmp_path, "c.npz", index_M[rows], probs_MC[rows])
    np.testing.assert_allclose(read_probs(again, np.array([4, 9, 2]), ("a", "b", "c"))["probs_NC"], P)


def test_columns_with_the_names_of_classes_are_found_by_these(tmp_path):
    """As in predictions.csv, which has other columns too."""
    file = probs_file(
        tmp_path, "a.csv", np.arange(3), np.hstack([P[:, [2, 0, 1]], 7 * P[:, :1]]), "row,p_c,p_a,p_b,total"
    )
    np.testing.assert_allclose(read_probs(file, np.arange(3), ("a", "b", "c"))["probs_NC"], P)


@pytest.mark.parametrize("name", ["a.npz", "a.csv"])
def test_a_file_that_is_no_reference_is_refused(tmp_path, name):
    def refused(index_M, probs_MC, row_N=(0, 1, 2), classes=("a", "b", "c"), heads="index,a,b,c"):
        file = probs_file(tmp_path, name, np.asarray(index_M), probs_MC, heads)
        with pytest.raises(UserError) as error:
            read_probs(file, np.array(row_N), classes)
        return str(error.value)

    assert "has no row with the index 5, as of 1 of the 2" in refused([0, 1, 2], P, row_N=[1, 5])
    assert "has an index twice" in refused([0, 1, 1], P)
    assert "no probabilities" in refused([0, 1, 2], P - 0.1)
    assert "no probabilities" in refused([0, 1, 2], np.log(P + 0.1))
    assert "4 probabilities and one index" in refused([0, 1, 2], P, classes=tuple("abcd"))
    if name == "a.csv":
        assert "no column index in a header" in refused([0, 1, 2], P, heads="i,a,b,c")


def test_a_file_without_an_index_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", probs=P)
    with pytest.raises(UserError, match="has no index, but probs: it needs"):
        read_probs(tmp_path / "a.npz", np.arange(3), ("a", "b", "c"))


def test_ratings_have_no_reference():
    config = make(PredictConfig, run="runs/a", reference="runs/b")
    with pytest.raises(UserError, match=r"--reference .* not of ratings"):
        check_kind(config, ImplicitRatings(3))
    check_kind(config, RealValues())
    check_kind(config, Classes(3))


def test_all_draws_are_kept_of_classes_and_of_one_real_target():
    config = make(PredictConfig, run="runs/a", keep_draws="all")
    check_kind(config, RealValues())
    check_kind(config, Classes(3))
    for target in (RealVectors(("a", "b"), (0.0, 0.0), (1.0, 1.0)), ImplicitRatings(3)):
        with pytest.raises(UserError, match="--keep_draws"):
            check_kind(config, target)


def test_classes_are_compared_by_their_mutual_information():
    reference = {"probs_NC": P, "mutual_information_N": np.array([0.1, 0.2, 0.3])}
    found = {"probs_NC": P[:, ::-1], "mutual_information_N": np.array([0.0, 0.4, 0.2])}
    assert classes.compare(found, reference) == pytest.approx({
        "agreement": 1 / 3, "total_variation": (0.6 + 0.0 + 1.0) / 3, "epistemic_ratio": 1.0,
        "epistemic_rank_correlation": 0.5, "epistemic_mean_abs_difference": 0.4 / 3,
    })  # fmt: skip


def test_a_reference_of_probabilities_alone_has_no_epistemic_part():
    found = {"probs_NC": P[:, ::-1], "mutual_information_N": np.array([0.0, 0.4, 0.2])}
    assert set(classes.compare(found, {"probs_NC": P})) == {"agreement", "total_variation"}


def test_regressions_are_compared_by_their_epistemic_variance():
    reference = {"mean_N": np.array([1.0, 2.0]), "epistemic_std_N": np.array([1.0, 2.0])}
    found = {"mean_N": np.array([4.0, 6.0]), "epistemic_std_N": np.array([3.0, 0.0])}
    assert reals.compare(found, reference) == pytest.approx({
        "rms_difference_of_means": 12.5**0.5, "epistemic_ratio": 9 / 5, "epistemic_rank_correlation": -1.0,
        "epistemic_mean_abs_difference": (8 + 4) / 2,
    })  # fmt: skip


def test_what_is_printed():
    assert reference_lines({}) == []
    lines = reference_lines({"reference": {"run": "runs/hmc", "agreement": 0.5, "epistemic_rank_correlation": 0.25}})
    assert [line.rsplit(maxsplit=1) for line in lines] == [
        ["reference agreement", "0.5000"], ["reference epistemic_rank_correlation", "0.2500"]
    ]  # fmt: skip
