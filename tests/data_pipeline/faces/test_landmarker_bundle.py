"""Finding face_landmarker.task: given, cached, carried by a package, downloaded (from a server on loopback)."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError

import pytest

from fersweep.common.errors import InputError
from fersweep.data_pipeline.faces import landmarker_bundle


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FERSWEEP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def content() -> bytes:
    """The real bundle, from wherever this machine has it."""
    return landmarker_bundle.find_bundle(url="http://127.0.0.1:9/none").read_bytes()


@pytest.fixture
def server(content: bytes) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if "missing" not in self.path else 404)
            self.end_headers()
            self.wfile.write(content if self.path == "/good" else b"something else" * 400_000)

        def log_message(self, format, *args):
            pass

    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=served.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{served.server_port}"
    served.shutdown()
    thread.join()
    served.server_close()


def test_given(tmp_path: Path, content: bytes):
    path = tmp_path / "mine.task"
    path.write_bytes(content)
    assert landmarker_bundle.find_bundle(path) == path
    path.write_bytes(content[:-1] + b"?")
    with pytest.raises(InputError, match=r"mine.task is not the face_landmarker.task expected"):
        landmarker_bundle.find_bundle(path)


def test_cached(cache: Path, content: bytes):
    cache.mkdir()
    (cache / landmarker_bundle.NAME).write_bytes(content)
    assert landmarker_bundle.find_bundle() == cache / landmarker_bundle.NAME


def test_downloaded_once(cache: Path, content: bytes, server: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(landmarker_bundle, "CARRIERS", ())
    cache.mkdir()
    (cache / landmarker_bundle.NAME).write_bytes(b"damaged")
    assert landmarker_bundle.find_bundle(url=f"{server}/good").read_bytes() == content
    assert [path.name for path in cache.iterdir()] == [landmarker_bundle.NAME]
    assert landmarker_bundle.find_bundle(url=f"{server}/missing") == cache / landmarker_bundle.NAME


@pytest.mark.parametrize("path", ["missing", "other"])
def test_nowhere(path: str, cache: Path, server: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(landmarker_bundle, "CARRIERS", ("surely-not-installed",))
    with pytest.raises(RuntimeError, match="did not serve it") as caught:
        landmarker_bundle.find_bundle(url=f"{server}/{path}")
    if isinstance(unread := caught.value.__context__, HTTPError):
        unread.close()
    assert "\n" not in str(caught.value)
    assert not list(cache.iterdir())
