"""Run command lines in one process, one after the other; a program: a JSON file of [[argument, …], …], and one to
write.

It gets, for each, the exit code and what watched/sitecustomize.py wrote down. A command that serves a page is
interrupted once it does.
"""

import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

from bundler.commands.cli import run


def interrupt_when_served(port):
    while socket.socket().connect_ex(("127.0.0.1", port)):
        time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    log = Path(os.environ["WATCHED_LOG"])
    results = []
    for arguments in json.loads(Path(sys.argv[1]).read_text()):
        log.write_text("")
        if "--port" in arguments:
            threading.Thread(
                target=interrupt_when_served, args=(int(arguments[arguments.index("--port") + 1]),), daemon=True
            ).start()
        print("$", *arguments, file=sys.stderr)
        results.append([run(arguments), log.read_text().splitlines()])
    Path(sys.argv[2]).write_text(json.dumps(results))
