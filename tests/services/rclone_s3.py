"""rclone's S3 server: real signatures, and no knowledge of `If-None-Match`. A folder of its root is a bucket."""

import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

KEY, SECRET = "rclone-key", "rclone-secret-7Qw+Zx/19"


@contextmanager
def rclone_s3(root):
    """The variables that lead a client there."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = Path(sys.executable).with_name("rclone")
    program = str(command) if command.exists() else shutil.which("rclone")
    server = subprocess.Popen(
        [program, "serve", "s3", str(root), "--addr", address, "--auth-key", f"{KEY},{SECRET}"],
        env={**os.environ, "RCLONE_CONFIG": os.devnull},
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(server, address)
        yield {
            "AWS_ENDPOINT_URL": f"http://{address}",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
        }
    finally:
        server.terminate()
        server.wait(timeout=30)


def _wait_for(server, address):
    host, port = address.split(":")
    for _ in range(300):
        assert server.poll() is None, server.returncode
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(address)
