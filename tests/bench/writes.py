#!/usr/bin/env python3
"""writes: how fast three peers on loopback take writes, with real fsync, and how soon they do after their leader dies.

Prints a table. Needs the standard library and gcc. `--only latency|rate|failover` runs a part.

    cargo build --release
    python3 tests/bench/writes.py --program target/release/pontoon
"""
import argparse, json, multiprocessing, os, random, threading, time

from peers import Backend, Client, Web, cluster, percentile, table, until, workspace


def router(value):
    return {"entryPoints": ["web"], "rule": "Host(`a.test`)", "service": "backend", "priority": value}


def prepare(peers, port):
    service = {"loadBalancer": {"servers": [{"url": f"http://127.0.0.1:{port}"}]}}
    document = {"http": {"routers": {"base": router(1)}, "services": {"backend": service}}}
    status, body = peers[0].call("PUT", "/api/config?wait=all", document)
    assert status < 300, body
    for peer in peers:
        web = Web(peer.web)
        until(lambda: web.status("a.test") == 200, 5, "the first document")


def latency(peers, count):
    """Seconds of `?wait=all` writes, and of plain ones, by the peer that was asked."""
    leader = peers[0].leader()
    figures = {}
    for peer in peers:
        role = "leader" if peer.name == leader else "follower"
        client = peer.client()
        for wait in ("?wait=all", ""):
            for number in range(count):
                begun = time.monotonic()
                status, body = client.call("PUT", f"/api/config/http/routers/base{wait}",
                                           router(random.randrange(1, 10**9)))
                took = time.monotonic() - begun
                assert status < 300, body
                if wait and not json.loads(body)["applied"]:
                    raise SystemExit(f"not applied everywhere: {body}")
                figures.setdefault((role, wait), []).append(took)
    return figures


def worker(ports, seed, clients, seconds, results):
    """Some clients, a thread each, in a process of its own."""
    chance, done, failed, lock = random.Random(seed), [], [], threading.Lock()
    end = time.monotonic() + seconds

    def run(number):
        client = Client(ports[number % len(ports)])
        while time.monotonic() < end:
            begun = time.monotonic()
            try:
                status, body = client.call("PUT", f"/api/config/http/routers/r{seed}-{number}",
                                           router(chance.randrange(1, 10**9)))
            except OSError as error:
                status, body = 0, str(error)
                client = Client(ports[number % len(ports)])
            with lock:
                if status and status < 300:
                    done.append(time.monotonic() - begun)
                else:
                    failed.append((status, str(body)[:200]))
    threads = [threading.Thread(target=run, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results.put((done, failed))


def rate(peers, clients, seconds, processes=4):
    ports = [peer.api for peer in peers]
    results = multiprocessing.Queue()
    each = clients // processes
    before = [peer.cpu() for peer in peers]
    workers = [multiprocessing.Process(target=worker, args=(ports, seed, each, seconds, results))
               for seed in range(processes)]
    for one in workers:
        one.start()
    gathered = [results.get() for _ in workers]
    for one in workers:
        one.join()
    cpu = sum(peer.cpu() - start for peer, start in zip(peers, before))
    done = [took for some, _ in gathered for took in some]
    failed = [failure for _, some in gathered for failure in some]
    return done, failed, cpu


def failover(peers, rounds):
    """Seconds from kill -9 of the leader to the next accepted write, and requests lost at the others."""
    times, lost, sent = [], 0, 0
    for _ in range(rounds):
        until(lambda: len({peer.leader() for peer in peers}) == 1 and peers[0].leader(), 20, "all to agree")
        name = peers[0].leader()
        time.sleep(1)
        leader = next(peer for peer in peers if peer.name == name)
        rest = [peer for peer in peers if peer is not leader]
        stop, counts = threading.Event(), []

        def requests(peer):
            web, good, bad = Web(peer.web), 0, 0
            while not stop.is_set():
                try:
                    good, bad = (good + 1, bad) if web.status("a.test") == 200 else (good, bad + 1)
                except OSError:
                    bad += 1
                time.sleep(0.001)
            counts.append((good, bad))
        threads = [threading.Thread(target=requests, args=(peer,)) for peer in rest]
        for thread in threads:
            thread.start()
        time.sleep(0.2)
        begun = time.monotonic()
        leader.kill()
        asked = random.choice(rest)
        while True:
            status, body = asked.client().call("PUT", "/api/config/http/routers/base",
                                               router(random.randrange(1, 10**9)))
            if status < 300:
                break
            time.sleep(0.01)
        times.append(time.monotonic() - begun)
        stop.set()
        for thread in threads:
            thread.join()
        sent += sum(good + bad for good, bad in counts)
        lost += sum(bad for _, bad in counts)
        leader.start()
    return times, lost, sent


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="target/release/pontoon")
    parser.add_argument("--only", choices=["latency", "rate", "failover"])
    parser.add_argument("--count", type=int, default=100, help="writes a peer for the latencies")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--keep", action="store_true", help="leave the peers' folders")
    options = parser.parse_args()
    folder, clean = workspace()
    backend, peers, rows = Backend(folder), [], []
    wanted = lambda part: options.only in (None, part)
    try:
        peers = cluster(os.path.abspath(options.program), folder)
        prepare(peers, backend.port)
        if wanted("latency"):
            latency(peers, 10)
            for (role, wait), took in sorted(latency(peers, options.count).items()):
                what = "applied on all three" if wait else "answered"
                rows.append((f"write through the {role} {what}, median / p99",
                             f"{percentile(took, .5) * 1e3:.1f} / {percentile(took, .99) * 1e3:.1f} ms",
                             "≤ 25 ms median" if wait else ""))
        if wanted("rate"):
            done, failed, cpu = rate(peers, options.clients, options.seconds)
            rows.append((f"single writes a second, {options.clients} clients over three peers",
                         f"{len(done) / options.seconds:.0f}", "≥ 1000"))
            rows.append(("the same, latency median / p99",
                         f"{percentile(done, .5) * 1e3:.0f} / {percentile(done, .99) * 1e3:.0f} ms", ""))
            rows.append(("the same, CPU of the three peers a write",
                         f"{cpu * 1e3 / max(1, len(done)):.2f} ms", ""))
            rows.append(("the same, refused", f"{len(failed)} {failed[:1] or ''}", "0"))
        if wanted("failover"):
            times, lost, sent = failover(peers, options.kills)
            rows.append((f"kill -9 of the leader → next accepted write, median / longest of {len(times)}",
                         f"{percentile(times, .5):.2f} / {max(times):.2f} s", "< 1.5 s"))
            rows.append(("requests lost at the other two", f"{lost} of {sent}", "0"))
    finally:
        for peer in peers:
            peer.end()
        backend.end()
        table(rows)
        if not options.keep:
            clean()


if __name__ == "__main__":
    main()
