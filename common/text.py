"""Text of others as it is shown and written: names of files, classes and sweeps, messages, what processes wrote."""

from __future__ import annotations

import re
import shlex

COLOURS = re.compile(r"\x1b\[[0-9;]*m")
FORMULA = ("=", "+", "-", "@")  # what a cell begins with that a spreadsheet computes
HIDDEN = "***"
# USER:PASSWORD@ in an address, where no port and path is; a password may hold "@" and "/". Of a server or a bucket also
# what stands alone before the "@", which may be a token (of `abfss://container@account` and databases it is none). One "/"
# is what is left of two where an address was given as a path.
PASSWORD = re.compile(
    r"""(\b[a-z][a-z0-9+.-]*:/{1,2})[^\s'"`<>/@:]*:(?!\d{1,5}(?:[/?#,;)\s'"`]|$))[^\s'"`<>]*@""", re.IGNORECASE
)
TOKEN = re.compile(r"""(\b(?:https?|s3|gs):/{1,2})(?!anonymous@)[^\s'"`<>/@]+@""", re.IGNORECASE)
SECRET_NAME = (
    r"[\w.-]*(?:password|passwd|secret|token|access_key|secret_key|account_key|api_key|apikey|signature)|pwd|sig"
)
SECRET_OPTION = re.compile(rf"""([?&;](?:{SECRET_NAME})=)[^&;\s'"`<>]+""", re.IGNORECASE)
SECRET_VALUE = re.compile(rf"""((['"])(?:{SECRET_NAME})\2: ?)(['"])(?!\*\*\*\3).*?\3""", re.IGNORECASE)
SECRET_ARGUMENT = re.compile(
    r"""((?<![\w.-])[\w.-]{0,40}?(?:password|passwd|secret|token|access_key|api_key|apikey)=)(?!\*\*\*)[^\s&;,'"`<>]*[^\s&;,:'"`<>]""",
    re.IGNORECASE,
)
ENDPOINT = re.compile(r"""([?&]endpoint_override=(?:https?(?:://|%3A%2F%2F))?)[^&\s'"`<>/]+@""", re.IGNORECASE)


def printable(text: object) -> str:
    """Text in one line that does nothing to whoever shows it: what does not print is escaped as Python escapes it.

    That is every control character (ESC, line breaks), what turns the direction of writing, what has no width, spaces that
    are not the one of the keyboard, and the bytes of a name that is not UTF-8.
    """
    line = str(text)
    return line if line.isprintable() else "".join(char if char.isprintable() else repr(char)[1:-1] for char in line)


def masked(text: str) -> str:
    """Text in which no address shows a password or a token: `http://***@host`, `…?password=***`.

    So is the value of a mapping's key that is called so, `{'password': '***'}`, and of an argument, `password=***`. For all that is shown or written: errors,
    logs, commands, pages. What has none is returned as it is.
    """
    text = SECRET_VALUE.sub(rf"\1\g<3>{HIDDEN}\3", text)
    text = SECRET_ARGUMENT.sub(rf"\1{HIDDEN}", text)
    if ":/" not in text:
        return text
    for pattern in (PASSWORD, TOKEN, ENDPOINT):
        text = pattern.sub(rf"\1{HIDDEN}@", text)
    return SECRET_OPTION.sub(rf"\1{HIDDEN}", text)


def printable_lines(text: object) -> str:
    """The same of text in several lines."""
    return "\n".join(map(printable, str(text).split("\n")))


def one_line(text: object, length: int) -> str:
    """`printable` text without colours, cut to `length` characters."""
    line = printable(COLOURS.sub("", str(text)))
    return line if len(line) <= length else f"{line[: length - 1]}…"


def csv_text(text: str) -> str:
    """Text for a cell of a CSV: printable, and no formula to a spreadsheet, which shows what follows a ' as it is."""
    return f"'{printable(text)}" if text.startswith(FORMULA) else printable(text)


def shell(*words: object) -> str:
    """A command to be pasted into a shell: each word quoted where need be, what does not print as $'…'."""
    return " ".join(map(_quoted, map(str, words)))


def _quoted(word: str) -> str:
    if printable(word) == word:
        return shlex.quote(word)
    escaped = "".join(_in_quotes(char) for char in word)
    return f"$'{escaped}'"


def _in_quotes(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # a byte of a name that is not UTF-8
        return f"\\x{ord(char) - 0xDC00:x}"
    return f"\\{char}" if char in "'\\" else printable(char)
