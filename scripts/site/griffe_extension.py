"""Lets mkdocstrings, by griffe, see the arguments and attributes in the docstrings of the package."""

import griffe

from scripts.site import docstrings


class HouseStyle(griffe.Extension):
    """Gives the arguments of each function a heading, and each attribute of a class a line."""

    def on_function(self, *, func: griffe.Function, **kwargs: object) -> None:
        if func.docstring:
            names = [parameter.name.lstrip("*") for parameter in func.parameters]
            func.docstring.value = docstrings.with_heading(func.docstring.value, names)

    def on_class(self, *, cls: griffe.Class, **kwargs: object) -> None:
        if cls.docstring:
            cls.docstring.value = docstrings.with_each_attribute(cls.docstring.value)
