"""The project's files as another checkout has them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.program import ROOT


def copy_of(folder: Path, *chosen: str) -> Path:
    """Copies the files below these paths, as far as git knows or would take them, into a folder."""
    listed = subprocess.run(  # noqa: S603
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *chosen],  # noqa: S607
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in set(listed.split("\0")) - {""}:
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder
