"""Values for the tests: a table of named values, and bytes that a formula can check."""

from functools import lru_cache
from importlib.metadata import version

WSLINK = version("wslink")
PROTOCOL = 1 if int(WSLINK.split(".")[0]) < 2 else 2


@lru_cache(maxsize=256)
def _block(start):
    return bytes((i * 31 + (i >> 8) * 7 + start) & 255 for i in range(65536))


def pattern(size, seed=0):
    """`size` bytes; byte i is (i*31 + (i>>8)*7 + (i>>16)*13 + seed) & 255 (period 2^24)."""
    # In blocks of 64 KiB, of which 256 are different.
    count = -(-size // 65536)
    blocks = [_block((k * 13 + seed) & 255) for k in range(min(count, 256))]
    data = b"".join(blocks[k % 256] for k in range(count))
    return data if len(data) == size else data[:size]


def _nested(wrap, depth=900):
    value = "core"
    for _ in range(depth):
        value = wrap(value)
    return value


def _record(i):
    return {
        "id": i,
        "name": f"record {i}",
        "x": i * 0.5,
        "y": -i / 3,
        "even": i % 2 == 0,
        "tags": ["a", str(i)],
        "none": None,
        "text": "Größe 大きさ",
    }


# The name of a number is its Python expression.
_NUMBERS = {
    "floats": "nan inf -inf -0.0 0.0 1.0 0.1 1e16 1e-7 5e-324 1.7976931348623157e308".split(),
    "ints": "0 -1 127 128 -32 -33 255 256 2**31 -2**31 2**32 2**53+1 2**63-1 -2**63 2**64-1".split(),
}
_CONSTANTS = {"nan": float("nan"), "inf": float("inf")}

_STRINGS = {
    "empty": "",
    "ascii": "hello",
    "latin": "Größe",
    "astral": "😀𝔘",
    "control": "".join(map(chr, range(32))),
    "del": "\x7f",
    "separators": "\u2028\u2029\ufeff",
    "quotes": "\"'`",
    "backslashes": "\\ \\n \\u0041 \\\\",
    "nan": "NaN inside a string, Infinity too",
    "key": "wslink_bin999999999",  # looks like an attachment that was never sent
    "str8": "x" * 255,
    "str32": "é" * 100_000,
}

# name -> function that creates the value
VALUES = {
    "none": lambda: None,
    "true": lambda: True,
    "false": lambda: False,
    "tuple": lambda: (1, (2, ())),
    "list.empty": list,
    "map.empty": dict,
    "list.floats": lambda: [i * 0.1 for i in range(100_000)],
    "list.ints": lambda: [(i * 2654435761) % 2**32 - 2**31 for i in range(100_000)],
    "list.records": lambda: [_record(i) for i in range(1000)],
    "list.deep": lambda: _nested(lambda v: [v]),
    "map.deep": lambda: _nested(lambda v: {"k": v}),
    "str.all": lambda: dict(_STRINGS),
    "str.surrogate": lambda: "\ud800",  # an error in both protocols
    "set": lambda: {1},  # an error in both protocols
    "bytes.0": lambda: pattern(0),
    "bytes.1": lambda: pattern(1),
    "bytes.1000": lambda: pattern(1000),
    "10**30": lambda: 10**30,  # an error in protocol 2
}
for _group, _names in _NUMBERS.items():
    _table = {name: eval(name, _CONSTANTS) for name in _names}  # pylint: disable=eval-used
    VALUES.update({name: lambda value=value: value for name, value in _table.items()})
    VALUES[_group] = lambda values=tuple(_table.values()): list(values)
VALUES.update({f"str.{name}": lambda text=text: text for name, text in _STRINGS.items()})

_KEYS = {7: "int", -7: "negative", None: "nil", True: "true", False: "false", 1.5: "float", "k": "str"}
if PROTOCOL == 1:
    VALUES["keys"] = lambda: _KEYS  # JSON converts all keys to strings
else:
    from msgpack import ExtType, Timestamp

    VALUES["keys"] = lambda: {**_KEYS, b"k": "bytes", (1, (2,)): "tuple"}
    VALUES["ext"] = lambda: [ExtType(0, b""), ExtType(5, b"\1\2\3"), ExtType(127, pattern(300))]
    VALUES["timestamps"] = lambda: [  # in 4, 8, 8, 12 and 12 bytes
        Timestamp(1),
        Timestamp(1, 500_000_000),
        Timestamp(2**34 - 1, 999_999_999),
        Timestamp(2**34),
        Timestamp(-1, 1),
    ]
