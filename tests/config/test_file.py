"""Reading YAML files, and saying in one line why one cannot be read."""

from pathlib import Path

import pytest

from loom_grpc.config import ConfigError
from loom_grpc.config.file import read_yaml


def problem(file: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_yaml(file)
    return str(caught.value)


def test_every_key_and_item_has_its_line(tmp_path: Path) -> None:
    file = tmp_path / "loom.yaml"
    file.write_text("a: 1\nb:\n  c: [x,\n    y]\n  d: {e: true}\n")

    value, lines = read_yaml(file)

    assert value == {"a": 1, "b": {"c": ["x", "y"], "d": {"e": True}}}
    assert lines == {
        (): 1,
        ("a",): 1,
        ("b",): 2,
        ("b", "c"): 3,
        ("b", "c", "0"): 3,
        ("b", "c", "1"): 4,
        ("b", "d"): 5,
        ("b", "d", "e"): 5,
    }


@pytest.mark.parametrize("content", ["", "# nothing\n", "---\n", "\ufeff"])
def test_a_file_without_keys_is_empty(tmp_path: Path, content: str) -> None:
    file = tmp_path / "loom.yaml"
    file.write_text(content)

    value, _ = read_yaml(file)

    assert value in ({}, None)


def test_keys_stay_text_and_dates_too(tmp_path: Path) -> None:
    file = tmp_path / "loom.yaml"
    file.write_text("on: 2026-01-02\n404: ~\nx: =\n")

    assert read_yaml(file)[0] == {"on": "2026-01-02", "404": None, "x": "="}


def test_an_alias_repeats_a_value(tmp_path: Path) -> None:
    file = tmp_path / "loom.yaml"
    file.write_text("a: &slow {x: 1}\nb: *slow\n")

    assert read_yaml(file)[0] == {"a": {"x": 1}, "b": {"x": 1}}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", ":3: has the key a twice; keep one of them"),
        ("a:\n  b: 1\n  b: 1\n", ":3: has the key a.b twice; keep one of them"),
        ("a:\n\tb: 1\n", ":2: has a tab where YAML wants spaces"),
        ("a: 1\n---\nb: 2\n", ":2: begins a second document; keep one"),
        ("a: \x07\n", ":1: has a character that YAML does not allow"),
        ("a:\n  ? [b]\n  : c\n", ":2: has a list or a mapping as a key"),
        ("a:\n  <<: {b: 1}\n", ":2: merges with <<, which is not read; repeat the keys instead"),
        ("a: !secret b\n", ":1: has a tag (!...), which is not read; put quotes around text that begins with !"),
        ("a: !!int b\n", ":1: has a value that cannot be read as int; put quotes around text"),
        ('a: !!int ""\n', ":1: has a value that cannot be read as int; put quotes around text"),
        ("a: !!bool b\n", ":1: has a value that cannot be read as bool; put quotes around text"),
        (f"a: {'9' * 5000}\n", ":1: has a value that cannot be read as int; put quotes around text"),
        ("a: &a [*a]\n", ":1: holds too much or is nested too deeply"),
        ('a: "\\UFFFFFFFF"\n', ": has an escape sequence for a character that does not exist"),
        ("[" * 2000, ": is nested too deeply"),
        (
            "a: *abcdefgh\n",
            ":1: is not YAML: found undefined alias ...; put quotes around text with special characters",
        ),
        (
            "a: b: c\n",
            ":1: is not YAML: mapping values are not allowed here; put quotes around text with special characters",
        ),
        (
            "a: [\n",
            (
                ":2: is not YAML: expected the node content, but found '<stream end>'; "
                "put quotes around text with special characters"
            ),
        ),
    ],
)
def test_what_is_not_plain_yaml_gets_one_line(tmp_path: Path, content: str, expected: str) -> None:
    file = tmp_path / "loom.yaml"
    file.write_text(content)

    assert problem(file) == f"{file}{expected}"


def test_aliases_that_multiply_are_stopped(tmp_path: Path) -> None:
    file = tmp_path / "loom.yaml"
    levels = [f"l{level}: &l{level} [{', '.join([f'*l{level - 1}'] * 10)}]" for level in range(1, 12)]
    file.write_text("\n".join(["l0: &l0 [x]", *levels]))

    assert "holds too much or is nested too deeply" in problem(file)


def test_a_missing_file_a_folder_and_other_encodings_get_one_line(tmp_path: Path) -> None:
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"a: caf\xe9\n")

    assert problem(tmp_path / "no.yaml") == f"{tmp_path}/no.yaml: there is no such file; name another one with --config"
    assert problem(tmp_path) == f"{tmp_path}: cannot be read: Is a directory"
    assert problem(latin) == f"{latin}: is not UTF-8 text (byte 7); save it as UTF-8"
