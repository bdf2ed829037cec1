"""An application behind a sidecar: a gRPC server without a schema, whose messages are bytes.

It says `listening PORT` once it serves, and `cancelled` for each call that waited for nothing and was given up.
"""

import threading
from concurrent import futures

import grpc

CODES = {code.value[0]: code for code in grpc.StatusCode}


def same(request, context):
    """What it was asked, with metadata around it."""
    asked = dict(context.invocation_metadata())
    context.send_initial_metadata((("x-head", "before"),))
    context.set_trailing_metadata((("x-name", asked.get("x-name", "")), ("x-bytes-bin", bytes(range(256)))))
    return request


def count(request, context):
    for number in range(int(request)):
        yield b"%d" % number


def gather(requests, context):
    return b",".join(requests)


def chat(requests, context):
    for request in requests:
        yield b"echo " + request


def fail(request, context):
    """Ends with a status, `CODE DETAILS`, and nothing before it."""
    code, _, details = request.decode().partition(" ")
    context.abort(CODES[int(code)], details)


def fail_late(request, context):
    """The same behind a message."""
    yield b"first"
    fail(request, context)


def wait(request, context):
    """Says one word and then nothing, for as long as its client likes."""
    gone = threading.Event()
    context.add_callback(gone.set)
    yield b"waiting"
    gone.wait()
    print("cancelled", flush=True)


def give_up(request, context):
    """The server is who cancels."""
    yield b"first"
    context.cancel()


def time_left(request, context):
    """The milliseconds that its client gives it."""
    return b"%d" % (context.time_remaining() * 1000)


UNARY, OUT, IN, BOTH = (
    grpc.unary_unary_rpc_method_handler,
    grpc.unary_stream_rpc_method_handler,
    grpc.stream_unary_rpc_method_handler,
    grpc.stream_stream_rpc_method_handler,
)
METHODS = {
    "Same": UNARY(same),
    "Count": OUT(count),
    "Gather": IN(gather),
    "Chat": BOTH(chat),
    "Fail": UNARY(fail),
    "FailLate": OUT(fail_late),
    "Wait": OUT(wait),
    "GiveUp": OUT(give_up),
    "TimeLeft": UNARY(time_left),
}


def main():
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=32))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop.Echo", METHODS),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"listening {port}", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
