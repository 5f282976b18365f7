#!/usr/bin/env python3
"""Writes what the fuzz targets begin with below corpus/: pieces of the tests' fixtures, and what these do not have."""

import hashlib
import json
import pathlib
import re
import struct
import sys

here = pathlib.Path(__file__).resolve().parent
fixtures = here.parent / "fixtures" / "traefik"


def write(target, seed):
    folder = here / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / hashlib.sha1(seed).hexdigest()).write_bytes(seed)


def hello(name, protocols):
    """A ClientHello in one record."""
    vector = lambda text: struct.pack(">H", len(text)) + text
    short = lambda text: bytes([len(text)]) + text
    names = vector(vector(b"\0" + vector(name)))
    offered = vector(vector(b"".join(map(short, protocols))))
    extensions = vector(b"\0\0" + names + b"\0\x10" + offered + b"\0\x2b" + vector(b"\2\3\4"))
    body = b"\3\3" + bytes(32) + short(b"") + vector(b"\x13\x01\x13\x02") + short(b"\0") + extensions
    message = b"\1" + struct.pack(">I", len(body))[1:] + body
    return b"\x16\3\1" + vector(message)


for file in sorted(fixtures.rglob("*")):
    notation = {".yml": b"y", ".yaml": b"y", ".toml": b"t"}.get(file.suffix)
    if notation:
        text = file.read_bytes()
        write("dynamic_config", notation + text)
        write("startup_config", notation + text)
        for rule in re.findall(rb"rule\s*[:=]\s*(.+)", text):
            write("rule", rule.strip().strip(b"'\""))
    if file.name == "cases.json":
        for case in re.findall(r'"(?:path|url)"\s*:\s*"([^"]*)"', file.read_text()):
            path = re.sub(r"^[a-z]+://[^/]*", "", case) or "/"
            write("http1_request", b"\7GET %s HTTP/1.1\r\nHost: a.test\r\n\r\n" % path.encode())
    if file.name == "flags.txt":
        write("startup_config", b"f" + file.read_bytes())
    if file.name == "folder.json":
        start = json.loads(file.read_text()).get("start", {})
        if isinstance(start.get("environment"), str):
            write("startup_config", b"e" + (file.parent / start["environment"]).read_bytes())

for head in [
    b"POST /a?b HTTP/1.1\r\nHost: a:1\r\nContent-Length: 5\r\nConnection: keep-alive, x\r\nX: y\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\r\n0\r\n\r\n",
    b"GET http://b/c HTTP/1.1\r\nHost: b\r\nExpect: 100-continue\r\n\r\n",
    b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
    b"OPTIONS * HTTP/1.0\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
]:
    write("http1_request", b"\1" + head)
    write("http1_request", b"\x40" + head)
    write("forwarded", head.replace(b"\r\n", b"\n").partition(b"\n")[2])
write("forwarded", b"Host: a.test:8080\nX-Forwarded-For: 1.1.1.1\nx_real_ip: 2.2.2.2\nConnection: X-Forwarded-For, kept\nKept: a")
for head in [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n0\r\n\r\n",
    b"HTTP/1.0 304 Not Modified\r\nConnection: keep-alive\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
]:
    write("http1_response", head)
write("http1_body", b"\5" + b"5\r\nhello\r\n1;a=\"b\"\r\n!\r\n0\r\nX-Sum: 7\r\nContent-Length: 3\r\n\r\nGET /")
write("http1_body", b"\1" + b"fff\r\n" + b"a" * 0xFFF + b"\r\n0\r\n\r\n")
get = b"\0\0\xd1\xd7\x50\6a.test\xc1"  # GET, https, :authority, /
write("http3_head", get)
write("http3_head", get + b"\x54\1" + b"7" + b"\x55\3a=1" + b"\x22te\x08trailers")
write("http3_head", b"\0\0\xd4\xd7\x50\x85\x1c\x64\x8a\x62\x7f\xc1")
for line in [b"TCP4 192.168.0.1 10.0.0.1 56324 443", b"TCP6 ::1 2001:db8::2 1 65535", b"UNKNOWN a b"]:
    write("proxy_header", b"PROXY " + line + b"\r\nGET /")
start = b"\r\n\r\n\0\r\nQUIT\n"
write("proxy_header", start + b"\x21\x11\0\x0c" + bytes(range(12)) + b"GET /")
write("proxy_header", start + b"\x21\x21\0\x29" + bytes(range(36)) + b"\x04\0\2ab")
write("proxy_header", start + b"\x20\0\0\0")
write("client_hello", hello(b"a.test", [b"h2", b"http/1.1"]))
whole = hello(b"Db.Example.test.", [b"postgresql"])
write("client_hello", b"".join(b"\x16\3\1\0\1" + whole[at : at + 1] for at in range(5, len(whole))))
write("cookie", b"app\napp=f379ccb92b911644; a=b\nc=\"d\"")
write("cookie", b"\n_4bd12=canary; _4bd12=http://10.0.0.1:80")
for flags in [b"--entryPoints.web.address=:80\n--api\n--log.level=DEBUG", b"--ping=false\n--providers.file.directory=a"]:
    write("startup_config", b"f" + flags)
write("startup_config", b"eTRAEFIK_API=true\nTRAEFIK_ENTRYPOINTS_WEB_ADDRESS=:81")
write("dynamic_config", b'j{"http":{"routers":{"a":{"rule":"Path(`/`)","service":"b"}}}}')
