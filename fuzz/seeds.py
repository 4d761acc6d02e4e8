#!/usr/bin/env python3
"""Makes seeds for the fuzz targets from the recordings in tests/captures, into the given folder:

  fuzz/seeds.py FOLDER

`scripts/fuzz --corpus` calls it and keeps the smallest set with the same coverage. The targets describe the forms of
their inputs.
"""

import json
import struct
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LARGEST = 2000
HELLO = {1: bytes([1, 0, 0, 1, 16, 1]), 2: bytes([2, 0, 0, 1, 16, 0, 0, 2])}
"""The beginning of a session: options, delay; connect, opened, the reply to a hello."""


def main(folder):
    seeds = {}

    def add(target, *parts):
        seeds.setdefault(target, set()).add(b"".join(parts))

    for path in sorted((ROOT / "tests" / "captures").glob("v*/*.json")):
        recording = json.loads(path.read_text())
        if "frames" not in recording:
            continue
        generation = 1 if recording["protocol"] == 1 else 2
        frames, unfinished = [], b""
        for frame in recording["frames"]:
            if frame.get("op") not in ("text", "binary") or frame["dir"] not in ("recv", "send"):
                continue
            text = frame["op"] == "text"
            if "text" in frame:
                payload = frame["text"].encode("utf-8", "surrogatepass")
            elif "hex" in frame:
                payload = bytes.fromhex(frame["hex"])
            else:
                continue
            if len(payload) > LARGEST:
                continue
            if generation == 1 and text:
                add("json", payload)
                add("values", b"\x51\0\0\0", payload)
                add("envelope", b"\1", payload)
            if generation == 2 and not text and len(payload) > 12:
                offset, total = struct.unpack("<II", payload[4:12])
                unfinished = (b"" if offset == 0 else unfinished) + payload[12:]
                if len(unfinished) == total:
                    add("msgpack", unfinished)
                    add("values", b"\x52\0\0\0", unfinished)
                    add("envelope", b"\0", unfinished)
            if frame["dir"] == "recv":
                frames.append((text, payload))
        if not frames:
            continue
        for flags in (0x02, 0x60, 0xE8, 0xF0, 0x24):
            blocks = [struct.pack("<BH", flags | text, len(p)) + p for text, p in frames]
            short = b"".join(blocks)[: 2 * LARGEST]
            add(f"v{generation}_inbound", b"\0", short)
            add(f"v{generation}_inbound", b"\1", short)
        steps = [struct.pack("<BBH", 19, text, len(p)) + p for text, p in frames]
        add("session", HELLO[generation], b"".join(steps)[:LARGEST])
        add("c_api", bytes([generation, 0, 1, 0]), bytes(range(40)), b"".join(p for _, p in frames)[:LARGEST])
    calls = bytes([14, 3, 17, 1, 15, 1, 7, 0, 14, 1, 6, 8, 0, 9, 0])
    for options in range(0, 256, 4):
        for generation, hello in HELLO.items():
            ended = bytes([4, 0, 0, 6, 6, 1, 0, 16, 1, 16, 0, 0, 2, 14, 0, 10, 5])
            add("session", bytes([options + generation, 9]), hello[2:], calls, ended)
    # Messages that no recording has.
    for text in (r'["\ud83d\ude00\ude00\ud83d", "\u00e9\n\/"]', "[-0, 0.1e-5, 1E400, 18446744073709551616, NaN]"):
        add("json", text.encode())
        add("values", b"\x51\0\0\0", text.encode())
    for target, inputs in seeds.items():
        (folder / target).mkdir(parents=True, exist_ok=True)
        for number, data in enumerate(sorted(inputs)):
            (folder / target / f"{number:04}").write_bytes(data)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
