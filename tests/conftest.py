"""Fixtures for every test."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import grpc.aio
import pytest
from hypothesis import settings

from tests.program import Server, served
from tests.rabbitmq_server import RabbitServer, rabbitmq_server
from tests.redis_server import RedisServer, redis_server

# How long an example takes says more of the machine than of the code; and a change is judged by the same examples everywhere, while
# `pytest --hypothesis-profile=search` looks for others.
settings.register_profile("search", deadline=None)
settings.register_profile("tests", deadline=None, derandomize=True)
settings.load_profile("tests")

# Every test has an event loop of its own. Without a hold on it, gRPC would stop its polling thread whenever the last server and channel
# of a test are collected, at any moment and on any thread, and grpcio 1.85 then now and again waits for that thread for ever.
grpc.aio.init_grpc_aio()


def pytest_collection_finish() -> None:
    """Takes ten thousand collected tests out of the garbage collector's way: to look at them all stops a server in this process for half a
    second, and a call waits a tenth of that for Redis."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def live_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One `loom-grpc serve` with the mock provider for all tests that only call it."""
    flags = ("--grpc-address", "127.0.0.1:0", "--http-address", "127.0.0.1:0")
    with served("serve", *flags, cwd=tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitServer]:
    """One RabbitMQ for all tests of the bus, which takes seconds to start; who kills it starts it again."""
    with rabbitmq_server() as server:
        yield server


@pytest.fixture(scope="module")
def running_redis() -> Iterator[RedisServer]:
    """A Redis for the tests of a module."""
    with redis_server() as server:
        yield server


@pytest.fixture
def redis(running_redis: RedisServer) -> RedisServer:
    """The same, running and empty."""
    running_redis.stop()
    running_redis.start()
    return running_redis
