"""Text of others, names and places that are not what one hopes for."""

import os
import subprocess
from pathlib import Path

import pytest
from rich.table import Table

from fersweep.common import processes, versions
from fersweep.common.display.console import SafeConsole
from fersweep.common.display.page import Section, html_table, page
from fersweep.common.text import csv_text, masked, one_line, printable, shell

BAD = os.fsdecode(b"\xff")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a photo é 笑.jpg", "a photo é 笑.jpg"),
        ("a\u3000b\u00a0c", r"a\u3000b\xa0c"),
        ("\x1b[31mred\n\t\u202egpj.exe\u200b" + BAD, r"\x1b[31mred\n\t\u202egpj.exe\u200b\udcff"),
    ],
)
def test_what_does_not_print_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
    html = page(text, text, [Section("s", html_table([text], [[text]]))])
    assert html.encode()
    assert shown in html.replace("red\n", r"red\n"), "a page's text may have several lines"


def test_text_for_a_line_and_for_a_spreadsheet() -> None:
    assert one_line("\x1b[1;31mred\x1b[0m" + "x" * 9, 6) == "redxx…"
    assert [csv_text(text) for text in ("=1+1", "-x", "+x", "@x", "x=1")] == ["'=1+1", "'-x", "'+x", "'@x", "x=1"]


@pytest.mark.parametrize(
    "word", ["plain", "a b", "it's", '"', "$HOME", "-x", "a;b&c", "h%20?#", "n\nl\x1b'\\", "é" + BAD]
)
def test_a_printed_command_can_be_pasted(word: str) -> None:
    command = shell("printf", "%s", word)
    assert command.isprintable()
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"})
    assert done.stdout == os.fsencode(word)


def test_a_table_shows_names_as_text(capsys: pytest.CaptureFixture) -> None:
    table = Table("[red]name :smile:")
    table.add_row("[bold]x\x1b[2J :smile:")
    SafeConsole().print(table)
    out = capsys.readouterr().out
    assert "[red]name :smile:" in out
    assert r"[bold]x\x1b[2J :smile:" in out
    assert "\x1b" not in out


def test_a_home_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(processes.tempfile, "tempdir", str(tmp_path))
    (tmp_path / "file").touch()
    no_home = str(tmp_path / "file" / "home")
    monkeypatch.setenv("HOME", no_home)
    monkeypatch.setattr(processes.getpass, "getuser", lambda: {}["no such user"])
    monkeypatch.setenv("LOGNAME", "")
    processes.usable_home()
    home = tmp_path / f"fersweep-home-{os.getuid()}"
    assert os.environ["HOME"] == str(home)
    assert os.environ["LOGNAME"] == f"user-{os.getuid()}"
    assert home.stat().st_mode & 0o777 == 0o700
    assert f"caches go to {home}" in capsys.readouterr().err
    os.environ["HOME"] = no_home
    processes.usable_home()
    assert capsys.readouterr().err == "", "said when it is made"

    home.rename(tmp_path / "other")
    home.symlink_to(tmp_path / "other")
    os.environ["HOME"] = no_home
    processes.usable_home()
    assert os.environ["HOME"] != str(home), "a link may be anybody's"


def test_the_commit_of_somebody_elses_repository_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@y"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "theirs"], check=True)
    (tmp_path / "fersweep" / "common").mkdir(parents=True)  # pip install --target .
    monkeypatch.setattr(versions, "ROOT", tmp_path)
    assert versions.own_commit() is None
    assert versions.own() == versions.own_version()
    (tmp_path / "fersweep" / "common").rmdir()
    (tmp_path / "fersweep" / "common").symlink_to(tmp_path)
    assert len(str(versions.own_commit())) == 40
    monkeypatch.setenv("PATH", "")
    assert versions.own_commit() is None, "there is no git"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://u:p@host/x failed", "http://***@host/x failed"),
        ("see https://token@host:5000.", "see https://***@host:5000."),
        ("s3://KEY:ab/c+d@bucket/team?region=x", "s3://***@bucket/team?region=x"),
        ("postgresql+psycopg2://me:se@cret@h:5432/db", "postgresql+psycopg2://***@h:5432/db"),
        ("'s3://b/x?secret_key=S&region=r'", "'s3://b/x?secret_key=***&region=r'"),
        ("http://u:12345@host, redis://:pw@h", "http://***@host, redis://***@h"),
        ("--set tracking.uri=http://u:p@h", "--set tracking.uri=http://***@h"),
        ("/work/s3:/KEY:SECRET@bucket/x is no file", "/work/s3:/***@bucket/x is no file"),
        ("got {'AWS_SECRET_ACCESS_KEY': 'a b', 'x': 1}", "got {'AWS_SECRET_ACCESS_KEY': '***', 'x': 1}"),
        ("--set search.password=S3: unknown key", "--set search.password=***: unknown key"),
        ("but got 'name=my_token=S3'", "but got 'name=my_token=***'"),
        ('{"password":"p", "user": "u"}', '{"password":"***", "user": "u"}'),
        *(
            (plain, plain)
            for plain in (
                "http://h:5000/x@y",
                "it asks for a token: put 'x' there; 'a', 'b'",
                "C:/Users/me@home",
                "s3://bucket:9000/a@b",
                "s3://bucket/team@x/name",
                "postgresql://me@h:5432/db",
                "abfss://container@account.dfs.core.windows.net/x",
                "gs://anonymous@public/tiny",
                "127.0.0.1:6379 and me:pw@host",
            )
        ),
    ],
)
def test_addresses_show_no_password(text: str, shown: str) -> None:
    assert masked(text) == shown
    assert masked(shown) == shown
