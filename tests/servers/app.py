"""A wslink server for the tests, for all wslink versions, 1.x and 2.x.

    python app.py [--port 0] [--secret S] [--heartbeat N] [--max-msg-size N] [--ssl adhoc] ...

It listens on 127.0.0.1, by default on a port that the system chooses, prints the line `READY <port>`
on stdout when it accepts connections, and ends when its stdin reaches EOF (unless --ignore-stdin) or on SIGTERM.
It accepts all options of wslink (`--help`), including `--reverse-url` (then it prints `READY 0`).
"""

import argparse
import asyncio
import os

from examples import Chat, Simple
from lifeline import exit_with_stdin
from probes import Probes
from wslink import server
from wslink.websocket import ServerProtocol


class TestServer(ServerProtocol):
    """The protocol object of wslink: all methods, and the READY line when the port is known."""

    options = None

    def initialize(self):
        """Called by wslink at construction."""
        self.updateSecret(self.options.authKey)
        self.registerLinkProtocol(Simple(self.options.interval))
        self.registerLinkProtocol(Chat(self.options.interval, self.options.talk))
        self.registerLinkProtocol(Probes())

    @staticmethod
    def port_callback(port):
        """Called by wslink when the socket listens."""
        print("READY", port, flush=True)


def parse_arguments():
    """The options of wslink with defaults for tests, and additional ones."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    server.add_arguments(parser)
    parser.add_argument("--secret", dest="authKey", help="the same as --authKey")
    parser.add_argument("--heartbeat", type=int, help="seconds between pings (WSLINK_HEART_BEAT)")
    parser.add_argument("--max-msg-size", type=int, help="bytes (WSLINK_MAX_MSG_SIZE)")
    parser.add_argument("--ssl-cert", help="certificate file (PEM), with --ssl-key")
    parser.add_argument("--ssl-key", help="key file (PEM), with --ssl-cert")
    parser.add_argument("--interval", type=float, default=0.05, help="seconds between two publishes of the examples")
    parser.add_argument("--ignore-stdin", action="store_true", help="run on when stdin ends")
    parser.add_argument("--talk", action="store_true", help="let the chat example talk from the start")
    parser.set_defaults(host="127.0.0.1", port=0, timeout=0, authKey="wslink-secret")
    options = parser.parse_args()
    if bool(options.ssl_cert) != bool(options.ssl_key):
        parser.error("--ssl-cert and --ssl-key go together")
    if options.ssl_cert:
        options.ssl = f"{options.ssl_cert},{options.ssl_key}"
    return options


def main():
    """Run the server until its end is requested."""
    options = parse_arguments()
    # wslink reads these variables when start_webserver() imports its backend.
    os.environ["WSLINK_READY_MSG"] = ""
    if options.heartbeat is not None:
        os.environ["WSLINK_HEART_BEAT"] = str(options.heartbeat)
    if options.max_msg_size is not None:
        os.environ["WSLINK_MAX_MSG_SIZE"] = str(options.max_msg_size)

    if not options.ignore_stdin:
        exit_with_stdin()
    asyncio.set_event_loop(asyncio.new_event_loop())  # wslink 1 and 2.2 need an existing event loop
    TestServer.options = options
    server.start_webserver(options, TestServer)


if __name__ == "__main__":
    main()
