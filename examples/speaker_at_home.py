"""A speaker at home: devices with the xiaozhi-esp32 firmware, and tools of the house.

    voiceagent serve examples/speaker_at_home.py --host 0.0.0.0

Set the device's OTA address to http://<this machine>:8000/xiaozhi/ota/. It is told the rest when it starts.
"""

from pathlib import Path
from typing import Literal

from voiceagent import Agent, tool

lights: dict[str, bool] = {"kitchen": False, "bedroom": False}
"""Whether the light is on, by room."""


@tool
async def switch_light(room: Literal["kitchen", "bedroom"], on: bool) -> str:
    """Switches the light of a room on or off."""
    lights[room] = on
    return "done"


agent = Agent(
    instructions="You are a cheerful speaker in a family's kitchen. Answer in one short sentence.",
    tools=[switch_light],
    settings=Path(__file__).with_suffix(".toml"),
)

if __name__ == "__main__":
    agent.serve(host="0.0.0.0")
