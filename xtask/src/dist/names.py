"""Whether the static program sends a trace to a collector whose name only a name server knows. Runs in its own namespaces."""

import fcntl
import http.server
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading

program = sys.argv[1]

# SIOCSIFFLAGS: IFF_UP | IFF_RUNNING
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh14x", b"lo", 1 | 64))

asked = set()


def answer(query):
    """An A record with 127.0.0.1 for collector.test. Other names do not exist."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode())
        at += 1 + query[at]
    name, kind = ".".join(labels), struct.unpack("!H", query[at + 1 : at + 3])[0]
    asked.add(name)
    known, address = name == "collector.test", name == "collector.test" and kind == 1
    head = query[:2] + struct.pack("!HHHHH", 0x8180 if known else 0x8183, 1, int(address), 0, 0)
    record = struct.pack("!HHHIH4s", 0xC00C, 1, 1, 60, 4, socket.inet_aton("127.0.0.1")) if address else b""
    return head + query[12 : at + 5] + record


def serve_names():
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))
    while True:
        query, client = server.recvfrom(4096)
        server.sendto(answer(query), client)


received = []


class Collector(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        received.append(len(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


threading.Thread(target=serve_names, daemon=True).start()
collector = http.server.HTTPServer(("127.0.0.1", 0), Collector)
threading.Thread(target=collector.serve_forever, daemon=True).start()

with tempfile.NamedTemporaryFile("w") as configuration:
    configuration.write("nameserver 127.0.0.1\n")
    configuration.flush()
    subprocess.run(["mount", "--bind", configuration.name, os.path.realpath("/etc/resolv.conf")], check=True)

    def trace(host, protocol):
        endpoint = f"http://{host}:{collector.server_port}"
        command = [program, "--protocol", protocol, "--endpoint", endpoint, "--spool", "none", "--", "true"]
        return subprocess.run(command, capture_output=True, text=True).stderr

    for host in ["collector.test", "localhost"]:
        before = len(received)
        said = trace(host, "http/protobuf")
        assert len(received) > before, f"{host}: nothing was received: {said}"
    assert "collector.test" in asked, asked
    # The collector speaks no gRPC. The remedy for it shows that the program has found and reached the port.
    said = trace("collector.test", "grpc")
    assert "set the protocol to http/protobuf" in said, said
    said = trace("unknown.test", "http/protobuf")
    assert "cannot look up 'unknown.test'" in said, said
    subprocess.run(["umount", os.path.realpath("/etc/resolv.conf")], check=True)
print("the static program finds a collector by its name")
