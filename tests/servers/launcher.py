"""wslink's launcher on a port that the system chooses.

    python launcher.py [--app-port N] [--session-url U] [--start-timeout S] [--ssl-cert F --ssl-key F]

Listens on 127.0.0.1, prints `READY <port>` when it accepts connections, ends when its stdin reaches EOF (unless
--ignore-stdin) or on SIGTERM.  It has one port for applications, and knows these: `test` (`app.py` with a secret), `open` (without),
`never` (does not get ready), `missing` (no such program).  The servers share its stdin, and so end with it.
"""

import argparse
import json
import os
import socket
import ssl
import sys
import tempfile

from aiohttp import web
from lifeline import exit_with_stdin
from wslink import launcher


def main():
    """Run the launcher until its end is requested."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--app-port", type=int, default=0)
    parser.add_argument("--ignore-stdin", action="store_true", help="run on when stdin ends; so do the applications")
    parser.add_argument("--session-url", default="ws://${host}:${port}/ws")
    parser.add_argument("--start-timeout", type=int, default=25)
    parser.add_argument("--ssl-cert")
    parser.add_argument("--ssl-key")
    options = parser.parse_args()

    app = [sys.executable, "-B", os.path.join(os.path.dirname(__file__), "app.py"), "--port", "${port}"]
    if options.ignore_stdin:
        app.append("--ignore-stdin")
    app_port = options.app_port
    if not app_port:
        with socket.create_server(("127.0.0.1", 0)) as free:
            app_port = free.getsockname()[1]
    apps = {
        "test": {"cmd": [*app, "--authKey", "${secret}"], "ready_line": "READY"},
        "open": {"cmd": app, "ready_line": "READY"},
        "never": {"cmd": [*app, "--authKey", "${secret}"], "ready_line": "no such line"},
        "missing": {"cmd": ["/no/such/program"], "ready_line": "READY"},
    }
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    run_app = web.run_app

    def run_here(application, **_):
        """In the place of run_app(), which cannot report its port."""
        context = None
        if options.ssl_cert:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(options.ssl_cert, options.ssl_key)
        if not options.ignore_stdin:
            exit_with_stdin()
        run_app(
            application,
            sock=listener,
            ssl_context=context,
            print=lambda _: print("READY", port, flush=True),
            shutdown_timeout=0.5,
        )

    with tempfile.TemporaryDirectory() as folder:
        config = {
            "configuration": {
                "host": "127.0.0.1",
                "port": port,
                "endpoint": "paraview",
                "content": "",
                "proxy_file": os.path.join(folder, "proxy.txt"),
                "sessionURL": options.session_url,
                "timeout": options.start_timeout,
                "log_dir": folder,
                "fields": ["host", "port", "application"],
            },
            "resources": [{"host": "127.0.0.1", "port_range": [app_port, app_port]}],
            "properties": {},
            "apps": apps,
        }
        path = os.path.join(folder, "launcher.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(config, file)
        web.run_app = run_here
        launcher.start([path])


if __name__ == "__main__":
    main()
