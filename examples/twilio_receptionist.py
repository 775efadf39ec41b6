"""A receptionist on a Twilio number: greets, answers, and puts callers through.

    export VOICEAGENT_TELEPHONE__TWILIO__ACCOUNT_SID=AC... VOICEAGENT_TELEPHONE__TWILIO__AUTH_TOKEN=...
    voiceagent serve examples/twilio_receptionist.py --host 0.0.0.0

In Twilio's console, under the number, "A call comes in" is the webhook https://voice.example.com/twilio/voice. Put your
own public name in `public_url`, with a proxy before the server that speaks TLS on port 443.
"""

from voiceagent import Agent, tool

IN_THE_OFFICE = {"anna": True, "peter": False}


@tool
async def is_in_the_office(name: str) -> bool:
    """Tells whether somebody can be spoken with now.

    Args:
        name: The first name.
    """
    return IN_THE_OFFICE.get(name.lower(), False)


agent = Agent(
    instructions=(
        "You are the receptionist of a small company. Ask whom the caller wants to speak with, look whether they are "
        "in the office, and transfer the call. Be brief. The caller's number is {{from}}."
    ),
    tools=[is_in_the_office],
    settings={
        "telephone": {
            "public_url": "https://voice.example.com",
            "greeting": "Good morning, whom would you like to speak with?",
            "tools": ["transfer_call", "end_call"],
            "destinations": {"anna": "+4930123456"},
        }
    },
)

if __name__ == "__main__":
    agent.serve(host="0.0.0.0", port=8000)
