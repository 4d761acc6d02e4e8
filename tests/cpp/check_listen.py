#!/usr/bin/env python3
"""Runs the example `listen`, and starts each real server with the option that the example prints.

    check_listen.py PROGRAM        by with_servers.py, which says where the servers are
"""

import os
import re
import subprocess
import sys


def check(program, python):
    """Run it once."""
    with subprocess.Popen([program, "60"], stdout=subprocess.PIPE, text=True) as listening:
        line = listening.stdout.readline()
        options = re.fullmatch(r"start the server: python3 server\.py (--reverse-url) (\S+)\n", line)
        if not options:
            sys.exit(f"the program prints {line!r}")
        command = [python, "-B", os.environ["WSLINK_TEST_APP"], *options.groups()]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as server:
            rest = listening.stdout.read()
            server.stdin.close()
    if listening.returncode != 0 or rest != "1 + 2 + 3 = 6\n":
        sys.exit(f"with {python}: ended with status {listening.returncode}, and prints {rest!r}")


def main():
    """Both protocols."""
    for version in ("V1", "V2"):
        check(sys.argv[1], os.environ[f"WSLINK_TEST_PYTHON_{version}"])


if __name__ == "__main__":
    main()
