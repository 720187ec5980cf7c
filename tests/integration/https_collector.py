"""An HTTPS server for the tests. It asks for a client certificate, accepts any POST, and records each request.

Usage: https_collector.py FOLDER. The folder contains ca.pem, server.pem and server.key. The server writes its port to
FOLDER/port, and a line for each request to FOLDER/received.
"""

import http.server
import os
import ssl
import sys

folder = sys.argv[1]


class Collector(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with open(os.path.join(folder, "received"), "a") as received:
            print("POST", self.path, self.headers["Content-Type"], len(body), file=received)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(os.path.join(folder, "server.pem"), os.path.join(folder, "server.key"))
context.load_verify_locations(os.path.join(folder, "ca.pem"))
context.verify_mode = ssl.CERT_REQUIRED
server = http.server.HTTPServer(("127.0.0.1", 0), Collector)
server.socket = context.wrap_socket(server.socket, server_side=True)
temporary = os.path.join(folder, "port.new")
with open(temporary, "w") as port:
    print(server.server_port, file=port)
os.rename(temporary, os.path.join(folder, "port"))
while True:
    try:
        server.handle_request()
    except ssl.SSLError:
        pass
