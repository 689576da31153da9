"""`with Thing() as thing:` for whatever is closed at the end."""

from types import TracebackType
from typing import Self


class Closing:
    """Enters as itself; leaving calls `close`."""

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
