"""Writes docs/licenses.md, which tells the licence of all that this project and its clients bring along: licenses.py write | check.

`write` asks the package tools of the languages; `check` needs none of them: it compares the page with the locks and with the Python
packages that are installed, and looks for licences that are not allowed.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from packaging.markers import Marker
from release import OF_THE_ROOT

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs" / "licenses.md"
ROOT_PART: Final = "Python"
"""What the page calls the package of the root folder."""

ALLOWED: Final = frozenset(
    {
        "0BSD",
        "Apache-2.0",
        "Apache-2.0 WITH LLVM-exception",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "ISC",
        "LGPL-2.1-or-later",  # r-efi, which may be had by MIT as well
        "LGPL-3.0-only",  # psycopg: used as it is, and installed as a package of its own that anybody can replace
        "MIT",
        "MIT-0",
        "MPL-2.0",  # certifi, tqdm: used as they are
        "PSF-2.0",
        "Unicode-3.0",
        "Unlicense",
        "Zlib",
    }
)
"""Every licence that a package may name, in the words of SPDX."""

WORDS: Final = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache-2.0 / MIT": "Apache-2.0 OR MIT",
    "BSD": "BSD-2-Clause",  # pyasn1-modules, whose text is that one
    "MIT License": "MIT",
    "MIT license": "MIT",
    "The Apache Software License, Version 2.0": "Apache-2.0",
    "The Apache License, Version 2.0": "Apache-2.0",
    "The BSD 3-Clause License": "BSD-3-Clause",
    "The MIT License": "MIT",
    "License :: OSI Approved :: MIT License": "MIT",
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
"""What packages say that do not speak SPDX."""

TEXTS: Final = {
    "Apache License\n                           Version 2.0": "Apache-2.0",
    "Redistribution and use in source and binary forms, with or without\nmodification, are permitted": "BSD-3-Clause",
}
"""How the licences begin that Go modules have as nothing but a file."""

NOT_HERE: Final = {"async-timeout": "Apache-2.0"}
"""Packages that only other versions of Python need."""

SYSTEMS: Final = ("linux", "darwin")
PYTHONS: Final = ("3.11.0", "3.12.0", "3.13.0", "3.14.0")


class Package(NamedTuple):
    """A package of others, and what it may be used by."""

    name: str
    version: str
    license: str


HEAD: Final = """\
# Licences

<!-- Written by `make licenses`; do not edit. -->

loom-grpc is under the Apache License 2.0. These are the packages of others that come with it: with the Python package, all that the
server's lock names on Linux and macOS (the client alone needs grpcio, protobuf, googleapis-common-protos and typing-extensions of them);
with each client all that its own lock or module file names, for Rust also what only building and testing needs. `make check` fails when a
lock names something that is not here, or a licence that is not on the list in `scripts/licenses.py`. The tables are made of what the
packages say of themselves.
"""


def main() -> int:
    """Writes or checks the page and returns the exit code."""
    if sys.argv[1:] == ["write"]:
        PAGE.write_text(HEAD + "".join(section(title, packages) for title, packages in everything().items()))
    elif sys.argv[1:] != ["check"]:
        print(__doc__, file=sys.stderr)
        return 2
    problems = [*forbidden(), *missing()]
    for problem in problems:
        print(f"loom-grpc: {problem}", file=sys.stderr)
    return 1 if problems else 0


def everything() -> dict[str, list[Package]]:
    """Returns what each part brings along."""
    parts = {ROOT_PART: list(of_python())}
    for folder in sorted((ROOT / "clients").iterdir()):
        if find := reader(folder):
            parts[f"clients/{folder.name}"] = list(find(folder))
    return parts


def of_python() -> Iterator[Package]:
    """Yields the locked packages of the server, by their own metadata."""
    for line in (ROOT / "requirements" / "server.lock").read_text().splitlines():
        found = re.fullmatch(r"([a-z0-9._-]+)==(\S+)(?: ; (.+?))? \\", line)
        if found and (found[3] is None or is_wanted(Marker(found[3]))):
            yield Package(
                found[1], found[2], NOT_HERE.get(found[1]) or license_of(importlib.metadata.metadata(found[1]))
            )


def is_wanted(marker: Marker) -> bool:
    """Tells whether any system that the server runs on needs the package."""
    return any(
        marker.evaluate(
            {"sys_platform": system, "python_full_version": python, "python_version": python.rpartition(".")[0]}
        )
        for system in SYSTEMS
        for python in PYTHONS
    )


def license_of(metadata: importlib.metadata.PackageMetadata) -> str:
    """Returns what a package says of its licence, the newest of three fields first."""
    for field in ("License-Expression", "License", "Classifier"):
        for text in metadata.get_all(field) or []:
            if text and (field != "Classifier" or text.startswith("License :: ")):
                return WORDS.get(text, str(text))
    return "unknown"


def of_npm(folder: Path) -> Iterator[Package]:
    """Yields what `npm install` of the package brings, by its lock."""
    for path, package in json.loads((folder / "package-lock.json").read_text())["packages"].items():
        if path and not package.get("dev"):
            text = package.get("license", "unknown").strip("()")
            yield Package(path.rpartition("node_modules/")[2], package["version"], WORDS.get(text, text))


def of_cargo(folder: Path) -> Iterator[Package]:
    """Yields the crates of the lock."""
    told = json.loads(said_by("cargo", "metadata", "--format-version", "1", "--locked", folder=folder))
    for package in sorted(told["packages"], key=lambda package: (package["name"], package["version"])):
        if package["source"]:
            yield Package(
                package["name"], package["version"], WORDS.get(package["license"], package["license"] or "unknown")
            )


def of_go(folder: Path) -> Iterator[Package]:
    """Yields the modules that go.mod requires."""
    for path, version in required_by(folder):
        said_by("go", "mod", "download", path, folder=folder)
        source = Path(said_by("go", "list", "-m", "-f", "{{.Dir}}", path, folder=folder).strip())
        text = (source / "LICENSE").read_text()
        yield Package(path, version, next((name for start, name in TEXTS.items() if start in text), "unknown"))


def required_by(folder: Path) -> list[tuple[str, str]]:
    """Returns the modules of a go.mod and their versions."""
    return re.findall(r"^\t(\S+) (v\S+)", (folder / "go.mod").read_text(), re.MULTILINE)


def of_maven(folder: Path) -> Iterator[Package]:
    """Yields what an application gets with the client."""
    listed = folder / "target" / "licenses.txt"
    said_by("mvn", "-q", "-B", "dependency:list", "-DincludeScope=runtime", f"-DoutputFile={listed}", folder=folder)
    for group, artifact, version in sorted(
        set(re.findall(r"^ +([\w.-]+):([\w.-]+):jar:([\w.-]+):", listed.read_text(), re.MULTILINE))
    ):
        yield Package(f"{group}:{artifact}", version, license_of_pom(group, artifact, version))


def license_of_pom(group: str, artifact: str, version: str) -> str:
    """Returns the licence that an artifact or one of its parents names."""
    pom = (
        Path.home() / ".m2" / "repository" / group.replace(".", "/") / artifact / version / f"{artifact}-{version}.pom"
    )
    space = {"m": "http://maven.apache.org/POM/4.0.0"}
    root = ET.parse(pom).getroot()  # noqa: S314 - Maven has checked what it brought
    name = root.findtext("m:licenses/m:license/m:name", namespaces=space)
    if name:
        return WORDS.get(name.strip(), name.strip())
    parent = [root.findtext(f"m:parent/m:{field}", namespaces=space) for field in ("groupId", "artifactId", "version")]
    return license_of_pom(*(part or "" for part in parent)) if all(parent) else "unknown"


def told_by_itself(folder: Path) -> Iterator[Package]:
    """Yields what a client's own program says: lines such as `pkg:gem/grpc@1.80.0 Apache-2.0`."""
    for line in said_by(str(folder / PROGRAM), folder=folder).splitlines():
        purl, _, license = line.partition(" ")
        name, _, version = purl.rpartition("@")
        yield Package(name, version, license)


PROGRAM: Final = "packages"
MANIFESTS: Final = {
    "package-lock.json": of_npm,
    "Cargo.lock": of_cargo,
    "go.mod": of_go,
    "pom.xml": of_maven,
    PROGRAM: told_by_itself,
}
"""What says of a client what it brings along, and who reads it."""


def reader(folder: Path) -> Callable[[Path], Iterator[Package]] | None:
    """Returns who reads what a client brings along."""
    return next((find for file, find in MANIFESTS.items() if (folder / file).is_file()), None)


KINDS: Final = {"package-lock.json": "npm", "Cargo.lock": "cargo", "go.mod": "golang", "pom.xml": "maven"}
"""The kind of package that each names (github.com/package-url/purl-spec, seen 2026-11-21)."""


def purl(part: str, package: Package) -> str:
    """Returns a package's name that is the same in all tools, such as `pkg:pypi/grpcio@1.85.1`."""
    if package.name.startswith("pkg:"):
        return f"{package.name}@{package.version}"
    kind = next((kind for file, kind in KINDS.items() if part != ROOT_PART and (ROOT / part / file).is_file()), "pypi")
    name = package.name.replace(":", "/").replace("@", "%40")
    return f"pkg:{kind}/{name}@{package.version}"


def said_by(*command: str, folder: Path) -> str:
    """Returns what a command says."""
    return subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603


def section(title: str, packages: list[Package]) -> str:
    """Writes one table."""
    rows = "".join(f"| {name} | {version} | {license} |\n" for name, version, license in packages)
    return f"\n## {title}\n\n| package | version | licence |\n|---|---|---|\n{rows}"


def page() -> dict[str, list[Package]]:
    """Reads the page."""
    _, *parts = re.split(r"^## (.+)\n", PAGE.read_text(), flags=re.MULTILINE)
    rows = [re.findall(r"^\| (\S+) \| (\S+) \| (.+) \|$", text, re.MULTILINE) for text in parts[1::2]]
    return {
        title: [Package(*row) for row in found if row[0] != "package"]
        for title, found in zip(parts[::2], rows, strict=True)
    }


def forbidden() -> Iterator[str]:
    """Yields the packages of the page that name a licence which is not allowed."""
    for title, packages in page().items():
        for package in packages:
            named = {word.strip("() ") for word in re.split(r" AND | OR ", package.license)}
            if named - ALLOWED:
                yield f"{title}: {package.name} {package.version} is under {package.license}; is that allowed? See scripts/licenses.py."


def missing() -> Iterator[str]:
    """Yields where the page is out of step."""
    told = page()
    if set(told.get(ROOT_PART, ())) != set(of_python()):
        yield from out_of_step(ROOT_PART)
    for folder in sorted((ROOT / "clients").iterdir()):
        name = f"clients/{folder.name}"
        packages = told.get(name, [])
        versions = {(package.name, package.version) for package in packages}
        if any(wanted != (versions if is_all else wanted & versions) for wanted, is_all in locked(folder)):
            yield from out_of_step(name)
        if (folder / "conformance").is_file() and folder.name not in OF_THE_ROOT and reader(folder) is None:
            yield f"{name} tells nothing of what it brings along: see docs/release.md."


def locked(folder: Path) -> Iterator[tuple[set[tuple[str, str]], bool]]:
    """Yields the names and versions that a client's lock has, and whether those are all."""
    if (folder / "package-lock.json").is_file():
        yield {(package.name, package.version) for package in of_npm(folder)}, True
    if (folder / "Cargo.lock").is_file():
        crates = tomllib.loads((folder / "Cargo.lock").read_text())["package"]
        yield {(crate["name"], crate["version"]) for crate in crates if "source" in crate}, True
    if (folder / "go.mod").is_file():
        yield set(required_by(folder)), True
    if (folder / "pom.xml").is_file():
        yield set(direct(ET.parse(folder / "pom.xml").getroot())), False  # noqa: S314 - our own
    if (folder / PROGRAM).is_file():
        yield {(package.name, package.version) for package in told_by_itself(folder)}, True


def direct(pom: ET.Element) -> Iterator[tuple[str, str]]:
    """Yields the dependencies of a pom.xml itself that applications get."""
    space = {"m": "http://maven.apache.org/POM/4.0.0"}
    values = {
        f"${{{found.tag.rpartition('}')[2]}}}": found.text or "" for found in pom.iterfind("m:properties/*", space)
    }
    for found in pom.iterfind("m:dependencies/m:dependency", space):
        group, artifact, version, scope = (
            found.findtext(f"m:{field}", "", space) for field in ("groupId", "artifactId", "version", "scope")
        )
        if scope not in ("test", "provided"):
            yield f"{group}:{artifact}", values.get(version, version)


def out_of_step(part: str) -> Iterator[str]:
    """Yields what to do about a part of the page."""
    yield f"docs/licenses.md is out of step with what {part} brings along: run make licenses."


if __name__ == "__main__":
    sys.exit(main())
