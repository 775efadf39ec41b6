"""A change that a newcomer makes: files of their own, or edits of ours, tried in a copy of the project."""

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
COPIED = ("voiceagent", "client/voiceagent_client", "docs/reference")
RUN_SECONDS = 90.0

Edit = tuple[str, str]
"""A piece of a file as it is, and what takes its place."""


@dataclass(frozen=True, slots=True)
class Change:
    """`edits` change files of the project, `files` are somebody's own modules. `entry_points`, by group, are those of
    the package that these modules come in; without any they are not packaged."""

    edits: Mapping[str, Sequence[Edit]] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    entry_points: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def touched(self) -> int:
        """Files that are written, entry points aside."""
        return len(self.edits) + len(self.files)

    def run(self, folder: Path, program: str) -> str:
        """Make the change in a copy of the project below `folder` and run a program with it; what it prints."""
        copy, own = folder / "project", folder / "own"
        for name in COPIED if self.edits else ():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.wav", "*.onnx"))
        for name, edits in self.edits.items():
            path = copy / name
            text = path.read_text("utf-8")
            for before, after in edits:
                assert text.count(before) == 1, f"{name} has {before!r} {text.count(before)} times"
                text = text.replace(before, after)
            path.write_text(text, "utf-8")
        own.mkdir(parents=True)
        for name, text in self.files.items():
            (own / name).write_text(textwrap.dedent(text), "utf-8")
        if self.entry_points:
            self._package(own / "newcomer-1.0.dist-info")
        here = copy if self.edits else ROOT
        paths = [str(own), str(here), str(here / "client"), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        result = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program)],
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    def _package(self, info: Path) -> None:
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: newcomer\nVersion: 1.0\n")
        lines: list[str] = []
        for group, points in self.entry_points.items():
            lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
