"""Ends a server with the process that started it."""

import os
import signal
import threading
import time


def exit_with_stdin(grace=1.0):
    """End this process when stdin reaches EOF, so that no test can leak it.

    The way out is SIGTERM; a process that is still there after `grace` seconds (its event loop is
    blocked) is ended hard.
    """

    def watch():
        try:
            while os.read(0, 4096):
                pass
        except OSError:
            pass  # stdin is closed
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
