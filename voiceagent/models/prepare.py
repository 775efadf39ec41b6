"""Preparation of a model file: from the form in which it was published to the one that our engines read."""

import base64

from voiceagent.models.catalogue import Prepare


def prepare(step: Prepare, data: bytes) -> bytes:
    """Apply one preparation step to a whole file. Raises ValueError when the file is not what the step expects."""
    match step:
        case Prepare.AS_IT_IS:
            return data
        case Prepare.SHERPA_TOKENS:
            return sherpa_tokens(moonshine_tokens(data))


def moonshine_tokens(data: bytes) -> list[bytes]:
    """The vocabulary in a Moonshine tokenizer.bin, by token id.

    The file is one byte string after another, each behind its length: one byte, or, when that is 128 or more, that
    minus 128 plus 128 times the next byte. Raises ValueError when the file ends inside an entry.
    """
    tokens: list[bytes] = []
    at = 0
    while at < len(data):
        length = data[at]
        at += 1
        if length >= 128:
            if at == len(data):
                raise ValueError(f"token {len(tokens)} ends inside its length")
            length += (data[at] - 1) * 128
            at += 1
        if at + length > len(data):
            raise ValueError(f"token {len(tokens)} of {length} bytes ends after {len(data) - at}")
        tokens.append(data[at : at + length])
        at += length
    return tokens


def sherpa_tokens(tokens: list[bytes]) -> bytes:
    """A vocabulary as sherpa-onnx reads it: a line `base64<TAB>id` each."""
    return b"".join(base64.b64encode(token) + f"\t{index}\n".encode() for index, token in enumerate(tokens))
