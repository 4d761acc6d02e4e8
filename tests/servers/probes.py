"""The methods `test.*`, for the tests of a client."""

import asyncio
import hashlib
import os
import platform
import signal as signals
import time

from values import PROTOCOL, VALUES, WSLINK, pattern
from wslink import register
from wslink.websocket import LinkProtocol


class BadRepr(Exception):
    """An exception that cannot be converted to text."""

    def __repr__(self):
        raise RuntimeError("no repr")


ERRORS = {
    "ValueError": lambda: ValueError('a value – with "quotes"\nand a second line'),
    "KeyError": lambda: KeyError("missing"),
    "empty": ValueError,
    "long": lambda: ValueError("x" * 100_000),
    "surrogate": lambda: ValueError("\ud800"),
    "repr": BadRepr,
}


def digest(data):
    """{"len", "sha256" (hex)} of bytes; TypeError for anything else."""
    if not isinstance(data, bytes):
        raise TypeError(f"not bytes: {data!r:.60}")
    return {"len": len(data), "sha256": hashlib.sha256(data).hexdigest()}


class Probes(LinkProtocol):
    """All of `test.*`."""

    def __init__(self):
        super().__init__()
        self.clients = set()
        self.kept = None
        self.streams = {}

    def onConnect(self, request, client_id):
        """Called by wslink."""
        self.clients.add(client_id)

    def onClose(self, client_id):
        """Called by wslink."""
        self.clients.discard(client_id)

    def attach(self, value):
        """`value` with all bytes in it as attachments (protocol 1); unchanged (protocol 2)."""
        if PROTOCOL == 2:
            return value
        if isinstance(value, bytes):
            return self.addAttachment(value)
        if isinstance(value, list):
            return list(map(self.attach, value))
        if isinstance(value, dict):
            return dict(zip(value, map(self.attach, value.values())))
        return value

    # -- values ---------------------------------------------------------------

    @register("test.echo")
    def echo(self, *args, **kwargs):
        """{"args": [...], "kwargs": {...}} of the call."""
        return self.attach({"args": list(args), "kwargs": kwargs})

    @register("test.value")
    def value(self, name=None):
        """A value of the table in values.py; without a name, the list of names."""
        if name is None:
            return sorted(VALUES)
        value = VALUES[name]()
        return self.attach(value) if isinstance(value, bytes) else value

    @register("test.unserializable")
    def unserializable(self):
        """Error -32002: the result is an object()."""
        return object()

    @register("test.info")
    def info(self):
        """{"wslink", "python", "protocol", "clients", "pid"}; clients counts unauthenticated ones too."""
        return {
            "wslink": WSLINK,
            "python": platform.python_version(),
            "protocol": PROTOCOL,
            "clients": len(self.clients),
            "pid": os.getpid(),
        }

    # -- bytes ----------------------------------------------------------------

    @register("test.bytes")
    def make_bytes(self, size, seed=0):
        """`size` bytes; byte i is (i*31 + (i>>8)*7 + (i>>16)*13 + seed) & 255."""
        return self.addAttachment(pattern(size, seed))

    @register("test.bytes.twice")
    def bytes_twice(self, size, seed=0):
        """{"a": B, "b": [B]}: the same attachment twice in a result."""
        data = self.addAttachment(pattern(size, seed))
        return {"a": data, "b": [data]}

    @register("test.bytes.shared")
    def bytes_shared(self, topic, size, seed=0):
        """Returns and publishes {"data": B} with one and the same attachment."""
        result = {"data": self.addAttachment(pattern(size, seed))}
        self.publish(topic, result)
        return result

    @register("test.bytes.keep")
    def bytes_keep(self, size, seed=0):
        """Returns an attachment and keeps it for test.bytes.kept."""
        self.kept = self.addAttachment(pattern(size, seed))
        return self.kept

    @register("test.bytes.kept")
    def bytes_kept(self):
        """What test.bytes.keep returned; protocol 1 does not send the bytes again, only the key."""
        return self.kept

    @register("test.sum")
    def checksum(self, data):
        """{"len", "sha256"} of bytes."""
        return digest(data)

    @register("test.upload")
    def upload(self, data, name):
        """{"name", "len", "sha256"} of bytes."""
        return {"name": name, **digest(data)}

    # -- publishes ------------------------------------------------------------

    @register("test.publish")
    def publish_values(self, topic, count=1, value=None, others=False):
        """Publish {"i": 0.., "value": value} `count` times; `others`: not to the caller.  Returns count."""
        for i in range(count):
            self.publish(topic, self.attach({"i": i, "value": value}), skip_last_active_client=others)
        return count

    @register("test.publish.bytes")
    def publish_bytes(self, topic, count, size):
        """Publish {"i": i, "data": `size` bytes with seed i} `count` times.  Returns count."""
        for i in range(count):
            self._publish_bytes(topic, i, size)
        return count

    def _publish_bytes(self, topic, i, size):
        self.publish(topic, {"i": i, "data": self.addAttachment(pattern(size, i))})

    @register("test.publish.bad")
    def publish_bad(self, topic):
        """Publish an object(): every client gets error -32002 with the id of the publish."""
        self.publish(topic, object())

    @register("test.stream.start")
    def stream_start(self, topic, size, interval_ms):
        """Publish {"i": i, "data": `size` bytes with seed i} every `interval_ms`, until stopped."""
        self.stream_stop(topic)
        self.streams[topic] = asyncio.ensure_future(self._stream(topic, size, interval_ms / 1000))

    @register("test.stream.stop")
    def stream_stop(self, topic):
        """Stop a stream.  Returns whether there was one."""
        task = self.streams.pop(topic, None)
        if task is not None:
            task.cancel()
        return task is not None

    async def _stream(self, topic, size, interval):
        i = 0
        while True:
            if self.clients:  # without a client, wslink 1 would keep the attachment for ever
                self._publish_bytes(topic, i, size)
            i += 1
            await asyncio.sleep(interval)

    # -- faults --------------------------------------------------------------

    @register("test.sleep")
    async def sleep(self, seconds):
        """Returns `seconds` after that time; the server serves other clients meanwhile."""
        await asyncio.sleep(seconds)
        return seconds

    @register("test.block")
    def block(self, seconds):
        """Returns `seconds` after that time; the whole server is blocked meanwhile."""
        time.sleep(seconds)
        return seconds

    @register("test.raise")
    def raise_error(self, kind="ValueError"):
        """Error -32001 (mostly): raises one of ERRORS."""
        raise ERRORS[kind]()

    @register("test.cancelled")
    def cancelled(self):
        """Ends the connection: wslink does not catch CancelledError."""
        raise asyncio.CancelledError

    @register("test.kill")
    def kill(self, signal="SIGKILL"):
        """Send a signal, by name or number, to the server process; SIGTERM lets this call be answered first."""
        os.kill(os.getpid(), signals.Signals[signal] if isinstance(signal, str) else signal)
