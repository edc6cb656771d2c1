"""fakeredis as a server of its own, on the port that the command line names."""

from __future__ import annotations

import sys

from fakeredis import TcpFakeServer

from servers.process import HOST

TcpFakeServer((HOST, int(sys.argv[1]))).serve_forever()
