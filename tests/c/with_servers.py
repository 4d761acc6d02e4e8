#!/usr/bin/env python3
"""Runs a command while the real test servers run.

    with_servers.py [--venvs DIR] [--only v1|v2] [--each PLACEHOLDER] -- command argument...

One server of each protocol runs while the command does; it finds them in the environment variables
WSLINK_TEST_URL_V1 and WSLINK_TEST_URL_V2. It can start further ones: with the interpreters
WSLINK_TEST_PYTHON_V1 and WSLINK_TEST_PYTHON_V2, and the program WSLINK_TEST_APP. With --each the command runs once for each of them, with
the placeholder replaced by the URL. The exit status is that of the (first failed) command.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
APP = ROOT / "tests" / "servers" / "app.py"


class Server:
    """A server process on a port that the system chose. It ends with this process."""

    def __init__(self, venvs, name):
        self.name = name
        self.python = python = venvs / name / "bin" / "python"
        if not python.exists():
            sys.exit(f"with_servers: {python} is missing; run scripts/setup-servers")
        # The tests provoke errors in the server, so its output is shown only if a test fails.
        self.errors = tempfile.TemporaryFile("w+")  # pylint: disable=consider-using-with
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            [python, APP], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True
        )
        while True:
            line = self.process.stdout.readline()
            if not line:
                self.show_errors()
                sys.exit(f"with_servers: the server {name} ended before it was ready")
            if line.startswith("READY "):
                break
        self.url = f"ws://127.0.0.1:{line.split()[1]}/ws"

    def stop(self):
        """Ends the server. Returns whether it was still running."""
        alive = self.process.poll() is None
        self.process.stdin.close()
        self.process.stdout.read()  # until its end, so that the server gets no broken pipe
        self.process.wait()
        return alive

    def show_errors(self):
        """Print the server's stderr."""
        self.errors.seek(0)
        print(f"--- stderr of the server {self.name}:", self.errors.read(), sep="\n", file=sys.stderr)


def describe(status):
    """The exit status of a process as text; subprocess reports a signal as a negative status."""
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"


def main():
    """Start, run, stop."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = os.environ.get("WSLINK_VENVS", ROOT / "target" / "venvs")
    parser.add_argument("--venvs", type=Path, default=Path(default))
    parser.add_argument("--only", choices=["v1", "v2"], help="start one server, not both")
    parser.add_argument("--each", metavar="PLACEHOLDER")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()

    servers = []
    try:
        for name in [options.only] if options.only else ["v1", "v2"]:
            servers.append(Server(options.venvs, name))
        env = dict(os.environ, WSLINK_TEST_APP=str(APP))
        for server in servers:
            env[f"WSLINK_TEST_URL_{server.name.upper()}"] = server.url
            env[f"WSLINK_TEST_PYTHON_{server.name.upper()}"] = str(server.python.absolute())
        for server in servers if options.each else servers[:1]:
            command = [server.url if part == options.each else part for part in options.command]
            if options.each and not options.only:
                print(f"--- {server.name}: {' '.join(command)}", flush=True)
            status = subprocess.run(command, env=env, check=False).returncode
            if status != 0:
                print(f"with_servers: {options.command[0]} ended with {describe(status)}", file=sys.stderr)
                for each in servers:
                    each.show_errors()
                return status if status > 0 else 128 - status
        return 0
    finally:
        for server in servers:
            if not server.stop():
                print(f"with_servers: the server {server.name} had ended by itself", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
