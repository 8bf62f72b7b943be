"""A role that does nothing: what the interpreter and the libraries of all roles take.

Run as `python -m tests.e2e.bench.empty_role SOCKET`.
"""

from __future__ import annotations

import asyncio
import os
import sys

import grpc.aio
import structlog
from prometheus_client import CollectorRegistry


async def serve(socket: str) -> None:
    """Serve nothing on a unix socket; tell the process id when that has begun."""
    CollectorRegistry()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    server = grpc.aio.server()
    server.add_insecure_port(f"unix://{socket}")
    await server.start()
    structlog.get_logger().info("serving")
    print(os.getpid(), flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
