"""The page of the command line, made of the Typer app: every verb with its options, defaults and examples."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from markup import cell, table

from fersweep.cli.main import app

HEAD = """# Command line

Every verb, made from the program itself. `fersweep VERB --help` says the same. Exit codes: 0 done; 1 failed at run time; 2 what was given is wrong
(one line says what); 130, 143 and 129: interrupted by Ctrl-C, SIGTERM, or a terminal that was closed; 141: nobody reads the output any more.
"""
_KINDS = {int: "N", float: "X", Path: "PATH"}


def verbs() -> Iterator[tuple[str, str, Any]]:
    """(name, panel, command) of every verb, those of groups too: `launch`, `data verify`, …"""
    root: Any = typer.main.get_command(app)
    for name, command in root.commands.items():
        if command.hidden:
            continue
        panel = str(command.rich_help_panel)
        if hasattr(command, "commands"):
            yield from ((f"{name} {below}", panel, child) for below, child in command.commands.items())
        else:
            yield name, panel, command


def examples(command: Any) -> list[str]:
    """The command lines of a verb's `Examples:`."""
    text = (command.epilog or "").removeprefix("Examples:").removeprefix("Example:")
    return [line.strip() for line in text.splitlines() if line.strip()]


def render() -> str:
    """The page, as Markdown: the verbs by subject, as `--help` has them."""
    parts: dict[str, list[str]] = {}
    for name, panel, command in verbs():
        parts.setdefault(panel, []).append(_verb(name, command))
    return "\n".join([HEAD, *(text for panel, verbs_of in parts.items() for text in (f"## {panel}\n", *verbs_of))])


def _verb(name: str, command: Any) -> str:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [
        each for each in command.params if each.param_type_name == "option" and not each.hidden and each.name != "help"
    ]
    usage = " ".join(["fersweep", name, *map(_usage, arguments), *(["[OPTIONS]"] if options else [])])
    parts = [f"### {name}\n", inspect.cleandoc(command.help or ""), f"\n```text\n{usage}\n```\n"]
    rows = [[f"`{_metavar(each)}`", "needed" if each.required else "", cell(each.help)] for each in arguments]
    rows += [[_names(each), _default(each), cell(_help(each))] for each in options]
    if rows:
        parts.append(table(["", "default", ""], rows))
    if shown := examples(command):
        parts.append("```bash\n" + "\n".join(shown) + "\n```\n")
    return "\n".join(parts)


def _metavar(argument: Any) -> str:
    return (argument.metavar or argument.name.upper()).removesuffix("...")


def _usage(argument: Any) -> str:
    name = _metavar(argument) + ("..." if argument.nargs != 1 else "")
    return name if argument.required else f"[{name}]"


def _names(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    if option.is_flag:
        return names
    kind = option.metavar or _KINDS.get(option.type_descriptor.annotation, "TEXT")
    return f"{names} `{kind}`" + (", more than once" if option.multiple else "")


def _default(option: Any) -> str:
    if option.required:
        return "needed"
    if option.is_flag or option.default is None or option.default == () or callable(option.default):
        return ""
    return f"`{option.default}`"


def _help(option: Any) -> str:
    variable = f" Environment: `{option.envvar}`." if option.envvar else ""
    text = option.help or ""
    return (text if not variable or text.endswith(".") else f"{text}.") + variable
