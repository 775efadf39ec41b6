# mypy: ignore-errors
"""Pipecat's OpenAI Realtime service in a pipeline: voice, text, tool and barge-in turns."""

import asyncio
import json

from loguru import logger
from pipecat.adapters.llm.schemas.function_schema import FunctionSchema
from pipecat.adapters.llm.schemas.tools_schema import ToolsSchema
from pipecat.frames.frames import ErrorFrame, InputAudioRawFrame, LLMRunFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.openai.realtime import events
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
from pipecat.workers.runner import WorkerRunner
from stage import RATE, Log, Microphone, tell, wanted

logger.remove()

WEATHER = FunctionSchema(
    name="get_weather",
    description="Tells the weather of a city.",
    properties={"city": {"type": "string"}},
    required=["city"],
)


class Errors(FrameProcessor):
    """Tells of every error in the pipeline."""

    async def process_frame(self, frame, direction):
        await super().process_frame(frame, direction)
        if isinstance(frame, ErrorFrame):
            tell(error=frame.error)
        await self.push_frame(frame, direction)


async def get_weather(params):
    tell(seen="tool", name="get_weather", result=f"rain in {params.arguments['city']}")
    await params.result_callback(f"rain in {params.arguments['city']}")


def listen(log):
    """Have every message told as it came, before Pipecat reads it."""
    parse = events.parse_server_event

    def told(message):
        log.add(json.loads(message))
        return parse(message)

    events.parse_server_event = told


async def talk(worker, log):
    microphone = Microphone()

    async def hear():
        async for piece in microphone.pieces():
            await worker.queue_frame(InputAudioRawFrame(audio=piece, sample_rate=RATE, num_channels=1))

    await log.until("session.updated")
    tell(turn="text")  # what is typed counts only at the beginning
    await worker.queue_frame(LLMRunFrame())
    await log.next("response.done")
    hearing = asyncio.create_task(hear())
    tell(turn="voice")
    microphone.say("question")
    await log.next("response.done")
    tell(turn="tool")
    microphone.say("weather")
    await log.until("response.done", log.count("response.done") + 2)
    tell(turn="barge-in")
    microphone.say("moon")
    await log.next("response.output_audio.delta")
    await asyncio.sleep(0.8)
    microphone.say("stop")
    await log.next("conversation.item.truncated")
    await log.until("response.done", log.count("response.created") + 1)
    hearing.cancel()
    await worker.cancel()


async def main():
    log = Log()
    listen(log)
    audio = events.AudioConfiguration(
        input=events.AudioInput(
            transcription=events.InputAudioTranscription(), turn_detection=events.SemanticTurnDetection()
        )
    )
    service = OpenAIRealtimeLLMService(
        api_key="none",
        base_url=f"ws://{wanted['address']}/v1/realtime",
        settings=OpenAIRealtimeLLMService.Settings(
            model="gpt-realtime",
            system_instruction="Be brief.",
            session_properties=events.SessionProperties(audio=audio),
        ),
    )
    service.register_function("get_weather", get_weather)
    context = LLMContext([{"role": "user", "content": "Hello!"}], tools=ToolsSchema(standard_tools=[WEATHER]))
    pair = LLMContextAggregatorPair(context)
    pipeline = Pipeline([pair.user(), service, Errors(), pair.assistant()])
    worker = PipelineWorker(pipeline, params=PipelineParams(audio_in_sample_rate=RATE, audio_out_sample_rate=RATE))
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    talking = asyncio.create_task(talk(worker, log))
    await runner.run()
    await talking
    tell(history=[message for message in context.get_messages() if isinstance(message, dict)])


asyncio.run(main())
