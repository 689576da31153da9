"""Docstrings that are completed when the module is loaded (fersweep/api/options.py), as mkdocstrings' pages have them."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

import griffe


class RuntimeDocstrings(griffe.Extension):
    """Takes the docstring of a function whose source has `{options}` from the function itself."""

    def on_function(self, *, func: griffe.Function, **_: Any) -> None:
        if func.docstring is not None and "{options}" in func.docstring.value:
            loaded = getattr(import_module(func.module.path), func.name)
            func.docstring.value = inspect.cleandoc(loaded.__doc__)
