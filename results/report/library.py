"""plotly.js as a file that all pages of a home share, since it is a hundred times as large as what they draw with it."""

from __future__ import annotations

import os
from pathlib import Path

from fersweep.common.display.page import Library, plotly_script
from fersweep.common.files import write_whole


def shared_library(home: Path, page_directory: Path, otherwise: str) -> Library:
    """`HOME/assets/plotly-VERSION.min.js`, written if it is not there, as a page in `page_directory` refers to it: by a
    relative address, so that a home can be moved. Raises OSError.
    """
    from importlib.metadata import version

    path = Path(home).resolve() / "assets" / f"plotly-{version('plotly')}.min.js"
    content = plotly_script().encode()
    if not path.exists() or path.stat().st_size != len(content):
        write_whole(path, content, sync=False)
    return Library(Path(os.path.relpath(path, Path(page_directory).resolve())).as_posix(), otherwise)
