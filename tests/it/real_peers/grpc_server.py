"""A gRPC service without generated code: messages are bytes. Prints its port."""
from concurrent import futures
import sys
import time

import grpc


def unary(request, context):
    context.set_trailing_metadata((("x-seen", dict(context.invocation_metadata()).get("x-sent", "")),))
    if request == b"fail":
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "as asked: \u00e9")
    if request == b"slow":
        time.sleep(3)
    return b"echo " + request


def fan_out(request, context):
    for number in range(int(request)):
        yield b"%d" % number


def collect(requests, context):
    return b"".join(requests)


def talk(requests, context):
    context.send_initial_metadata((("x-initial", "yes"),))
    for request in requests:
        yield request.upper()


METHODS = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "FanOut": grpc.unary_stream_rpc_method_handler(fan_out),
    "Collect": grpc.stream_unary_rpc_method_handler(collect),
    "Talk": grpc.stream_stream_rpc_method_handler(talk),
}

server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", METHODS),))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(port, flush=True)
server.wait_for_termination()
