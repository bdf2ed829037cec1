"""The other application: `client.py ADDRESS CASE` asks through the sidecar at ADDRESS and fails if an answer is wrong.

A case may say a word on standard output, and wait for a line on standard input, where the test has something to do.
"""

import sys
import threading

import grpc

PATIENCE = 20


class Echo:
    """The service `echo`, through the sidecar."""

    def __init__(self, address, host="echo:50051"):
        self.channel = grpc.insecure_channel(
            address,
            options=(
                ("grpc.default_authority", host),
                ("grpc.max_receive_message_length", 4 << 20),
                ("grpc.enable_retries", 0),
            ),
        )

    def unary(self, method):
        return self.channel.unary_unary(f"/shop.Echo/{method}")

    def out(self, method):
        return self.channel.unary_stream(f"/shop.Echo/{method}")

    def inward(self, method):
        return self.channel.stream_unary(f"/shop.Echo/{method}")

    def both(self, method):
        return self.channel.stream_stream(f"/shop.Echo/{method}")


def say(word):
    print(word, flush=True)


def equal(found, expected):
    assert found == expected, f"{found!r}, not {expected!r}"


def failure(call):
    """The status and details with which a call fails."""
    try:
        call()
    except grpc.RpcError as error:
        return error.code(), error.details()
    raise AssertionError("it succeeds")


def shapes(echo):
    answer, call = echo.unary("Same").with_call(b"question", metadata=(("x-name", "web"),), timeout=PATIENCE)
    equal(answer, b"question")
    assert ("x-head", "before") in [(key, value) for key, value in call.initial_metadata()], call.initial_metadata()
    trailing = dict(call.trailing_metadata())
    equal((trailing["x-name"], trailing["x-bytes-bin"]), ("web", bytes(range(256))))
    equal(list(echo.out("Count")(b"1000", timeout=PATIENCE)), [b"%d" % number for number in range(1000)])
    equal(list(echo.out("Count")(b"0", timeout=PATIENCE)), [])
    parts = [b"%d" % number for number in range(1000)]
    equal(echo.inward("Gather")(iter(parts), timeout=PATIENCE), b",".join(parts))
    turns, said = [], threading.Semaphore(1)

    def questions():
        """The next one once the last was answered."""
        for number in range(100):
            assert said.acquire(timeout=PATIENCE)
            yield b"%d" % number

    for answer in echo.both("Chat")(questions(), timeout=PATIENCE):
        turns.append(answer)
        said.release()
    equal(turns, [b"echo %d" % number for number in range(100)])
    empty = echo.unary("Same")(b"", timeout=PATIENCE)
    equal(empty, b"")


def large(echo):
    message = bytes(range(256)) * 4096
    equal(len(message), 1 << 20)
    equal(echo.unary("Same")(message, timeout=PATIENCE), message)
    packed = echo.unary("Same")(message, timeout=PATIENCE, compression=grpc.Compression.Gzip)
    equal(packed, message)
    equal(list(echo.both("Chat")(iter([message] * 8), timeout=PATIENCE)), [b"echo " + message] * 8)


def statuses(echo):
    for code in grpc.StatusCode:
        if code is grpc.StatusCode.OK:
            continue
        details = f"so it is: 100 % naïve {code.name}"
        asked = f"{code.value[0]} {details}".encode()
        equal(failure(lambda: echo.unary("Fail")(asked, timeout=PATIENCE)), (code, details))
        late = echo.out("FailLate")(asked, timeout=PATIENCE)
        equal(next(late), b"first")
        equal(failure(lambda: next(late)), (code, details))
    code, _ = failure(lambda: echo.unary("Nothing")(b"", timeout=PATIENCE))
    equal(code, grpc.StatusCode.UNIMPLEMENTED)


def cancels(echo):
    call = echo.out("Wait")(b"", timeout=PATIENCE)
    equal(next(call), b"waiting")
    call.cancel()
    equal(failure(lambda: next(call))[0], grpc.StatusCode.CANCELLED)


def is_cancelled(echo):
    call = echo.out("GiveUp")(b"", timeout=PATIENCE)
    equal(next(call), b"first")
    equal(failure(lambda: next(call))[0], grpc.StatusCode.CANCELLED)


def deadline(echo):
    left = int(echo.unary("TimeLeft")(b"", timeout=PATIENCE))
    # gRPC's own client rounds what it sends up, by less than a hundredth.
    assert 0 < left <= PATIENCE * 1010, left
    call = echo.out("Wait")(b"", timeout=1)
    equal(next(call), b"waiting")
    equal(failure(lambda: next(call))[0], grpc.StatusCode.DEADLINE_EXCEEDED)


def refused(echo):
    code, details = failure(lambda: echo.unary("Same")(b"", timeout=PATIENCE))
    equal(code, grpc.StatusCode.PERMISSION_DENIED)
    assert "AccessPolicy" in details, details


def loses_its_server(echo):
    call = echo.out("Wait")(b"", timeout=PATIENCE)
    equal(next(call), b"waiting")
    say("waiting")
    code, details = failure(lambda: next(call))
    equal(code, grpc.StatusCode.UNAVAILABLE)
    assert "upstream" in details, details


def finishes(echo):
    """A call that is open while its own sidecar says GOAWAY."""

    def questions():
        yield b"first"
        sys.stdin.readline()
        yield b"last"

    call = echo.both("Chat")(questions(), timeout=PATIENCE)
    equal(next(call), b"echo first")
    say("begun")
    equal(list(call), [b"echo last"])


def goes_on(echo):
    """One long call and many short ones, while what it talks to is replaced."""
    over = threading.Event()

    def questions():
        yield b"first"
        assert over.wait(timeout=PATIENCE)
        yield b"last"

    long = echo.both("Chat")(questions(), timeout=2 * PATIENCE)
    equal(next(long), b"echo first")
    asked = 0

    def until_told():
        sys.stdin.readline()
        over.set()

    threading.Thread(target=until_told, daemon=True).start()
    say("begun")
    while not over.is_set():
        equal(echo.unary("Same")(b"question", timeout=PATIENCE), b"question")
        asked += 1
    equal(list(long), [b"echo last"])
    assert asked > 10, asked


def main():
    address, case = sys.argv[1:]
    cases = (shapes, large, statuses, cancels, is_cancelled, deadline, refused, loses_its_server, finishes, goes_on)
    {its.__name__: its for its in cases}[case](Echo(address))


if __name__ == "__main__":
    main()
