#!/usr/bin/env python3
"""proxybench: proxy CPU microseconds per request, against haproxy and nginx in the same run.

Needs only the Python standard library and, from Debian: haproxy nginx wrk nghttp2-client
apache2-utils openssl gcc (optional: caddy, linux-perf).
"""
import argparse, fcntl, http.client, json, os, re, resource, shlex, shutil, signal, socket, struct
import statistics as st
import subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
HZ = os.sysconf("SC_CLK_TCK")
NOFILE = 200_000

# ----------------------------------------------------------------------------- peers
# Every peer does the same header work as a Traefik-compatible proxy does by default:
# X-Forwarded-{For,Host,Port,Proto,Server}, X-Real-Ip; no access log; keep-alive both sides.

HAPROXY = """
global
    nbthread {threads}
    maxconn {maxconn}
    ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
    mode http
    timeout connect 5s
    timeout client 120s
    timeout server 120s
    timeout http-keep-alive 120s
    http-reuse always
    option forwardfor
frontend f
    bind 127.0.0.1:{http}
    bind 127.0.0.1:{https} ssl crt {pem} alpn h2,http/1.1
    bind 127.0.0.1:{h2c} proto h2
    http-request set-header X-Real-Ip %[src]
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    http-request set-header X-Forwarded-Port %[dst_port]
    http-request set-header X-Forwarded-Server bench
    http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}
    http-request set-header X-Forwarded-Proto http if !{{ ssl_fc }}
    default_backend b
backend b
    {extra}
    server s 127.0.0.1:{backend}
"""

NGINX = """
worker_processes {threads};
error_log {dir}/error.log crit;
pid {dir}/nginx.pid;
events {{ worker_connections 16384; multi_accept on; }}
http {{
    access_log off;
    client_body_temp_path {dir}/cb; proxy_temp_path {dir}/pt; fastcgi_temp_path {dir}/ft;
    uwsgi_temp_path {dir}/ut; scgi_temp_path {dir}/st;
    keepalive_timeout 120s; keepalive_requests 1000000000;
    tcp_nodelay on;
    server_tokens off;
    proxy_max_temp_file_size 0;
    {extra}
    upstream u {{ server 127.0.0.1:{backend}; keepalive 1024; keepalive_requests 1000000000; keepalive_timeout 120s; }}
    server {{
        listen 127.0.0.1:{http} backlog=4096;
        listen 127.0.0.1:{https} ssl http2 backlog=4096;
        listen 127.0.0.1:{h2c} http2 backlog=4096;
        http2_max_concurrent_streams 256;
        ssl_certificate {cert}; ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_session_tickets on;
        location / {{
            proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Real-Ip $remote_addr;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Forwarded-Port $server_port;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Server bench;
        }}
    }}
}}
"""

CADDY = """
{{
    admin off
    auto_https off
    storage file_system {dir}/caddystate
    log {{
        level ERROR
    }}
    servers {{
        protocols h1 h2 h2c
    }}
}}
http://127.0.0.1:{http}, http://localhost:{http}, http://127.0.0.1:{h2c}, http://localhost:{h2c} {{
    reverse_proxy 127.0.0.1:{backend} {{
        transport http {{
            keepalive 120s
            keepalive_idle_conns_per_host 1024
            compression off
        }}
    }}
}}
https://127.0.0.1:{https}, https://localhost:{https} {{
    tls {cert} {key}
    reverse_proxy 127.0.0.1:{backend} {{
        transport http {{
            keepalive 120s
            keepalive_idle_conns_per_host 1024
            compression off
        }}
    }}
}}
"""

PEERS = {
    "haproxy": (HAPROXY, "haproxy -db -q -f {config}", {}),
    "haproxy-splice": (HAPROXY, "haproxy -db -q -f {config}", {"extra": "option splice-auto"}),
    "nginx": (NGINX, "nginx -p {dir} -c {config} -g 'daemon off;'", {}),
    # nginx defaults proxy_buffers to 8 x 4k; this variant is what tuning guides recommend for big bodies
    "nginx-bigbuf": (NGINX, "nginx -p {dir} -c {config} -g 'daemon off;'",
                     {"extra": "proxy_buffer_size 32k; proxy_buffers 8 64k; proxy_busy_buffers_size 128k;"}),
    "caddy": (CADDY, "caddy run --adapter caddyfile --config {config}", {}),
}

# ----------------------------------------------------------------------------- workloads
# name: (tool, port key, path, connections, extra, description)
W = {
    "w1":  ("wrk", "http",  "/b/100",     64, {},              "h1 keep-alive, 100 B body, 64 conns"),
    "w2":  ("wrk", "http",  "/b/10240",   64, {},              "h1 keep-alive, 10 KB body, 64 conns"),
    "w3":  ("wrk", "http",  "/b/1048576", 16, {},              "h1 keep-alive, 1 MB body, 16 conns"),
    "w4":  ("wrk", "https", "/b/100",     64, {},              "TLS 1.3 keep-alive, 100 B body, 64 conns"),
    "w4b": ("wrk", "https", "/b/1048576", 16, {},              "TLS 1.3 keep-alive, 1 MB body, 16 conns"),
    "w5":  ("ab",  "https", "/b/100",     32, {},              "TLS 1.3 full handshake per request"),
    "w6":  ("h2load", "https", "/b/100",  10, {"m": 32},       "HTTP/2 over TLS, 10 conns x 32 streams, h1 upstream"),
    "w6c": ("h2load", "h2c",  "/b/100",   10, {"m": 32},       "h2c prior knowledge, 10 conns x 32 streams, h1 upstream"),
    "w7":  ("wrk", "http",  "/b/100",     64, {"close": 1},    "new TCP connection per request, 100 B body"),
    "w1lo": ("wrk", "http", "/b/100",      1, {},              "h1 keep-alive, 1 connection (latency-bound; wake-up cost)"),
    "rss": ("rss", "http",  "/b/100",  8000, {},               "memory per idle keep-alive connection, 8000 plain"),
    "rsstls": ("rss", "https", "/b/100", 4000, {},             "memory per idle keep-alive connection, 4000 TLS"),
}

# ----------------------------------------------------------------------------- process accounting

def cpu_ns(pid):
    """CPU time (user+system, all threads, also dead ones) of another process, in ns."""
    try:
        return time.clock_gettime_ns((~pid << 3) | 2)
    except OSError:
        return 0


def stat_fields(pid):
    with open(f"/proc/{pid}/stat") as f:
        return f.read().rsplit(")", 1)[1].split()


def tree(root):
    kids = {}
    for d in os.listdir("/proc"):
        if d.isdigit():
            try:
                kids.setdefault(int(stat_fields(d)[1]), []).append(int(d))
            except (OSError, IndexError):
                pass
    out, todo = [], [root]
    while todo:
        p = todo.pop()
        out.append(p)
        todo += kids.get(p, [])
    return out


def all_cpu():
    return {int(d): cpu_ns(int(d)) for d in os.listdir("/proc") if d.isdigit()}


def user_sys(pids):
    u = s = 0
    for p in pids:
        try:
            f = stat_fields(p)
            u += int(f[11]); s += int(f[12])
        except OSError:
            pass
    return u / HZ, s / HZ


def comm(pid):
    try:
        with open(f"/proc/{pid}/comm") as f:
            return f.read().strip()
    except OSError:
        return "?"


def steal():
    with open("/proc/stat") as f:
        return int(f.readline().split()[8]) / HZ


def pss_kb(pids):
    rss = pss = 0
    for p in pids:
        try:
            with open(f"/proc/{p}/smaps_rollup") as f:
                for l in f:
                    if l.startswith("Rss:"): rss += int(l.split()[1])
                    elif l.startswith("Pss:"): pss += int(l.split()[1])
        except OSError:
            pass
    return rss, pss


def slab_kb():
    """kernel memory that sockets use (whole machine): sock/slab lines of /proc/meminfo"""
    with open("/proc/meminfo") as f:
        for l in f:
            if l.startswith("SUnreclaim:"):
                return int(l.split()[1])
    return 0

# ----------------------------------------------------------------------------- processes

def nofile():
    for lim in (NOFILE, resource.getrlimit(resource.RLIMIT_NOFILE)[1]):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (lim, lim))
            return lim
        except (ValueError, OSError):
            pass
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


MAXCONN = min(60000, (nofile() - 300) // 2)     # haproxy reserves two descriptors per connection


def prep(cpus):
    def f():
        os.setsid()
        if cpus:
            os.sched_setaffinity(0, cpus)
    return f


def wait_port(port, proc, t=15):
    end = time.time() + t
    while time.time() < end:
        if proc.poll() is not None:
            raise RuntimeError(f"process exited with {proc.returncode} before port {port} was open")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"port {port} did not open")


class Proxy:
    def __init__(self, name, template, cmd, extra, slot, a):
        self.name, self.a = name, a
        self.dir = os.path.join(a.workdir, name)
        os.makedirs(self.dir, exist_ok=True)
        base = a.base_port + 10 * slot
        self.v = dict(dir=self.dir, http=base, https=base + 1, h2c=base + 2, backend=a.backend_port,
                      cert=a.cert, key=a.key, pem=a.pem, threads=a.threads, extra="", maxconn=MAXCONN,
                      config=os.path.join(self.dir, "config"))
        self.v.update(extra)
        if template is not None:
            if "file" in extra:      # user template: plain {name} replacement, no brace doubling needed
                text = template
                for k, val in self.v.items():
                    text = text.replace("{%s}" % k, str(val))
                ext = os.path.splitext(extra["file"])[1]
                self.v["config"] += ext
            else:
                text = template.format(**self.v)
            with open(self.v["config"], "w") as f:
                f.write(text)
        c = cmd
        for k, val in self.v.items():
            c = c.replace("{%s}" % k, str(val))
        self.cmd = shlex.split(c)
        self.p = None

    def start(self):
        self.log = open(os.path.join(self.dir, "log"), "ab")
        env = dict(os.environ, GOMAXPROCS=str(self.a.threads))
        self.p = subprocess.Popen(self.cmd, stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL,
                                  preexec_fn=prep(self.a.proxy_cpus), env=env, cwd=self.dir)
        try:
            wait_port(self.v["http"], self.p)
        except RuntimeError as e:
            with open(os.path.join(self.dir, "log"), errors="replace") as f:
                raise RuntimeError(f"{self.name}: {e}; log ends: {f.read()[-800:]}") from None
        time.sleep(0.2)
        self.pids = tree(self.p.pid)

    def stop(self):
        if not self.p:
            return
        if self.p.poll() is None:
            self.p.send_signal(signal.SIGTERM)
            try:
                self.p.wait(2)
            except subprocess.TimeoutExpired:
                os.killpg(self.p.pid, signal.SIGKILL)   # its own session, started above
                self.p.wait()
        self.p = None
        self.log.close()

    def cpu(self):
        return sum(cpu_ns(p) for p in self.pids)


def check(px):
    """Like for like: same status, same body, the Traefik headers reach the origin."""
    notes = []
    c = http.client.HTTPConnection("127.0.0.1", px.v["http"], timeout=5)
    for n in (100, 10240, 1048576):
        c.request("GET", f"/b/{n}")
        r = c.getresponse()
        b = r.read()
        if r.status != 200 or len(b) != n:
            raise RuntimeError(f"{px.name}: /b/{n}: status {r.status}, {len(b)} bytes")
    c.request("GET", "/echo")
    r = c.getresponse()
    head = r.read().decode("latin1").lower()
    for h in ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-real-ip"):
        if f"\r\n{h}:" not in head:
            notes.append(f"no {h}")
    c.close()
    return notes

# ----------------------------------------------------------------------------- load

def sh(cmd, a, timeout):
    return subprocess.run(cmd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=prep(a.load_cpus),
                          timeout=timeout).stdout.decode("utf8", "replace")


def unit_s(x):
    m = re.match(r"([\d.]+)(us|ms|s|m)$", x)
    return float(m[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60}[m[2]] if m else None


def load(wl, px, dur, a, n=None):
    """returns dict(requests, errors, seconds, p50, p99)"""
    tool, pk, path, conns, ex, _ = W[wl]
    port = px.v[pk]
    scheme = "https" if pk == "https" else "http"
    url = f"{scheme}://localhost:{port}{path}"
    r = dict(requests=0, errors=0, seconds=0.0, p50=None, p99=None)
    if tool == "wrk":
        cmd = ["wrk", "-t1", f"-c{conns}", f"-d{dur}s", "--latency", "--timeout", "10s"]
        if ex.get("close"):
            cmd += ["-H", "Connection: close"]
        out = sh(cmd + [url], a, dur + 20)
        m = re.search(r"(\d+) requests in ([\d.]+)(ms|s|m)", out)
        if not m:
            raise RuntimeError(f"wrk against {px.name}: {out[-400:]}")
        r["requests"], r["seconds"] = int(m[1]), unit_s(m[2] + m[3])
        m = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", out)
        if m:
            r["errors"] += sum(map(int, m.groups()))
        m = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
        if m:
            r["errors"] += int(m[1])
        for k, pc in (("p50", "50"), ("p99", "99")):
            m = re.search(rf"^\s+{pc}%\s+(\S+)", out, re.M)
            if m:
                r[k] = unit_s(m[1])
    elif tool == "h2load":
        n = n or 2000
        t0 = time.time()
        out = sh(["h2load", "-t1", f"-c{conns}", f"-m{ex['m']}", f"-n{n}", url], a, 120)
        m = re.search(r"requests: (\d+) total, \d+ started, \d+ done, (\d+) succeeded", out)
        s = re.search(r"finished in ([\d.]+)(us|ms|s|m)", out)
        if not m or not s:
            raise RuntimeError(f"h2load against {px.name}: {out[-400:]}")
        r["requests"], r["errors"] = int(m[2]), int(m[1]) - int(m[2])
        r["seconds"] = unit_s(s[1] + s[2])
        m = re.search(r"Application protocol: (\S+)", out)
        if m and not m[1].startswith("h2"):
            raise RuntimeError(f"h2load against {px.name} negotiated {m[1]}")
    elif tool == "ab":   # a new SSL object per connection and no session reuse: always full handshakes
        out = sh(["ab", "-q", "-d", "-S", "-r", "-s", "10", "-f", "TLS1.3", "-c", str(conns), "-t", str(dur),
                  "-n", "10000000", url], a, dur + 30)
        m = re.search(r"Complete requests:\s+(\d+)", out)
        s = re.search(r"Time taken for tests:\s+([\d.]+)", out)
        if not m or not s:
            raise RuntimeError(f"ab against {px.name}: {out[-400:]}")
        r["requests"], r["seconds"] = int(m[1]), float(s[1])
        m = re.search(r"Failed requests:\s+(\d+)", out)
        r["errors"] = int(m[1])
        m = re.search(r"Non-2xx responses:\s+(\d+)", out)
        r["errors"] += int(m[1]) if m else 0
    return r


def measure(wl, px, a, backend_pid):
    tool = W[wl][0]
    if tool == "rss":
        return measure_rss(wl, px, a)
    w = load(wl, px, a.warmup, a)                      # warm-up, and the calibration for h2load
    n = None
    if tool == "h2load":
        w = load(wl, px, 0, a, max(2000, int(w["requests"] / w["seconds"])))
        n = max(2000, int(a.duration * w["requests"] / w["seconds"]))
    px.pids = tree(px.p.pid)
    perf = None
    if a.perf:
        perf = subprocess.Popen(["perf", "stat", "-x,", "-e", "raw_syscalls:sys_enter,context-switches",
                                 "-p", ",".join(map(str, px.pids))], stderr=subprocess.PIPE,
                                stdout=subprocess.DEVNULL)
        time.sleep(0.3)
    u0, s0 = user_sys(px.pids); st0 = steal(); all0 = all_cpu()
    c0, b0, t0 = px.cpu(), cpu_ns(backend_pid), time.monotonic()
    me0, ch0 = time.process_time(), resource.getrusage(resource.RUSAGE_CHILDREN)
    r = load(wl, px, a.duration, a, n)
    t1, c1, b1 = time.monotonic(), px.cpu(), cpu_ns(backend_pid)
    me1, ch1 = time.process_time(), resource.getrusage(resource.RUSAGE_CHILDREN)
    all1 = all_cpu(); st1 = steal(); u1, s1 = user_sys(px.pids)
    if perf:
        perf.send_signal(signal.SIGINT)
        txt = perf.communicate()[1].decode()
        ev = {l.split(",")[2]: l.split(",")[0] for l in txt.splitlines() if l.count(",") > 2}
        for k, e in (("syscalls", "raw_syscalls:sys_enter"), ("ctxsw", "context-switches")):
            try:
                r[k] = int(ev[e]) / max(1, r["requests"])
            except (KeyError, ValueError):
                pass
    if not r["requests"]:
        raise RuntimeError(f"{px.name} {wl}: no requests")
    wall = t1 - t0
    mine = set(px.pids) | {backend_pid, os.getpid()}
    od = sorted(((v - all0.get(p, 0), p) for p, v in all1.items() if p not in mine and v > all0.get(p, 0)), reverse=True)
    others = sum(d for d, _ in od) / 1e9
    r["top_other"] = comm(od[0][1]) if od else ""
    r["cpu_us"] = (c1 - c0) / 1e3 / r["requests"]
    r["rps"] = r["requests"] / r["seconds"]
    r["util"] = (c1 - c0) / 1e9 / wall / len(a.proxy_cpus or range(os.cpu_count()))
    r["backend_util"] = (b1 - b0) / 1e9 / wall
    r["load_util"] = (ch1.ru_utime + ch1.ru_stime - ch0.ru_utime - ch0.ru_stime) / wall
    r["user_frac"] = (u1 - u0) / max(1e-9, u1 - u0 + s1 - s0)
    r["steal"] = (st1 - st0) / wall
    r["others"] = others / wall
    return r


def measure_rss(wl, px, a):
    _, pk, path, n, _, _ = W[wl]
    n = a.idle or n
    px.pids = tree(px.p.pid)
    rss0, pss0 = pss_kb(px.pids)
    k0 = slab_kb()
    script = r"""
import socket, ssl, sys, time
end = time.time() + 60
port, n, tls = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "1"
ctx = ssl.create_default_context(); ctx.check_hostname = False; ctx.verify_mode = ssl.CERT_NONE
req = b"GET /b/100 HTTP/1.1\r\nHost: localhost\r\n\r\n"
cs = []
for i in range(n):
    s = socket.create_connection(("127.0.0.1", port), 10)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if time.time() > end: raise SystemExit(f"only {i} connections in 60 s")
    if tls: s = ctx.wrap_socket(s, server_hostname="localhost")
    s.sendall(req); b = b""
    while not (b.find(b"\r\n\r\n") > 0 and b.endswith(b"x" * 100)):
        d = s.recv(4096)
        if not d: raise SystemExit("closed early")
        b += d
    cs.append(s)
print("ok", flush=True)
sys.stdin.readline()
alive = 0
for s in cs[:: max(1, n // 100)]:
    s.sendall(req)
    alive += s.recv(4096).startswith(b"HTTP/1.1 200")
print(alive, len(cs[:: max(1, n // 100)]), flush=True)
"""
    p = subprocess.Popen([sys.executable, "-c", script, str(px.v[pk]), str(n), "1" if pk == "https" else "0"],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                         preexec_fn=prep(a.load_cpus))
    line = p.stdout.readline().decode().strip()
    if line != "ok":
        p.kill(); p.wait()
        raise RuntimeError(f"{px.name} {wl}: {line}")
    time.sleep(a.idle_wait)
    rss1, pss1 = pss_kb(px.pids)
    k1 = slab_kb()
    p.stdin.write(b"\n"); p.stdin.flush()
    alive = p.stdout.readline().decode().strip()
    p.stdin.close(); p.wait()
    return dict(requests=n, errors=0, rss_mb=rss1 / 1024, pss_mb=pss1 / 1024, rss0_mb=rss0 / 1024,
                kb_per_conn=(pss1 - pss0) / n, slab_kb_per_conn=(k1 - k0) / n, alive=alive)

# ----------------------------------------------------------------------------- main

def cpuset(s):
    if s in ("", "all"):
        return None
    out = set()
    for part in s.split(","):
        lo, _, hi = part.partition("-")
        out |= set(range(int(lo), int(hi or lo) + 1))
    return out


def own_netns():
    """Re-exec in a private network namespace: no conntrack or firewall rules of the host on loopback, a fixed
    congestion control, and no port clashes. Needs root (CAP_SYS_ADMIN) and unshare(1); otherwise stays where it is."""
    if os.environ.get("PROXYBENCH_NETNS"):
        s = socket.socket()
        fcntl.ioctl(s, 0x8914, struct.pack("16sH14x", b"lo", 0x1 | 0x40))      # SIOCSIFFLAGS: IFF_UP | IFF_RUNNING
        s.close()
        # reno, not bbr: no pacing timers in the bulk workloads (cubic is not allowed in a child namespace everywhere)
        for k, v in (("tcp_congestion_control", "reno"), ("ip_local_port_range", "22000 65000"), ("tcp_tw_reuse", "1"),
                     ("tcp_max_tw_buckets", "16384")):
            try:
                with open("/proc/sys/net/ipv4/" + k, "w") as f:
                    f.write(v)
            except OSError as e:
                print(f"# {k}: {e}", flush=True)
        return True
    if shutil.which("unshare") and subprocess.run(["unshare", "-n", "true"], stderr=subprocess.DEVNULL).returncode == 0:
        os.environ["PROXYBENCH_NETNS"] = "1"
        os.execvp("unshare", ["unshare", "-n", sys.executable, os.path.abspath(__file__), *sys.argv[1:]])
    return False


def make_cert(a):
    a.cert, a.key, a.pem = (os.path.join(a.workdir, x) for x in ("cert.pem", "key.pem", "both.pem"))
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-keyout", a.key, "-out", a.cert, "-days", "30", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"], check=True, stderr=subprocess.DEVNULL)
    os.chmod(a.key, 0o644)
    with open(a.pem, "w") as f:
        f.write(open(a.cert).read() + open(a.key).read())


def make_backend(a):
    be = os.path.join(a.workdir, "backend")
    subprocess.run(["cc", "-O2", "-o", be, os.path.join(HERE, "backend.c")], check=True)
    return be


def make_proxies(a, specs):
    specs = list(specs)
    confs = dict(c.split("=", 1) for c in a.config)
    for p in a.proxy:
        name, cmd = p.split("=", 1)
        f = confs.get(name)
        specs.append((name, open(f).read() if f else None, cmd, {"file": f} if f else {}))
    for n, _, cmd, _ in specs:
        exe = shlex.split(cmd)[0]
        if not (shutil.which(exe) or "/" in exe):
            sys.exit(f"{n}: {exe} not found (--help names the packages)")
    return [Proxy(n, t, c, e, i, a) for i, (n, t, c, e) in enumerate(specs)]


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--proxy", action="append", default=[], metavar="NAME=CMD",
                    help="command that runs the proxy under test in the foreground; placeholders {http} {https} {h2c} "
                         "{backend} {cert} {key} {pem} {dir} {config} {threads}; repeatable")
    ap.add_argument("--config", action="append", default=[], metavar="NAME=FILE",
                    help="config template for that proxy (same placeholders); the filled copy is {config}")
    ap.add_argument("--peers", default="haproxy,nginx", help=f"of {','.join(PEERS)}; '' for none")
    ap.add_argument("--peer", action="append", default=[], metavar="NAME=KIND:CMD",
                    help="another build of a peer: KIND (one of the peers) gives the config, CMD the command, e.g. "
                         "'haproxy30=haproxy:/opt/h30/haproxy -db -q -f {config}'")
    ap.add_argument("--workloads", default="w1,w2,w3,w4,w5,w6,w7", help="of " + ", ".join(f"{k} ({v[5]})" for k, v in W.items()))
    ap.add_argument("--rounds", type=int, default=5)
    ap.add_argument("--duration", type=int, default=4, help="seconds measured per sample")
    ap.add_argument("--warmup", type=int, default=1)
    ap.add_argument("--ref", default=None, help="proxy the ratios are taken to (default: first peer)")
    ap.add_argument("--max-ratio", action="append", default=[], metavar="NAME:WL:REF=R",
                    help="fail (exit 1) if the median of NAME's per-round CPU ratio to REF in workload WL is above R")
    ap.add_argument("--aa", action="store_true", help="run the first peer twice (A/A) to show the noise of a ratio")
    ap.add_argument("--perf", action="store_true", help="also syscalls and context switches per request (perf stat)")
    ap.add_argument("--threads", type=int, default=1)
    ap.add_argument("--proxy-cpus", default="0")
    ap.add_argument("--load-cpus", default="1")
    ap.add_argument("--idle", type=int, default=0, help="connections for the rss workloads (default 8000/4000)")
    ap.add_argument("--idle-wait", type=int, default=5, help="seconds the idle connections rest before memory is read")
    ap.add_argument("--lock", default="", help="flock this file around every sample (a path)")
    ap.add_argument("--max-noise", type=float, default=0.04, help="repeat a sample (3 times at most) while other processes + steal used more than this share of one CPU")
    ap.add_argument("--base-port", type=int, default=21000)
    ap.add_argument("--no-netns", action="store_true", help="do not move into a private network namespace")
    ap.add_argument("--json", default="")
    ap.add_argument("--keep", action="store_true")
    a = ap.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    netns = not a.no_netns and own_netns()
    print(f"# private network namespace: {'yes' if netns else 'no'}", flush=True)
    a.proxy_cpus, a.load_cpus = cpuset(a.proxy_cpus), cpuset(a.load_cpus)
    a.workdir = tempfile.mkdtemp(prefix="proxybench.")
    os.chmod(a.workdir, 0o755)
    a.backend_port = a.base_port - 1
    make_cert(a)
    be = make_backend(a)

    peers = [p for p in a.peers.split(",") if p]
    specs = []
    for p in peers:
        specs.append((p, *PEERS[p]))
    for p in a.peer:
        name, rest = p.split("=", 1)
        kind, cmd = rest.split(":", 1)
        specs.append((name, PEERS[kind][0], cmd, PEERS[kind][2]))
    if a.aa and peers:
        specs.append((peers[0] + "#2", *PEERS[peers[0]]))
    proxies = make_proxies(a, specs)
    wls = a.workloads.split(",")
    res = {w: {p.name: [] for p in proxies} for w in wls}
    notes = {}
    bad = {}
    lock = open(a.lock, "a") if a.lock else None
    backend = subprocess.Popen([be, str(a.backend_port)], preexec_fn=prep(a.load_cpus))
    try:
        wait_port(a.backend_port, backend)
        for px in proxies:
            try:
                px.start()
                notes[px.name] = check(px)
            finally:
                px.stop()
            print(f"# {px.name}: ok {'; '.join(notes[px.name])}", flush=True)
        for rnd in range(a.rounds):
            for wl in wls:
                order = proxies[rnd % len(proxies):] + proxies[:rnd % len(proxies)]
                if lock:
                    fcntl.flock(lock, fcntl.LOCK_EX)
                try:
                    for px in order:
                        if bad.get((px.name, wl), 0) >= 2:
                            continue
                        for attempt in range(3):
                            try:
                                px.start()
                                r = measure(wl, px, a, backend.pid)
                            except Exception as e:      # one proxy failing a workload must not stop the rest
                                r = dict(error=str(e)[:300])
                                bad[px.name, wl] = bad.get((px.name, wl), 0) + 1
                            finally:
                                px.stop()
                            if "error" in r or r.get("others", 0) + r.get("steal", 0) <= a.max_noise:
                                break
                            print(f"#   noisy (others {r['others']:.3f}, most: {r['top_other']}; steal {r['steal']:.3f}), again", flush=True)
                        r["round"] = rnd
                        res[wl][px.name].append(r)
                        if "error" in r:
                            print(f"r{rnd} {wl:6} {px.name:16} ERROR {r['error']}", flush=True)
                        elif "kb_per_conn" in r:
                            print(f"r{rnd} {wl:6} {px.name:16} {r['kb_per_conn']:8.2f} KB/conn  rss {r['rss_mb']:.0f} MB "
                                  f"(start {r['rss0_mb']:.0f})  alive {r['alive']}", flush=True)
                        else:
                            extra = "".join(f"  {k} {r[k]:.2f}" for k in ("syscalls", "ctxsw") if k in r)
                            print(f"r{rnd} {wl:6} {px.name:16} {r['cpu_us']:9.2f} us/req  {r['rps']:9.0f} req/s  util {r['util']:.2f}  "
                                  f"user {r['user_frac']:.2f}  p50 {1e3 * (r['p50'] or 0):.2f} p99 {1e3 * (r['p99'] or 0):.2f} ms  "
                                  f"steal {r['steal']:.3f} others {r['others']:.3f}"
                                  f"{extra}{'  ERRORS ' + str(r['errors']) if r['errors'] else ''}", flush=True)
                finally:
                    if lock:
                        fcntl.flock(lock, fcntl.LOCK_UN)
                        time.sleep(0.2)
    finally:
        for px in proxies:
            px.stop()
        backend.terminate(); backend.wait()
        if not a.keep:
            shutil.rmtree(a.workdir, ignore_errors=True)
        if a.json:
            with open(a.json, "w") as f:
                json.dump(dict(args=sys.argv[1:], results=res, notes=notes, cpu=cpu_model(), when=time.time()), f, indent=1)

    ref = a.ref or (peers[0] if peers else proxies[0].name)
    refs = [p.name for p in proxies if p.name in peers] or [ref]
    print()
    for wl in wls:
        print(f"### {wl}: {W[wl][5]}")
        key = "kb_per_conn" if W[wl][0] == "rss" else "cpu_us"
        print("| proxy | " + ("KB/conn" if key == "kb_per_conn" else "CPU us/req") + " median (min-max) | "
              + " | ".join(f"ratio to {r} (min-max)" for r in refs) + (" | req/s | util | user | syscalls/req | ctxsw/req | errors |" if key == "cpu_us" else " | RSS MB | base MB |"))
        print("|---|---:|" + "---:|" * (len(refs) + (6 if key == "cpu_us" else 2)))
        for px in proxies:
            v = [x for x in res[wl][px.name] if key in x]
            if not v:
                print(f"| {px.name} | failed |")
                continue
            m = [x[key] for x in v]
            cells = [f"{st.median(m):.2f} ({min(m):.2f}-{max(m):.2f})"]
            for r in refs:
                q = ratios(res[wl], px.name, r, key)
                cells.append(f"{st.median(q):.2f} ({min(q):.2f}-{max(q):.2f})" if q else "-")
            med = lambda k: st.median([x[k] for x in v if x.get(k) is not None]) if any(x.get(k) is not None for x in v) else None
            if key == "cpu_us":
                fm = lambda k, f: format(med(k), f) if med(k) is not None else "-"
                cells += [fm("rps", ".0f"), fm("util", ".2f"), fm("user_frac", ".2f"), fm("syscalls", ".2f"), fm("ctxsw", ".3f"), str(sum(x["errors"] for x in v))]
            else:
                cells += [f"{med('rss_mb'):.0f}", f"{med('rss0_mb'):.0f}"]
            print(f"| {px.name} | " + " | ".join(cells) + " |")
        print()
    fail = 0
    for spec in a.max_ratio:
        k, lim = spec.split("=")
        name, wl, rf = k.split(":")
        key = "kb_per_conn" if W[wl][0] == "rss" else "cpu_us"
        q = ratios(res[wl], name, rf, key)
        ok = bool(q) and st.median(q) <= float(lim)
        print(f"BAR {name} {wl} / {rf}: median ratio {st.median(q) if q else float('nan'):.3f} limit {lim}: {'PASS' if ok else 'FAIL'}")
        fail |= not ok
    sys.exit(1 if fail else 0)


def ratios(by, name, ref, key):
    a = {x["round"]: x[key] for x in by[name] if key in x}
    b = {x["round"]: x[key] for x in by.get(ref, []) if key in x}
    return [a[k] / b[k] for k in a if k in b and b[k]]


def cpu_model():
    with open("/proc/cpuinfo") as f:
        for l in f:
            if l.startswith("model name"):
                return l.split(":", 1)[1].strip()


if __name__ == "__main__":
    main()
