"""Calls the service of grpc_server.py through the proxy at argv[1]; argv[2] is "insecure" or the certificate to trust."""
import sys
import queue

import grpc

target, security = sys.argv[1:3]
OPTIONS = [("grpc.max_receive_message_length", 8 << 20), ("grpc.enable_http_proxy", 0)]
if security == "insecure":
    channel = grpc.insecure_channel(target, OPTIONS)
else:
    with open(security, "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    channel = grpc.secure_channel(target, credentials, OPTIONS)
grpc.channel_ready_future(channel).result(timeout=8)

# One message there and one back, with metadata both ways; also a large one.
unary = channel.unary_unary("/test.Echo/Unary")
reply, call = unary.with_call(b"hi", metadata=(("x-sent", "there and back"),), timeout=8)
assert reply == b"echo hi", reply
assert dict(call.trailing_metadata())["x-seen"] == "there and back"
large = bytes(3_000_000)
assert unary(large, timeout=8) == b"echo " + large

# A status that is not OK, with its text.
try:
    unary(b"fail", timeout=8)
    raise AssertionError("no error")
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error
    assert error.details() == "as asked: \u00e9", error

# A deadline.
try:
    unary(b"slow", timeout=0.2)
    raise AssertionError("no error")
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error

# A method that is not there: the server's answer has no body at all.
try:
    channel.unary_unary("/test.Echo/Nothing")(b"", timeout=8)
    raise AssertionError("no error")
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error

# Many back, many there.
fan_out = channel.unary_stream("/test.Echo/FanOut")
assert list(fan_out(b"500", timeout=8)) == [b"%d" % number for number in range(500)]
collect = channel.stream_unary("/test.Echo/Collect")
assert collect((b"%d," % number for number in range(500)), timeout=8) == b"".join(
    b"%d," % number for number in range(500)
)

# A talk in which each message waits for the answer to the last: nothing may be held back.
sending = queue.SimpleQueue()
talk = channel.stream_stream("/test.Echo/Talk")(iter(sending.get, None), timeout=8)
sending.put(b"first")
assert next(talk) == b"FIRST"
assert dict(talk.initial_metadata())["x-initial"] == "yes"
for number in range(200):
    sending.put(b"message %d" % number)
    assert next(talk) == b"MESSAGE %d" % number
sending.put(None)
assert list(talk) == []
assert talk.code() == grpc.StatusCode.OK
print("all calls as expected")
