#!/usr/bin/env python3
"""A stand-in for systemd as far as a service sees it: sockets by number (LISTEN_FDS), a socket to talk to
(NOTIFY_SOCKET, only the main process is heard), a watchdog.

    manager.py HEARD ADDRESS=NAME… -- COMMAND…

Every message goes to the file HEARD as one line: the main process's number, then the message with ` ` for line ends; `! PID …`
for one that is not heard. The main process becomes COMMAND; this one goes on as its parent until the main process of
the moment has ended.
"""
import os
import re
import socket
import struct
import sys

heard_path, *rest = sys.argv[1:]
split = rest.index("--")
wanted, command = rest[:split], rest[split + 1:]

sockets, names = [], []
for each in wanted:
    address, name = each.split("=")
    host, port = address.rsplit(":", 1)
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, int(port)))
    listener.listen(512)
    print(name, "%s:%d" % listener.getsockname(), flush=True)
    sockets.append(listener)
    names.append(name)

path = heard_path + ".socket"
ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
ear.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
ear.bind(path)

pid = os.fork()
if pid == 0:
    # Beyond the numbers that are passed, then into place: none overwrites another.
    beyond = [os.dup2(listener.fileno(), 100 + at) for at, listener in enumerate(sockets)]
    for at, number in enumerate(beyond):
        os.dup2(number, 3 + at, inheritable=True)
    environment = dict(
        os.environ,
        LISTEN_PID=str(os.getpid()),
        LISTEN_FDS=str(len(sockets)),
        LISTEN_FDNAMES=":".join(names),
        NOTIFY_SOCKET=path,
        WATCHDOG_USEC="4000000",
        WATCHDOG_PID=str(os.getpid()),
    )
    os.closerange(3 + len(sockets), 200)
    os.execvpe(command[0], command, environment)

for listener in sockets:
    listener.close()
main = pid
ear.settimeout(0.1)
with open(heard_path, "a", buffering=1) as heard:
    while True:
        try:
            message, beside, _, _ = ear.recvmsg(4096, 256)
            sender = struct.unpack("3i", beside[0][2])[0]
            text = message.decode().replace("\n", " ")
            heard.write(("%d %s\n" if sender == main else "! %d %s\n") % (sender, text))
            named = re.search(r"\bMAINPID=(\d+)", text)
            if named and sender == main:
                main = int(named[1])
        except TimeoutError:
            pass
        try:
            # The first is a child of ours; the others are looked for.
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            pass
        if not os.path.exists("/proc/%d" % main):
            break
