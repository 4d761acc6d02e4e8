"""Checks the test servers with a small Python client. Run it with the Python of each environment.

    for v in v1 v2 v2.2; do target/venvs/$v/bin/python tests/servers/check.py; done
"""

import asyncio
import contextlib
import hashlib
import json
import math
import ssl
import sys
from pathlib import Path

import aiohttp
from values import PROTOCOL, WSLINK, pattern

if PROTOCOL == 2:
    import msgpack
    from wslink.chunking import generate_chunks

HERE = Path(__file__).resolve().parent


@contextlib.asynccontextmanager
async def running(program, *arguments):
    """Runs a server of this directory; yields its port, and checks that it ends with its stdin."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, HERE / program, *arguments, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        ready = (await asyncio.wait_for(process.stdout.readline(), 20)).split()
        assert ready[0] == b"READY", ready
        yield int(ready[1])
    finally:
        process.stdin.close()
        await asyncio.wait_for(process.wait(), 5)


def hashable(pairs):
    """A dict from pairs; array keys become text."""
    return {repr(k) if isinstance(k, list) else k: v for k, v in pairs}


class Client:
    """A minimal client: one call at a time; it keeps the publications."""

    def __init__(self, ws):
        self.ws = ws
        self.count = 0
        self.attachments = {}
        self.announced = []
        self.published = []
        self.chunks = b""

    async def message(self):
        """The next message with its attachments inserted."""
        while True:
            frame = await asyncio.wait_for(self.ws.receive(), 30)
            if frame.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                raise ConnectionError(frame)
            if PROTOCOL == 2:
                self.chunks += frame.data[12:]  # the server sends one message at a time, in order
                if len(self.chunks) == int.from_bytes(frame.data[8:12], "little"):
                    data, self.chunks = self.chunks, b""
                    return msgpack.unpackb(data, strict_map_key=False, object_pairs_hook=hashable)
            elif frame.type == aiohttp.WSMsgType.BINARY:
                self.attachments[self.announced.pop(0)] = frame.data
            else:
                message = json.loads(frame.data)
                if "id" in message:
                    return self._filled(message)
                self.announced += message["args"]

    def _filled(self, value):
        if isinstance(value, str):
            return self.attachments.get(value, value)
        if isinstance(value, list):
            return list(map(self._filled, value))
        if isinstance(value, dict):
            return {k: self._filled(v) for k, v in value.items()}
        return value

    async def call(self, method, *args, kind="rpc", **kwargs):
        """The result of a call; an error is raised as RuntimeError(code)."""
        self.count += 1
        rpc = {"wslink": "1.0", "id": f"{kind}:c0:{self.count}", "method": method, "args": args, "kwargs": kwargs}
        if PROTOCOL == 2:
            for chunk in generate_chunks(msgpack.packb(rpc), 4_000_000):
                await self.ws.send_bytes(chunk)
        else:
            rpc["args"] = list(args)
            for i, arg in enumerate(args):
                if isinstance(arg, bytes):
                    rpc["args"][i] = key = f"wslink_bin{self.count}{i}"
                    await self.ws.send_json({"method": "wslink.binary.attachment", "args": [key]})
                    await self.ws.send_bytes(arg)
            await self.ws.send_json(rpc)
        while True:
            message = await self.message()
            if message["id"] == rpc["id"]:
                if "error" in message:
                    raise RuntimeError(message["error"]["code"])
                return message["result"]
            self.published.append(message)

    async def error(self, method, *args):
        """The error code of a call that must fail."""
        try:
            result = await self.call(method, *args)
        except RuntimeError as error:
            return error.args[0]
        raise AssertionError(f"{method} gave {result!r:.200}")


@contextlib.asynccontextmanager
async def connected(port, path="/ws", scheme="ws", secret="wslink-secret"):
    """A client that has sent its hello."""
    context = ssl._create_unverified_context()  # pylint: disable=protected-access
    async with aiohttp.ClientSession() as session:
        url = f"{scheme}://127.0.0.1:{port}{path}"
        async with session.ws_connect(url, max_msg_size=0, ssl=context, compress=0) as ws:
            client = Client(ws)
            hello = await client.call("wslink.hello", {"secret": secret}, kind="system")
            assert ("maxMsgSize" in hello) == (PROTOCOL == 2), hello
            yield client


async def exercise(c, big=17_000_000):
    """Call the methods with known results, with up to `big` bytes."""
    info = await c.call("test.info")
    assert (info["wslink"], info["protocol"]) == (WSLINK, PROTOCOL)

    assert await c.call("myprotocol.add", [1, 2, 3]) == 6
    assert await c.call("myprotocol.mult", [2, 3, 4]) == 24
    image = await c.call("myprotocol.unwrapped.image", True)
    assert image.startswith(b"\x89PNG")
    assert (await c.call("myprotocol.image", alt=True)) == {"blob": image}
    assert (await c.call("myprotocol.nested.image"))["bytesList"] == [bytes([1, 2, 3, 4]), bytes(range(5, 11))]
    assert await c.call("myprotocol.postbinary", b"12345") == "received binary data of length 5"
    assert math.isnan((await c.call("myprotocol.special"))[1])
    assert await c.error("myprotocol.mistake.TYPO") == -32601
    assert await c.call("wslink.say.hello", "you") == "py server: you"

    echo = await c.call("test.echo", 1, b"\0\1", [None, "é"], k={"x": 1.5})
    assert echo == {"args": [1, b"\0\1", [None, "é"]], "kwargs": {"k": {"x": 1.5}}}
    failed = {name: code for name in await c.call("test.value") for code in [await value_error(c, name)] if code}
    expected = {"set": -32002, "str.surrogate": -32002, "10**30": -32002}
    if PROTOCOL == 1:
        expected = {"set": -32002, "str.surrogate": -32001}
    assert failed == expected, failed

    for size in (0, 1, 65537, big):
        data = await c.call("test.bytes", size, seed=3)
        assert data == pattern(size, 3), size
    for i in {0, 255, 256, 65535, 65536, 16_777_215 % big, 16_777_216 % big}:
        assert data[i] == (i * 31 + (i >> 8) * 7 + (i >> 16) * 13 + 3) & 255
    data = pattern(1000)
    assert await c.call("test.bytes.twice", 1000) == {"a": data, "b": [data]}
    assert await c.call("test.bytes.shared", "shared", 1000) == {"data": data}
    assert await c.call("test.bytes.keep", 1000) == data
    assert await c.call("test.bytes.kept") == data
    data = pattern(4_000_000)
    digest = {"len": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    assert await c.call("test.sum", data) == digest
    assert await c.call("test.upload", data, "n") == {"name": "n", **digest}
    assert await c.error("test.sum", "text") == -32001

    topic = "a: b:é"
    c.published.clear()
    assert await c.call("test.publish", topic, 3, {"v": [1]}) == 3
    assert await c.call("test.publish.bytes", "", 2, 70_000) == 2
    await c.call("test.publish.bad", "bad")
    await c.call("test.stream.start", "s", 10, 5)
    await c.call("test.sleep", 0.05)
    assert await c.call("test.stream.stop", "s") is True
    assert await c.call("test.stream.stop", "s") is False
    await c.call("test.sleep", 0.01)
    values = [m.get("result", m.get("error")) for m in c.published]
    assert [m["id"] for m in c.published[:6]] == 3 * [f"publish:{topic}:0"] + 2 * ["publish::0"] + ["publish:bad:0"]
    assert values[:3] == [{"i": i, "value": {"v": [1]}} for i in range(3)]
    assert values[3:5] == [{"i": i, "data": pattern(70_000, i)} for i in range(2)]
    assert values[5]["code"] == -32002 and len(values) > 8 and values[6] == {"i": 0, "data": pattern(10)}

    assert await c.call("test.block", 0.01) == 0.01
    for kind in ("ValueError", "KeyError", "empty", "long"):
        assert await c.error("test.raise", kind) == -32001
    assert await c.error("test.unserializable") == -32002

    c.published.clear()
    await c.call("wslink.start.talking")
    await c.call("test.sleep", 0.2)
    await c.call("wslink.stop.talking")
    await c.call("test.sleep", 0.02)  # earlier publications may arrive after the reply
    assert c.published[0]["id"] == "publish:wslink.communication.channel:0" and len(c.published) > 2
    c.published.clear()
    assert await c.call("myprotocol.stream", "img") == {"subscribed": "img"}
    await c.call("test.sleep", 0.2)
    assert await c.call("myprotocol.stop", "img") == {"unsubscribed": "img"}
    assert await c.call("myprotocol.stop", "img") == 0
    assert c.published[0]["result"]["blob"] == image and len(c.published) > 2


async def value_error(c, name):
    """The error code of test.value(name), if any."""
    try:
        await c.call("test.value", name)
    except RuntimeError as error:
        return error.args[0]
    return None


async def ends(c, method, *args):
    """Whether this call ends the connection."""
    try:
        await c.call(method, *args)
    except (ConnectionError, asyncio.TimeoutError):
        return True
    return False


async def main():
    """All checks."""
    async with running("app.py") as port:
        async with connected(port) as c:
            await exercise(c)
        async with connected(port) as c:
            assert await ends(c, "test.cancelled")
        async with connected(port) as c, connected(port) as d:
            assert (await c.call("test.info"))["clients"] == 2
            await c.call("test.publish", "t", 1, None, True)
            await asyncio.sleep(0.1)  # wslink takes the client of the last call before the publish for the caller
            await d.call("test.sleep", 0.01)
            assert d.published and not c.published
        async with connected(port) as c:
            assert await ends(c, "test.kill")
    # The relay does not forward frames of 4 MiB and more: protocol 2 needs smaller chunks than its default.
    big, small_chunks = (4_000_000, ()) if PROTOCOL == 1 else (17_000_000, ("--max-msg-size", "4000000"))
    async with running("app.py", *small_chunks) as port, running("relay.py") as relay:
        async with connected(relay, f"/proxy/{port}") as c:
            await exercise(c, big)
    async with running("relay.py", "--mode", "relay") as relay:
        url = f"ws://127.0.0.1:{relay}/proxy/7"
        async with running("app.py", *small_chunks, "--reverse-url", url) as port:
            assert port == 0
            await asyncio.sleep(0.5)  # the server must connect first
            async with connected(relay, "/proxy/7") as c:
                await exercise(c, big)
    options = "--ssl adhoc --secret s --ws-endpoint a/b --heartbeat 1 --max-msg-size 50000".split()
    async with running("app.py", *options) as port, connected(port, "/a/b", "wss", "s") as c:
        assert await c.call("test.bytes", 200_000) == pattern(200_000)
    print(f"wslink {WSLINK}: fine")


sys.setrecursionlimit(10_000)  # for the deep values
asyncio.run(main())
