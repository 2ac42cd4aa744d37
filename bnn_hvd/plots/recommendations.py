"""The figure of recommendations: how many draws rank which unrated title first, and the genres of these titles."""

from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bnn_hvd.errors import UserError
from bnn_hvd.plots import style
from bnn_hvd.run import records

MOST_BARS = 8  # of a panel; the rest is one more bar
MOST_USERS = 4
LONGEST = 34  # letters of a title


class Bar(NamedTuple):
    """A title or genre, and how many draws rank it first; `rest`: all that have no bar of their own."""

    name: str
    draws: int
    rest: bool = False


def recommendations(run: Path) -> Figure:
    """Draw a column of panels per user, those with the most and the fewest ratings first: titles, and below genres."""
    path = run / records.RECOMMENDATIONS
    try:
        found = records.read_json(path)
        users, num_draws = found["users"][:MOST_USERS], found["num_draws"]
        titles = [_bars([(row["title"], row["count"]) for row in user["by_title"]], "titles") for user in users]
        genres = [_bars([(row["genre"], row["count"]) for row in user["by_genre"]], "genres") for user in users]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path.absolute()} is damaged ({error!r}): write it again, by `predict`") from None
    # All panels have one scale, and those of a row have equally many places, so that bars can be compared.
    most_titles, most_genres = (max(map(len, rows)) for rows in (titles, genres))
    longest = max((bar.draws for bars in (*titles, *genres) for bar in bars), default=num_draws)
    rows = [titles, genres] if most_genres else [titles]
    figure = style.figure("Recommendations", run, 6.0 * len(users), 2.2 + 0.33 * (most_titles + most_genres))
    spec = figure.add_gridspec(len(rows), len(users), height_ratios=[most_titles + 1.5, most_genres + 1.5][: len(rows)])
    for column, user in enumerate(users):
        axes = figure.add_subplot(spec[0, column])
        _panel(axes, titles[column], most_titles, longest, style.BLUE)
        axes.set_title(f"{user['why']}: user {user['user']}, {user['num_ratings']:,} rated", loc="left", weight="bold")
        if most_genres:
            axes = figure.add_subplot(spec[1, column])
            _panel(axes, genres[column], most_genres, longest, style.GREEN)
            axes.set_title("by genre; a title of two genres counts in both", loc="left")
        axes.set_xlabel(f"draws (of {num_draws}) that rank it first among the unrated titles")
    return figure


def shortened(title: str) -> str:
    """Return a title shortened to LONGEST letters; the year at its end stays."""
    if len(title) <= LONGEST:
        return title
    name, year = (title[:-7], title[-7:]) if title.endswith(")") and title[-6:-5] == "(" else (title, "")
    return f"{name[: LONGEST - len(year) - 1].rstrip(' ,')}…{year}"


def _bars(counts: list[tuple[str, int]], rest: str) -> list[Bar]:
    """Return the bars of a panel: all of them, or the first MOST_BARS and one for the rest."""
    shown = [Bar(shortened(name), draws) for name, draws in counts]
    if len(shown) <= MOST_BARS + 1:
        return shown
    left = shown[MOST_BARS:]
    return [*shown[:MOST_BARS], Bar(f"{len(left)} other {rest}", sum(bar.draws for bar in left), True)]


def _panel(axes: Axes, bars: list[Bar], places: int, longest: int, colour: str) -> None:
    """Draw horizontal bars with their counts; the bar of the rest is pale."""
    for place, bar in enumerate(bars):
        axes.barh(place, bar.draws, color=style.GREY if bar.rest else colour, alpha=0.5 if bar.rest else 1, height=0.72)
        axes.text(bar.draws, place, f" {bar.draws}", va="center", fontsize=9)
    axes.set_yticks(range(len(bars)), [bar.name.replace("$", r"\$") for bar in bars])
    axes.set_ylim(places - 0.4, -0.6)
    axes.set_xlim(0, 1.1 * longest)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
