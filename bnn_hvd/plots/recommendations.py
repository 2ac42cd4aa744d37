"""What to recommend to a user: how many draws put which unseen title first, and of which genres these are."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bnn_hvd import records
from bnn_hvd.errors import UserError
from bnn_hvd.plots import style

MOST_BARS = 8  # of a panel; what is left is one more bar
MOST_USERS = 4
LONGEST = 34  # letters of a title

Bars = list[tuple[str, int]]  # what, and how many draws; the most first


def recommendations(run: Path) -> Figure:
    """A column for each user, those with the most and the fewest ratings first: by title above, by genre below."""
    path = run / records.RECOMMENDATIONS
    try:
        found = records.read_json(path)
        users, num_draws = found["users"][:MOST_USERS], found["num_draws"]
        titles = [[(shortened(row["title"]), row["count"]) for row in user["by_title"]] for user in users]
        genres = [[(row["genre"], row["count"]) for row in user["by_genre"]] for user in users]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path.absolute()} is damaged ({error!r}): write it again, by `predict`") from None
    # Panels of a row have as many places, so that a bar is as thick in all of them.
    most_titles, most_genres = (max(len(_shown(bars)) for bars in rows) for rows in (titles, genres))
    rows = [titles, genres] if most_genres else [titles]
    figure = style.figure("Recommendations", run, 6.0 * len(users), 2.2 + 0.33 * (most_titles + most_genres))
    spec = figure.add_gridspec(len(rows), len(users), height_ratios=[most_titles + 1.5, most_genres + 1.5][: len(rows)])
    for column, user in enumerate(users):
        axes = figure.add_subplot(spec[0, column])
        _panel(axes, titles[column], most_titles, num_draws, style.BLUE, "other titles")
        axes.set_title(_heading(user, len(titles[column])), loc="left")
        if most_genres:
            axes = figure.add_subplot(spec[1, column])
            _panel(axes, genres[column], most_genres, num_draws, style.GREEN, "other genres")
            axes.set_title("their genres", loc="left")
        axes.set_xlabel(f"draws, of {num_draws}, that put it first")
    return figure


def shortened(title: str) -> str:
    """Return a title that fits beside its bar; the year at its end stays."""
    if len(title) <= LONGEST:
        return title
    name, year = (title[:-7], title[-7:]) if title.endswith(")") and title[-6:-5] == "(" else (title, "")
    return f"{name[: LONGEST - len(year) - 1].rstrip(' ,')}…{year}"


def _heading(user: dict[str, Any], num_titles: int) -> str:
    return f"user {user['user']}, {user['num_ratings']} seen ({user['why']}): {num_titles} titles come first"


def _shown(bars: Bars) -> Bars:
    return bars[: MOST_BARS + 1] if len(bars) <= MOST_BARS + 1 else [*bars[:MOST_BARS], ("", 0)]


def _panel(axes: Axes, bars: Bars, places: int, num_draws: int, colour: str, rest: str) -> None:
    """Draw horizontal bars with their counts, sorted; those that don't fit as one pale bar at the end."""
    shown, left = bars, bars[MOST_BARS:]
    if len(bars) > MOST_BARS + 1:
        shown = [*bars[:MOST_BARS], (f"{len(left)} {rest}", sum(count for _, count in left))]
    for place, (_, count) in enumerate(shown):
        is_rest = len(shown) > MOST_BARS and place == MOST_BARS and len(bars) > MOST_BARS + 1
        axes.barh(place, count, color=style.GREY if is_rest else colour, alpha=0.5 if is_rest else 1.0, height=0.72)
        axes.text(count, place, f" {count}", va="center", fontsize=9)
    axes.set_yticks(range(len(shown)), [name.replace("$", r"\$") for name, _ in shown])
    axes.set_ylim(places - 0.4, -0.6)
    axes.set_xlim(0, 1.1 * max([count for _, count in shown], default=num_draws))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
