"""MovieLens in its three formats: which user has rated which film, whatever the rating; titles and genres if present.

    ml-100k   u.data (user, item, rating, time; tabs), u.item (latin-1, |, a flag per genre), u.genre
    ml-1m     ratings.dat, movies.dat (latin-1, ::, genres joined by |)
    newer     ratings.csv, movies.csv (UTF-8, a header, titles in quotes, genres joined by |)

Legend: R ratings, U users, I items, G genres.
"""

import csv
import io
from pathlib import Path

import numpy as np

from bnn_hvd.data import ratings
from bnn_hvd.data.arrays import Arrays, Catalogue
from bnn_hvd.errors import UserError

FILES = {"u.data": "\t", "ratings.dat": "::", "ratings.csv": ","}
WAY_OUT = "a folder with u.data (ml-100k), ratings.dat (ml-1m) or ratings.csv, as grouplens.org has them"
Films = dict[int, tuple[str, tuple[str, ...]]]  # the title and the genres of each item


def movielens(path: str, *, num_users: int | None, num_items: int | None, test_fraction: float) -> Arrays:
    """Return implicit ratings (whether a user has rated a film), with users and items in the order of their ids.

    num_users, num_items: keep this many, those with the most ratings; None: all.

    Raises:
      UserError: there is no file of ratings, or it can't be read.
    """
    file = _find(path)
    pairs_R2 = _read_pairs(file)
    pairs_R2 = _most_rated(_most_rated(pairs_R2, 1, num_items), 0, num_users)
    users, user_R = np.unique(pairs_R2[:, 0], return_inverse=True)
    items, item_R = np.unique(pairs_R2[:, 1], return_inverse=True)
    ratings.check_size(len(users), len(items), str(file))
    rated_UI = np.zeros([len(users), len(items)], bool)
    rated_UI[user_R, item_R] = True
    films = _read_films(file)
    titles, genres_of_items = zip(*(films.get(int(item), (f"item {item}", ())) for item in items), strict=True)
    genres = tuple(sorted({genre for item_genres in genres_of_items for genre in item_genres}))
    genre_IG = np.array([[genre in item_genres for genre in genres] for item_genres in genres_of_items], bool)
    catalogue = Catalogue(tuple(map(str, users.tolist())), titles, genres, genre_IG.reshape(len(items), -1))
    return ratings.arrays(rated_UI, catalogue, test_fraction, str(file))


def _find(path: str) -> Path:
    if not path:
        raise UserError(f"--dataset=movielens needs --data_dir=FOLDER, {WAY_OUT}")
    folder = Path(path).expanduser().absolute()
    if folder.is_file() and folder.name in FILES:
        return folder
    for inside in (folder, *sorted(folder.glob("ml-*"))):
        for name in FILES:
            if (inside / name).is_file():
                return inside / name
    raise UserError(f"{folder} has none of {', '.join(FILES)}: --dataset=movielens needs {WAY_OUT}")


def _read_pairs(file: Path) -> np.ndarray:
    """Return the user and the item of each rating, int64 [R, 2]."""
    separator, header = FILES[file.name], int(file.suffix == ".csv")
    text = _text(file, "utf-8-sig").replace("::", "\t") if separator == "::" else _text(file, "utf-8-sig")
    if len(text.splitlines()) <= header:
        raise UserError(f"{file} has no ratings in it: copy it again")
    try:
        pairs_R2 = np.loadtxt(
            io.StringIO(text), delimiter="," if header else "\t", skiprows=header, usecols=(0, 1), ndmin=2,
            comments=None,
        )  # fmt: skip
    except ValueError as error:
        raise UserError(f"{file} can't be read as user{separator}item{separator}... ({error}): copy it again") from None
    if not len(pairs_R2):
        raise UserError(f"{file} has no ratings in it: copy it again")
    if not np.array_equal(pairs_R2, np.floor(pairs_R2)):
        raise UserError(f"{file} can't be read, its users and items are no whole numbers: copy it again")
    return pairs_R2.astype(np.int64)


def _most_rated(pairs_R2: np.ndarray, column: int, count: int | None) -> np.ndarray:
    """Return the ratings of the `count` users (column 0) or items (1) with the most ratings; ties: the first."""
    if not count:
        return pairs_R2
    found, counts = np.unique(pairs_R2[:, column], return_counts=True)
    most = found[np.argsort(-counts, kind="stable")[:count]]
    return pairs_R2[np.isin(pairs_R2[:, column], most)]


def _read_films(ratings_file: Path) -> Films:
    """Return the title and the genres of each item, or {} if the folder has no file of titles."""
    name = {"u.data": "u.item", "ratings.dat": "movies.dat", "ratings.csv": "movies.csv"}[ratings_file.name]
    file = ratings_file.with_name(name)
    if not file.is_file():
        return {}
    try:
        if name == "movies.csv":
            rows = list(csv.reader(io.StringIO(_text(file, "utf-8-sig"))))[1:]
            return {int(item): (title, _joined(genres)) for item, title, genres in filter(None, rows)}
        lines = [line for line in _text(file, "latin-1").splitlines() if line]
        if name == "movies.dat":
            return {int(item): (title, _joined(genres)) for item, title, genres in (x.split("::") for x in lines)}
        genres = _genres_of_flags(file.with_name("u.genre"))
        flags = {int(item): (title, cells) for item, title, *cells in (x.split("|") for x in lines)}
        return {item: (title, _flagged(cells, genres)) for item, (title, cells) in flags.items()}
    except (ValueError, IndexError, csv.Error) as error:
        raise UserError(f"{file} is damaged ({error}): copy it again, or remove it to do without titles") from None


def _joined(genres: str) -> tuple[str, ...]:
    return tuple(genre for genre in genres.split("|") if genre and genre != "(no genres listed)")


def _flagged(cells: list[str], genres: dict[int, str]) -> tuple[str, ...]:
    """Return the genres of a film from the cells after its title: two dates, a link, and one flag per genre."""
    _, _, _, *flags = cells
    return tuple(genres.get(place, f"genre {place}") for place, flag in enumerate(flags) if int(flag))


def _genres_of_flags(file: Path) -> dict[int, str]:
    """Return the genre of each flag by its position, from u.genre; the first is `unknown`."""
    lines = _text(file, "latin-1").splitlines() if file.is_file() else []
    return {int(place): genre for genre, place in (line.split("|") for line in lines if line)}


def _text(file: Path, encoding: str) -> str:
    try:
        return file.read_text(encoding)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} can't be read: {error}") from None
