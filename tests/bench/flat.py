#!/usr/bin/env python3
"""flat: whether memory stays flat. 1,000 changes of the configuration under load; prints resident size on the way.

Each change replaces routers with regular expressions, middlewares with state, services with health checks and their
servers, TLS options and a certificate of a file provider's folder, while wrk asks a router that stays. The bar: resident size after the
last change is within 10 % of that after the 50th. Needs the standard library, gcc, openssl and wrk.

    cargo build --release
    python3 tests/bench/flat.py --program target/release/pontoon
"""
import argparse, json, os, subprocess, time

from peers import Backend, Web, alone, table, until, workspace


def configuration(number, port, folder):
    """What is in force after change `number`: some objects have a name of their own each time, some keep it."""
    servers = [{"url": f"http://127.0.0.1:{port}"}]
    routers = {"stays": {"entryPoints": ["web"], "rule": "Host(`stays.test`)", "service": "stays",
                         "middlewares": ["limit"]},
               "mark": {"entryPoints": ["web"], "rule": f"Host(`mark-{number}.test`)", "service": "stays"}}
    services = {"stays": {"loadBalancer": {"servers": servers, "passHostHeader": number % 2 == 0}}}
    middlewares = {"limit": {"rateLimit": {"average": 1000000, "burst": 1000000 + number}}}
    for part in range(20):
        name = f"r{number}-{part}"
        routers[name] = {"entryPoints": ["web"], "service": f"s{part}", "middlewares": [f"m{number}-{part}"],
                         "rule": f"HostRegexp(`^[a-z]+-{number}-{part}\\.test$`) && PathRegexp(`^/[0-9]{{1,{part + 2}}}/`)"}
        services[f"s{part}"] = {"loadBalancer": {
            "servers": servers + [{"url": f"http://127.0.0.1:{port}/{number}"}], "sticky": {"cookie": {}},
            "healthCheck": {"path": "/b/1", "interval": f"{30 + number % 7}s"}}}
        middlewares[f"m{number}-{part}"] = [
            {"rateLimit": {"average": 10}}, {"inFlightReq": {"amount": 10}}, {"compress": {}},
            {"circuitBreaker": {"expression": "NetworkErrorRatio() > 0.5"}},
            {"headers": {"customRequestHeaders": {f"X-{number}": "a"}}}][part % 5]
    tls = {"options": {f"o{number}": {"minVersion": "VersionTLS12"}},
           "certificates": [{"certFile": f"{folder}/{number % 2}.pem", "keyFile": f"{folder}/{number % 2}.key"}]}
    return {"http": {"routers": routers, "services": services, "middlewares": middlewares}, "tls": tls}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--program", default="target/release/pontoon")
    arguments.add_argument("--changes", type=int, default=1000)
    options = arguments.parse_args()
    folder, clean = workspace()
    backend = Backend(folder)
    for number in range(2):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-days", "1", "-subj", f"/CN=flat{number}.test", "-keyout", f"{folder}/{number}.key",
                        "-out", f"{folder}/{number}.pem"], check=True, capture_output=True)
    path = os.path.join(folder, "dynamic.json")
    lines = f"providers: {{ providersThrottleDuration: 20ms, file: {{ filename: {path} }} }}\n"

    def change(number):
        with open(path + ".new", "w") as file:
            json.dump(configuration(number, backend.port, folder), file)
        os.rename(path + ".new", path)

    change(0)
    peer = alone(os.path.abspath(options.program), folder, lines, cores=1)
    peer.start()
    load = None
    try:
        web, sizes = Web(peer.web), {}
        until(lambda: web.status("mark-0.test") == 200, 20, "the first configuration")
        load = subprocess.Popen(["wrk", "-t1", "-c16", "-d3600s", "-H", "Host: stays.test",
                                 f"http://127.0.0.1:{peer.web}/b/100"], stdout=subprocess.DEVNULL)
        begun = time.monotonic()
        for number in range(1, options.changes + 1):
            change(number)
            until(lambda: web.status(f"mark-{number}.test") == 200, 20, f"change {number}")
            if number == 50 or number % 100 == 0 or number == options.changes:
                sizes[number] = peer.resident()
                print(f"{number} changes, {time.monotonic() - begun:.0f} s: {sizes[number] / 1e6:.1f} MB", flush=True)
        growth = sizes[options.changes] / sizes[50] - 1
        table([("resident size after the 50th change", f"{sizes[50] / 1e6:.1f} MB", ""),
               (f"after change {options.changes}", f"{sizes[options.changes] / 1e6:.1f} MB", ""),
               ("growth", f"{growth * 100:+.1f} %", "at most +10 %")])
        if growth > 0.10:
            raise SystemExit("memory grows")
    finally:
        if load:
            load.kill()
            load.wait()
        peer.end()
        backend.end()
        clean()


main()
