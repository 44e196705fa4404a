"""A provider that keeps its own count: of every answer it notes how many tokens it has said that it took.

It speaks four wire formats under one address, `/openai`, `/anthropic`, `/gemini` and OpenAI's responses under `/modern`, and does what was
planned for each call, which is known by the words `call-NAME` in its prompt.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import orjson

from tests.stand_in import Connection, stand_in

PROMPT_KINDS: Final = ("input", "cache_read", "cache_write", "cache_write_1h", "input_audio")
ANSWER_KINDS: Final = ("output", "reasoning", "output_audio")
LATE_S: Final = 0.3
"""How long an answer takes that is late."""
_WORDS: Final = ("tea ", "sun ", "rivers ", "a ", "über ", "of ", "clockwork ")


class Sale(NamedTuple):
    """What one attempt took."""

    provider: str
    model: str
    is_guess: bool
    """Whether the attempt broke off before all was said, so that the rest is what anybody would guess of what went over the wire."""
    tokens: Mapping[str, int]
    """By their kinds, each token once."""


@dataclass
class Order:
    """A request, as far as it decides about the answer."""

    connection: Connection
    provider: str
    model: str
    name: str
    prompt: str
    chance: random.Random

    @property
    def body(self) -> Any:
        return self.connection.asked.json

    @property
    def is_stream(self) -> bool:
        return bool(self.body.get("stream")) or "streamGenerateContent" in self.connection.asked.path


@dataclass
class Till:
    """Who answers, and what was said."""

    url: str = ""
    plans: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    """What comes of the attempts of a call at a provider, in their order; the last one goes on for all that follow."""
    sales: dict[str, list[Sale]] = field(default_factory=dict)
    """By the names of the calls, in the order in which the attempts ended."""
    asked: Counter[str] = field(default_factory=Counter)
    """How many attempts there were of each call."""
    last: dict[str, str] = field(default_factory=dict)
    """The last word of an answer that stalls or pauses after it."""
    paused: dict[str, asyncio.Event] = field(default_factory=dict)
    """What answers that pause wait for."""
    news: asyncio.Event = field(default_factory=asyncio.Event)
    """Set, and replaced by another, when a request came."""

    def plan(self, name: str, **steps: str) -> None:
        """Says what comes of a call at each provider, in words with spaces between; what is not planned goes well."""
        self.plans |= {(name, provider): text.split() for provider, text in steps.items()}

    async def has(self, name: str, times: int = 1) -> None:
        """Waits until a call has come so often."""
        await self.until(lambda: self.asked[name] >= times)

    async def until(self, check: Callable[[], bool]) -> None:
        """Waits until something holds, which is looked at when a request has come, or at `tell`."""
        while not check():
            await self.news.wait()

    def tell(self) -> None:
        """Has those look who wait."""
        news, self.news = self.news, asyncio.Event()
        news.set()

    async def answer(self, connection: Connection) -> None:
        """Answers a request as it was planned; lists of models are empty."""
        if connection.asked.method == "GET":
            await _send(connection, {"data": [], "models": []})
            return
        order = self._read(connection)
        steps = self.plans.get((order.name, order.provider), ["well"])
        step = steps.pop(0) if len(steps) > 1 else steps[0]
        if step.isdigit():
            await _send(connection, {"error": {"message": "Not now."}}, int(step))
            return
        if step == "silent":
            await connection.closed.wait()
            self._note(order, {"input": _guess(order)}, is_guess=True)
            return
        if step == "late" and await _hung_up(connection, LATE_S):
            self._note(order, {"input": _guess(order)}, is_guess=True)
            return
        await getattr(self, f"_{order.provider}")(order, step)

    def _read(self, connection: Connection) -> Order:
        _, provider, *rest = connection.asked.path.split("/")
        body = connection.asked.json
        model = body.get("model") or rest[-1].partition(":")[0]
        prompt = _prompt(body)
        found = re.search(r"call-[\w-]+", prompt)
        assert found, body
        self.asked[found[0]] += 1
        self.tell()
        chance = random.Random(f"{found[0]} {self.asked[found[0]]}")  # noqa: S311 - the same in every run
        return Order(connection, provider, model, found[0], prompt, chance)

    def _note(self, order: Order, tokens: Mapping[str, int], *, is_guess: bool = False) -> None:
        sale = Sale(order.provider, order.model, is_guess, {kind: count for kind, count in tokens.items() if count})
        self.sales.setdefault(order.name, []).append(sale)

    async def _openai(self, order: Order, step: str) -> None:
        if order.connection.asked.path.endswith("/embeddings"):
            await self._vectors(order, step)
            return
        tokens = _some(order.chance, "input", "cache_read", "input_audio", "output", "reasoning", "output_audio")
        usage = {
            "prompt_tokens": tokens["input"] + tokens["cache_read"] + tokens["input_audio"],
            "completion_tokens": tokens["output"] + tokens["reasoning"] + tokens["output_audio"],
            "prompt_tokens_details": {"cached_tokens": tokens["cache_read"], "audio_tokens": tokens["input_audio"]},
            "completion_tokens_details": {
                "reasoning_tokens": tokens["reasoning"],
                "audio_tokens": tokens["output_audio"],
            },
        }
        head = {"id": "chatcmpl-1", "model": order.model, "object": "chat.completion.chunk"}
        if not order.is_stream:
            message = {"role": "assistant", "content": _text(order.chance)}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            await self._whole(order, step, {**head, "choices": [choice], "usage": usage}, tokens)
            return

        def piece(delta: Any, reason: str | None = None) -> str:
            return _event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})

        words = _pieces(order.chance)
        end = [piece({}, "stop"), _event({**head, "choices": [], "usage": usage}), "data: [DONE]\n\n"]
        fault = _event({"error": {"message": "The server is overloaded.", "type": "server_error"}})
        await self._stream(order, step, "", {word: piece({"content": word}) for word in words}, end, fault, {}, tokens)

    async def _modern(self, order: Order, step: str) -> None:
        if not order.connection.asked.path.endswith("/responses"):
            await self._openai(order, step)
            return
        tokens = _some(order.chance, "input", "cache_read", "output", "reasoning")
        usage = {
            "input_tokens": tokens["input"] + tokens["cache_read"],
            "input_tokens_details": {"cached_tokens": tokens["cache_read"]},
            "output_tokens": tokens["output"] + tokens["reasoning"],
            "output_tokens_details": {"reasoning_tokens": tokens["reasoning"]},
        }
        words = _pieces(order.chance)
        item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed"}
        content = [{"type": "output_text", "text": "".join(words), "annotations": []}]
        head = {"id": "resp_1", "object": "response", "created_at": 1, "model": order.model}
        whole = {**head, "status": "completed", "output": [{**item, "content": content}], "usage": usage}
        if not order.is_stream:
            await self._whole(order, step, whole, tokens)
            return
        begin = _event({"type": "response.created", "response": {**head, "status": "in_progress", "output": []}})
        begin += _event({"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}})
        place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
        pieces = {word: _event({"type": "response.output_text.delta", **place, "delta": word}) for word in words}
        end = [
            _event({"type": "response.output_item.done", "output_index": 0, "item": {**item, "content": content}}),
            _event({"type": "response.completed", "response": whole}),
        ]
        failure = {"code": "server_error", "message": "Overloaded."}
        fault = _event({"type": "response.failed", "response": {**head, "status": "failed", "error": failure}})
        await self._stream(order, step, begin, pieces, end, fault, {}, tokens)

    async def _anthropic(self, order: Order, step: str) -> None:
        tokens = _some(order.chance, "input", "cache_read", "cache_write", "cache_write_1h", "output")
        known = {
            "input_tokens": tokens["input"],
            "cache_read_input_tokens": tokens["cache_read"],
            "cache_creation_input_tokens": tokens["cache_write"] + tokens["cache_write_1h"],
            "cache_creation": {
                "ephemeral_5m_input_tokens": tokens["cache_write"],
                "ephemeral_1h_input_tokens": tokens["cache_write_1h"],
            },
        }
        message = {"id": "msg_1", "type": "message", "role": "assistant", "model": order.model, "stop_reason": None}
        if not order.is_stream:
            content = [{"type": "text", "text": _text(order.chance)}]
            usage = {**known, "output_tokens": tokens["output"]}
            whole = {**message, "content": content, "stop_reason": "end_turn", "usage": usage}
            await self._whole(order, step, whole, tokens)
            return
        begin = _event({"type": "message_start", "message": {**message, "usage": {**known, "output_tokens": 1}}})
        begin += _event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
        pieces = {
            word: _event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}})
            for word in _pieces(order.chance)
        }
        ending = {"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": tokens["output"]}}
        end = [
            _event({"type": "content_block_stop", "index": 0}),
            _event({"type": "message_delta", **ending}),
            _event({"type": "message_stop"}),
        ]
        fault = _event({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
        said = {kind: tokens[kind] for kind in tokens if kind in PROMPT_KINDS} | {"output": 1}
        await self._stream(order, step, begin, pieces, end, fault, said, tokens)

    async def _gemini(self, order: Order, step: str) -> None:
        tokens = _some(order.chance, "input", "cache_read", "input_audio", "output", "reasoning")
        prompt = tokens["input"] + tokens["cache_read"] + tokens["input_audio"]
        details = [{"modality": "AUDIO", "tokenCount": tokens["input_audio"]}]
        known = {
            "promptTokenCount": prompt,
            "cachedContentTokenCount": tokens["cache_read"],
            "promptTokensDetails": details,
        }
        counts = {"candidatesTokenCount": tokens["output"], "thoughtsTokenCount": tokens["reasoning"]}

        def part(text: str, **more: Any) -> dict[str, Any]:
            candidate = {"content": {"role": "model", "parts": [{"text": text}]}, **more}
            return {"candidates": [candidate], "usageMetadata": known, "modelVersion": order.model}

        last = {**part("", finishReason="STOP"), "usageMetadata": {**known, **counts}}
        if not order.is_stream:
            whole = {**part(_text(order.chance), finishReason="STOP"), "usageMetadata": {**known, **counts}}
            await self._whole(order, step, whole, tokens)
            return
        pieces = {word: _event(part(word)) for word in _pieces(order.chance)}
        fault = _event({"error": {"code": 503, "message": "Overloaded", "status": "UNAVAILABLE"}})
        said = {kind: tokens[kind] for kind in tokens if kind in PROMPT_KINDS}
        await self._stream(order, step, "", pieces, [_event(last)], fault, said, tokens)

    async def _vectors(self, order: Order, step: str) -> None:
        inputs = order.body["input"]
        tokens = order.chance.randrange(1, 9000)
        rows = [{"index": index, "embedding": [0.5, 0.25]} for index in range(len(inputs))]
        guess = {"input": sum(map(_tokens, inputs))}
        await self._whole(
            order,
            step,
            {"model": order.model, "data": rows, "usage": {"prompt_tokens": tokens}},
            {"input": tokens},
            guess,
        )

    async def _whole(
        self, order: Order, step: str, body: Any, tokens: Mapping[str, int], guess: Mapping[str, int] | None = None
    ) -> None:
        """Sends a whole answer, or the beginning of one, in which no number of tokens is yet."""
        if step != "cut":
            self._note(order, tokens)
            await _send(order.connection, body)
            return
        self._note(order, guess or {"input": _guess(order)}, is_guess=True)
        await order.connection.head(content_type="application/json")
        await order.connection.send(b'{"id": "')
        order.connection.cut()

    async def _stream(
        self,
        order: Order,
        step: str,
        begin: str,
        pieces: Mapping[str, str],
        end: list[str],
        fault: str,
        said: Mapping[str, int],
        tokens: Mapping[str, int],
    ) -> None:
        """Sends a stream to its end, or half of it; `said` is what had been said of the tokens before the end."""
        connection = order.connection
        await connection.head()
        if step in ("well", "late"):
            self._note(order, tokens)
            await connection.send(begin + "".join(pieces.values()) + "".join(end))
            await connection.end()
            return
        words = list(pieces)[: len(pieces) // 2]
        self.last[order.name] = words[-1].partition("-")[0] + "-"
        await connection.send(begin)
        for word in words:
            await connection.send(pieces[word])
        if step == "pause":
            await self.paused.setdefault(order.name, asyncio.Event()).wait()
            self._note(order, tokens)
            await connection.send("".join([*list(pieces.values())[len(words) :], *end]))
            await connection.end()
            return
        guessed = {"output": max(said.get("output", 0), _tokens("".join(words)))}
        prompt = {kind: count for kind, count in said.items() if kind in PROMPT_KINDS} or {"input": _guess(order)}
        self._note(order, prompt | guessed, is_guess=True)
        if step == "fault":
            await connection.send(fault)
            await connection.end()
        elif step == "cut":
            connection.cut()
        else:
            await connection.closed.wait()


def _some(chance: random.Random, *kinds: str) -> dict[str, int]:
    return {kind: chance.randrange(20_000) for kind in kinds}


def _pieces(chance: random.Random) -> list[str]:
    """Makes the words of an answer, which begin with their numbers."""
    return [f"w{number}-{chance.choice(_WORDS)}" for number in range(chance.randrange(4, 30))]


def _text(chance: random.Random) -> str:
    return "".join(_pieces(chance))


def _tokens(text: str) -> int:
    """Guesses as the documentation says: a token for four bytes."""
    return -(-len(text.encode()) // 4)


def _guess(order: Order) -> int:
    """Guesses a prompt of one message, which counts four tokens more."""
    return 4 + _tokens(order.prompt)


def _prompt(body: Any) -> str:
    """Returns the text of the prompt in any of the formats."""
    if "input" in body:
        first = body["input"] if isinstance(body["input"], str) else body["input"][0]
        return first if isinstance(first, str) else str(first["content"])
    if "contents" in body:
        return str(body["contents"][0]["parts"][0]["text"])
    content = body["messages"][0]["content"]
    return content if isinstance(content, str) else str(content[0]["text"])


def _event(value: Any) -> str:
    name = f"event: {value['type']}\n" if "type" in value else ""
    return f"{name}data: {orjson.dumps(value).decode()}\n\n"


async def _hung_up(connection: Connection, within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            await connection.closed.wait()
    except TimeoutError:
        return False
    return True


async def _send(connection: Connection, body: Any, status: int = 200) -> None:
    await connection.head(status, "application/json")
    await connection.send(orjson.dumps(body))
    await connection.end()


@asynccontextmanager
async def till() -> AsyncIterator[Till]:
    """Runs one on a free port of the loopback address."""
    found = Till()
    async with stand_in(found.answer) as upstream:
        found.url = upstream.url
        yield found
