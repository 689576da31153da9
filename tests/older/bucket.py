"""The bucket of the older version, on a server of its own on the loopback address."""

import contextlib
import os
from collections.abc import Iterator
from unittest.mock import patch

from moto.server import ThreadedMotoServer
from pyarrow.fs import FileSystem

BUCKET = "s3://sweeps?region=us-east-1"  # as the sweep's record has it, so the server's address is not in it
SWEEP = "s3://sweeps/away?region=us-east-1"


@contextlib.contextmanager
def serve() -> Iterator[None]:
    """A server with an empty bucket, where processes that start meanwhile look for S3."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        found = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
        with patch.dict(os.environ, found):
            FileSystem.from_uri(f"{BUCKET}&allow_bucket_creation=true")[0].create_dir("sweeps")
            yield
    finally:
        server.stop()
