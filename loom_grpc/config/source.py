"""Putting the configuration together from its sources, remembering who said what."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any, Final, NamedTuple, NoReturn, get_args, get_origin

from pydantic import JsonValue, ValidationError
from pydantic_core import ErrorDetails

from loom_grpc.config.check import problems_of, warnings_of
from loom_grpc.config.error import ConfigError, meant, nearest
from loom_grpc.config.file import read_yaml
from loom_grpc.config.schema import Accounts, Config, ProviderConfig
from loom_grpc.config.tree import (
    KeyPath,
    child,
    dotted,
    holds_secret,
    is_leaf,
    item_of,
    kind_of,
    leaves,
    names_headers,
    section_of,
    unnamed,
    where,
)

FLAGS: Final[dict[str, tuple[KeyPath, object]]] = {
    "--grpc-address": (("grpc", "address"), None),
    "--http-address": (("http", "address"), None),
    "--no-http": (("http", "enabled"), False),
    "--workers": (("workers",), None),
    "--log-level": (("log", "level"), None),
}
"""The key that each flag of the command line sets, and the value of a flag that takes none."""

VARIABLES: Final[dict[KeyPath, tuple[str, ...]]] = {
    ("default_provider",): ("LOOM_SERVER_LLM_PROVIDER",),
    ("providers", "anthropic", "api_key"): (
        "LOOM_SERVER_ANTHROPIC_API_KEY",
        "LOOM_SERVER_ANTHROPIC_API_KEY_FILE",
        "ANTHROPIC_API_KEY",
    ),
    ("providers", "anthropic", "base_url"): ("ANTHROPIC_BASE_URL",),
    ("providers", "anthropic", "default_model"): ("LOOM_SERVER_ANTHROPIC_MODEL", "ANTHROPIC_MODEL"),
    ("providers", "anthropic", "cooldown_s"): ("LOOM_SERVER_ANTHROPIC_POOL_COOLDOWN_SECS",),
    ("providers", "openai", "api_key"): (
        "LOOM_SERVER_OPENAI_API_KEY",
        "LOOM_SERVER_OPENAI_API_KEY_FILE",
        "OPENAI_API_KEY",
    ),
    ("providers", "openai", "base_url"): ("OPENAI_BASE_URL",),
    ("providers", "openai", "default_model"): ("LOOM_SERVER_OPENAI_MODEL", "OPENAI_MODEL"),
    ("providers", "openai", "organization"): (
        "LOOM_SERVER_OPENAI_ORGANIZATION",
        "OPENAI_ORGANIZATION",
        "OPENAI_ORG_ID",
    ),
    ("providers", "openai", "project"): ("OPENAI_PROJECT_ID",),
    ("providers", "vertex", "project"): ("LOOM_SERVER_VERTEX_PROJECT", "GOOGLE_CLOUD_PROJECT"),
    ("providers", "vertex", "location"): ("LOOM_SERVER_VERTEX_LOCATION", "GOOGLE_CLOUD_LOCATION"),
    ("providers", "vertex", "default_model"): ("LOOM_SERVER_VERTEX_MODEL",),
    ("providers", "gemini", "api_key"): (
        "LOOM_SERVER_GEMINI_API_KEY",
        "LOOM_SERVER_GEMINI_API_KEY_FILE",
        "GEMINI_API_KEY",
        "GOOGLE_API_KEY",
    ),
    ("providers", "gemini", "default_model"): ("LOOM_SERVER_GEMINI_MODEL", "GEMINI_MODEL"),
    ("providers", "zai", "api_key"): ("LOOM_SERVER_ZAI_API_KEY", "LOOM_SERVER_ZAI_API_KEY_FILE", "ZAI_API_KEY"),
    ("providers", "zai", "base_url"): ("ZAI_BASE_URL",),
    ("providers", "zai", "default_model"): ("LOOM_SERVER_ZAI_MODEL", "ZAI_MODEL"),
    ("providers", "ollama", "base_url"): ("OLLAMA_HOST",),
    ("credentials", "file"): ("LOOM_SERVER_ANTHROPIC_OAUTH_CREDENTIAL_FILE",),
    ("credentials", "encryption_key"): ("LOOM_ENCRYPTION_KEY", "LOOM_ENCRYPTION_KEY_FILE"),
    ("credentials", "refresh_interval_s"): ("LOOM_SERVER_ANTHROPIC_REFRESH_INTERVAL_SECS",),
    ("credentials", "refresh_before_s"): ("LOOM_SERVER_ANTHROPIC_REFRESH_THRESHOLD_SECS",),
    ("database", "url"): ("LOOM_DATABASE_URL", "LOOM_DATABASE_URL_FILE"),
    ("vault", "address"): ("VAULT_ADDR",),
    ("vault", "namespace"): ("VAULT_NAMESPACE",),
    ("vault", "token"): ("VAULT_TOKEN",),
    ("admin", "api_key"): ("LOOM_ADMIN_KEY", "LOOM_ADMIN_KEY_FILE"),
    ("telemetry", "otlp_endpoint"): ("OTEL_EXPORTER_OTLP_ENDPOINT",),
    ("telemetry", "service_name"): ("OTEL_SERVICE_NAME",),
}
"""Well-known environment variables, the first that is set winning; they fill only what nothing else has set."""

SWITCHES: Final[dict[str, tuple[str, ...]]] = {
    "anthropic": ("api_key",),
    "openai": ("api_key",),
    "vertex": ("project", "location"),
    "gemini": ("api_key",),
    "zai": ("api_key",),
    "ollama": ("base_url",),
}
"""The keys of a provider that switch it on when well-known variables give all of them."""

PREFIX: Final = "LOOM_"
_KNOWN: Final = {name for names in VARIABLES.values() for name in names}
# A Service that Kubernetes calls loom-... puts variables of such names into every container beside it.
_KUBERNETES: Final = re.compile(r"_(SERVICE_(HOST|PORT)|PORT)(_|$)")
_OLLAMA_PORT: Final = 11434
_IN_NO_VARIABLE: Final = re.compile(r"[-.@]")


@dataclass(frozen=True)
class Loaded:
    """A configuration, where each of its values came from, and what deserves a warning."""

    config: Config
    origins: Mapping[str, str]
    """By dotted path: `default`, `file loom.yaml:12`, `environment NAME` or `flag --name`."""
    warnings: tuple[str, ...] = ()


def load(
    file: Path | None, environ: Mapping[str, str], flags: Mapping[str, object], *, registry: Collection[str] = ()
) -> Loaded:
    """Reads the configuration: the file, then the environment, then flags, each overriding the one before.

    `flags` maps names of `FLAGS` to what was given, None when the flag was not. `registry` names the providers that
    need no `dialect`; without it names go unchecked. Raises `ConfigError` with every problem found.
    """
    draft = _Draft()
    if file is not None:
        draft.take_file(file)
    draft.take_environment(environ)
    draft.take_flags(flags)
    draft.fill(environ)
    config = draft.validated()
    if config is not None:
        config = draft.with_a_provider(config)
        draft.problems += [draft.line(path, text) for path, text in problems_of(config, environ, registry)]
        draft.warnings += [draft.line(path, text) for path, text in warnings_of(config)]
    if config is None or draft.problems:
        raise ConfigError(*dict.fromkeys(draft.problems))
    return Loaded(config, {dotted(path): draft.origin(path) for path, _ in leaves(config)}, tuple(draft.warnings))


class Setting(NamedTuple):
    """A value that somebody set."""

    value: object
    origin: str


@dataclass
class _Draft:
    """What the sources say so far: at most one setting for each leaf of the tree, and what is wrong with them."""

    settings: dict[KeyPath, Setting] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def take_file(self, file: Path) -> None:
        value, lines = read_yaml(file)
        self.take(value, Config, (), lambda path: f"file {file}:{lines.get(path, 1)}")

    def take_environment(self, environ: Mapping[str, str]) -> None:
        names = (name for name in environ if name.startswith(PREFIX) and environ[name] and name not in _KNOWN)
        for name in sorted(names, key=lambda name: (name.count("__"), name)):  # narrow ones override broad ones
            steps = name.removeprefix(PREFIX).lower().split("__")
            if len(steps) > 1 or steps[0] in Config.model_fields:
                self.take_variable(name, steps, environ[name])
            elif not _KUBERNETES.search(name):
                self.warnings.append(f"the environment variable {name} is not read{_nearest_variable(name)}")

    def take_variable(self, name: str, steps: list[str], text: str) -> None:
        kind: Any = Config
        path: KeyPath = ()
        origin = f"environment {name}"
        for step in steps:
            key = self.spelled(kind, path, step)
            inner = child(kind, key)
            if item_of(kind):
                whole = PREFIX + "__".join(path).upper()
                self.problems.append(f"{where(path)}: is a list, which {whole} sets as a whole, in JSON ({origin})")
                return
            if inner is None:
                self.problems.append(_unknown(kind, (*path, key), origin))
                return
            kind, path = inner, (*path, key)
        try:
            value = _parsed(text, kind)
        except (ValueError, RecursionError):
            self.problems.append(f"{where(path)}: must be JSON, such as {_EXAMPLES[_shape(kind)]} ({origin})")
        else:
            self.take(value, kind, path, lambda _: origin)

    def spelled(self, kind: Any, path: KeyPath, step: str) -> str:
        """Returns the key that a part of a variable's name means: variables have no hyphens and no lower case."""
        present = (other[len(path)] for other in self.settings if other[: len(path)] == path and len(other) > len(path))
        usual = step.replace("_", "-") if names_headers(kind) else step
        return next((key for key in present if _IN_NO_VARIABLE.sub("_", key).lower() == step), usual)

    def take_flags(self, flags: Mapping[str, object]) -> None:
        for name, given in flags.items():
            path, constant = FLAGS[name]
            if given is not None and given is not False:
                self.settings[path] = Setting(given if constant is None else constant, f"flag {name}")

    def take(self, value: object, kind: Any, path: KeyPath, origin: Callable[[KeyPath], str]) -> None:
        """Keeps a value, leaf by leaf; `kind` is the type of the place it goes to."""
        if is_leaf(kind):
            if value is not None or kind is JsonValue:
                self.settings[path] = Setting(value, origin(path))
        elif isinstance(value, dict) and not item_of(kind):
            self.take_keys(value, kind, path, origin)
        elif kind == Accounts and isinstance(value, list):
            self.take_accounts(value, path, origin)
        elif item_of(kind) and isinstance(value, list):
            self.take_items(value, kind, path, origin)
        elif value is not None:
            self.problems.append(f"{where(path) or 'all'}: must be {_WANTED[_shape(kind)]} ({origin(path)})")
        elif item_of(kind):  # `targets:` with nothing behind it
            self.take_items([], kind, path, origin)
        elif NoneType not in get_args(kind):  # `mock:` with nothing behind it
            self.take_keys({}, kind, path, origin)

    def take_keys(self, value: dict[str, object], kind: Any, path: KeyPath, origin: Callable[[KeyPath], str]) -> None:
        if path and all(inner is None for inner in value.values()):
            self.settings.setdefault(path, Setting({}, origin(path)))
        for key, inner in value.items():
            inner_kind, inner_path = child(kind, key), (*path, key)
            if inner_kind is None:
                self.problems.append(_unknown(kind, inner_path, origin(inner_path)))
            else:
                self.take(inner, inner_kind, inner_path, origin)

    def take_accounts(self, items: list[object], path: KeyPath, origin: Callable[[KeyPath], str]) -> None:
        """Keeps the accounts of a list, each under its id."""
        accounts: dict[str, object] = {}
        places: dict[str, KeyPath] = {}
        for number, item in enumerate(items):
            here = (*path, str(number))
            account = dict(item) if isinstance(item, dict) else {}
            id_ = account.pop("id", None)
            if problem := _id_problem(item, id_, number + 1):
                self.problems.append(f"{where(path)}: {problem} ({origin(here)})")
            elif id_ in accounts:
                self.problems.append(f"{where((*path, id_))}: two accounts have this id; rename one ({origin(here)})")
            else:
                accounts[id_], places[id_] = account, here
        depth = len(path)

        def place(at: KeyPath) -> KeyPath:
            return (*places[at[depth]], *at[depth + 1 :]) if len(at) > depth else path

        self.take_keys(accounts, Accounts, path, lambda at: origin(place(at)))

    def take_items(self, items: list[object], kind: Any, path: KeyPath, origin: Callable[[KeyPath], str]) -> None:
        """Keeps a list of sections in place of the one that was there."""
        self.settings = {other: setting for other, setting in self.settings.items() if other[: len(path)] != path}
        self.take_keys({str(number): item for number, item in enumerate(items)}, kind, path, origin)

    def fill(self, environ: Mapping[str, str]) -> None:
        """Fills what nobody has set from well-known variables, and switches on the providers whose keys are there."""
        found = {path: name for path, names in VARIABLES.items() if (name := next(filter(environ.get, names), None))}
        on = {path[1] for path in self.settings if path[0] == "providers" and len(path) > 1}
        on |= {name for name, keys in SWITCHES.items() if all(("providers", name, key) in found for key in keys)}
        for path, name in found.items():
            if path not in self.settings and (path[0] != "providers" or path[1] in on) and not self.has_accounts(path):
                self.settings[path] = Setting(_well_known(path, name, environ[name]), f"environment {name}")

    def has_accounts(self, path: KeyPath) -> bool:
        """Tells whether a path is the key of a provider that has accounts instead."""
        accounts = (*path[:-1], "accounts")
        return path[-1] == "api_key" and any(other[:3] == accounts and len(other) > 3 for other in self.settings)

    def validated(self) -> Config | None:
        """Makes the configuration, or notes why it cannot be made."""
        try:
            return Config.model_validate(_with_lists(self.tree(), Config))
        except ValidationError as error:
            found = error.errors(include_url=False, include_context=False, include_input=False)
        self.problems += [self.problem(detail) for detail in found]
        return None

    def tree(self) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        for path, (value, _) in self.settings.items():
            node = tree
            for step in path[:-1]:
                node = node.setdefault(step, {})
            if value != {}:
                node[path[-1]] = value
            else:
                node.setdefault(path[-1], {})
        return tree

    def problem(self, detail: ErrorDetails) -> str:
        path = _up_to_leaf(tuple(str(step) for step in detail["loc"] if step != "[key]"))
        message = _MESSAGES.get(detail["type"]) or _reworded(detail["msg"])
        if detail["type"] == "literal_error" and path in self.settings:
            message += meant(str(self.settings[path].value), map(str, get_args(kind_of(path))))
        return self.line(path, message)

    def line(self, path: KeyPath, message: str) -> str:
        """Says what is wrong with a key, and who set it or what is next to it."""
        return f"{where(path)}: {message} ({self.origin(path, nearby=True)})"

    def origin(self, path: KeyPath, *, nearby: bool = False) -> str:
        """Says who set a key; `nearby` accepts whoever set something next to it."""
        if path in self.settings:
            return self.settings[path].origin
        for end in range(len(path), 0, -1) if nearby else ():
            for other, setting in self.settings.items():
                if other[:end] == path[:end]:
                    return setting.origin
        return "default"

    def with_a_provider(self, config: Config) -> Config:
        """Lets the mock provider serve when no other is configured."""
        if any(provider.enabled for provider in config.providers.values()):
            return config
        if "mock" in config.providers:
            self.problems.append(f"providers: none is enabled ({self.origin(('providers',), nearby=True)})")
            return config
        self.settings["providers", "mock", "enabled"] = Setting(True, "default, since no provider is configured")
        return config.model_copy(update={"providers": {**config.providers, "mock": ProviderConfig()}})


_MESSAGES: Final = {
    "missing": "must be set",
    "string_too_short": "must not be empty",
    "too_short": "must have at least one item",
    "string_type": "must be text; put quotes around a number that is meant as text",
}


def _reworded(message: str) -> str:
    return message.removeprefix("Value error, ").replace("Input should be", "must be").partition(", unable to")[0]


def _with_lists(value: Any, kind: Any) -> Any:
    """Turns the numbers of items back into lists."""
    if is_leaf(kind) or not isinstance(value, dict):
        return value
    inner = {key: _with_lists(below, child(kind, key)) for key, below in value.items()}
    return [inner[key] for key in sorted(inner, key=int)] if item_of(kind) else inner


def _up_to_leaf(path: KeyPath) -> KeyPath:
    kind: Any = Config
    for depth, step in enumerate(path):
        if is_leaf(kind):
            return path[:depth]
        kind = child(kind, step)
    return path


def _id_problem(item: object, id_: object, number: int) -> str:
    """Says what keeps an item of a list of accounts from being one."""
    if not isinstance(item, dict):
        return f"item {number} must be a mapping of keys to values, one of them its id"
    if id_ is None:
        return f"item {number} has no id; give each account one of its own"
    return "" if isinstance(id_, str) else f"the id of item {number} must be text; put quotes around a number"


def _well_known(path: KeyPath, name: str, text: str) -> str:
    if holds_secret(kind_of(path)):  # which itself stays where it is
        return f"file:{text}" if name.endswith("_FILE") else f"env:{name}"
    if name == "OLLAMA_HOST":
        return _ollama_url(text)
    return text.lower() if name == "LOOM_SERVER_LLM_PROVIDER" else text


def _ollama_url(host: str) -> str:
    """Reads what Ollama takes in OLLAMA_HOST: host, port and scheme may each be missing.

    Source: https://github.com/ollama/ollama/blob/main/envconfig/config.go, 2026-11-21.
    """
    if "://" in host:
        return host
    name, _, port = host.partition(":")
    return f"http://{name or '127.0.0.1'}:{port or _OLLAMA_PORT}"


def _parsed(text: str, kind: Any) -> object:
    match _shape(kind):
        case "text":
            return text
        case "list" if not text.lstrip().startswith("["):
            return [item.strip() for item in text.split(",")]
        case "value" if not text.lstrip().startswith(("[", "{", '"')):
            return _json_or_text(text)
    return _json(text)


def _json_or_text(text: str) -> object:
    try:
        return _json(text)
    except ValueError:  # a bare word
        return text


def _json(text: str) -> object:
    return json.loads(text, parse_constant=_refuse_constant)


def _shape(kind: Any) -> str:
    """Says how a variable writes a value of a kind."""
    if not is_leaf(kind):
        return "accounts" if kind == Accounts else "items" if item_of(kind) else "mapping"
    if get_origin(kind) in {list, tuple}:
        return "list"
    return "value" if kind is JsonValue else "text"


_WANTED: Final = {
    "accounts": "a list of accounts, each with an id",
    "items": "a list, each of its items a mapping of keys to values",
    "mapping": "a mapping of keys to values",
}

_EXAMPLES: Final = {
    "accounts": '[{"id": "a", "api_key": "env:A"}]',
    "items": '[{"key": "value"}]',
    "mapping": '{"key": "value"}',
    "list": '["a", "b"]',
    "value": '{"key": "value"}',
}


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _unknown(kind: Any, path: KeyPath, origin: str) -> str:
    section = section_of(kind)
    hint = nearest(path[-1], section.model_fields) if section else ""
    return f"{where((*path[:-1], _shown_key(path[-1])))}: unknown key{hint} ({origin})"


# `openai: {sk-...}` makes a key of a secret, so only what looks like words is repeated.
_WORDS: Final = re.compile(r".{1,8}|[A-Za-z]{1,14}([_-][A-Za-z]{1,14})*")


def _shown_key(key: str) -> str:
    return key if _WORDS.fullmatch(key) else unnamed(key)


def _nearest_variable(name: str) -> str:
    known = _KNOWN | {PREFIX + "__".join(path).upper() for path, _ in leaves(Config())}
    collapsed = {variable.replace("__", "_"): variable for variable in known}
    close = difflib.get_close_matches(name, collapsed, n=1, cutoff=0.8)
    return f"; did you mean {collapsed[close[0]]}?" if close else ""
