"""Runs one emulator for as long as the process that started it lives.

    python emulator.py ministack
    python emulator.py localstripe <port>

The standard input is a pipe whose other end the supervisor holds. When it closes, for whatever reason (a kill -9 among
them), this process ends its whole process group: itself, and the Lambda functions that the emulator started.
"""

import os
import signal
import sys
import threading
import time

# Time for the emulator to end by itself, before it is killed.
GRACE_SECONDS = 3


def end_group_when_stdin_closes():
    while os.read(0, 4096):
        pass
    os.killpg(0, signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os.killpg(0, signal.SIGKILL)


def ministack():
    # Imported before its own first use: hypercorn otherwise sees the arguments of this script.
    sys.argv = ["ministack"]
    from ministack.app import main

    main()


def localstripe(port):
    from aiohttp import web
    from localstripe import resources, server

    # It writes every change to a file in /tmp, the same for all that run on a machine, and reads it at the next start.
    # The orders of a stack live as long as the emulators, and so do the payments.
    resources.Store.dump_to_disk = lambda store: None
    # Its own start() listens on every address of the machine, and only where there is IPv6.
    web.run_app(server.app, host="127.0.0.1", port=port, print=None)


if __name__ == "__main__":
    threading.Thread(target=end_group_when_stdin_closes, daemon=True).start()
    if sys.argv[1] == "ministack":
        ministack()
    else:
        localstripe(int(sys.argv[2]))
