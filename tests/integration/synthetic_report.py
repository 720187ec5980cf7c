"""Writes a report of an invented build, of any size. It is for trying the page, and for the test of the page.

Usage: synthetic_report.py SPANS FILE PAGE-FOLDER. PAGE-FOLDER contains page.html, page.css and the scripts. The same number
of spans gives the same report. The build has sub-makes on 16 cores, compilers below shells, a deep chain, failures, and
downloads with lookups. One process is still alive at the end. Some texts try to break the page.
"""

import base64
import gzip
import heapq
import json
import pathlib
import random
import sys

CORES = 16
BATCH = 5000
MS = 1_000_000
PROCESS, CONNECTION, LOOKUP = 0, 1, 2
FAILED, UNFINISHED, FORK, ROOT = 1, 2, 4, 16
HOSTILE = "</script><img src=x onerror=alert(1)>\u202egpj.exe\u0007\n\x1b[31m"


class Build:
    def __init__(self, wanted):
        self.random = random.Random(wanted)
        self.wanted = wanted
        self.spans = []
        self.slots = [20 * MS] * CORES

    def span(self, parent, name, start, duration, kind=PROCESS, cpu=0, args=None, error=None, **more):
        number = len(self.spans)
        self.spans.append(
            {
                "parent": parent,
                "kind": kind,
                "name": name,
                "start": int(start),
                "duration": int(duration),
                "cpu": int(cpu),
                "id": f"{self.random.getrandbits(64):016x}",
                "flags": FAILED if error else 0,
                "error": error,
                "attributes": {},
                "events": [],
                "links": [],
            }
        )
        attributes = self.spans[number]["attributes"]
        if kind == PROCESS:
            user = "builder" if name != "sudo" else "root"
            attributes.update(
                {
                    "process.pid": 4000 + number,
                    "process.parent_pid": 4000 + max(parent, 0),
                    "process.command": (args or [name])[0],
                    "process.command_args": args or [name],
                    "process.executable.path": f"/usr/bin/{name}",
                    "process.working_directory": more.pop("cwd", "/src/app"),
                    "process.user.name": user,
                    "process.user.id": 1000 if user == "builder" else 0,
                    "process.exit.code": (
                        0 if not error else int(error.split()[-1]) if error.startswith("exit") else 137
                    ),
                    "process_tracer.cpu.user_time": cpu * 0.8 / 1e9,
                    "process_tracer.cpu.system_time": cpu * 0.2 / 1e9,
                    "process_tracer.memory.peak": self.random.randrange(2 << 20, 400 << 20),
                    "process_tracer.page_faults.minor": self.random.randrange(100, 20000),
                    "process_tracer.io.written_bytes": self.random.randrange(0, 1 << 20),
                    "process.interactive": False,
                    "process.creation.time": f"2026-11-21T09:16:{(start // 10**9) % 60:02}.{(start // 1000) % 10**6:06}Z",
                }
            )
            self.spans[number]["events"] = [
                {
                    "name": "exec",
                    "time": int(start + 200_000),
                    "attributes": {"process.executable.path": f"/usr/bin/{name}"},
                }
            ]
        attributes.update(more.pop("attributes", {}))
        return number

    def stretch(self, number, end):
        span = self.spans[number]
        span["duration"] = max(span["duration"], int(end - span["start"]))

    def compile(self, make, directory, file, language):
        slot = min(range(CORES), key=lambda at: self.slots[at])
        start = self.slots[slot] + self.random.randrange(100_000, 2 * MS)
        work = int(self.random.lognormvariate(4.6, 0.8) * MS)
        failed = self.random.random() < 0.002
        source, target = f"{file}.{language}", f"{file}.o"
        args = [
            "gcc",
            "-O2",
            "-g",
            "-Wall",
            f"-I/src/app/{directory}/include",
            '-DVERSION="1.4 beta"',
            "-c",
            "-o",
            target,
            source,
        ]
        error = "exit 1" if failed else None
        cwd = f"/src/app/{directory}"
        shell = self.span(
            make, "sh", start, work + 8 * MS, cpu=MS, args=["sh", "-c", " ".join(args)], error=error, cwd=cwd
        )
        cc = self.span(shell, "gcc", start + 2 * MS, work + 5 * MS, cpu=2 * MS, args=args, error=error, cwd=cwd)
        main = int(work * 0.85)
        cc1 = "cc1" if language == "c" else "cc1plus"
        self.span(
            cc,
            cc1,
            start + 4 * MS,
            main,
            cpu=main * 0.97,
            args=[f"/usr/lib/gcc/{cc1}", "-quiet", source, "-o", f"/var/tmp/cc{file}.s"],
            error=error,
            cwd=cwd,
        )
        if not failed:
            self.span(
                cc,
                "as",
                start + 4 * MS + main,
                work - main,
                cpu=(work - main) * 0.8,
                args=["as", "-o", target, f"/var/tmp/cc{file}.s"],
                cwd=cwd,
            )
        self.slots[slot] = start + work + 8 * MS
        return self.slots[slot]

    def download(self, parent, start, host, address):
        lookup = self.span(
            parent,
            f"lookup {host}",
            start + 3 * MS,
            14 * MS,
            kind=LOOKUP,
            attributes={
                "dns.question.name": host,
                "dns.answers": [address],
                "network.peer.address": "192.0.2.53",
                "network.peer.port": 53,
                "network.transport": "udp",
            },
        )
        refused = self.random.random() < 0.2
        connection = self.span(
            parent,
            f"connect {host}:443",
            start + 18 * MS,
            4 * MS if refused else 160 * MS,
            kind=CONNECTION,
            error="connection refused" if refused else None,
            attributes={
                "network.peer.address": address,
                "network.peer.port": 443,
                "server.address": host,
                "network.transport": "tcp",
                "process_tracer.tcp.bytes_sent": 517,
                "process_tracer.tcp.bytes_received": 204800,
                "process_tracer.tcp.round_trip_time": 0.0123,
            },
        )
        return lookup, connection

    def run(self):
        root = self.span(-1, "make", 0, 1, cpu=40 * MS, args=["make", f"-j{CORES}"])
        self.spans[root]["flags"] |= ROOT
        if self.wanted <= 40:
            self.small(root)
        else:
            self.large(root)
        end = max(span["start"] + span["duration"] for span in self.spans) + 3 * MS
        self.stretch(root, end)
        return end

    def small(self, root):
        for file in ["main", "parse", "print", "list"][: max(1, (self.wanted - 3) // 4)]:
            self.compile(root, "core", file, "c")
        while len(self.spans) < self.wanted:
            fetch = self.span(
                root, "curl", 30 * MS, 200 * MS, cpu=12 * MS, args=["curl", "-sSfO", "https://files.example/data.tgz"]
            )
            if len(self.spans) + 2 <= self.wanted:
                self.download(fetch, 30 * MS, "files.example", "192.0.2.7")

    def large(self, root):
        configure = self.span(
            root, "configure", 4 * MS, 1, cpu=30 * MS, args=["/bin/sh", "./configure", "--prefix=/opt/app"]
        )
        parent, at = configure, 6 * MS
        for depth in range(min(60, self.wanted // 20)):
            parent = self.span(parent, "sh", at, 900 * MS - 12 * MS * depth, cpu=MS, args=["sh", "-c", f"step {depth}"])
            at += 5 * MS
        self.span(parent, "true", at, 2 * MS, args=["true"])
        self.stretch(configure, 920 * MS)
        self.slots = [930 * MS] * CORES
        daemon = self.span(
            root, "ccache-server", 935 * MS, 1, cpu=9 * MS, args=["ccache-server", "--foreground", HOSTILE]
        )
        self.spans[daemon]["flags"] |= UNFINISHED
        for at in range(5):
            fetch = self.span(
                root,
                "curl",
                (940 + 90 * at) * MS,
                200 * MS,
                cpu=12 * MS,
                args=["curl", "-sSfO", f"https://files.example/{at}.tgz"],
            )
            _, connection = self.download(fetch, (940 + 90 * at) * MS, "files.example", "192.0.2.7")
            served = self.span(
                daemon,
                "accept :443",
                (958 + 90 * at) * MS,
                160 * MS,
                kind=CONNECTION,
                attributes={"client.address": "192.0.2.9", "network.local.port": 443},
            )
            self.spans[connection]["links"].append(served)
            self.spans[served]["links"].append(connection)
        self.span(root, HOSTILE[:20] + "\u202e", 1000 * MS, 30 * MS, error="SIGKILL", args=[HOSTILE])
        self.span(root, "sudo", 1010 * MS, 40 * MS, args=["sudo", "-n", "true"], error="exit 1")
        directories = max(1, min(60, self.wanted // 800))
        each = (self.wanted - len(self.spans) - 2) // directories
        makes = []
        for index in range(directories):
            directory = f"{self.random.choice(['core', 'net', 'ui', 'db', 'codec', 'test'])}/{index:02}"
            make = self.span(
                root, "make", min(self.slots), 1, cpu=25 * MS, args=["make", "-C", directory, "all"], cwd="/src/app"
            )
            makes.append((make, directory))
            until, end = len(self.spans) + each - 3, 0
            while len(self.spans) + 4 <= until:
                if self.random.random() < 0.08:
                    slot = min(range(CORES), key=lambda at: self.slots[at])
                    for tool in self.random.choices(
                        ["sed", "grep", "mkdir", "rm", "cp", "expr", "cat"], k=min(8, until - len(self.spans))
                    ):
                        length = self.random.randrange(MS // 2, 4 * MS)
                        self.span(
                            make, tool, self.slots[slot], length, cpu=length // 2, args=[tool, f"{directory}/file"]
                        )
                        self.slots[slot] += length + MS // 4
                end = max(end, self.compile(make, directory, f"f{len(self.spans)}", "cc" if index % 3 == 0 else "c"))
            link = self.span(make, "gcc", end, 300 * MS, cpu=3 * MS, args=["gcc", "-o", f"lib{index}.so"])
            collect = self.span(link, "collect2", end + 4 * MS, 290 * MS, cpu=2 * MS)
            self.span(
                collect,
                "ld",
                end + 8 * MS,
                280 * MS,
                cpu=250 * MS,
                args=["ld", "-shared"] + [f"{name}.o" for name in range(200)],
            )
            self.stretch(make, end + 305 * MS)
        last = max(self.spans[make]["start"] + self.spans[make]["duration"] for make, _ in makes)
        while len(self.spans) < self.wanted - 1:
            self.span(root, "install", last, 2 * MS, cpu=MS)
            last += 2 * MS
        shell = self.span(
            root, "sh", last, 1500 * MS, cpu=1450 * MS, args=["sh", "-c", "strip app && tar cJf app.tar.xz app"]
        )
        self.spans[shell]["flags"] |= FORK
        self.stretch(daemon, last + 1500 * MS)


def critical_path(spans, end):
    """The critical path, from the end backwards: always the child that ended last, else the span itself."""
    children = {}
    for number, span in enumerate(spans):
        if span["kind"] == PROCESS and not span["flags"] & UNFINISHED:
            children.setdefault(span["parent"], []).append(number)
    steps = []

    def walk(number, until):
        span = spans[number]
        queue = [(-(spans[child]["start"] + spans[child]["duration"]), child) for child in children.get(number, [])]
        heapq.heapify(queue)
        at = until
        while queue:
            minus_end, child = heapq.heappop(queue)
            if -minus_end > at:
                continue
            if at > -minus_end:
                steps.append([number, -minus_end, at])
            walk(child, -minus_end)
            at = spans[child]["start"]
        if at > span["start"]:
            steps.append([number, span["start"], at])

    sys.setrecursionlimit(10000)
    walk(0, end)
    return steps[::-1]


def batches(spans):
    """Spans arrive as they end, so parents come after their children."""
    order = sorted(range(len(spans)), key=lambda number: spans[number]["start"] + spans[number]["duration"])
    strings = {}
    for begin in range(0, len(order), BATCH):
        numbers = order[begin : begin + BATCH]
        new = []

        def index(text):
            if text not in strings:
                strings[text] = len(strings)
                new.append(text)
            return strings[text]

        batch = {"strings": new, "number": numbers}
        for column in ["parent", "kind", "id", "start", "duration", "flags", "cpu"]:
            batch[column] = [spans[number][column] for number in numbers]
        batch["name"] = [index(spans[number]["name"]) for number in numbers]
        batch["error"] = [index(spans[number]["error"]) if spans[number]["error"] else -1 for number in numbers]
        columns = {}
        for row, number in enumerate(numbers):
            for key, value in spans[number]["attributes"].items():
                kind = (
                    "json"
                    if isinstance(value, bool)
                    else "string" if isinstance(value, str) else "strings" if isinstance(value, list) else "number"
                )
                column = columns.setdefault(key, {"key": key, "type": kind, "rows": [], "values": []})
                column["rows"].append(row)
                column["values"].append(
                    index(value)
                    if kind == "string"
                    else (
                        [index(word) for word in value]
                        if kind == "strings"
                        else json.dumps(value) if kind == "json" else value
                    )
                )
        for column in columns.values():
            if len(column["rows"]) == len(numbers):
                del column["rows"]
        batch["columns"] = list(columns.values())
        for field in ["events", "links"]:
            rows = [row for row, number in enumerate(numbers) if spans[number][field]]
            batch[field] = {"rows": rows, "values": [spans[numbers[row]][field] for row in rows]}
        yield batch


def about(build, end):
    processes = sum(span["kind"] == PROCESS for span in build.spans)
    return {
        "trace_id": f"{random.Random(end).getrandbits(128):032x}",
        "command": f"make -j{CORES}",
        "started": 1763730000000,
        "elapsed": end,
        "cores": CORES,
        "host": "builder-1",
        "version": "0.1.0",
        "complete": build.wanted < 50000,
        "problems": (
            [] if build.wanted < 50000 else ["12 records lost to a full buffer", "1 command line cut"]
        ),
        "processes": processes,
        "connections": sum(span["kind"] == CONNECTION for span in build.spans),
        "resource": {
            "service.name": "process-tracer",
            "host.name": "builder-1",
            "host.arch": "amd64",
            "os.type": "linux",
            "os.version": "6.18",
        },
        "critical": critical_path(build.spans, end),
    }


def page(folder):
    """The page, built as the Rust side builds it. The scripts can have any order, because none runs before all are loaded."""
    folder = pathlib.Path(folder)
    scripts = "\n".join(script.read_text() for script in sorted(folder.glob("*.js")))
    return (
        (folder / "page.html")
        .read_text()
        .replace("/*STYLE*/", (folder / "page.css").read_text())
        .replace("/*SCRIPT*/", scripts)
    )


def element(value, attributes):
    packed = gzip.compress(json.dumps(value, separators=(",", ":")).encode(), 6, mtime=0)
    return f'<script type="application/gzip" {attributes}>{base64.b64encode(packed).decode()}</script>\n'


def write(wanted, file, folder):
    build = Build(wanted)
    end = build.run()
    with open(file, "w") as report:
        report.write(page(folder))
        for batch in batches(build.spans):
            report.write(element(batch, 'class="spans"'))
        report.write(element(about(build, end), 'id="trace"'))
    return len(build.spans)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    print(write(int(sys.argv[1]), sys.argv[2], sys.argv[3]), "spans")
