"""Every line of the documents that installs something is one that `make test-install` or CI runs."""

import re
from pathlib import Path

import pytest

from tests.packaging.install_lines import ROOT, Kind, Line, collect, kind_of

LINES = list(collect())
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))


@pytest.mark.parametrize("line", LINES, ids=str)
def test_every_install_line_is_of_a_kind_that_is_tried(line: Line) -> None:
    if kind_of(line) is Kind.MAKE:
        words = line.text.split()
        assert [word for word in words[1:] if "=" not in word and word not in TARGETS] == []


def test_both_readmes_install_alike() -> None:
    english, chinese = (
        [line.text for line in LINES if line.path.name == name and line.path.parent == ROOT]
        for name in ("README.md", "README.zh-CN.md")
    )
    assert english == chinese
    assert any(line.startswith("make demo") for line in english)
    assert any(line.startswith("uvx ") for line in english)


@pytest.mark.parametrize("text", ["conda install voiceagent", "pipx install voiceagent", "pip install x && make y"])
def test_a_new_kind_of_line_is_noticed(text: str) -> None:
    with pytest.raises(ValueError, match=r"tried|kind"):
        kind_of(Line(ROOT / "README.md", text))


def test_a_line_is_found_in_fences_indented_and_inline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```sh\npip install a  # why\n```\n\n    sudo apt install b\n\nor `make demo`, not `npx`.\n", "utf-8"
    )
    monkeypatch.setattr("tests.packaging.install_lines.DOCUMENTS", [page])
    assert [line.text for line in collect()] == ["pip install a", "sudo apt install b", "make demo"]
