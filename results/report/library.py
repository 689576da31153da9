"""plotly.js as a file that all pages of a home share, since it is a hundred times as large as what they draw with it."""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path

from fersweep.common.display.page import Library, plotly_script
from fersweep.common.files import write_whole


def shared_library(sweep_dir: Path, otherwise: str) -> Library:
    """`HOME/assets/plotly-VERSION.min.js`, written if it is not there, as a page in the directory of a sweep refers to it:
    by a relative address, so that a home can be moved. Raises OSError.
    """
    address = f"../../assets/plotly-{version('plotly')}.min.js"
    path = Path(os.path.normpath(Path(sweep_dir).absolute() / address))  # by names alone, as a browser does it
    content = plotly_script().encode()
    if not path.exists() or path.stat().st_size != len(content):
        write_whole(path, content, sync=False)
    return Library(address, otherwise)
