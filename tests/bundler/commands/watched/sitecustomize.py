"""With this folder on PYTHONPATH, a Python process and its children are refused whoever is beyond this machine.

Whom they wanted to speak to is written down in the file $WATCHED_LOG.
"""

import os
import sys

HERE = ("localhost", "127.0.0.1", "::1", "", None)
ASKS = ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")


def watch(event, arguments):
    if event not in ASKS:
        return
    address = arguments[1] if event in ASKS[:2] else arguments[0]
    host = address[0] if isinstance(address, tuple) else address if event in ASKS[2:] else None  # None: a Unix socket
    if (host.decode() if isinstance(host, bytes) else host) not in HERE:
        with open(os.environ["WATCHED_LOG"], "a") as log:
            log.write(f"{event} {address}\n")
        raise OSError(f"{event} {address}: refused, this process is watched")


sys.addaudithook(watch)
