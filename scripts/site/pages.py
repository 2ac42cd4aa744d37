"""Where each file of the repository is in the site, and links between the pages.

The pages are the files that the repository's web view shows, with the same relative links. In the site, a link to a
file outside of docs/ leads to a page that shows that file, and one to a folder to a list of its files, so that no link
leaves the site.
"""

import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

NAMED = {  # the pages outside of docs/ that the navigation names
    "README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks.md",
}  # fmt: skip
LINK = re.compile(r"(?<=\]\()(?P<target>[^()\s#]+)(?P<anchor>#[^()\s]*)?(?=\))")
COMMENT = re.compile(r"<!--.*?-->\n*", re.DOTALL)
LANGUAGES = {
    ".py": "python", ".sh": "bash", ".toml": "toml", ".yml": "yaml", ".js": "js", ".css": "css", ".cfg": "text",
    ".lock": "text", "": "text",
}  # fmt: skip
UNLISTED = ("__init__.py",)


def places(repository: Path) -> dict[str, str]:
    """Return the page (its Markdown file in the site) of each file and folder that has one, by path in the repository.

    They are the pages themselves and all that these link to; of a folder, all files.
    """
    found = dict(NAMED)
    for path in sorted((repository / "docs").rglob("*")):
        if path.suffix in (".md", ".ipynb"):
            found[_name(path, repository)] = _name(path.with_suffix(".md"), repository / "docs")
    waiting = [name for name in found if name.endswith(".md")]
    for name in waiting:
        for linked in [target for target in targets(name, (repository / name).read_text()) if target not in found]:
            for path in _with_files(repository / linked):
                new = _name(path, repository)
                if new not in found and (path.is_dir() or path.suffix in (".md", *LANGUAGES)):
                    found[new] = _place(path, repository)
                    waiting += [new] if path.suffix == ".md" else []
    return found


def targets(name: str, text: str) -> Iterator[str]:
    """Yield the paths in the repository that the page of the file `name` links to."""
    for match in LINK.finditer(text):
        if "://" not in match["target"]:
            yield posixpath.normpath(posixpath.join(posixpath.dirname(name), match["target"]))


def _with_files(path: Path) -> list[Path]:
    """Return a file, or a folder and the files right in it."""
    if path.is_dir():
        return [path, *sorted(file for file in path.iterdir() if file.is_file() and file.name not in UNLISTED)]
    return [path] if path.is_file() else []


def _place(path: Path, repository: Path) -> str:
    name = _name(path, repository)
    if path.is_dir():
        return f"source/{name}/index.md"
    return f"source/{name}" if path.suffix == ".md" else f"source/{name}.md"


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def in_site(name: str, text: str, known: Mapping[str, str]) -> str:
    """Return the Markdown of the page of the file `name` for the site: links to other places, no comments.

    A link to what has no page stays, and MkDocs reports it.
    """

    def moved(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(name), match["target"]))
        if "://" in match[0] or target not in known:
            return match[0]
        return relative(known[name], known[target]) + (match["anchor"] or "")

    def image_moved(match: re.Match[str]) -> str:
        file = posixpath.normpath(posixpath.join(posixpath.dirname(name), match["target"]))
        if "://" in match[0] or not file.startswith("docs/"):
            return match[0]
        return relative(known[name], file.removeprefix("docs/"))

    parts = re.split(r"(!\[[^\]]*\]\([^)]*\))", COMMENT.sub("", text))
    return "".join(LINK.sub(image_moved if odd % 2 else moved, part) for odd, part in enumerate(parts))


def relative(page: str, target: str) -> str:
    """Return the link from one file of the site to another."""
    return posixpath.relpath(target, posixpath.dirname(page) or ".")


def source(path: Path, repository: Path, known: Mapping[str, str]) -> str:
    """Return the page that shows a file that is no Markdown, or lists the files of a folder; search leaves it out."""
    name = _name(path, repository)
    head = f"---\nsearch:\n  exclude: true\n---\n\n# {name}\n\n"
    if path.is_dir():
        files = [file for file in _with_files(path)[1:] if _name(file, repository) in known]
        return head + "".join(
            f"- [{file.name}]({relative(known[name], known[_name(file, repository)])})\n" for file in files
        )
    return f"{head}````````{LANGUAGES[path.suffix]}\n{path.read_text()}````````\n"
