"""Ends TLS before a server that speaks none: `terminator.py CERTIFICATE KEY BACKEND_PORT`. Says its own port in a line."""

import socket
import ssl
import sys
import threading


def pump(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def serve(raw, context, backend):
    try:
        client = context.wrap_socket(raw, server_side=True)
    except (ssl.SSLError, OSError):
        return
    with client, socket.create_connection(("127.0.0.1", backend)) as server:
        back = threading.Thread(target=pump, args=(server, client), daemon=True)
        threading.Thread(target=pump, args=(client, server), daemon=True).start()
        back.start()
        back.join()


certificate, key, backend = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
with socket.create_server(("127.0.0.1", 0)) as listener:
    print(listener.getsockname()[1], flush=True)
    while True:
        raw, _ = listener.accept()
        threading.Thread(target=serve, args=(raw, context, int(backend)), daemon=True).start()
