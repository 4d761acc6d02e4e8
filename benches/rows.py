"""The rows of the benchmark: who does what, how often, where, and what it should reach."""

from dataclasses import dataclass, field, replace

MIB = 1 << 20

# Name: program, environment, port of the server ("ws", "raw", "wss", "rawtls", "slow").
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
# With the least that a client does: what marks can be reached.
ALL_AND_BARE = (*ALL, "bare")
# And the least of these that has a real handshake.
ALL_AND_THREADED = (*ALL_AND_BARE, "tungstenite-thread")

V1 = {"WSLINK_PROTOCOL": "1"}
V2 = {"WSLINK_PROTOCOL": "2"}


@dataclass
class Row:
    name: str
    title: str
    work: str  # workload and parameters; {n} is the count
    most: int  # the count of a full run, which is less where it would take long
    least: int
    unit: str  # "us" (time of one), "/s" (operations), "MB/s", "MiB" (peak memory), or what `check` counts
    clients: tuple
    # Server and client on one processor: no idle one has to be woken, and what a round trip costs is its own time.
    one_processor: bool = False
    environment: dict = field(default_factory=lambda: dict(V2))
    # What is done otherwise by one client: its workload, program or port.
    other_work: dict = field(default_factory=dict)
    program: str = ""
    ports: dict = field(default_factory=dict)
    # Shown, but not what ours is compared with.
    not_compared: tuple = ()
    # (what, "<=" or ">=", limit); what: raw, peer, cpu/raw, cpu/peer, value.
    marks: tuple = ()

    @property
    def less_is_better(self):
        return self.unit not in ("/s", "MB/s")

    @property
    def per_byte(self):
        return self.unit in ("MB/s", "MiB")


def blob(name, title, size, most, least, *marks, clients=ALL):
    return Row(name, title, f"blob {size} {{n}}", most, least, "MB/s", clients, marks=marks)


def listed(kind, count, most, *marks, **more):
    return Row(kind, f"a reply with {count:,} {kind}, all read", f"structured {kind} {count} {{n}}", most, 1, "/s", ALL, marks=marks, **more)


def decoded(kind, count, most, *limit):
    clients = ("wslink", "wrapper", "tungstenite", "tungstenite-ref", "beast")
    return Row(f"decode-{kind}", f"msgpack decoded from memory, {kind}", f"decode {kind} {count} {{n}}", most, 1, "/s", clients,
               marks=tuple(("peer", ">=", least) for least in limit))


def one_by_one(row):
    """The same, but ours asks for each string by itself."""
    return replace(row, name=f"{row.name}-single", title="the same, one string after the other", environment={**row.environment, "WSLINK_ONE_BY_ONE": "1"})


def decoded_json(kind, count, most, limit):
    return Row(f"json-{kind}", f"JSON decoded from memory, {kind}", f"decode {kind} {count} {{n}}", most, 1, "/s",
               ("wslink", "wrapper", "nlohmann"), environment=V1, marks=(("peer", ">=", limit),))


def uploaded(name, title, size, most, least):
    return Row(name, title, f"upload {size} {{n}}", most, least, "MB/s", ALL,
               marks=(("raw", ">=", 0.75), ("peer", ">=", 1.3), ("cpu/peer", "<=", 0.75)))


def against_a_slow_reader(mib):
    return Row(f"slow-{mib}m", f"attachment of {mib} MiB, protocol 1, slow reader, send buffer of 64 KiB",
               f"slow-upload {mib * MIB} {{n}}", 1, 1, "MB/s", ("wslink",), environment=V1, program="footprint", ports={"wslink": "slow"})


ROWS = [
    # Tungstenite takes publications only while somebody waits for a call, and has no completions.
    Row("call", "blocking call", "latency {n}", 20000, 200, "us", ALL, one_processor=True,
        not_compared=("tungstenite", "tungstenite-ref"), marks=(("raw", "<=", 1.55), ("peer", "<=", 1.0))),
    Row("next-call", "next call made in the completion", "latencycb {n}", 20000, 200, "us",
        ("wslink", "wrapper", "tungstenite-ref", "beast"), one_processor=True, other_work={"tungstenite-ref": "latency {n}"},
        not_compared=("tungstenite-ref",), marks=(("peer", "<=", 1.0),)),
    Row("pipeline", "64 calls outstanding", "pipeline {n} 64", 200000, 1000, "/s", ALL, one_processor=True, marks=(("peer", ">=", 5.0),)),
    Row("small", "small publications, on the I/O thread", "fanin {n}", 4000000, 2000, "/s", ALL, marks=(("peer", ">=", 3.0),)),
    Row("small-nobody", "small publications that nobody subscribed to", "fanin-nobody {n}", 16000000, 2000, "/s", ("wslink", "raw"),
        other_work={"raw": "fanin {n}"}),
    Row("small-queue", "small publications, by dispatch on another thread", "fanin {n}", 4000000, 2000, "/s",
        ("wslink", "wrapper", "tungstenite", "tungstenite-ref", "beast"), environment={**V2, "WSLINK_DELIVERY": "queue"},
        marks=(("peer", ">=", 2.0),)),
    blob("blob64k", "blobs of 64 KiB", 64 << 10, 65536, 64, ("raw", ">=", 0.95), ("cpu/raw", "<=", 1.15), clients=ALL_AND_BARE),
    blob("blob1m", "blobs of 1 MiB", MIB, 4096, 8, ("raw", ">=", 0.95), ("cpu/raw", "<=", 1.15)),
    blob("blob8m", "blobs of 8 MiB", 8 * MIB, 512, 4, ("raw", ">=", 0.90), ("cpu/raw", "<=", 1.15)),
    blob("blob64m", "blobs of 64 MiB", 64 * MIB, 64, 2, ("raw", ">=", 0.80), ("peer", ">=", 2.0), ("cpu/peer", "<=", 0.40)),
    listed("floats", 1000000, 60, ("peer", ">=", 2.0)),
    Row("floats-bulk", "the same, copied in one call", "structured floats 1000000 {n}", 60, 1, "/s",
        ALL, other_work={"wslink": "bulk 1000000 {n}", "wrapper": "bulk 1000000 {n}"}, marks=(("peer", ">=", 3.0),)),
    listed("records", 100000, 60, ("peer", ">=", 3.0)),
    listed("strings", 200000, 120, ("peer", ">=", 1.3)),
    one_by_one(listed("strings", 200000, 120)),
    decoded("floats", 1000000, 100, 4.5),
    decoded("records", 100000, 100, 2.8),
    decoded("strings", 200000, 200, 1.6),
    one_by_one(decoded("strings", 200000, 200)),
    decoded_json("floats", 1000000, 40, 6.0),
    decoded_json("records", 100000, 40, 8.0),
    decoded_json("strings", 200000, 80, 5.0),
    uploaded("upload1m", "uploads of 1 MiB", MIB, 2000, 10),
    uploaded("upload8m", "uploads of 8 MiB", 8 * MIB, 240, 3),
    *[against_a_slow_reader(mib) for mib in (16, 32, 64)],
    Row("connect", "connect, hello, close", "connect {n}", 200, 20, "us", ALL_AND_THREADED, one_processor=True, marks=(("raw", "<=", 1.4),)),
    Row("tls-blob8m", "blobs of 8 MiB over TLS; raw: a bare loop of reads from the same library", f"blob {8 * MIB} {{n}}", 128, 4, "MB/s",
        ("wslink", "wrapper", "raw"), ports={"wslink": "wss", "wrapper": "wss", "raw": "rawtls"}, marks=(("raw", ">=", 0.95),)),
    Row("memory", "peak memory, one blob of 256 MiB", f"blob {256 * MIB} 1", 1, 1, "MiB", ALL, marks=(("value", "<=", 268),)),
    Row("memory-v1", "the same, protocol 1", f"blob {256 * MIB} 1", 1, 1, "MiB", ("wslink", "wrapper"), environment=V1,
        marks=(("value", "<=", 268),)),
    Row("idle", "wake-ups while connected and idle", "idle {n}", 10, 1, "wake-ups", ("wslink",), program="footprint", marks=(("value", "<=", 0),)),
    Row("sessions", "memory of one more session", "sessions {n}", 100, 10, "KiB", ("wslink",), program="footprint"),
]
