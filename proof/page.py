"""Writes docs/proof.md from the raw results, and from nothing else that a run could change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from benchmarks.__main__ import BARE, IDLE_MB_LIMIT, PACED_LIMIT, START_S_LIMIT, UNARY_LIMIT
from benchmarks.load import Reading
from benchmarks.measure import Result, Sample, summarise
from benchmarks.peers import DIRECT, OURS, OURS_HTTP, PEERS
from proof.peers import FAULT_PEERS, FAULTS, SCENARIOS
from proof.raw import PARTS, Part
from proof.records import CALLERS, Outcome
from tests.faults.failover import BASELINE, BASELINE_SUFFIX, CATALOGUE, CONFIGURATION
from tests.faults.record import Record

VERDICTS: Final = ("pass", "partial", "safe", "fail")
SHAPES: Final = {"unary": "unary call", "paced": "paced event", "burst": "event in a burst"}

HEAD: Final = """\
# Proof

<!-- Written from docs/proof/*.json by `make proof`; do not edit. -->

What this server promises when a provider misbehaves, and what it costs, as one command measured it. The raw results are beside this page,
in [`proof/`](proof/); what failed is shown as failing, in bold.

"""

FAULTS_TEXT: Final = """\
## When a provider breaks

A stand-in provider that speaks OpenAI's Chat Completions breaks on purpose, over real sockets, and a caller asks for a stream of its
answer through the server: over gRPC, over `/proxy` as Loom's own callers do, and over `/proxy` with `Loom-Events: extended`. There is no
other target. A cell says whether what the caller got is exactly what is right, down to the events and the number of attempts, and how
long it took; for callers that went away, how long the provider's connection stayed open (at most 50 ms; caller, server and provider share
a process here). The provider stalls for ever; a stall ends after the limit of {stall_s:g} s for silence in mid-stream, `timeouts.idle_s`.
"""

PEERS_TEXT: Final = """\
Beside other gateways, which we measured in November 2026 with the same faults, each through its OpenAI endpoint, with up to two retries
and a limit of about 6 s; the provider stalled for 12 s. Bold is what a caller or a provider has to suffer for. The peers were not
measured anew for this page, and newer versions may do better.
"""

FAILOVER_TEXT: Final = """\
## When a target of a route breaks

The sixteen scenarios of [failoverbench](https://github.com/failoverbench/failoverbench), methodology v0.1, with its times, checks and
scoring in our own code. **pass**: the caller gets the whole answer (in S13 the error) and every check holds; **partial**: a check that
only advises does not; **safe**: a clean error in time; **fail**: a hang, a part of an answer that passes for the whole, or any other
check. A cell has the verdict, how often the first target and the fallback were asked, and how long the call took.

All scenarios meet the same configuration, and only the names of the two models differ. What is not in it is as it is by default, so up to
two retries:

```yaml
{configuration}```

`first_token_s` and `idle_s` are 10 s instead of the 30 s that failoverbench gives everybody, as in its own reference client. `wait_s`
makes S01 a wait instead of a failover; `context_tokens` lets S12 go to the model that can take more. Over gRPC callers take restarts
(metadata `loom-events: restarted`), as do those of extended `/proxy`; callers of plain `/proxy` and of Chat Completions cannot, and
`hold_back` saves S08, S09, S10 and S14 for them, at a price: such a caller sees the first word after the first 128 tokens or after 20 s.
"""

SCORES_TEXT: Final = """\
Beside what failoverbench published on 2026-09-12 of others, which it ran itself, with a budget of up to two retries, 30 s of silence and
one fallback for everybody, else mostly as they come (its notes say what is not). The rows of ours with the most in common with those are
the baseline's, which have that budget and nothing else:

```yaml
{configuration}```
"""

LLMOCK_TEXT: Final = """\
## When somebody else's provider judges

[LLMock](https://pypi.org/project/llmock/) is a provider that nobody here wrote. It speaks OpenAI's, Anthropic's and Gemini's formats,
breaks as it is told, and judges how its client took that: retries that come too soon or too often, broken streams that are taken for
whole ones, connections that are kept. A cell counts the faults, each in all three formats, after which the caller got what is right;
clean means that LLMock counted the right attempts, too, and that its strict verdict finds nothing to blame, neither an error nor a
warning.
"""

RECORDS_TEXT: Final = """\
## When everything around the records is killed

{callers} callers make calls through a server with two workers, over gRPC and HTTP, whole and streamed, with a key and under limits and a
budget that are counted in Redis; a call that fails is made again, as another call. The server records each call and publishes the records
to RabbitMQ, and an auditor takes them into PostgreSQL. Meanwhile each of these is ended by SIGKILL, with all of its processes, and started
again, at moments and for spans that chance chooses, so that several may be away at once. A call is answered when its caller has the whole
answer. In the end the callers' lists are held against the database.
"""

SPEED_TEXT: Final = """\
## What it costs

CPU time of the server's processes as the operating system counts it, with 32 callers and a stand-in provider in processes of their own;
medians. A paced event comes alone, one every 20 ms in each of 32 streams; in a burst the provider sends all at once. The bare handler is
a `grpc.aio` method that answers from memory. Look at the ratios: machines differ, and so do their minutes.
"""

END: Final = """\
## Run it yourself

```
make proof                               # everything; about twenty minutes, and more where other gateways are installed
make proof ARGS="--quick"                # waits twenty times shorter, into build/proof.md
make proof ARGS="--only faults,failover" # some of it anew
make bench-peers                         # installs other gateways and measures them; `make proof` does from then on
```

It needs nothing from the network but PyPI, to set itself up, and for the records PostgreSQL, RabbitMQ and Redis on the machine. The tests
run the same code: `tests/faults/` asserts on each of these results, and `tests/proof/` on a run of the records with 300 calls.

## What this does not prove

- The providers are stand-ins. That real ones fail in these ways is known from their users' reports; that they fail in no other is not.
- One call for each scenario, and one machine. The network between callers, server and provider is the loopback interface, without loss or
  delay.
- The scenarios and the fault table were run by the server's authors. failoverbench itself, which asks over `/v1/chat/completions`, has not
  run this server; the scoring above is our reading of its code, without the checks that it only notes down.
- The configuration was written for the scenarios, once for all of them, by people who knew them.
- Mid-stream failover needs a caller that can begin anew, or the patience of `hold_back`. A plain stream that breaks after more than was
  held back ends in an error: the cell would be `safe`, not `pass`.
- An answer that begins anew is another answer, by another model; nothing is continued. Both are paid for.
- LLMock's verdict is on calls without routes. With a route it now and then takes the next target's attempt for a stream that was read on,
  since the route is faster than LLMock notices that the first stream was left; `tests/faults/test_llmock.py` says how that is told apart.
- Breakers and retry budgets are each process's own.
- SIGKILL ends processes, not the machine: what they had handed to the operating system is kept. What a power failure takes with it is
  another matter, in which the spool may lose its last records.
- Speed says nothing of quality under other loads, larger prompts or other machines, and peers were measured with as little switched on as
  they allow, which is not how most run them.
"""


def page(parts: Mapping[str, Part]) -> str:
    """Writes the page of the parts that there are; the others are named as not run."""
    sections = [SECTIONS[name](parts[name]) if name in parts else NOT_RUN[name] for name in PARTS]
    return "\n".join([HEAD + _summary(parts), *sections, END])


def _summary(parts: Mapping[str, Part]) -> str:
    rows = [(TITLES[name], SUMMARIES[name](parts[name]) if name in parts else "not run") for name in PARTS]
    return _table(["", "result"], rows)


def _counts(part: Part) -> str:
    good = sum(record.ok for record in part.records)
    return _bold(f"{good} of {len(part.records)} as they should be", good < len(part.records))


def _scenario_counts(part: Part) -> str:
    records = _tuned(part)
    passed = Counter(record.over for record in records if record.ok)
    overs = dict.fromkeys(record.over for record in records)
    counts = [_bold(f"{passed[over]} of {len(CATALOGUE)} over {over}", passed[over] < len(CATALOGUE)) for over in overs]
    return ", ".join(counts)


def _bench_summary(part: Part) -> str:
    rows = _limits(part)
    missed = sum(value > limit for _, value, limit in rows)
    return _bold(f"{len(rows) - missed} of {len(rows)} limits met", missed > 0)


def _peers_summary(part: Part) -> str:
    measured = _results(part)
    ratios = [
        f"{measured[OURS_HTTP, 'unary'].cpu_us / measured[name, 'unary'].cpu_us:.2f} of {name}'s"
        for name in PEERS
        if (name, "unary") in measured
    ]
    return "CPU of a unary call over `/proxy`: " + ", ".join(ratios)


def _faults(part: Part) -> str:
    rows = list(_by_case(part.records, _took))
    sections = [
        FAULTS_TEXT.format(stall_s=part.settings["stall_s"]),
        _measured(part),
        _table(["fault", "what is right", *_overs(part.records)], rows),
        PEERS_TEXT,
        _table(["fault", "loom-grpc", *FAULT_PEERS], list(_beside_peers(part.records))),
    ]
    return "\n".join(sections)


def _took(record: Record) -> str:
    took = f"{record.seconds * 1000:.1f} ms" if record.seconds < 0.1 else f"{record.seconds:.2f} s"
    return f"yes, {took}" if record.ok else f"**no**: {record.outcome}, {took}"


def _beside_peers(records: Sequence[Record]) -> Iterable[Sequence[str]]:
    for case, cells in FAULTS.items():
        wrong = [record.over for record in records if record.case == case and not record.ok]
        yield [case, "**not over " + ", ".join(wrong) + "**" if wrong else "yes", *cells]


def _failover(part: Part) -> str:
    rows = []
    for case, right, *cells in _by_case(_tuned(part), _verdict):
        rows.append([f"**{case}** {CATALOGUE[case].title}", right, *cells])
    scale = part.settings["scale"]
    shorter = f"\nAll times but Retry-After were made {1 / scale:g} times shorter for this run.\n" if scale != 1 else ""
    sections = [
        FAILOVER_TEXT.format(configuration=CONFIGURATION.read_text(encoding="utf-8")),
        _measured(part) + shorter,
        _table(["what goes wrong", "what is right", *_overs(_tuned(part))], rows),
        SCORES_TEXT.format(configuration=BASELINE.read_text(encoding="utf-8")),
        _table(["", *VERDICTS, "not passed"], list(_scores(part.records))),
    ]
    return "\n".join(sections)


def _tuned(part: Part) -> list[Record]:
    """Returns the records that were not made with the baseline."""
    return [record for record in part.records if not record.over.endswith(BASELINE_SUFFIX)]


def _verdict(record: Record) -> str:
    models = Counter(attempt.rsplit(" ", 1)[-1] for attempt in record.attempts)
    first = models[f"fb-{record.case.lower()}"]
    asked = f"{first}+{models.total() - first}, {record.seconds:.1f} s"
    if CATALOGUE[record.case].calls > 1:
        asked += f"; {record.outcome}"
    return f"{record.verdict}, {asked}" if record.ok else f"**{record.verdict}**: {record.detail}, {asked}"


def _scores(records: Sequence[Record]) -> Iterable[Sequence[str]]:
    for over in dict.fromkeys(record.over for record in records):
        verdicts = Counter(record.verdict for record in records if record.over == over)
        lost = [f"{record.case} {record.verdict}" for record in records if record.over == over and not record.ok]
        yield [f"loom-grpc, {over}", *(str(verdicts[verdict]) for verdict in VERDICTS), ", ".join(lost)]
    for name, counts in SCENARIOS.items():
        yield [name, *map(str, counts), ""]


def _llmock(part: Part) -> str:
    rows = list(_by_case(part.records, _judged))
    return "\n".join([LLMOCK_TEXT, _measured(part), _table(["faults", "what is right", *_overs(part.records)], rows)])


def _judged(record: Record) -> str:
    if record.ok:
        return record.outcome.removesuffix(", 0 findings") + ", clean"
    return f"**{record.outcome}**"


def _records_summary(part: Part) -> str:
    found = part.results
    lost = f"{found['answered']:,} answered calls, {found['missing']} without a record, {found['double']} with two"
    return _bold(lost, not _is_right(part))


def _is_right(part: Part) -> bool:
    return Outcome(**part.results).is_right


def _records(part: Part) -> str:
    found, plan = Outcome(**part.results), part.settings
    servers = ", ".join(f"{name} {version}" for name, version in found.servers.items())
    kills = ", ".join(f"{name} {times} times" for name, times in found.killed.items())
    failures = ", ".join(f"{words} {times:,}" for words, times in found.failed.items())
    rows = [
        ["calls that were to be answered, and were", f"{found.wanted:,}, {found.answered:,}"],
        ["killed", kills],
        ["**answered calls without a record**", _bold(f"{found.missing}", found.missing > 0)],
        ["**calls with more than one record**, answered or not", _bold(f"{found.double}", found.double > 0)],
        ["records of calls that nobody made", _bold(f"{found.unknown}", found.unknown > 0)],
        [
            "what was spent, less the sum of the records",
            _bold(f"{found.unbalanced} nano-dollars", found.unbalanced != 0),
        ],
        ["calls with a valid key that were told that it is not", _bold(f"{found.refused}", found.refused > 0)],
        ["left in the spool, in the queue, among the dead letters", f"{found.spooled}, {found.queued}, {found.dead}"],
        ["failures in the logs that nobody had foreseen", _bold(f"{found.crashes}", found.crashes > 0)],
        ["records of calls whose answers did not arrive", f"{found.records - found.answered:,}"],
        ["calls without a whole answer, by what callers were told", failures],
        ["the most records that waited in the spool at once", f"{found.most_spooled:,}"],
        ["the calls took", f"{found.calls_s:.0f} s"],
        ["from the last answer until all records had arrived", f"{found.drained_s:.1f} s"],
    ]
    return "\n".join(
        [
            RECORDS_TEXT.format(callers=CALLERS),
            _measured(part),
            f"{servers}; seed {plan['seed']}, away for at most {plan['longest_down_s']:g} s and the time to start.\n",
            _table(["", "result"], rows),
        ]
    )


def _bench(part: Part) -> str:
    results, servers = _results(part), {server["name"]: server for server in part.results["servers"]}
    rows = [[target, *_costs(results, target, BARE)] for target in dict.fromkeys(target for target, _ in results)]
    weights = [
        [name, f"{server['idle_mb']:.0f} MB", f"{_loaded_mb(results, name):.0f} MB", f"{server['start_s']:.2f} s"]
        for name, server in servers.items()
    ]
    limits = [
        [title, f"{value:.2f}", f"{limit:g}", "yes" if value <= limit else "**no**"]
        for title, value, limit in _limits(part)
    ]
    sections = [
        SPEED_TEXT,
        "### Beside a bare handler\n",
        _measured(part),
        _table(["CPU of the server", *_shape_columns("bare")], rows),
        _table(["server", "idle", "after the load", "start to serving"], weights),
        _table(["limit", "measured", "at most", "met"], limits),
    ]
    return "\n".join(sections)


def _limits(part: Part) -> list[tuple[str, float, float]]:
    """Lists what is promised: its name, what was measured, and the most that it may be."""
    results = _results(part)
    rows = []
    for server in part.results["servers"]:
        name = server["name"]
        for shape, limit in (("unary", UNARY_LIMIT), ("paced", PACED_LIMIT)):
            ours, bare = results.get((f"{name} gRPC", shape)), results.get((BARE, shape))
            if ours and bare:
                rows.append((f"{name}, {SHAPES[shape]} over gRPC, x bare", ours.cpu_us / bare.cpu_us, limit))
        rows.append((f"{name}, idle MB", server["idle_mb"], IDLE_MB_LIMIT))
        rows.append((f"{name}, start s", server["start_s"], START_S_LIMIT))
    return rows


def _peers(part: Part) -> str:
    results = _results(part)
    targets = [target for target in dict.fromkeys(target for target, _ in results) if target != DIRECT]
    servers = {server["name"]: server for server in part.results["servers"]}
    rows = [[_versioned(target), *_costs(results, target, OURS)] for target in targets]
    weights = [
        [
            _versioned(name),
            f"{server['idle_mb']:.0f} MB",
            f"{_loaded_mb(results, name):.0f} MB",
            f"{server['start_s']:.2f} s",
        ]
        for name, server in servers.items()
    ]
    sections = [
        "### Beside other gateways\n\nEach behind the same stand-in, asked through its OpenAI endpoint; ours with log and metrics.\n",
        _measured(part),
        _table(["CPU of the server", *_shape_columns("loom over gRPC")], rows),
        _table(["one caller alone adds", "p50", "p99", "first token, p50"], list(_delays(results, targets))),
        _table(["server", "idle", "after the load", "start to serving"], weights),
    ]
    if absent := [name for name in PEERS if name not in servers]:
        sections.append(f"Not installed, so not measured: {', '.join(absent)}.\n")
    return "\n".join(sections)


def _delays(results: Mapping[tuple[str, str], Result], targets: Sequence[str]) -> Iterable[Sequence[str]]:
    call, stream = results[DIRECT, "alone"], results[DIRECT, "alone_stream"]
    for target in targets:
        own, own_stream = results[target, "alone"], results[target, "alone_stream"]
        added = (own.p50_ms - call.p50_ms, own.p99_ms - call.p99_ms, own_stream.first_token_ms - stream.first_token_ms)
        yield [_versioned(target), *(f"{value:.2f} ms" for value in added)]


def _versioned(name: str) -> str:
    """Adds a peer's version to its name."""
    return PEERS[name].requirement.replace("==", " ").replace("[proxy]", "") if name in PEERS else name


def _costs(results: Mapping[tuple[str, str], Result], target: str, beside: str) -> list[str]:
    """Returns CPU microseconds and the ratio for each shape, and how many calls failed."""
    cells = []
    for shape in SHAPES:
        own, base = results.get((target, shape)), results.get((beside, shape))
        cells += [f"{own.cpu_us:.1f} µs", f"{own.cpu_us / base.cpu_us:.2f}"] if own and base else ["", ""]
    failed = sum(result.failures for (name, _), result in results.items() if name == target)
    return [*cells, str(failed) if not failed else f"**{failed}**"]


def _shape_columns(beside: str) -> list[str]:
    return [cell for title in SHAPES.values() for cell in (title, f"x {beside}")] + ["failed calls"]


def _loaded_mb(results: Mapping[tuple[str, str], Result], server: str) -> float:
    """Returns the most memory of a server in any of its loads."""
    return max(result.memory_mb for (target, _), result in results.items() if target.startswith(server))


def _results(part: Part) -> dict[tuple[str, str], Result]:
    samples = part.results["samples"]
    return summarise([Sample(**sample | {"reading": Reading(**sample["reading"])}) for sample in samples])


def _by_case(records: Sequence[Record], cell: Callable[[Record], str]) -> Iterable[list[str]]:
    """Lays records out, a row for each case and a column for each way in."""
    overs = dict.fromkeys(record.over for record in records)
    for case in dict.fromkeys(record.case for record in records):
        found = {record.over: record for record in records if record.case == case}
        expected = next(iter(found.values())).expected
        yield [case, expected, *(cell(found[over]) if over in found else "" for over in overs)]


def _overs(records: Sequence[Record]) -> list[str]:
    return [f"`{over}`" if over.startswith("/") else over for over in dict.fromkeys(record.over for record in records)]


def _measured(part: Part) -> str:
    said = part.about
    return f"Measured on {said['date']} at commit {said['commit']}: {said['machine']}; {said['versions']}.\n"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Writes a table without padding, since some cells are long."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _bold(text: str, is_bold: bool) -> str:
    return f"**{text}**" if is_bold else text


TITLES: Final = {
    "faults": "a provider breaks",
    "failover": "a target of a route breaks",
    "llmock": "somebody else's provider judges",
    "records": "everything around the records is killed",
    "bench": "cost beside a bare handler",
    "peers": "cost beside other gateways",
}
SUMMARIES: Final[Mapping[str, Callable[[Part], str]]] = {
    "faults": _counts,
    "failover": _scenario_counts,
    "llmock": _counts,
    "records": _records_summary,
    "bench": _bench_summary,
    "peers": _peers_summary,
}
SECTIONS: Final[Mapping[str, Callable[[Part], str]]] = {
    "faults": _faults,
    "failover": _failover,
    "llmock": _llmock,
    "records": _records,
    "bench": _bench,
    "peers": _peers,
}
NOT_RUN: Final = {
    "faults": "## When a provider breaks\n\nNot run.\n",
    "failover": "## When a target of a route breaks\n\nNot run.\n",
    "llmock": "## When somebody else's provider judges\n\nNot run.\n",
    "records": "## When everything around the records is killed\n\nNot run.\n",
    "bench": "## What it costs\n\nNot run.\n",
    "peers": "### Beside other gateways\n\nNot run: no other gateway was installed (`make bench-peers` installs them).\n",
}
