"""`python -m benchmarks.install_size`: megabytes on disk of an installation, and what each extra adds to it.

Each is installed from this checkout into an empty folder, in the releases of requirements-dev.lock, for this platform
and Python, and its files are added up. `--readme` writes the tables of both READMEs anew.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MEANING = {
    "": ("the server: page, telephones, cloud engines", "服务器：网页、电话、云端引擎"),
    "local": ("the engines inside the process: a talk without keys and network", "进程内引擎：无需密钥和网络即可对话"),
    "client": ("microphone, loudspeaker, echo cancellation", "麦克风、扬声器、回声消除"),
    "codecs": (
        "Opus and MP3: xiaozhi speakers, edge-tts's voices, reports with sound",
        "Opus 与 MP3：小智音箱、edge-tts 语音、带声音的报告",
    ),
    "telephone": ("signatures of telephone vendors", "电话服务商的签名"),
    "mcp": ("tools of MCP servers", "MCP 服务器的工具"),
    "redis": ("limits, budgets and cache shared by many nodes", "多节点共享的限额、预算和缓存"),
    "gateway": ("HTTP/2 and SOCKS to far models", "通过 HTTP/2 与 SOCKS 访问远端模型"),
    "telemetry": ("OpenTelemetry", "OpenTelemetry"),
    "eval": ("scenarios of `voiceagent eval`", "`voiceagent eval` 的场景"),
    "all": ("all of these", "以上全部"),
}
"""What an extra is for, in the READMEs' languages."""
READMES = ((ROOT / "README.md", 0, "extra", "for"), (ROOT / "README.zh-CN.md", 1, "附加项", "用途"))


def installed(requirement: str, constraints: Path) -> int:
    """Bytes of its files, without those that Python makes of them."""
    with tempfile.TemporaryDirectory() as folder:
        command: list[str | Path] = [
            Path(sys.executable).with_name("uv"),
            "pip",
            "install",
            "--quiet",
            "--python",
            sys.executable,
        ]
        subprocess.run(
            [*command, "--target", folder, "--constraint", constraints, "--link-mode", "copy", requirement], check=True
        )
        return sum(file.lstat().st_size for file in Path(folder).rglob("*") if file.is_file())


def measure() -> dict[str, int]:
    """Bytes of the base under "", and of what each extra adds."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        lock = (ROOT / "requirements-dev.lock").read_text("utf-8")
        constraints.write_text("\n".join(re.findall(r"(?m)^[^\s\\]+==[^\\\n]*", lock)), "utf-8")
        base = installed(f"voiceagent @ {ROOT.as_uri()}", constraints)
        more = {extra: installed(f"voiceagent[{extra}] @ {ROOT.as_uri()}", constraints) - base for extra in extras}
        return {"": base, **more}


def table(sizes: dict[str, int], language: int, head: str, use: str) -> str:
    lines = [f"| {head} | MB | {use} |", "|---|---|---|"]
    for extra, size in sizes.items():
        name = f"`{extra}`" if extra else ("none" if language == 0 else "无")
        plus = "+" if extra else ""
        lines.append(f"| {name} | {plus}{size / 1e6:.1f} | {MEANING[extra][language]} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readme", action="store_true", help="write the READMEs' tables anew")
    wanted = parser.parse_args()
    sizes = measure()
    for path, language, head, use in READMES if wanted.readme else ():
        text = path.read_text("utf-8")
        before, rest = text.split("<!-- sizes -->")
        _, after = rest.split("<!-- /sizes -->")
        fresh = f"<!-- sizes -->\n{table(sizes, language, head, use)}\n<!-- /sizes -->"
        path.write_text(before + fresh + after, "utf-8")
    print(table(sizes, *READMES[0][1:]))


if __name__ == "__main__":
    main()
