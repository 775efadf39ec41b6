"""A client in Python: says a recording to a server, and prints what is answered.

    python examples/client.py question.wav --url ws://127.0.0.1:8000/v1/realtime --out answer.wav

The recording is 16-bit PCM. The client is the package `voiceagent-client`, which knows nothing of the server's code and
talks with any server that speaks the OpenAI Realtime protocol.
"""

import argparse
import asyncio
from pathlib import Path

from voiceagent_client import (
    AgentText,
    Conversation,
    Happening,
    Player,
    RealtimeConnection,
    ResponsePlayed,
    SessionError,
    UserText,
    WavDevice,
    read_wav,
    recording,
)

ANSWER_SECONDS = 30.0


async def converse(url: str, question: Path, out: Path) -> list[str]:
    """Say the recording, and wait until the answer was played; returns what was said by both."""
    lines: list[str] = []
    answered = asyncio.Event()

    def notice(happening: Happening) -> None:
        match happening:
            case UserText(final=True, text=text):
                lines.append(f"you: {text}")
            case AgentText(delta=delta) if delta.strip():
                lines.append(f"agent: {delta.strip()}")
            case SessionError(message=message):
                lines.append(f"error: {message}")
                answered.set()
            case ResponsePlayed():
                answered.set()

    async def speak(device: WavDevice) -> None:
        await device.say(read_wav(question))
        async with asyncio.timeout(ANSWER_SECONDS):
            await answered.wait()

    player = Player()
    with recording(out) as recorder:
        device = WavDevice(player, recorder)
        async with RealtimeConnection(url) as connection:
            await Conversation(connection, device, player, notice).run(speak(device))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description="Say a recording to a voice server.")
    parser.add_argument("question", type=Path, help="a WAV file")
    parser.add_argument("--url", default="ws://127.0.0.1:8000/v1/realtime")
    parser.add_argument("--out", type=Path, default=Path("answer.wav"), help="both sides, you on the left")
    options = parser.parse_args()
    for line in asyncio.run(converse(options.url, options.question, options.out)):
        print(line)


if __name__ == "__main__":
    main()
