"""Checks wslink-cli with the real servers: output, exit status for each class of error, files.

    WSLINK_TEST_URL_V1=ws://... WSLINK_TEST_URL_V2=ws://... python3 check_cli.py path/to/wslink-cli
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

CLI = sys.argv[1]


def run(url, *arguments, status=0, stdin=None, **environment):
    """The values of the JSON lines on stdout, and the text on stderr."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("WSLINK_")}
    env.update(environment, WSLINK_URL=url)
    done = subprocess.run(
        [CLI, *arguments], env=env, input=stdin, capture_output=True, text=True, encoding="utf-8", timeout=60, check=False
    )
    assert done.returncode == status, (arguments, done.returncode, done.stdout, done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def result(url, *arguments, **options):
    """The single value that a successful call prints; stderr must be empty."""
    lines, errors = run(url, *arguments, **options)
    assert len(lines) == 1 and not errors, (lines, errors)
    return lines[0]


def failure(url, status, *arguments, **options):
    """The error text of a failure; stdout must be empty."""
    lines, errors = run(url, *arguments, status=status, **options)
    assert not lines and errors.strip(), (lines, errors)
    return errors


def check_calls(url, protocol, folder):
    assert result(url, "call", "myprotocol.add", "[1, 2, 3]") == 6
    echo = result(
        url, "call", "test.echo", "1", "-2.5", '"é"', "null", "NaN", "-Infinity", "[[1]]", "{}", "--kwargs", '{"a": [1]}', "-k", "b=true"
    )
    floats = [{"$float": "NaN"}, {"$float": "-Infinity"}]
    assert echo == {"args": [1, -2.5, "é", None, *floats, [[1]], {}], "kwargs": {"a": [1], "b": True}}, echo
    assert result(url, "call", "test.echo", "0", "--args", "-", stdin='[1, "[2]"]')["args"] == [0, 1, "[2]"]
    assert result(url, "call", "test.value", '"2**64-1"') == 2**64 - 1

    data = bytes(range(256)) * 40
    file = folder / "data"
    file.write_bytes(data)
    digest = {"len": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    attach = ("--attach", f"d={file}")
    assert result(url, "call", "test.sum", "@d", *attach) == digest
    named = result(url, "call", "test.echo", '{"x": ["@d", "\\"@d\\"", "@e"]}', *attach)
    assert named["args"] == [{"x": [{"$bytes": digest}, '"@d"', "@e"]}], named

    saved = folder / f"saved{protocol}"
    for _ in range(2):  # what is there is not overwritten
        image = result(url, "call", "myprotocol.image", "--save", str(saved))["blob"]["$bytes"]
        content = Path(image["file"]).read_bytes()
        assert content.startswith(b"\x89PNG") and image["sha256"] == hashlib.sha256(content).hexdigest()
    assert sorted(p.name for p in saved.iterdir()) == ["bytes-0001.png", "bytes-0002.png"]

    if protocol == 1:
        assert result(url, "call", "test.value", '"10**30"') == 10**30
    else:
        keys = result(url, "call", "test.value", '"keys"')["$map"]
        assert keys[0] == [7, "int"] and keys[8] == [[1, [2]], "tuple"], keys
        assert result(url, "call", "test.value", '"ext"')[1] == {"$ext": 5, "data": "010203"}


def check_failures(url, protocol, folder):
    assert "-32601" in failure(url, 1, "call", "no.such.method")
    assert "Traceback" not in failure(url, 1, "call", "test.raise")
    assert "probes.py" in failure(url, 1, "call", "test.raise", "--trace")
    assert "'\"hello\"'" in failure(url, 2, "call", "test.echo", "hello")
    for arguments in ([], ["call"], ["call", "m", "--bogus"], ["call", "m", "@x"], ["call", "m", "-k", "x"], ["call", "m", "--kwargs", "[1]"]):
        failure(url, 2, *arguments)
    failure("http://localhost/", 2, "probe")
    failure("ws://127.0.0.1:1/ws", 3, "probe")
    assert "404" in failure(url.rsplit("/", 1)[0] + "/nowhere", 3, "probe")
    secret = folder / "secret"
    secret.write_text("wslink-secret\n")
    failure(url, 4, "probe", WSLINK_SECRET="wrong")
    assert result(url, "call", "myprotocol.add", "[1]", "--secret-file", str(secret), WSLINK_SECRET="wrong") == 1
    failure(url, 4, "probe", "--protocol", str(3 - protocol))
    failure(url, 5, "call", "test.sleep", "20", "--timeout", "0.05")
    failure(url, 6, "call", "test.cancelled")
    assert "max_message_size" in failure(url, 7, "call", "test.bytes", "500000", "--max-message", "300000")
    failure(url, 8, "call", "test.sum", "@f", "--attach", f"f={folder / 'missing'}")
    failure(url, 8, "probe", "--save", str(secret / "no folder"))


def check_probe(url, protocol):
    probe = result(url, "probe", "--count", "3")
    assert probe["protocol"] == protocol and probe["server"].startswith("127.0.0.1:"), probe
    assert (probe["max_msg_size"] is None) == (protocol == 1)
    assert 0 < probe["round_trip_ms"]["min"] <= probe["round_trip_ms"]["median"] <= probe["round_trip_ms"]["max"]


def check_subscribe(url):
    topic = f"cli:{url}"
    over = threading.Event()

    def publish():  # again and again: nobody tells when the subscription is there
        while not over.is_set():
            result(url, "call", "test.publish", json.dumps(topic), "1", '"said"')

    publisher = threading.Thread(target=publish)
    publisher.start()
    try:
        lines, errors = run(url, "subscribe", "[another]", topic, "--count", "2")
    finally:
        over.set()
        publisher.join()
    assert lines == 2 * [{"topic": topic, "value": {"i": 0, "value": "said"}}] and not errors, (lines, errors)
    assert "0 of 1" in failure(url, 5, "subscribe", "nobody", "--count", "1", "--for", "0.05")
    assert run(url, "subscribe", "nobody", "--for", "0.05") == ([], "")


def check_servers(url, protocol):
    """Servers that the command starts, and one that it waits for."""
    python, app = os.environ[f"WSLINK_TEST_PYTHON_V{protocol}"], os.environ["WSLINK_TEST_APP"]
    start = f"'{python}' '{app}' --ignore-stdin --interval 9"
    assert result(url, "-q", "call", "myprotocol.add", "[1, 2, 3]", "--start", start) == 6
    printed = result(url, "-q", "probe", "--start", f"{start} --port 0", "--port-line", "READY ")
    assert printed["protocol"] == protocol, printed
    lines, shown = run(url, "probe", "--start", start)
    assert len(lines) == 1 and "server: READY 0" in shown, shown
    assert "exit status: 7" in failure(url, 3, "probe", "--start", "sh -c 'exit 7'")
    failure(url, 2, "probe", "--port-line", "READY ")
    failure(url, 2, "probe", "--listen", "0", "--start", start)
    failure(url, 2, "probe", "--listen", "70000")

    command = [CLI, "--listen", "0", "call", "myprotocol.add", "[1, 2]"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as waiting:
        address = waiting.stderr.readline().split()[-1]
        with subprocess.Popen([python, app, "--ignore-stdin", "--reverse-url", address], stdout=subprocess.DEVNULL) as server:
            assert waiting.stdout.read() == "3\n"
            assert waiting.wait(60) == 0
            # Its connection has ended.
            server.wait(60)


    # A server that is kept up.
    ways = [[], ["--port-line", "READY "], ["--chosen-port"]]
    for way in ways:
        secret = ["--authKey", "{secret}"] if not way else ["--port", "{port}"] if way == ways[2] else []
        command = [CLI, "run", *way, "--", python, app, "--ignore-stdin", *secret]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as kept:
            facts = json.loads(kept.stdout.readline())
            assert facts["protocol"] == protocol and ("url" in facts) == bool(way), facts
            if way:
                assert result(facts["url"], "call", "myprotocol.add", "[4, 5]") == 9
            kept.send_signal(signal.SIGTERM)
            assert kept.wait(60) == 0, kept.stderr.read()
    keyed = [CLI, "run", "--port-line", "READY ", "--", "sh", "-c", f'exec "{python}" "{app}" --ignore-stdin --authKey "$(cat "$1")"']
    with subprocess.Popen([*keyed, "sh", "{secret_file}"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as kept:
        facts = json.loads(kept.stdout.readline())
        assert result(facts["url"], "call", "myprotocol.add", "[4]", "--secret-file", facts["secret_file"]) == 4
        failure(facts["url"], 4, "call", "myprotocol.add", "[4]")
        kept.send_signal(signal.SIGINT)
        assert kept.wait(60) == 0
    assert not Path(facts["secret_file"]).exists()
    failure(url, 2, "run")
    assert "exit status: 7" in failure(url, 3, "run", "--", "sh", "-c", "exit 7")

    # One that calls back, and ends by itself.
    with subprocess.Popen([CLI, "listen"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as waiting:
        address = waiting.stderr.readline().split()[-1]
        with subprocess.Popen([python, app, "--ignore-stdin", "--reverse-url", address], stdout=subprocess.DEVNULL) as server:
            assert json.loads(waiting.stdout.readline())["protocol"] == protocol
            server.terminate()
        assert waiting.wait(60) == 6, waiting.stderr.read()


def check_launcher(url, protocol):
    """A real launcher, which has one place for a server."""
    python, folder = os.environ[f"WSLINK_TEST_PYTHON_V{protocol}"], Path(os.environ["WSLINK_TEST_APP"]).parent
    command = [python, folder / "launcher.py"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as launcher:
        place = f"http://127.0.0.1:{launcher.stdout.readline().split()[1]}/paraview/"
        launched = result(url, "launch", place, "test", "-k", "size=3")
        assert launched["id"] and launched["url"].startswith("ws://127.0.0.1:"), launched
        assert result(launched["url"], "call", "myprotocol.add", "[1, 2]", WSLINK_SECRET=launched["secret"]) == 3
        errors = failure(url, 3, "launch", place, "test", "--retry", "0.01", "0.01")
        assert "All the resources are currently taken" in errors and "attempt 3" in errors, errors
        assert "no launcher at this path" in failure(url, 3, "launch", f"{place}/x", "test")
        assert "no launcher at this path" in failure(url, 3, "launch", url.replace("ws://", "http://"), "test")
        failure(url, 2, "launch", place)
        launcher.stdin.close()


def main():
    usage = subprocess.run([CLI, "--help"], capture_output=True, text=True, check=True).stdout
    assert "Examples:" in usage and "Exit status:" in usage
    for protocol in (1, 2):
        url = os.environ[f"WSLINK_TEST_URL_V{protocol}"]
        with tempfile.TemporaryDirectory() as folder:
            check_calls(url, protocol, Path(folder))
            check_failures(url, protocol, Path(folder))
        check_probe(url, protocol)
        check_subscribe(url)
        check_servers(url, protocol)
        check_launcher(url, protocol)
        print(f"protocol {protocol}: fine")


main()
