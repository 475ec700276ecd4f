"""Runs moto's S3 on a free port of the loopback interface, prints the port, and ends with its standard input.

An argument turns the checks of credentials on after that many requests.
"""

import logging
import os
import sys

if len(sys.argv) > 1:
    os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = sys.argv[1]

from moto.server import ThreadedMotoServer  # noqa: E402

logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
server.stop()
