// What goes over the wire, in the shapes of the OpenAI Realtime protocol.

import { RATE } from "./sound.js";

/** The session that the user has chosen: {agent: {instructions, voice}, language}. */
export function session({ agent, language }) {
  const format = { type: "audio/pcm", rate: RATE };
  const asked = {
    type: "realtime",
    output_modalities: ["audio"],
    audio: {
      input: { format, transcription: { model: "default", language: language || null } },
      output: agent?.voice ? { format, voice: agent.voice } : { format },
    },
    voiceagent: { events: true },
  };
  if (agent?.instructions) asked.instructions = agent.instructions;
  return asked;
}

export function base64(pcm) {
  return btoa(String.fromCharCode(...new Uint8Array(pcm.buffer)));
}

export function samples(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Int16Array(bytes.buffer);
}
