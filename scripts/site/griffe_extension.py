"""Lets mkdocstrings, by griffe, see the arguments in the docstrings of the package."""

import griffe

from scripts.site import docstrings


class Arguments(griffe.Extension):
    """Gives the arguments of each function a heading."""

    def on_function(self, *, func: griffe.Function, **kwargs: object) -> None:
        if func.docstring:
            names = [parameter.name.lstrip("*") for parameter in func.parameters]
            func.docstring.value = docstrings.with_heading(func.docstring.value, names)
