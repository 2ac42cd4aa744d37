"""Implicit ratings: the split of the entries, the synthetic matrix, MovieLens in its three formats."""

import numpy as np
import pytest

from bnn_hvd.data import ratings, sources
from bnn_hvd.data.arrays import Catalogue
from bnn_hvd.errors import UserError

FLAGS = {"num_users": 70, "num_items": 50, "num_factors": 3}

# User 7 has seen films 1 and 3, user 9 all, user 30 film 2 (twice).
RATINGS = [(7, 1, 5), (9, 2, 1), (9, 1, 3), (30, 2, 4), (7, 30, 2), (9, 30, 5), (30, 2, 5)]
RATED = [[True, False, True], [True, True, True], [False, True, False]]
TITLES = ("Café, The (1995)", "Movie: Two (1996)", 'The "Third" One')


def ml_100k(folder):
    (folder / "u.data").write_text("".join(f"{u}\t{i}\t{r}\t881250949\n" for u, i, r in RATINGS))
    flags = {1: "0|0|1", 2: "0|1|1", 30: "0|0|0"}
    lines = [f"{i}|{t}|01-Jan-1995||http://x|{flags[i]}\n" for i, t in zip(flags, TITLES, strict=True)]
    (folder / "u.item").write_text("".join(lines), "latin-1")
    (folder / "u.genre").write_text("unknown|0\nAction|1\nDrama|2\n\n")


def ml_1m(folder):
    (folder / "ratings.dat").write_text("".join(f"{u}::{i}::{r}::978300760\n" for u, i, r in RATINGS))
    genres = {1: "Drama", 2: "Action|Drama", 30: ""}
    lines = [f"{i}::{t}::{genres[i]}\n" for i, t in zip(genres, TITLES, strict=True)]
    (folder / "movies.dat").write_text("".join(lines), "latin-1")


def newer(folder):
    rows = "".join(f"{u},{i},{r}.5,964982703\n" for u, i, r in RATINGS)
    (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\n" + rows)
    (folder / "movies.csv").write_text(
        'movieId,title,genres\n1,"Café, The (1995)",Drama\n2,Movie: Two (1996),Action|Drama\n'
        '30,"The ""Third"" One",(no genres listed)\n',
        "utf-8",
    )


def load(path, **flags):
    return sources.load("movielens", str(path), **{"num_users": None, "num_items": None, "test_fraction": 0.3, **flags})


def rated(arrays) -> np.ndarray:
    return arrays.y_train + arrays.y_test > 0


@pytest.mark.parametrize("write", [ml_100k, ml_1m, newer])
@pytest.mark.parametrize("inside", ["", "ml-x"])
def test_all_formats_say_the_same(tmp_path, write, inside):
    folder = tmp_path / inside
    folder.mkdir(exist_ok=True)
    write(folder)
    arrays = load(tmp_path)
    np.testing.assert_array_equal(rated(arrays), RATED)
    catalogue = arrays.catalogue
    assert catalogue.users == ("7", "9", "30")
    assert catalogue.titles == TITLES
    assert catalogue.genres == ("Action", "Drama")
    np.testing.assert_array_equal(catalogue.genre_IG, [[False, True], [True, True], [False, False]])
    assert catalogue.truth_UI is None
    np.testing.assert_array_equal(arrays.x_train, [[0], [1], [2]])


@pytest.mark.parametrize("write", [ml_100k, ml_1m, newer])
def test_a_folder_without_titles_has_numbers_and_no_genres(tmp_path, write):
    write(tmp_path)
    for name in ("u.item", "movies.dat", "movies.csv"):
        (tmp_path / name).unlink(missing_ok=True)
    arrays = load(tmp_path)
    assert arrays.catalogue.titles == ("item 1", "item 2", "item 30")
    assert arrays.catalogue.genres == ()
    assert arrays.catalogue.genre_IG.shape == (3, 0)


def test_the_most_rated_items_and_then_the_users_with_the_most_of_them(tmp_path):
    ml_100k(tmp_path)  # films 1 and 30 were rated twice, film 2 by two users in three ratings
    arrays = load(tmp_path, num_items=2, num_users=2)
    assert arrays.catalogue.titles == TITLES[:2]
    assert arrays.catalogue.users == ("9", "30")
    np.testing.assert_array_equal(rated(arrays), [[True, True], [False, True]])


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("u.data", "1\t2\n3\n", "u.data can't be read"),
        ("u.data", "1\tx\t3\t4\n", "u.data can't be read"),
        ("u.data", "", "no ratings"),
        ("ratings.csv", "userId,movieId,rating,timestamp\n1,2.5,3,4\n", "ratings.csv can't be read"),
        ("ratings.dat", "1::2::3::4\n1::::3::4\n", "ratings.dat can't be read"),
        ("else.txt", "", "has none of u.data"),
    ],
)
@pytest.mark.filterwarnings("ignore:loadtxt")
def test_a_damaged_file_is_named(tmp_path, name, content, said):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=said):
        load(tmp_path)


@pytest.mark.parametrize("line", ["7|", "x|Title|||||1", "::"])
def test_damaged_titles_are_named(tmp_path, line):
    ml_100k(tmp_path)
    (tmp_path / "u.item").write_text(f"{line}\n")
    with pytest.raises(UserError, match=r"u\.item is damaged"):
        load(tmp_path)


def test_no_folder_is_asked_for():
    with pytest.raises(UserError, match="--dataset=movielens needs --data_dir=FOLDER"):
        load("")


def test_each_entry_is_in_one_part():
    arrays = sources.load("synthetic_ratings", "", **FLAGS)
    assert arrays.y_train.dtype == arrays.y_test.dtype == np.int8
    assert arrays.y_train.shape == (70, 50) == (len(arrays.x_train), arrays.target().num_items)
    np.testing.assert_array_equal((arrays.y_train != 0) ^ (arrays.y_test != 0), True)
    held_out = (arrays.y_test != 0).mean()
    assert abs(held_out - 0.2) < 5 * np.sqrt(0.16 / 3500)
    assert sources.load("synthetic_ratings", "", test_fraction=0.5, **FLAGS).y_test.astype(bool).mean() > 0.4


def test_synthetic_ratings_are_drawn_with_the_probabilities_that_they_come_with():
    """Sums of up to 3,500 independent draws are within 5 standard errors (false-fail rate 6e-7 each)."""
    arrays = sources.load("synthetic_ratings", "", **FLAGS)
    truth, found = arrays.catalogue.truth_UI, rated(arrays)
    error = np.sqrt((truth * (1 - truth)).sum())
    assert abs(found.sum() - truth.sum()) < 5 * error
    surely = truth > 0.8
    assert abs(found[surely].sum() - truth[surely].sum()) < 5 * error
    logits = np.log(truth / (1 - truth))
    centred = logits - logits.mean(0) - logits.mean(1, keepdims=True) + logits.mean()
    singular = np.linalg.svd(centred, compute_uv=False)
    assert singular[2] > 100 * singular[3]  # there are three factors beside the biases
    assert 0.5 < centred.std() < 2  # products of factors have the standard deviation 1
    np.testing.assert_array_equal(rated(sources.load("synthetic_ratings", "", **FLAGS)), found)


def test_too_large_a_matrix_is_refused():
    with pytest.raises(UserError, match="kept whole"):
        sources.load("synthetic_ratings", "", num_users=10**6, num_items=10**5, num_factors=2)


def test_a_part_without_entries_is_refused():
    with pytest.raises(UserError, match="leaves none in one of the two parts"):
        ratings.arrays(np.ones([2, 2], bool), Catalogue((), (), (), np.zeros([0, 0])), 0.0, "here")
