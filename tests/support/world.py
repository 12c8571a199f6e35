# SPDX-License-Identifier: BSD-2-Clause
"""The world a policy talks to, made small: world.py MODE [ARGS].

    talk [unix PATH]      a TCP (or unix) server that does what the client's lines say
    tls CERT KEY          the same behind TLS
    http [CERT KEY]       a web server
    http-unix PATH        the same on a unix socket
    dns                   a name server with a small zone
    chaos                 servers of no use, a port each; it prints "NAME PORT" for them
    mqtt FILE             a broker that says what the file's lines say, packet by packet
    redis                 enough of redis to be tried in ways the real one never shows

It prints "port N" when it is ready and a line for whatever specs wait for.
It ends when its input does.
"""
import os
import socket
import socketserver
import ssl
import struct
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

lock = threading.Lock()


def say(*words):
    with lock:
        print(*words, flush=True)


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 1024
    context = None

    def get_request(self):
        sock, peer = super().get_request()
        say("accepted")
        return sock, peer

    def process_request_thread(self, request, client_address):
        if self.context:
            try:
                request = self.context.wrap_socket(request, server_side=True)
            except (OSError, ssl.SSLError):
                request.close()
                return
        super().process_request_thread(request, client_address)

    def handle_error(self, request, client_address):
        pass


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


# ---- talk ---------------------------------------------------------------------


class Talk(socketserver.StreamRequestHandler):
    def handle(self):
        try:
            for line in self.rfile:
                word, _, rest = line.decode("latin-1").rstrip("\r\n").partition(" ")
                if not getattr(self, "do_" + word)(rest):
                    break
        except OSError:
            pass
        say("ended")

    def do_echo(self, text):
        self.wfile.write((text + "\r\n").encode("latin-1"))
        return True

    def do_bytes(self, count):
        """So many bytes without a line's end."""
        left = int(count)
        while left > 0:
            self.wfile.write(b"x" * min(left, 65536))
            left -= 65536
        return True

    def do_half(self, text):
        """Half a line, then the end."""
        self.wfile.write(text.encode("latin-1"))
        return False

    def do_slowly(self, text):
        """A line, one byte at a time."""
        for c in text + "\n":
            self.wfile.write(c.encode("latin-1"))
            time.sleep(0.01)
        return True

    def do_silent(self, _):
        """Nothing, until the client goes."""
        say("silent")
        self.rfile.read()
        return False

    def do_deaf(self, _):
        """Reads nothing more, until we end."""
        say("deaf")
        threading.Event().wait()

    def do_end(self, _):
        return False


# ---- http ---------------------------------------------------------------------


class Web(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def log_message(self, *_):
        pass

    def setup(self):
        super().setup()
        say("connection")

    def answer(self, status, body, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def everything(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else b""
        say("request", self.command, self.path)
        what, _, rest = self.path.lstrip("/").partition("/")
        getattr(self, "on_" + what)(rest, body)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = everything

    def on_hello(self, _, body):
        self.answer(200, b"hello", X_Twice="one", x_twice="two", Content_Type="text/plain")

    def on_echo(self, _, body):
        """The request, as text."""
        head = "".join("%s: %s\n" % item for item in self.headers.items())
        self.answer(200, ("%s %s\n%s\n" % (self.command, self.path, head)).encode() + body)

    def on_status(self, code, body):
        self.answer(int(code), b"status " + code.encode())

    def on_to(self, target, body):
        """/to/STATUS/URL: a redirect."""
        status, _, url = target.partition("/")
        self.answer(int(status), b"", Location=url)

    def on_loop(self, n, body):
        self.answer(302, b"", Location="/loop/%d" % (int(n) + 1))

    def on_bytes(self, count, body):
        self.answer(200, b"x" * int(count))

    def on_cut(self, _, body):
        """Promises 100 bytes and sends 10."""
        self.send_response(200)
        self.send_header("Content-Length", "100")
        self.end_headers()
        self.wfile.write(b"x" * 10)
        self.wfile.flush()
        self.close_connection = True

    def on_drop(self, _, body):
        self.close_connection = True

    def on_silent(self, _, body):
        """No answer; says when the client has gone."""
        self.connection.settimeout(None)
        try:
            self.connection.recv(1)
        except OSError:
            pass
        say("gone")
        self.close_connection = True

    def on_headers(self, count, body):
        self.send_response(200)
        for i in range(int(count)):
            self.send_header("X-%d" % i, "y" * 1000)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def on_file(self, path, body):
        try:
            with open(path, "rb") as file:
                self.answer(200, file.read())
        except OSError:
            self.answer(404, b"")

    def on_say(self, what, body):
        """/say/WHAT, percent-encoded: "STATUS BODY" is the answer, another word one of these ways."""
        what = unquote(what.partition("?")[0])
        for name, value in self.headers.items():
            if name.lower().startswith("webhook-"):
                say("header", name, value)
        say("body", body.decode("latin-1"))
        status, _, text = what.partition(" ")
        if status.isdigit():
            self.answer(int(status), text.encode())
        else:
            getattr(self, "on_" + status)(text, body)

    turns = {}  # path -> how many requests there have been

    def on_turns(self, what, body):
        """/turns/WHAT,WHAT...: each request is answered as by /say/WHAT, all further ones by the last."""
        with lock:
            n = self.turns[what] = self.turns.get(what, -1) + 1
        words = what.split(",")
        self.on_say(words[min(n, len(words) - 1)], body)

    def on_file(self, path, body):
        """What is in this file; 404 when it is not there."""
        try:
            with open("/" + path, "rb") as f:
                self.answer(200, f.read())
        except OSError:
            self.answer(404, b"")

    def on_auth(self, _, body):
        """A web service that knows one user."""
        good = b'"user":"ada"' in body and b'"password":"secret"' in body
        if good:
            self.answer(200, b'{"ok":true,"role":"admin"}', Content_Type="application/json")
        else:
            self.answer(403, b'{"ok":false}', Content_Type="application/json")


class WebServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def handle_error(self, request, client_address):
        pass


# ---- dns ----------------------------------------------------------------------


def name_wire(name):
    return b"".join(bytes([len(p)]) + p.encode() for p in name.split(".") if p) + b"\0"


def ipv4(text):
    return socket.inet_aton(text)


ZONE = {
    ("here.test", 1): [ipv4("127.0.0.1")],
    ("both.test", 1): [ipv4("127.0.0.1")],
    ("both.test", 28): [socket.inet_pton(socket.AF_INET6, "::1")],
    ("many.test", 1): [ipv4("127.0.0.2"), ipv4("127.0.0.3")],
    ("dead-first.test", 1): [ipv4("127.9.9.9"), ipv4("127.0.0.1")],
    ("_mqtt._tcp.test", 33): [
        struct.pack("!HHH", 10, 60, 1883) + name_wire("a.test"),
        struct.pack("!HHH", 20, 40, 8883) + name_wire("b.test"),
    ],
    ("mail.test", 15): [struct.pack("!H", 5) + name_wire("mx.test")],
    ("text.test", 16): [b"\x03one\x03two", b"\x05three"],
    ("test", 2): [name_wire("ns.test")],
    ("4.3.2.1.in-addr.arpa", 12): [name_wire("ptr.test")],
}


def dns_reply(query):
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode())
        at += 1 + query[at]
    question = query[12 : at + 5]
    (kind,) = struct.unpack("!H", query[at + 1 : at + 3])
    name = ".".join(labels).lower()
    say("asked", name, kind)
    if name.startswith("silent"):
        return None
    records = ZONE.get((name, kind), [])
    known = any(n == name for n, _ in ZONE)
    code = 2 if name.startswith("broken") else 0 if known else 3
    head = query[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, len(records), 0, 0)
    body = b"".join(b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 60, len(r)) + r for r in records)
    return head + question + body


def serve_dns():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    say("port", sock.getsockname()[1])
    while True:
        query, peer = sock.recvfrom(4096)
        reply = dns_reply(query)
        if reply:
            sock.sendto(reply, peer)


# ---- redis --------------------------------------------------------------------


class Redis(socketserver.StreamRequestHandler):
    """Answers a command by the bytes that follow its name; real commands are for the real one."""

    def read_command(self):
        head = self.rfile.readline()
        if not head:
            return None
        args = []
        for _ in range(int(head[1:])):
            length = int(self.rfile.readline()[1:])
            args.append(self.rfile.read(length + 2)[:-2])
        return args

    def handle(self):
        try:
            while True:
                args = self.read_command()
                if args is None:
                    break
                say("command", *[a.decode("latin-1") for a in args])
                if not self.obey(*args):
                    break
        except OSError:
            pass
        say("ended")

    def obey(self, name, *args):
        name = name.upper()
        if name == b"RAW":  # these bytes are the reply
            self.wfile.write(args[0])
        elif name == b"CUT":  # and then the end
            self.wfile.write(args[0])
            return False
        elif name == b"HELLO" and args[0] == b"9":
            self.wfile.write(b"-NOPROTO unsupported protocol version\r\n")
        elif name == b"AUTH" and args[-1] != b"secret":
            self.wfile.write(b"-WRONGPASS invalid username-password pair\r\n")
        elif name != b"MUTE":
            self.wfile.write(b"+OK\r\n")
        return True


# ---- main ---------------------------------------------------------------------


# ---- chaos --------------------------------------------------------------------


class Chaos(socketserver.BaseRequestHandler):
    """What a backend can do to us, whatever it was asked."""

    def handle(self):
        try:
            getattr(self, "do_" + self.server.what)()
        except OSError:
            pass

    def until_gone(self):
        while self.request.recv(65536):
            pass

    def do_hang(self):
        self.until_gone()

    def do_reset(self):
        """After a little of what it was sent."""
        self.request.recv(1)
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def do_end(self):
        self.request.recv(65536)

    def do_garbage(self):
        self.request.recv(1)
        self.request.sendall(bytes(range(255, -1, -1)) * 16)
        self.until_gone()

    def do_dribble(self):
        while True:
            self.request.sendall(b"1")
            time.sleep(0.02)

    def do_flood(self):
        while True:
            self.request.sendall(b"HTTP/1.1 200 OK\r\n" + b"x" * 65536)


def serve_chaos():
    for what in [name[3:] for name in dir(Chaos) if name.startswith("do_")]:
        server = Server(("127.0.0.1", 0), Chaos)
        server.what = what
        threading.Thread(target=server.serve_forever, daemon=True).start()
        say(what, server.server_address[1])
    say("port", 0)
    threading.Event().wait()


# ---- mqtt ---------------------------------------------------------------------


class Mqtt:
    """Follows a script, one connection after the other: "accept", "read" (a packet, which it
    prints), "write HEX", "end" (with a reset), "hold" (says "holding" and waits until the client goes)."""

    def __init__(self, path):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.server_address = self.listener.getsockname()
        with open(path) as lines:
            self.script = [line.split() for line in lines]
        self.peer = None

    def serve_forever(self, poll_interval):
        for word, *rest in self.script:
            getattr(self, "do_" + word)(*rest)
        say("script over")
        threading.Event().wait()

    def do_accept(self):
        self.peer = self.listener.accept()[0]
        say("accepted")

    def take(self, count):
        data = b""
        while len(data) < count:
            more = self.peer.recv(count - len(data))
            if not more:
                break
            data += more
        return data

    def do_read(self):
        head = self.take(1)
        length, shift = 0, 0
        while head:
            digit = self.take(1)
            head += digit
            length |= (digit[0] & 127) << shift
            shift += 7
            if digit[0] < 128:
                break
        say("packet", (head + self.take(length)).hex() or "none")

    def do_write(self, data):
        self.peer.sendall(bytes.fromhex(data))

    def do_end(self):
        self.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.peer.close()

    def do_hold(self):
        say("holding")
        try:
            while self.peer.recv(65536):
                pass
        except OSError:
            pass
        self.peer.close()


def tls_context(cert, key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context


def make(mode, args):
    if mode == "talk" and args:
        return UnixServer(args[1], Talk)
    if mode == "talk" or mode == "tls":
        server = Server(("127.0.0.1", 0), Talk)
        if mode == "tls":
            server.context = tls_context(*args)
        return server
    if mode == "http-unix":
        return UnixServer(args[0], Web)
    if mode == "mqtt":
        return Mqtt(*args)
    if mode == "redis":
        return Server(("127.0.0.1", 0), Redis)
    server = WebServer(("127.0.0.1", 0), Web)
    if args:
        server.socket = tls_context(*args).wrap_socket(server.socket, server_side=True)
    return server


def main(mode, *args):
    def until_input_ends():
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=until_input_ends, daemon=True).start()
    if mode == "dns":
        serve_dns()
    if mode == "chaos":
        serve_chaos()
    server = make(mode, args)
    address = server.server_address
    say("port", address[1] if isinstance(address, tuple) else 0)
    server.serve_forever(poll_interval=0.05)


main(*sys.argv[1:])
