"""The image without Docker: the instructions of the Dockerfile, carried out in an empty Debian made by debootstrap.

What is taken over from this machine, because Docker would bring it too: the resolver, and where pip's index is and how
it is trusted. Processes run in a mount and PID namespace of their own, which end with them.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent
MIRROR = "http://deb.debian.org/debian"
BOOTSTRAP_SECONDS = 900.0
STEP_SECONDS = 1800.0
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
PIP_VARIABLES = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_DEFAULT_TIMEOUT", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


def missing() -> str:
    """Why the image cannot be made here; "" when it can."""
    if os.environ.get("VOICEAGENT_IMAGE") != "1":
        return "takes six minutes and 1 GB: make test-image"
    if os.geteuid() != 0:
        return "a chroot needs root"
    for program in ("debootstrap", "unshare", "chroot"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    return ""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction of a Dockerfile: its word in capitals, and the rest of its lines as one."""

    word: str
    rest: str


def instructions(text: str) -> Iterator[Instruction]:
    """Those of a Dockerfile, in order."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield Instruction(word.upper(), rest.strip())


@dataclass(slots=True)
class Image:
    """A root folder, with what the instructions so far said of its processes."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    user: str = "0:0"
    work: str = "/"
    entrypoint: tuple[str, ...] = ()
    health: tuple[str, ...] = ()

    def command(self, *words: str, more: Mapping[str, str] | None = None) -> list[str]:
        """The command line that runs these words in the image, as its user, with its environment alone."""
        environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", **self.environment}
        variables = [f"{name}={value}" for name, value in {**environment, **(more or {})}.items()]
        inside = ["env", "-i", f"--chdir={self.work}", *variables, *words]
        proc = shlex.quote(str(self.folder / "proc"))
        chroot = shlex.join(["chroot", f"--userspec={self.user}", str(self.folder), *inside])
        mounted = f"mount -t proc proc {proc} && exec {chroot}"
        return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", mounted]

    def run(self, *words: str, more: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command in the image to its end."""
        command = self.command(*words, more=more)
        return subprocess.run(command, capture_output=True, text=True, timeout=STEP_SECONDS, check=False)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        done = subprocess.run(["du", "-sxb", str(self.folder)], capture_output=True, text=True, check=True)
        return int(done.stdout.split()[0])


def build(folder: Path, arguments: Mapping[str, str] | None = None) -> Image:
    """Carry out the Dockerfile. Raises RuntimeError with the output of the step that fails."""
    image = Image(folder)
    given = dict(arguments or {})
    for instruction in instructions((ROOT / "Dockerfile").read_text("utf-8")):
        match instruction.word:
            case "FROM":
                _bootstrap(folder, release(instruction.rest))
            case "COPY":
                _copy(folder, *instruction.rest.split())
            case "ARG":
                name, _, default = instruction.rest.partition("=")
                given.setdefault(name, default)
            case "RUN":
                done = image.run("sh", "-c", instruction.rest, more={**_pip(), **given})
                if done.returncode:
                    raise RuntimeError(f"RUN {instruction.rest}: {done.returncode}\n{done.stdout}\n{done.stderr}")
            case "ENV":
                image.environment |= dict(word.split("=", 1) for word in shlex.split(instruction.rest))
            case "USER":
                image.user = instruction.rest
            case "WORKDIR":
                image.work = instruction.rest
            case "HEALTHCHECK":
                image.health = tuple(json.loads(instruction.rest.partition("CMD ")[2]))
            case "ENTRYPOINT":
                image.entrypoint = tuple(json.loads(instruction.rest))
            case "EXPOSE" | "VOLUME" | "STOPSIGNAL":
                pass
            case other:
                raise RuntimeError(f"the rig does not know {other}")
    return image


def release(base: str) -> str:
    """The release of Debian that a base image is of. Raises RuntimeError for anything else."""
    if (found := re.fullmatch(r"debian:([a-z]+)-slim", base)) is None:
        raise RuntimeError(f"the rig makes Debian's slim images only, not {base}")
    return found[1]


def _bootstrap(folder: Path, name: str) -> None:
    command = ["debootstrap", "--variant=minbase", name, str(folder), os.environ.get("DEBIAN_MIRROR", MIRROR)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=BOOTSTRAP_SECONDS, check=False)
    folder.chmod(0o755)  # a temporary folder is for its owner only, and this is the image's root
    if done.returncode:
        raise RuntimeError(f"debootstrap: {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr}")
    for path in ("var/cache/apt/archives", "var/lib/apt/lists"):  # Docker's images come without them
        shutil.rmtree(folder / path)
        (folder / path).mkdir()
    shutil.copyfile("/etc/resolv.conf", folder / "etc/resolv.conf")
    if Path(CERTIFICATES).is_file():
        shutil.copyfile(CERTIFICATES, folder / "etc/host-certificates.crt")


def _pip() -> dict[str, str]:
    """What this machine tells its pip of the index, for the image's."""
    told = {name: value for name in PIP_VARIABLES if (value := os.environ.get(name) or os.environ.get(name.lower()))}
    return {**told, **({"PIP_CERT": "/etc/host-certificates.crt"} if Path(CERTIFICATES).is_file() else {})}


def _copy(folder: Path, *paths: str) -> None:
    """COPY: files into a folder whose name ends with a slash, a folder's contents, or a file under another name."""
    *sources, target = paths
    place = folder / target.lstrip("/")
    for name in sources:
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*_cache")
            shutil.copytree(source, place, dirs_exist_ok=True, ignore=ignored)
        else:
            goal = place / source.name if target.endswith("/") else place
            goal.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, goal)
