"""Tables of the results of scripts/bench, in Markdown. A ratio is the median of the ratios of the rounds."""

from statistics import median

from rows import PEERS, ROWS

UNITS = {"us": "p50_us", "/s": "ops_per_s", "MB/s": "mb_per_s", "MiB": "max_rss_kb"}


def value(row, result):
    if row.unit == "MiB":
        return result["max_rss_kb"] / 1024
    return result[UNITS.get(row.unit, "check")]


def cpu(row, result):
    """Milliseconds for a gigabyte, or microseconds for an operation."""
    if row.unit == "MB/s":
        return result["cpu_s"] * 1e6 / max(1e-9, result["mb_per_s"] * result["seconds"])
    return result["cpu_s"] * 1e6 / max(1e-9, result["ops_per_s"] * result["seconds"])


def number(x):
    if x is None:
        return "-"
    if abs(x) >= 1e6:
        return f"{x / 1e6:.2f} M"
    if abs(x) >= 1e4:
        return f"{x / 1e3:.1f} k"
    return f"{x:.0f}" if abs(x) >= 100 or x == int(x) else f"{x:.1f}" if abs(x) >= 10 else f"{x:.3g}"


def spread(values):
    if len(values) < 2:
        return "-"
    middle = median(values)
    return f"{100 * (max(values) - min(values)) / middle:.0f} %" if middle else "0"


class Results:
    """The results of one row: client -> round -> result."""

    def __init__(self, row, results):
        self.row = row
        self.of = {}
        for result in results:
            if result.get("row") == row.name and "failed" not in result:
                self.of.setdefault(result["client"], {})[result["round"]] = result

    def values(self, client, what=value):
        return [what(self.row, result) for result in self.of.get(client, {}).values()]

    def median(self, client, what=value):
        values = self.values(client, what)
        return median(values) if values else None

    def best_peer(self, what=value):
        """The peer with the best median. One peer is compared in all rounds, also where another one won a round."""
        peers = [c for c in self.of if c in PEERS and c not in self.row.not_compared]
        best = min if self.row.less_is_better or what is cpu else max
        return best(peers, key=lambda c: self.median(c, what), default=None)

    def ratios(self, client, other, what=value):
        if not other or other not in self.of or client not in self.of:
            return []
        both = self.of[client].keys() & self.of[other].keys()
        pairs = [(what(self.row, self.of[client][r]), what(self.row, self.of[other][r])) for r in sorted(both)]
        return [a / b for a, b in pairs if b]

    def ratio(self, client, other, what=value):
        ratios = self.ratios(client, other, what)
        return median(ratios) if ratios else None

    def quantity(self, name):
        if name == "value":
            return self.median("wslink")
        return self.ratio("wslink", self.best_peer() if name == "peer" else name)

    def limits(self):
        cells = []
        for name, sign, limit in self.row.limits:
            got = self.quantity(name)
            if got is None:
                continue
            met = got <= limit if sign == "<=" else got >= limit
            unit = self.row.unit if name == "value" else f"x {name}"
            cells.append(f"{'met' if met else '**not met**'}: {'≤' if sign == '<=' else '≥'} {limit:g} {unit}")
        return "; ".join(cells) or "-"


def x(ratio):
    return "-" if ratio is None else f"{ratio:.2f}"


def summary(results):
    lines = [
        "| row | unit | ours | spread | x raw | best peer | x peer | CPU x raw | CPU x peer | wrapper: time, CPU | limit |",
        "|---|---|---:|---:|---:|---|---:|---:|---:|---:|---|",
    ]
    for row in ROWS:
        got = Results(row, results)
        if "wslink" not in got.of:
            continue
        peer = got.best_peer()
        wrapper = got.ratio("wrapper", "wslink")
        if wrapper and not row.less_is_better:
            wrapper = 1 / wrapper
        both = f"{x(wrapper)}, {x(got.ratio('wrapper', 'wslink', cpu))}" if wrapper else "-"
        cells = [
            row.title, {"us": "µs"}.get(row.unit, row.unit), number(got.median("wslink")), spread(got.values("wslink")),
            x(got.ratio("wslink", "raw")), peer or "-", x(got.ratio("wslink", peer)), x(got.ratio("wslink", "raw", cpu)),
            x(got.ratio("wslink", peer, cpu)), both, got.limits(),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def details(results):
    lines = []
    for row in ROWS:
        got = Results(row, results)
        if not got.of:
            continue
        per = "ms/GB" if row.unit == "MB/s" else "µs each"
        lines += [f"\n### {row.name}: {row.title}\n", f"| client | {row.unit} | spread | CPU, {per} | rounds |", "|---|---:|---:|---:|---:|"]
        for client in sorted(got.of, key=got.median, reverse=not row.less_is_better):
            values = got.values(client)
            lines.append(f"| {client} | {number(got.median(client))} | {spread(values)} | {number(got.median(client, cpu))} | {len(values)} |")
    return "\n".join(lines)


def facts(results):
    """System calls and sizes, which are counted once per run."""
    lines = []
    calls = [r for r in results if "syscalls" in r]
    if calls:
        lines += ["\n### System calls of one blocking call (strace -c)\n", "| client | calls | which |", "|---|---:|---|"]
        for result in calls:
            which = ", ".join(f"{name} {count:.2f}" for name, count in result["syscalls"].items())
            lines.append(f"| {result['client']} | {sum(result['syscalls'].values()):.2f} | {which} |")
    for result in results:
        if "library" in result:
            lines.append(f"\n### Size of libwslink.so, stripped: {result['library'] / 1024:.0f} KiB\n")
            lines.append("Code by crate, KiB: " + ", ".join(f"{name} {size / 1024:.0f}" for name, size in result["crates"].items()) + ".")
    return "\n".join(lines)


def codecs(measured):
    """The results of criterion, given as pairs of a benchmark and its estimates. Columns of others: their time divided by ours."""
    others = ("rmpv", "rmpv-ref", "rmp-serde", "serde_json")
    messages = {}
    for benchmark, estimates in measured:
        size = benchmark["throughput"]["ElementsAndBytes"]
        message = messages.setdefault(benchmark["group_id"], {"values": size["elements"], "bytes": size["bytes"]})
        message[benchmark["function_id"]] = estimates["median"]["point_estimate"] * 1e-9  # seconds
    lines = [
        f"| message | values | bytes | wslink, µs | values/s | MB/s | {' | '.join(f'{other}, x' for other in others)} |",
        f"|---{'|---:' * (5 + len(others))}|",
    ]
    for name, message in sorted(messages.items()):
        ours = message["wslink"]
        cells = [
            name, message["values"], message["bytes"], number(ours * 1e6), number(message["values"] / ours),
            number(message["bytes"] / ours / 1e6), *[x(message[other] / ours if other in message else None) for other in others],
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)
