"""Compare every measured number of README.md and docs/*.md with the kept result that it names: `make claims`.

A comment before a paragraph, a list or a table says where its numbers are from:

    <!-- claims: benchmarks/results/2026-11-21_amd-epyc-2_predict.md
    5.5: ms per draw; network=FC 784-64-10; library=bnn_hvd
    -->

The text says 5.5, and so does, rounded, the column `ms per draw` of the one row of that file's tables whose `network`
and `library` are these. Before a table the lines begin with the name of a column, and {row} is a row's first cell:

    point: median ms; network={row}; kind=point; library=bnn_hvd

Other comments: `<!-- settings: 0.5, weights -->` names numbers (or columns) that were chosen, not measured;
`<!-- tested: tests/x.py: 2e-3 -->` names numbers that stand as limits in that test;
`<!-- not kept: why -->` says that the result of the next paragraph is not in the repository, `<!-- not kept on this
page: why -->` that those of a page are not. README.md, docs/speed.md and docs/results.md can't say so.

Measured is a number with a decimal point, one before %, times, ms, s, minutes, points or nats, and a cell of a table
that begins with a number. Code, headings and the first column of a table are not read, nor are numbers in words.
"""

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[1]
NOT_READ = ("docs/log.md", "docs/maths.md")  # the record of what was measured; definitions
ALL_KEPT = ("README.md", "docs/speed.md", "docs/results.md")
COMMENT = re.compile(r"<!--(.*?)-->", re.DOTALL)
NUMBER = re.compile(r"(?<![\w.])\d+(?:,\d{3})*(?:\.\d+)?(?:e-?\d+)?(?!\w|\.\d)")
UNIT = re.compile(r"(?:\s(?:to|and|or)\s[\d.]+)*\s?(%|times\b|ms\b|s\b|seconds\b|minutes\b|points?\b|nats\b)")
NOT_TEXT = re.compile(
    r"`[^`]*`|\]\([^)]*\)"  # code, addresses of links
    r"|\b(?:Python|TensorFlow|Horovod|JAX|TFP|eq\.) [\d.]+"
)


class Claim(NamedTuple):
    """A number in the text, or a column of a table, and the cell of a kept result, or the test, that it is from."""

    shown: str
    file: str
    column: str  # "" if a number of a test
    where: dict[str, str]


class Block(NamedTuple):
    """A paragraph, list or table, and what the comments before it say of its numbers."""

    text: str
    claims: tuple[Claim, ...]
    settings: frozenset[str]
    kept: bool


class Found(NamedTuple):
    """A measured number: what its claim may be called (itself, or its column), and the first cell of its row."""

    number: str
    unit: str
    name: str
    row: str = ""


class WrongClaimError(Exception):
    """A claim that can't be looked up."""


def check(repository: Path) -> tuple[list[str], int, list[str]]:
    """Return the faults, how many numbers were compared, and the blocks that say that their result was not kept."""
    faults, compared, not_kept = [], 0, []
    for path in sorted([*repository.glob("*.md"), *repository.glob("docs/*.md")]):
        page = str(path.relative_to(repository))
        if page in NOT_READ or (path.parent == repository and page not in ALL_KEPT):
            continue
        try:
            blocks = list(blocks_of(path.read_text()))
        except WrongClaimError as error:
            faults.append(f"{page}: {error}")
            continue
        for block in blocks:
            measured = list(numbers_of(block))
            if measured and not block.kept and page not in ALL_KEPT:
                not_kept.append(f"{page}: {block.text.strip()[:60]!r}")
                continue
            faults += [f"{page}: {fault}" for fault in faults_of(block, measured, repository)]
            compared += len(measured)
    return list(dict.fromkeys(faults)), compared, not_kept


def blocks_of(text: str) -> Iterator[Block]:
    """Yield the blocks of a page, without code and headings."""
    comments: list[str] = []
    page_kept = "<!-- not kept on this page:" not in text
    for part in re.split(r"\n\s*\n(?![^<]*-->)", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)):
        comments += COMMENT.findall(part)
        rest = re.sub(r"^#.*$", "", COMMENT.sub("", part), flags=re.MULTILINE)
        if not rest.strip():
            continue
        if not rest.lstrip("\n").startswith("    "):
            yield Block(rest, *_said(comments), page_kept and not any(_kind(one) == "not kept" for one in comments))
        comments = []


def _kind(comment: str) -> str:
    return comment.strip().partition(":")[0]


def _said(comments: Iterable[str]) -> tuple[tuple[Claim, ...], frozenset[str]]:
    claims: list[Claim] = []
    settings: set[str] = set()
    for comment in comments:
        kind, _, rest = comment.strip().partition(":")
        if kind == "settings":
            settings |= {word.strip() for word in re.split(r",\s|\n", rest)}
        elif kind == "tested":
            file, _, numbers = rest.partition(": ")
            claims += [Claim(number.strip(), file.strip(), "", {}) for number in numbers.split(",")]
        elif kind == "claims":
            file, *lines = rest.strip().splitlines()
            claims += [_claim(line, file.strip()) for line in lines if line.strip()]
    return tuple(claims), frozenset(settings)


def _claim(line: str, file: str) -> Claim:
    shown, colon, cell = line.partition(": ")
    column, *conditions = (part.strip() for part in cell.split("; "))
    if not colon or not all("=" in condition for condition in conditions):
        raise WrongClaimError(f"{line!r} is not `NUMBER: COLUMN; name=value; ...`")
    return Claim(shown.strip(), file, column, dict(condition.split("=", 1) for condition in conditions))


def numbers_of(block: Block) -> Iterator[Found]:
    """Yield the measured numbers of a block that are no settings."""
    if not block.text.lstrip().startswith("|"):
        found: Iterable[Found] = (Found(number, unit, number) for number, unit in in_text(block.text))
    else:
        found = in_table(block.text)
    return (one for one in found if not {one.number, one.name} & block.settings)


def in_text(text: str) -> Iterator[tuple[str, str]]:
    prose = plain(NOT_TEXT.sub(" ", text.replace("\n", " ")))
    for match in NUMBER.finditer(prose):
        unit = UNIT.match(prose, match.end())
        if unit or re.search(r"[.e]", match[0]):
            yield match[0], unit[1] if unit else ""


def in_table(text: str) -> Iterator[Found]:
    header, *rows = table_rows(text.strip().splitlines())
    for row in rows:
        for name, cell in zip(header[1:], row[1:], strict=False):
            begins = NUMBER.match(plain(cell))
            whole = [(begins[0], "")] if begins and len(NUMBER.findall(cell)) == 1 else list(in_text(cell))
            yield from (Found(number, unit, plain(name), plain(row[0])) for number, unit in whole)


def table_rows(lines: Iterable[str]) -> list[list[str]]:
    """Return the cells of a Markdown table, without the line below its header."""
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]
    return [row for row in rows if not all(re.fullmatch(r":?-+:?", cell) for cell in row)]


def plain(text: str) -> str:
    return re.sub(r"[*`|]", "", text).strip()


def faults_of(block: Block, measured: list[Found], repository: Path) -> Iterator[str]:
    """Yield a sentence for each number that is unlike its kept result or has none, and for each claim of no number."""
    names = {found.name for found in measured}
    for claim in block.claims:
        if claim.shown not in names:
            yield f"the claim `{claim.shown}: {claim.column}` is about nothing in {block.text.strip()[:60]!r}"
    for found in measured:
        its = [claim for claim in block.claims if claim.shown == found.name]
        if not its:
            yield f"{found.number} has no source, in {found.row or block.text.strip()[:60]!r}, {found.name}"
        for claim in its:
            try:
                kept = look_up(claim, found.row, repository)
            except WrongClaimError as error:
                yield str(error)
                continue
            if not agrees(found, kept):
                yield f"{found.number} ({found.row or claim.shown}) is {kept} in {claim.file}"


def look_up(claim: Claim, row: str, repository: Path) -> str:
    """Return the cell of the kept result.

    Raises:
      WrongClaimError: there is no such file, or not one such row.
    """
    path = repository / claim.file
    if not path.is_file():
        raise WrongClaimError(f"there is no {claim.file}")
    if not claim.column:
        numbers = re.findall(rf"(?<![\w.]){re.escape(claim.shown)}(?![\w.])", path.read_text())
        return numbers[0] if numbers else "missing"
    where = {name: value.replace("{row}", row) for name, value in claim.where.items()}
    cells = [
        line[header.index(claim.column)]
        for header, *lines in tables_of(path.read_text())
        if {claim.column, *where} <= set(header)
        for line in lines
        if all(line[header.index(name)] == value for name, value in where.items())
    ]
    if len(cells) != 1 or not cells[0]:
        raise WrongClaimError(f"{claim.shown}: {len(cells)} rows of {claim.file} have {claim.column!r} where {where}")
    return cells[0]


def tables_of(text: str) -> Iterator[list[list[str]]]:
    for lines in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE):
        yield table_rows(lines.strip().splitlines())


def agrees(found: Found, kept: str) -> bool:
    """Return whether a number is the kept one, rounded to as many places as it has; % is of a kept fraction.

    Of a kept mean with its spread in brackets, it may be either.
    """
    shown, number = found.number.replace(",", ""), NUMBER.match(kept)
    if not number:
        return False
    both = NUMBER.findall(kept) if re.fullmatch(r"[\d.e-]+ \([\d.e-]+\)", kept) else [number[0]]
    values = [float(one.replace(",", "")) * (100 if found.unit == "%" else 1) for one in both]
    _, _, places = shown.partition(".")
    half = 0.5 * 10.0 ** -len(places) if "e" not in shown else 0.05 * float(shown)
    return any(abs(value - float(shown)) <= half * (1 + 1e-9) for value in values)


def main() -> int:
    faults, compared, not_kept = check(REPOSITORY)
    for fault in faults:
        print(fault, file=sys.stderr)
    print(f"{compared} measured numbers, {len(faults)} faults")
    if not_kept:
        print(f"{len(not_kept)} paragraphs and tables whose result was not kept:", *not_kept, sep="\n  ")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
