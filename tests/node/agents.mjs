// @openai/agents-realtime: voice, text, tool and barge-in turns, with whatever the library does by itself.
import { OpenAIRealtimeWebSocket, RealtimeAgent, RealtimeSession, tool } from "@openai/agents-realtime";
import { z } from "zod";
import { Log, Microphone, run, tell, wanted } from "./client.mjs";

const weather = tool({
  name: "get_weather",
  description: "Tells the weather of a city.",
  parameters: z.object({ city: z.string() }),
  execute: async ({ city }) => `rain in ${city}`,
});

run(async () => {
  const agent = new RealtimeAgent({ name: "Agent", instructions: "Be brief.", tools: [weather] });
  const transport = new OpenAIRealtimeWebSocket({ url: `${wanted.url}/v1/realtime?model=gpt-realtime` });
  const session = new RealtimeSession(agent, { transport, model: "gpt-realtime" });
  const log = new Log();
  transport.on("*", (event) => log.add(event));
  session.on("error", (error) => tell({ error: JSON.stringify(error) }));
  session.on("audio_interrupted", () => tell({ seen: "interrupted" }));
  session.on("agent_tool_end", (_context, _agent, { name }, result) => tell({ seen: "tool", name, result }));
  await session.connect({ apiKey: wanted.key });
  await log.until("session.updated");
  const microphone = new Microphone((samples) => session.sendAudio(samples.buffer));

  tell({ turn: "voice" });
  microphone.say("question");
  await log.next("response.done");
  await log.until("conversation.item.retrieved");

  tell({ turn: "text" });
  session.sendMessage("Hello!");
  await log.next("response.done");

  tell({ turn: "tool" });
  session.sendMessage("What is the weather in Bonn?");
  await log.until("response.done", log.count("response.done") + 2);

  tell({ turn: "barge-in" });
  session.sendMessage("Tell me all about the moon.");
  await log.next("response.output_audio.delta");
  await new Promise((resolve) => setTimeout(resolve, 800));
  microphone.say("stop");
  await log.next("conversation.item.truncated");
  await log.until("response.done", log.count("response.created") + 1);
  tell({ history: session.history });
  microphone.stop();
  session.close();
});
