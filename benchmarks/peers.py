"""Measures the server beside other gateways, all behind the same stand-in provider: `python -m benchmarks.peers [names]`.

Each peer is installed from PyPI into `benchmarks/.venvs/NAME` the first time, and is asked through its OpenAI endpoint; we are
asked over gRPC and through `/proxy`. Peers run with as little as they can be told to do: no database, no telemetry, no keys.
"""

from __future__ import annotations

import argparse
import dataclasses
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from benchmarks import loom
from benchmarks.__main__ import BARE, machine
from benchmarks.measure import SHAPES, Result, Target, measure_all, summarise, table, write_raw
from benchmarks.process import RESULTS, Process, free_port
from benchmarks.script import model_name

VENVS = Path(__file__).parent / ".venvs"
DIRECT = "straight to the provider"
OURS = "loom gRPC"
OURS_HTTP = "loom /proxy"

_LITELLM_CONFIG = """\
model_list:
  - model_name: "bench-*"
    litellm_params: {{model: "openai/bench-*", api_base: "http://127.0.0.1:{port}/v1", api_key: sk-bench}}
"""

_TENSORZERO_CONFIG = """\
[gateway]
observability.enabled = false
"""

_TENSORZERO_MODEL = """\
[models."{model}"]
routing = ["openai"]
[models."{model}".providers.openai]
type = "openai"
model_name = "{model}"
api_base = "http://127.0.0.1:{port}/v1/"
api_key_location = "none"
"""

# The gateway inside the wheel chooses its own port and says it only to the program that started it.
_TENSORZERO_SCRIPT = """\
import asyncio, sys, tensorzero

async def main(config):
    gateway = await tensorzero._start_http_gateway(
        config_file=config, clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=True
    )
    print("serves", gateway.base_url, flush=True)
    await asyncio.Event().wait()

asyncio.run(main(sys.argv[1]))
"""


def _litellm(stack: ExitStack, programs: Path, upstream_port: int) -> tuple[Process, Target]:
    config = RESULTS / "litellm.yaml"
    config.write_text(_LITELLM_CONFIG.format(port=upstream_port))
    port = free_port()
    # Without these two it asks the network for prices and refuses to serve without a key.
    environ = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"}
    command = [str(programs / "litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    process = stack.enter_context(Process("litellm", command, environ))
    process.wait_until_serving(port, "/health/readiness")
    return process, Target("litellm", "openai", port, "/v1/chat/completions", process=process)


def _smg(stack: ExitStack, programs: Path, upstream_port: int) -> tuple[Process, Target]:
    port = free_port()
    worker = f"http://127.0.0.1:{upstream_port}"
    command = [str(programs / "smg"), "launch", "--backend", "openai", "--worker-urls", worker, "--log-level", "warn"]
    metrics = ["--prometheus-host", "127.0.0.1", "--prometheus-port", str(free_port())]
    process = stack.enter_context(Process("smg", [*command, *metrics, "--host", "127.0.0.1", "--port", str(port)]))
    process.wait_until_serving(port, "/health")
    return process, Target("smg", "openai", port, "/v1/chat/completions", process=process)


def _tensorzero(stack: ExitStack, programs: Path, upstream_port: int) -> tuple[Process, Target]:
    models = {model_name(shape.chunks, shape.pace_ms) for shape in SHAPES.values()}
    config = RESULTS / "tensorzero.toml"
    tables = [_TENSORZERO_MODEL.format(model=model, port=upstream_port) for model in sorted(models)]
    config.write_text(_TENSORZERO_CONFIG + "".join(tables))
    command = [str(programs / "python"), "-c", _TENSORZERO_SCRIPT, str(config)]
    process = stack.enter_context(Process("tensorzero", command))
    port = int(process.wait_for_log(r"serves http://127\.0\.0\.1:(\d+)/"))
    path, prefix = "/openai/v1/chat/completions", "tensorzero::model_name::"
    return process, Target("tensorzero", "openai", port, path, prefix, process)


@dataclasses.dataclass(frozen=True)
class Peer:
    """A gateway: what pip installs, and what starts it."""

    requirement: str
    start: Callable[[ExitStack, Path, int], tuple[Process, Target]]
    """Takes what will stop it, the folder of its programs and the port of the stand-in provider."""
    aim: float
    """The most of its CPU that we want to use, as a factor."""


PEERS = {
    "litellm": Peer("litellm[proxy]==1.106.2", _litellm, aim=1 / 20),
    "smg": Peer("smg==1.13.0", _smg, aim=2),
    "tensorzero": Peer("tensorzero==2026.6.0", _tensorzero, aim=2),
}


def install(name: str, venvs: Path) -> Path:
    """Makes the peer's environment unless it is there, and returns the folder of its programs."""
    venv, requirement = venvs / name, PEERS[name].requirement
    stamp = venv / "installed"
    if not stamp.exists() or stamp.read_text() != requirement:
        print(f"installing {requirement}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)], check=True)
        subprocess.run([str(venv / "bin" / "pip"), "install", "--quiet", requirement], check=True)
        stamp.write_text(requirement)
    return (venv / "bin").absolute()


def _costs(targets: list[Target], results: dict[tuple[str, str], Result], shapes: list[str]) -> str:
    rows = []
    for target in targets:
        cells = [target.name]
        for shape in shapes:
            own, base = results[target.name, shape].cpu_us, results[OURS, shape].cpu_us
            cells += [f"{own:.1f}", f"{own / base:.2f}"]
        rows.append(cells)
    return table(["CPU of the server", *(f"{shape} {part}" for shape in shapes for part in ("us", "x loom"))], rows)


def _delays(targets: list[Target], results: dict[tuple[str, str], Result]) -> str:
    unary, stream = results[DIRECT, "alone"], results[DIRECT, "alone_stream"]
    rows = []
    for target in targets:
        own, own_stream = results[target.name, "alone"], results[target.name, "alone_stream"]
        added = (
            own.p50_ms - unary.p50_ms,
            own.p99_ms - unary.p99_ms,
            own_stream.first_token_ms - stream.first_token_ms,
        )
        failed = sum(result.failures for (name, _), result in results.items() if name == target.name)
        rows.append([target.name, *(f"{value:.2f}" for value in added), str(failed)])
    return table(["added for one caller, ms", "unary p50", "unary p99", "first token p50", "failed calls"], rows)


def _weights(servers: list[tuple[Process, float]]) -> str:
    (ours, our_idle_mb), *_ = servers
    rows = [
        (
            process.name,
            f"{idle_mb:.0f}",
            f"{idle_mb / our_idle_mb:.2f}",
            f"{process.memory_mb():.0f}",
            f"{process.start_s:.2f}",
            f"{process.start_s / ours.start_s:.2f}",
        )
        for process, idle_mb in servers
    ]
    return table(["server", "idle MB", "x loom", "MB after", "start s", "x loom"], rows)


def _aims(names: list[str], results: dict[tuple[str, str], Result], shapes: list[str]) -> str:
    rows = []
    for name in names:
        aim = PEERS[name].aim
        for shape in shapes:
            cells = [f"{name}, {shape}", f"{aim:g}"]
            for ours in (OURS, OURS_HTTP):
                ratio = results[ours, shape].cpu_us / results[name, shape].cpu_us
                cells += [f"{ratio:.3f}", "met" if ratio <= aim else "MISSED"]
            rows.append(cells)
    return table(["our CPU as a part of theirs", "at most", "gRPC", "", "/proxy", ""], rows)


def main() -> None:
    """Installs, starts and measures the peers and prints tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("names", nargs="*", default=list(PEERS), help=f"of {', '.join(PEERS)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--venvs", type=Path, default=VENVS, help="folder of the peers' environments")
    arguments = parser.parse_args()
    programs = {name: install(name, arguments.venvs) for name in arguments.names}
    with ExitStack() as stack:
        upstream, upstream_port = loom.start_module(stack, "upstream")
        bare, bare_port = loom.start_module(stack, "bare")
        ours, our_targets = loom.start(stack, "loom", upstream_port)
        started = [(ours, our_targets), *_start_all(stack, programs, upstream_port)]
        where = machine()
        servers = [(process, process.memory_mb()) for process, _ in started]
        floor = Target(BARE, "grpc", bare_port, process=bare)
        targets = [floor, *(target for _, ways_in in started for target in ways_in)]
        direct = Target(DIRECT, "openai", upstream_port, "/v1/chat/completions", process=upstream)
        samples = measure_all([direct, *targets], SHAPES, arguments.rounds)
        results = summarise(samples)
        raw = RESULTS / "peers.json"
        write_raw(raw, samples, [{"name": p.name, "idle_mb": mb, "start_s": p.start_s} for p, mb in servers])
        print(where)
        shapes = ["unary", "paced", "burst"]
        print(_costs(targets, results, shapes), _delays(targets, results), _weights(servers), sep="\n\n", end="\n\n")
        print(_aims(arguments.names, results, shapes), end="\n\n")
        print(f"raw samples: {raw}")


def _start_all(
    stack: ExitStack, programs: dict[str, Path], upstream_port: int
) -> Iterator[tuple[Process, list[Target]]]:
    for name, folder in programs.items():
        process, target = PEERS[name].start(stack, folder, upstream_port)
        yield process, [target]


if __name__ == "__main__":
    main()
