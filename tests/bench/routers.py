#!/usr/bin/env python3
"""routers: what many routers cost in the real program: memory, a request, a change.

Starts the program alone and as three peers on loopback, both with a folder of files, with a host for each router;
changes files, and at the peers single routers through the write API; prints a line a step, and a table. Takes three to four
minutes on two quiet cores. Needs the standard library, gcc and wrk.

    cargo build --release
    python3 tests/bench/routers.py --program target/release/pontoon
"""
import argparse, json, os, re, statistics, subprocess, threading, time

from peers import Backend, Web, alone, cluster, percentile, table, until, workspace

FILES = 1000
# What jemalloc gives back, it gives back within ten seconds.
SETTLE = 12
STARTED = time.monotonic()


def step(what):
    print(f"{time.monotonic() - STARTED:6.1f} s  {what}", flush=True)


def host(number):
    return f"app-{number}.customers.example.com"


def router(number, priority=0):
    options = {"entryPoints": ["web"], "rule": f"Host(`{host(number)}`)", "service": "backend@file"}
    if priority:
        options["priority"] = priority
    return options


def service(port):
    return {"loadBalancer": {"servers": [{"url": f"http://127.0.0.1:{port}"}]}}


def write_folder(folder, count, port):
    os.makedirs(folder, exist_ok=True)
    files = min(FILES, count)
    for file in range(files):
        write_file(folder, file, range(file, count, files))
    put(os.path.join(folder, "service.yml"), json.dumps({"http": {"services": {"backend": service(port)}}}))


def write_file(folder, file, numbers, more=()):
    lines = ["http:", "  routers:"]
    for number in [*numbers, *more]:
        lines += [f"    app-{number}:", f"      rule: Host(`{host(number)}`)",
                  "      entryPoints: [web]", "      service: backend"]
    put(os.path.join(folder, f"{file:06}.yml"), "\n".join(lines) + "\n")


def put(path, text):
    """As editors do: a new file in the place of the old one."""
    with open(path + ".new", "w") as file:
        file.write(text)
    os.rename(path + ".new", path)


def wrk(port, seconds, count, folder, connections=16):
    """Requests for random hosts of `count`; requests a second and latencies."""
    script = os.path.join(folder, f"hosts-{count}.lua")
    with open(script, "w") as file:
        file.write("request = function() return wrk.format('GET', '/b/100', {Host = 'app-' .. math.random(0, %d) .. "
                   "'.customers.example.com'}) end\n" % (count - 1))
    result = subprocess.run(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", script,
                             f"http://127.0.0.1:{port}/"], capture_output=True, text=True, check=True).stdout
    bad = re.search(r"Non-2xx.*: (\d+)", result)
    if bad:
        raise SystemExit(f"wrk: {bad.group(0)}")
    return float(re.search(r"Requests/sec:\s+([\d.]+)", result).group(1)), result


def cost(peer, count, folder, rounds=3):
    """CPU microseconds of the program a request, the lowest of some rounds."""
    figures = []
    for _ in range(rounds):
        before = peer.cpu()
        rate, result = wrk(peer.web, 2, count, folder)
        done = int(re.search(r"(\d+) requests in", result).group(1))
        figures.append((peer.cpu() - before) * 1e6 / done)
    return min(figures)


def seen_after(peer, name, expected, limit=20):
    """Seconds from now until a request for the host is answered as expected."""
    web, begun = Web(peer.web), time.monotonic()
    until(lambda: web.status(name) == expected, limit, f"{name} to answer {expected}")
    return time.monotonic() - begun


def changed(change, peer, name, expected):
    """Seconds from the start of a change until a request sees it."""
    begun = time.monotonic()
    change()
    seen_after(peer, name, expected)
    return time.monotonic() - begun


def milliseconds(result, share):
    """A latency in wrk's table."""
    number, unit = re.search(rf"{share}%\s+([\d.]+)(us|ms|s)", result).groups()
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def dip(peer, count, folder, change, rounds=6, seconds=3):
    """Throughput and latency with a change each second against without: windows of both kinds by turns, so that what the
    machine does beside them is in both. Rows."""
    quiet, busy, quiet_p99, busy_p99, number = [], [], [], [], 0
    for _ in range(rounds):
        rate, result = wrk(peer.web, seconds, count, folder)
        quiet.append(rate)
        quiet_p99.append(milliseconds(result, 99))
        stop = threading.Event()

        def run():
            nonlocal number
            while True:
                number += 1
                change(number)
                if stop.wait(1.0):
                    return
        thread = threading.Thread(target=run)
        thread.start()
        rate, result = wrk(peer.web, seconds, count, folder)
        stop.set()
        thread.join()
        busy.append(rate)
        busy_p99.append(milliseconds(result, 99))
    shares = sorted(one / other for one, other in zip(busy, quiet))
    name = f"throughput with a change each second, of {statistics.median(quiet):.0f}/s without"
    share = f"{statistics.median(shares) * 100:.0f} % ({shares[0] * 100:.0f}-{shares[-1] * 100:.0f} %)"
    latency = f"{statistics.median(quiet_p99):.2f} / {statistics.median(busy_p99):.2f} ms"
    return [(f"{name}, median of {rounds} pairs of windows", share, "no dip"),
            ("latency p99 without / with these changes", latency, "")]


def settled(peers):
    """Resident bytes of each when freed pages have gone back."""
    time.sleep(SETTLE)
    return [peer.resident() for peer in peers]


def run_alone(program, count, rows):
    folder, clean = workspace()
    backend = Backend(folder)
    try:
        step(f"alone: writing 10 and {count} routers")
        few, many = os.path.join(folder, "few"), os.path.join(folder, "many")
        write_folder(few, 10, backend.port)
        write_folder(many, count, backend.port)
        lines = "providers:\n  providersThrottleDuration: 100ms\n  file: {{ directory: {}, watch: true }}\n"
        peer = alone(program, os.path.join(folder, "a"), lines.format(few))
        peer.start()
        seen_after(peer, host(0), 200)
        step("alone, 10 routers: CPU a request, memory")
        small = cost(peer, 10, folder)
        memory = settled([peer])[0]
        peer.end()
        step(f"alone, {count} routers: start, memory")
        peer = alone(program, os.path.join(folder, "b"), lines.format(many))
        begun = time.monotonic()
        peer.start()
        seen_after(peer, host(count - 1), 200, 120)
        rows.append((f"alone, start with {count} routers in {FILES} files", f"{time.monotonic() - begun:.2f} s", ""))
        grown = (settled([peer])[0] - memory) / count
        rows.append(("alone, memory a router", f"{grown:.0f} B", "≤ 1500 B"))
        step("alone: CPU a request")
        large = cost(peer, count, folder)
        rows.append(("CPU a request, 10 routers", f"{small:.1f} µs", ""))
        rows.append((f"CPU a request, {count} routers", f"{large:.1f} µs", "≤ 2 × that of 10"))
        step("alone: changes")
        times = []
        for number in range(5):
            new = count + number
            time.sleep(1)
            change = lambda: write_file(many, number, range(number, count, FILES), [new])
            times.append(changed(change, peer, host(new), 200))
        rows.append(("alone, file written → request sees it, median", f"{percentile(times, .5) * 1e3:.0f} ms", "< 250 ms"))
        rows.append(("alone, the same, longest", f"{max(times) * 1e3:.0f} ms", "< 250 ms"))
        step("alone: throughput with changes and without")
        found = dip(peer, count, folder, lambda n: write_file(
            many, (20 + n) % FILES, range((20 + n) % FILES, count, FILES), [count + 100 + n]))
        rows += [(f"alone, {what}", *rest) for what, *rest in found]
        step("alone: memory after the changes")
        after = (settled([peer])[0] - memory) / count
        rows.append(("alone, memory a router after the changes", f"{after:.0f} B", "≤ 1500 B"))
        peer.end()
    finally:
        backend.end()
        clean()


def run_cluster(program, count, rows):
    folder, clean = workspace()
    backend = Backend(folder)
    peers = []
    try:
        step("three peers: start")
        live = os.path.join(folder, "live")
        write_folder(live, 10, backend.port)
        peers = cluster(program, folder, "providers:\n  file: { directory: %s, watch: true }\n" % live)
        for peer in peers:
            seen_after(peer, host(0), 200)
        memory = settled(peers)
        step(f"three peers: {count} routers, memory")
        begun = time.monotonic()
        write_folder(live, count, backend.port)
        for peer in peers:
            seen_after(peer, host(count - 1), 200, 60)
        rows.append((f"three peers, {count} routers written to {FILES} files → all three serve them", f"{time.monotonic() - begun:.1f} s", ""))
        grown = [(now - before) / count for now, before in zip(settled(peers), memory)]
        rows.append(("three peers, memory a router, largest", f"{max(grown):.0f} B", "≤ 1500 B"))
        rows.append(("three peers, memory a router, the others", " / ".join(f"{one:.0f} B" for one in sorted(grown)[:-1]), ""))
        step("three peers: changes")
        times, answers, others = [], [], []
        clients = {peer.name: peer.client() for peer in peers}

        def write(peer, number):
            begun = time.monotonic()
            status, body = clients[peer.name].call("PUT", f"/api/config/http/routers/app-{number}", router(number))
            if status >= 300:
                raise SystemExit(f"a write was answered {status}: {body[:300]}")
            answers.append(time.monotonic() - begun)

        for round in range(10):
            peer, other = peers[round % 3], peers[(round + 1) % 3]
            number = count + round
            begun = time.monotonic()
            times.append(changed(lambda: write(peer, number), peer, host(number), 200))
            seen_after(other, host(number), 200)
            others.append(time.monotonic() - begun)
            time.sleep(0.3)
        rows.append(("three peers, write answered, median", f"{percentile(answers, .5) * 1e3:.0f} ms", ""))
        rows.append(("three peers, write → request at the peer asked sees it, median",
                     f"{percentile(times, .5) * 1e3:.0f} ms", "< 250 ms"))
        rows.append(("three peers, the same, longest", f"{max(times) * 1e3:.0f} ms", "< 250 ms"))
        rows.append(("three peers, → request at another peer sees it, median",
                     f"{percentile(others, .5) * 1e3:.0f} ms", ""))
        step("three peers: throughput with changes and without")
        found = dip(peers[0], count, folder, lambda n: write(peers[0], count + 1000 + n))
        rows += [(f"three peers, {what}", *rest) for what, *rest in found]
        after = max((now - before) / count for now, before in zip(settled(peers), memory))
        rows.append(("three peers, memory a router after the changes, largest", f"{after:.0f} B", "≤ 1500 B"))
    finally:
        for peer in peers:
            peer.end()
        backend.end()
        clean()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="target/release/pontoon")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--only", choices=["alone", "cluster"])
    options = parser.parse_args()
    program, rows = os.path.abspath(options.program), []
    try:
        if options.only != "cluster":
            run_alone(program, options.count, rows)
        if options.only != "alone":
            run_cluster(program, options.count, rows)
    finally:
        table(rows)


if __name__ == "__main__":
    main()
