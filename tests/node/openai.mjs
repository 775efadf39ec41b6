// npm openai over TLS: voice, text, tool and barge-in turns.
import OpenAI from "openai";
import { OpenAIRealtimeWS } from "openai/realtime/ws";
import { Log, Microphone, run, tell, wanted } from "./client.mjs";

const tools = [
  {
    type: "function",
    name: "get_weather",
    description: "Tells the weather of a city.",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
];

run(async () => {
  const client = new OpenAI({ apiKey: wanted.key, baseURL: `${wanted.url}/v1` });
  const socket = new OpenAIRealtimeWS({ model: "gpt-realtime" }, client);
  const log = new Log();
  socket.on("event", (event) => log.add(event));
  socket.on("error", (error) => tell({ error: String(error) }));
  await log.until("session.created");
  socket.send({
    type: "session.update",
    session: { type: "realtime", tools, audio: { input: { transcription: { model: "gpt-4o-mini-transcribe" } } } },
  });
  await log.until("session.updated");

  const microphone = new Microphone((samples) => {
    const audio = Buffer.from(samples.buffer).toString("base64");
    socket.send({ type: "input_audio_buffer.append", audio });
  });
  const type = (text, response) => {
    const content = [{ type: "input_text", text }];
    socket.send({ type: "conversation.item.create", item: { type: "message", role: "user", content } });
    socket.send({ type: "response.create", response });
  };

  tell({ turn: "voice" });
  microphone.say("question");
  await log.next("response.done");

  tell({ turn: "text" });
  type("Hello!", { output_modalities: ["text"] });
  await log.next("response.done");

  tell({ turn: "tool" });
  type("What is the weather in Bonn?", { output_modalities: ["text"] });
  const { response } = await log.next("response.done");
  for (const call of response.output.filter((item) => item.type === "function_call")) {
    const output = `rain in ${JSON.parse(call.arguments).city}`;
    socket.send({ type: "conversation.item.create", item: { type: "function_call_output", call_id: call.call_id, output } });
  }
  socket.send({ type: "response.create", response: { output_modalities: ["text"] } });
  await log.next("response.done");

  tell({ turn: "barge-in" });
  type("Tell me all about the moon.");
  const delta = await log.next("response.output_audio.delta");
  await new Promise((resolve) => setTimeout(resolve, 800));
  microphone.say("stop");
  await log.next("input_audio_buffer.speech_started");
  socket.send({ type: "conversation.item.truncate", item_id: delta.item_id, content_index: 0, audio_end_ms: 700 });
  await log.next("conversation.item.truncated");
  await log.until("response.done", log.count("response.created") + 1);
  microphone.stop();
  socket.close();
});
