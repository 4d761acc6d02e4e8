"""wslink's relay on a port that the system chooses.

    python relay.py [--mode forward|relay] [--proxy-route /proxy/{port}]

Listens on 127.0.0.1, prints `READY <port>` when it accepts connections, ends when its stdin reaches
EOF or on SIGTERM.  forward: `/proxy/<port>` goes to ws://localhost:<port>/ws.  relay: the server
(`app.py --reverse-url ws://127.0.0.1:<port>/proxy/<any number>`) and a client both connect to it.
"""

import argparse
import socket

from aiohttp import web
from lifeline import exit_with_stdin
from wslink.backends.aiohttp.relay import WsHandler


def main():
    """Run the relay until its end is requested."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mode", choices=("forward", "relay"), default="forward")
    parser.add_argument("--proxy-route", default="/proxy/{port}", help="may have {host}, {port} and {path}")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()

    # Like main() of wslink.relay, which cannot report its port.
    app = web.Application()
    app.add_routes([web.get(options.proxy_route, WsHandler().get_handler(options.mode))])
    listener = socket.create_server((options.host, options.port))
    port = listener.getsockname()[1]
    exit_with_stdin()
    web.run_app(app, sock=listener, print=lambda _: print("READY", port, flush=True), shutdown_timeout=0.5)


if __name__ == "__main__":
    main()
