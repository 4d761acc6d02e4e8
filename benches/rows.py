"""The rows of the benchmark: the workload, its clients, its processors, and the limits that the library must keep."""

from dataclasses import dataclass, field, replace

MIB = 1 << 20

# Client: program, environment, port of the server ("ws", "raw", "wss", "rawtls", "slow").
CLIENTS = {
    "wslink": ("client", {}, "ws"),
    "wrapper": ("client_wrapper", {}, "ws"),
    "raw": ("raw", {}, "raw"),
    "bare": ("bare", {}, "ws"),
    "tungstenite-thread": ("tungstenite", {"RMPV": "ref", "THREAD": "1"}, "ws"),
    "tungstenite": ("tungstenite", {}, "ws"),
    "tungstenite-ref": ("tungstenite", {"RMPV": "ref"}, "ws"),
    "beast": ("beast", {}, "ws"),
    "nlohmann": ("beast", {"WSLINK_PROTOCOL": "1"}, "ws"),
}
PEERS = ("tungstenite", "tungstenite-ref", "beast", "nlohmann")
ALL = ("wslink", "wrapper", "raw", "tungstenite", "tungstenite-ref", "beast")
# `bare` does the least that a client can do: it shows how close to `raw` a library could come.
ALL_AND_BARE = (*ALL, "bare")
# For connecting, `tungstenite-thread` does the least with a real handshake and a thread.
ALL_AND_THREADED = (*ALL_AND_BARE, "tungstenite-thread")

V1 = {"WSLINK_PROTOCOL": "1"}
V2 = {"WSLINK_PROTOCOL": "2"}


@dataclass
class Row:
    name: str
    title: str
    work: str  # workload and parameters; {n} is the count
    most: int  # the highest count of a run; a slow client does fewer operations, but at least `least`
    least: int
    unit: str  # "us" (time of one), "/s" (operations), "MB/s", "MiB" (peak memory), or the unit of the result's `check`
    clients: tuple
    # Server and client share one processor, so that a round trip does not include waking an idle one.
    one_processor: bool = False
    environment: dict = field(default_factory=lambda: dict(V2))
    # Workloads of single clients, where they differ from `work`.
    other_work: dict = field(default_factory=dict)
    program: str = ""  # of all clients, instead of their own
    ports: dict = field(default_factory=dict)
    # Clients that are shown, but cannot be the best peer.
    not_compared: tuple = ()
    # (quantity, "<=" or ">=", limit). Quantities: "value", or the ratio of wslink to "peer" (the best one) or to a client.
    limits: tuple = ()

    @property
    def less_is_better(self):
        return self.unit not in ("/s", "MB/s")

    @property
    def per_byte(self):
        return self.unit in ("MB/s", "MiB")


def blob(name, title, size, most, least, *limits, clients=ALL):
    return Row(name, title, f"blob {size} {{n}}", most, least, "MB/s", clients, limits=limits)


def received(kind, count, most, how, limit):
    return Row(kind, f"a reply with {count:,} {kind}, {how}", f"structured {kind} {count} {{n}}", most, 1, "/s", ALL,
               limits=(("peer", ">=", limit),))


def decoded(kind, count, most, how=""):
    return Row(f"decode-{kind}", f"msgpack decoded from memory, {kind}{how}", f"decode {kind} {count} {{n}}", most, 1, "/s",
               ("wslink", "wrapper", "tungstenite", "tungstenite-ref", "beast"))


def one_by_one(row, title):
    """A variant of a row of strings: wslink fetches one string per call."""
    return replace(row, name=f"{row.name}-single", title=title, environment={**row.environment, "WSLINK_ONE_BY_ONE": "1"}, limits=())


def decoded_json(kind, count, most):
    return Row(f"json-{kind}", f"JSON decoded from memory, {kind}", f"decode {kind} {count} {{n}}", most, 1, "/s",
               ("wslink", "wrapper", "nlohmann"), environment=V1, limits=(("nlohmann", ">=", 5.0),))


def uploaded(name, title, size, most, least):
    return Row(name, title, f"upload {size} {{n}}", most, least, "MB/s", ALL, limits=(("peer", ">=", 1.3),))


def against_a_slow_reader(mib):
    return Row(f"slow-{mib}m", f"attachment of {mib} MiB, protocol 1, slow reader, send buffer of 64 KiB",
               f"slow-upload {mib * MIB} {{n}}", 1, 1, "MB/s", ("wslink",), environment=V1, program="footprint", ports={"wslink": "slow"})


STRINGS = received("strings", 200000, 120, "read many per call", 1.3)
DECODED_STRINGS = decoded("strings", 200000, 200, ", read many per call")

ROWS = [
    # Tungstenite takes publications only while somebody waits for a call, and has no completions.
    Row("call", "blocking call", "latency {n}", 20000, 200, "us", ALL, one_processor=True,
        not_compared=("tungstenite", "tungstenite-ref"), limits=(("raw", "<=", 1.75), ("beast", "<=", 1.0))),
    Row("next-call", "next call made in the completion", "latencycb {n}", 20000, 200, "us",
        ("wslink", "wrapper", "tungstenite-ref", "beast"), one_processor=True, other_work={"tungstenite-ref": "latency {n}"},
        not_compared=("tungstenite-ref",)),
    Row("pipeline", "64 calls outstanding", "pipeline {n} 64", 200000, 1000, "/s", ALL, one_processor=True, limits=(("peer", ">=", 2.5),)),
    Row("small", "small publications, on the I/O thread", "fanin {n}", 4000000, 2000, "/s", ALL, limits=(("peer", ">=", 1.2),)),
    Row("small-nobody", "small publications that nobody subscribed to", "fanin-nobody {n}", 16000000, 2000, "/s", ("wslink", "raw"),
        other_work={"raw": "fanin {n}"}),
    Row("small-queue", "small publications, by dispatch on another thread", "fanin {n}", 4000000, 2000, "/s",
        ("wslink", "wrapper", "tungstenite", "tungstenite-ref", "beast"), environment={**V2, "WSLINK_DELIVERY": "queue"},
        limits=(("peer", ">=", 1.2),)),
    blob("blob64k", "blobs of 64 KiB", 64 << 10, 65536, 64, ("raw", ">=", 0.85), clients=ALL_AND_BARE),
    blob("blob1m", "blobs of 1 MiB", MIB, 4096, 8, ("raw", ">=", 0.85)),
    blob("blob8m", "blobs of 8 MiB", 8 * MIB, 512, 4, ("raw", ">=", 0.85), ("peer", ">=", 1.0)),
    blob("blob64m", "blobs of 64 MiB", 64 * MIB, 64, 2, ("raw", ">=", 0.80), ("peer", ">=", 2.0)),
    received("floats", 1000000, 60, "read one by one", 1.1),
    Row("floats-bulk", "a reply with 1,000,000 floats, copied in one call", "structured floats 1000000 {n}", 60, 1, "/s",
        ALL, other_work={"wslink": "bulk 1000000 {n}", "wrapper": "bulk 1000000 {n}"}, limits=(("peer", ">=", 3.0),)),
    received("records", 100000, 60, "fields read by key", 2.0),
    STRINGS,
    one_by_one(STRINGS, "a reply with 200,000 strings, read one per call"),
    decoded("floats", 1000000, 100),
    decoded("records", 100000, 100),
    DECODED_STRINGS,
    one_by_one(DECODED_STRINGS, "msgpack decoded from memory, strings, read one per call"),
    decoded_json("floats", 1000000, 40),
    decoded_json("records", 100000, 40),
    decoded_json("strings", 200000, 80),
    uploaded("upload1m", "uploads of 1 MiB", MIB, 2000, 10),
    uploaded("upload8m", "uploads of 8 MiB", 8 * MIB, 240, 3),
    *[against_a_slow_reader(mib) for mib in (16, 32, 64)],
    Row("connect", "connect, hello, close", "connect {n}", 200, 20, "us", ALL_AND_THREADED, one_processor=True, limits=(("tungstenite", "<=", 1.7),)),
    Row("tls-blob8m", "blobs of 8 MiB over TLS (raw: a loop of reads with the same TLS library)", f"blob {8 * MIB} {{n}}", 128, 4, "MB/s",
        ("wslink", "wrapper", "raw"), ports={"wslink": "wss", "wrapper": "wss", "raw": "rawtls"}),
    Row("memory", "peak memory, one blob of 256 MiB, protocol 2", f"blob {256 * MIB} 1", 1, 1, "MiB", ALL, limits=(("value", "<=", 268),)),
    Row("memory-v1", "peak memory, one blob of 256 MiB, protocol 1", f"blob {256 * MIB} 1", 1, 1, "MiB", ("wslink", "wrapper"), environment=V1,
        limits=(("value", "<=", 268),)),
    Row("idle", "wake-ups while connected and idle", "idle {n}", 10, 1, "wake-ups", ("wslink",), program="footprint", limits=(("value", "<=", 0),)),
    Row("sessions", "memory of one more session", "sessions {n}", 100, 10, "KiB", ("wslink",), program="footprint"),
]
