"""Real peers on loopback for the measuring tools: started, asked, measured, ended. Standard library only."""
import hashlib, http.client, json, os, re, shutil, signal, socket, subprocess, tempfile, threading, time

HZ = os.sysconf("SC_CLK_TCK")
TOKEN = "bench_0123456789abcdef"
HERE = os.path.dirname(os.path.abspath(__file__))


def free_ports(count):
    held = [socket.socket() for _ in range(count)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def until(condition, limit, what):
    end = time.monotonic() + limit
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.002)
    raise SystemExit(f"gave up after {limit} s: {what}")


class Backend:
    """backend.c of this folder: answers `/b/N` with N bytes."""

    def __init__(self, folder):
        program = os.path.join(folder, "backend")
        subprocess.run(["gcc", "-O2", "-pthread", "-o", program, os.path.join(HERE, "backend.c")], check=True)
        self.port = free_ports(1)[0]
        self.process = subprocess.Popen([program, str(self.port)],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def end(self):
        self.process.kill()
        self.process.wait()


class Peer:
    def __init__(self, program, folder, name, web, api, lines, cores=1):
        self.name, self.web, self.api, self.cores = name, web, api, cores
        self.program, self.home = program, os.path.join(folder, name)
        os.makedirs(self.home, exist_ok=True)
        self.config = os.path.join(self.home, "pontoon.yml")
        tokens = os.path.join(self.home, "tokens")
        with open(tokens, "w") as file:
            file.write(f"bench admin sha256:{hashlib.sha256(TOKEN.encode()).hexdigest()}\n")
        with open(self.config, "w") as file:
            file.write(f"entryPoints:\n  web: {{ address: '127.0.0.1:{web}' }}\n"
                       f"  traefik: {{ address: '127.0.0.1:{api}' }}\n"
                       f"api: {{ insecure: true, writable: true, tokenFile: {tokens} }}\nping: {{}}\n"
                       f"metrics: {{ prometheus: {{}} }}\n"
                       f"log: {{ level: INFO, filePath: {self.home}/log }}\n" + lines)
        self.process = None

    def start(self):
        ready = os.path.join(self.home, "ready")
        if os.path.exists(ready):
            os.remove(ready)
        environment = dict(os.environ, PONTOON_READY_FILE=ready, PONTOON_CORES=str(self.cores))
        self.process = subprocess.Popen([self.program, f"--configFile={self.config}"], env=environment,
                                        stdout=subprocess.DEVNULL, stderr=open(os.path.join(self.home, "err"), "w"))
        until(lambda: os.path.exists(ready) or self.process.poll() is not None, 120, f"{self.name} to be ready")
        if self.process.poll() is not None:
            raise SystemExit(f"{self.name} ended: " + open(os.path.join(self.home, "err")).read()[-2000:])

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()

    def resident(self):
        with open(f"/proc/{self.process.pid}/status") as file:
            return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1)) * 1024

    def cpu(self):
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / HZ

    def client(self):
        return Client(self.api)

    def call(self, method, path, body=None, kind="application/json"):
        return self.client().call(method, path, body, kind)

    def leader(self):
        try:
            status, body = self.call("GET", "/api/cluster")
        except OSError:
            return None
        return json.loads(body).get("leader") if status == 200 else None

    def log(self):
        try:
            return open(os.path.join(self.home, "log")).read()
        except OSError:
            return ""


class Client:
    """One kept-alive connection to an API."""

    def __init__(self, port, limit=30):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=limit)

    def call(self, method, path, body=None, kind="application/json"):
        headers = {"Authorization": f"Bearer {TOKEN}"}
        if body is not None:
            headers["Content-Type"] = kind
            body = body if isinstance(body, (bytes, str)) else json.dumps(body)
        self.connection.request(method, path, body, headers)
        response = self.connection.getresponse()
        return response.status, response.read()


class Web:
    """One kept-alive connection to an entry point; raw, so that it costs little."""

    def __init__(self, port):
        self.port = port
        self.socket = None

    def status(self, host, path="/b/1"):
        if self.socket is None:
            self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        try:
            self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            data = b""
            while b"\r\n\r\n" not in data:
                more = self.socket.recv(65536)
                if not more:
                    raise OSError("closed")
                data += more
            head, rest = data.split(b"\r\n\r\n", 1)
            length = re.search(rb"(?i)content-length: (\d+)", head)
            left = int(length.group(1)) - len(rest) if length else 0
            while left > 0:
                left -= len(self.socket.recv(left))
            return int(head[9:12])
        except OSError:
            self.socket.close()
            self.socket = None
            raise


def alone(program, folder, lines, cores=1):
    web, api = free_ports(2)
    return Peer(program, folder, "alone", web, api, lines, cores)


def cluster(program, folder, lines="", names=("one", "two", "three"), cores=1):
    """Three peers with real stores, started, with a leader."""
    secret = os.path.join(folder, "secret")
    text = subprocess.run([program, "cluster", "secret"], check=True, capture_output=True, text=True).stdout
    with open(secret, "w") as file:
        file.write(text)
    os.chmod(secret, 0o600)
    ports = free_ports(3 * len(names))
    raft = dict(zip(names, ports[::3]))
    initial = "".join(f"    {name}: 127.0.0.1:{port}\n" for name, port in raft.items())
    peers = []
    for number, name in enumerate(names):
        own = (f"cluster:\n  name: {name}\n  address: 127.0.0.1:{raft[name]}\n  advertise: 127.0.0.1:{raft[name]}\n"
               f"  dataDir: {folder}/{name}/data\n  secretFile: {secret}\n  initialPeers:\n{initial}")
        peers.append(Peer(program, folder, name, ports[3 * number + 1], ports[3 * number + 2], lines + own, cores))
    threads = [threading.Thread(target=peer.start) for peer in peers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until(lambda: all(peer.leader() for peer in peers), 30, "a leader")
    return peers


def workspace():
    folder = tempfile.mkdtemp(prefix="pontoon-bench-", dir=os.environ.get("BENCH_DIR"))
    return folder, lambda: shutil.rmtree(folder, ignore_errors=True)


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))] if values else float("nan")


def table(rows):
    print("\n| what | figure | bar |\n|---|---:|---|")
    for what, figure, bar in rows:
        print(f"| {what} | {figure} | {bar} |")
