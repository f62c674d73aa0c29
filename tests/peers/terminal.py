"""A pseudo terminal in front of a TCP port: for libraries that speak HDLC on serial devices."""

import contextlib
import os
import select
import socket
import threading
import tty

LOOK_S = 0.1


class Terminal:
    """`path` is the device; what is written there goes to the port, and back."""

    def __init__(self, host, port):
        self.near, self.far = os.openpty()
        tty.setraw(self.near)
        tty.setraw(self.far)
        self.path = os.ttyname(self.far)
        self.socket = socket.create_connection((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.closed = False
        self.carrier = threading.Thread(target=self._carry, daemon=True)
        self.carrier.start()

    def _carry(self):
        """Both ways, until either end is gone. The descriptors are closed here, where nobody else can wait on them."""
        with contextlib.suppress(OSError):
            while not self.closed:
                ready, _, _ = select.select([self.near, self.socket], [], [], LOOK_S)
                if self.near in ready:
                    self.socket.sendall(os.read(self.near, 4096))
                if self.socket in ready:
                    octets = self.socket.recv(4096)
                    if not octets:
                        break
                    while octets:
                        octets = octets[os.write(self.near, octets) :]
        self.socket.close()
        os.close(self.near)
        os.close(self.far)

    def close(self):
        self.closed = True
        self.carrier.join()
