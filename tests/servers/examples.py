"""The methods of wslink's own examples, `simple` and `chat-rpc-pub-sub`, under the same names."""

import struct
import zlib
from functools import lru_cache
from math import prod

from wslink import register, schedule_callback
from wslink.websocket import LinkProtocol


@lru_cache
def png(alt, side=64):
    """A square RGB image as a PNG file: a colour gradient, reddish or (`alt`) bluish."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    def pixel(x, y):
        return (4 * x, 4 * y, 255) if alt else (255, 4 * y, 4 * x)

    rows = b"".join(b"\0" + bytes(c for x in range(side) for c in pixel(x, y)) for y in range(side))
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


class Simple(LinkProtocol):
    """`examples/simple`.  Its `myprotocol.mistake.TYPO` intentionally does not exist: error -32601."""

    def __init__(self, interval):
        super().__init__()
        self.interval = interval
        self.timer = None
        self.topic = "image"
        self.subscribers = 0
        self.count = 0

    @register("myprotocol.add")
    def add(self, numbers):
        """The sum of a list; 0 for anything else."""
        return sum(numbers) if isinstance(numbers, list) else 0

    @register("myprotocol.mult")
    def mult(self, numbers):
        """The product of a list; 0 for anything else."""
        return prod(numbers) if isinstance(numbers, list) else 0

    @register("myprotocol.image")
    def image(self, alt=False):
        """{"blob": a PNG file}, one of two."""
        return {"blob": self.bare_image(alt)}

    @register("myprotocol.unwrapped.image")
    def bare_image(self, alt=False):
        """The PNG file itself as the result."""
        return self.addAttachment(png(bool(alt)))

    @register("myprotocol.nested.image")
    def nested_image(self):
        """Attachments at several depths of one result."""
        small = [bytes([1, 2, 3, 4]), bytes([5, 6, 7, 8, 9, 10])]
        return {"image": self.image(), "bytesList": [self.addAttachment(b) for b in small]}

    @register("myprotocol.postbinary")
    def post_binary(self, data):
        """Takes bytes (or anything with a length) and tells the length in a sentence."""
        return f"received binary data of length {len(data)}"

    @register("myprotocol.special")
    def special(self, *_):
        """The floats that JSON cannot represent."""
        return [float("inf"), float("nan"), float("-inf")]

    @register("myprotocol.stream")
    def start_stream(self, topic):
        """Publish an image on `topic` repeatedly, until every start has had its stop."""
        self.topic = topic
        self.subscribers += 1
        if self.timer is None:
            self.timer = schedule_callback(0, self._push)
        return {"subscribed": topic}

    @register("myprotocol.stop")
    def stop_stream(self, topic):
        """Undo one start; 0 if nothing is streamed on `topic`."""
        if self.topic != topic or self.subscribers == 0:
            return 0
        self.subscribers -= 1
        if self.subscribers == 0:
            self.timer.cancel()
            self.timer = None
        return {"unsubscribed": topic}

    def _push(self):
        self.publish(self.topic, self.image(self.count % 2 == 0))
        self.count += 1
        self.timer = schedule_callback(self.interval, self._push)


class Chat(LinkProtocol):
    """`examples/chat-rpc-pub-sub`; but silent until `wslink.start.talking` is called."""

    TOPIC = "wslink.communication.channel"
    MESSAGES = ("Good morning", "How are you?", "I am a test server.")

    def __init__(self, interval, talk):
        super().__init__()
        self.interval = interval
        self.timer = None
        self.index = 0
        if talk:
            self.start_talking()

    @register("wslink.say.hello")
    def say_hello(self, message):
        """Publishes and returns "py server: <message>"."""
        text = f"py server: {message}"
        self.publish(self.TOPIC, text)
        return text

    @register("wslink.start.talking")
    def start_talking(self):
        """Publish a message now and after every interval."""
        if self.timer is None:
            self._talk()

    @register("wslink.stop.talking")
    def stop_talking(self):
        """Stop publishing; the next start begins with the first message."""
        if self.timer is not None:
            self.timer.cancel()
        self.timer = None
        self.index = 0

    def _talk(self):
        self.publish(self.TOPIC, self.MESSAGES[self.index % len(self.MESSAGES)])
        self.index += 1
        self.timer = schedule_callback(self.interval, self._talk)
