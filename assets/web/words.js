// Every word the page shows, in each of its languages.

const ENGLISH = {
  title: "Talk to the agent", language_name: "中文", language_label: "页面语言：中文",
  conversation: "Conversation", turns: "Turns", settings: "Settings",
  talk: "Talk", end: "End", mute: "Mute", unmute: "Unmute", hush: "Stop the answer", afresh: "New conversation",
  send: "Send", text_label: "Write instead of speaking", text_hint: "Write a message…",
  microphone: "Microphone", microphone_default: "System default", microphone_nth: "Microphone {number}",
  agent_label: "Agent", language: "Spoken language", automatic: "Automatic", key: "Access key",
  key_hint: "Kept in this tab only", level: "Loudness of your microphone",
  hello: "Press “Talk” and speak, or write below. Interrupt the agent whenever you like.",
  no_turns: "Each turn of the talk will be drawn here: what took how long, and why.",
  help: "Keys: Enter sends, Esc stops the answer.",
  state_closed: "Not connected", state_connecting: "Connecting…", state_waiting: "Connection lost. Trying again…",
  state_open: "Connected", state_listening: "Listening", state_muted: "Your microphone is muted", state_speaking: "The agent speaks",
  why_idle: "The talk ended because nobody spoke.", why_expired: "The talk reached its longest time.",
  why_finished: "The talk is over.", why_ended: "The talk was ended.", why_unreachable: "The server cannot be reached.",
  why_refused: "The server refused: wrong access key, or no free place.", why_loading: "The server is still starting…",
  problem_microphone_denied: "The browser did not allow the microphone. You can still write.",
  problem_microphone_missing: "No microphone could be opened. You can still write.",
  problem_microphone_lost: "The microphone was disconnected. Choose another in the settings.",
  problem_reply_failed: "The answer failed.", problem_sound: "This browser could not open the sound.",
  problem_insecure: "Browsers allow sound in and out only over https:// or on the server's own machine. You can still write.",
  problem_config: "The page's settings could not be loaded.",
  not_understood: "(not understood)", listening: "…",
  user: "You", agent: "Agent", unheard: "Not heard: you interrupted",
  turn: "Turn {number}", ms: "{ms} ms", at_most_ms: "≤ {ms} ms", s: "{s} s", commit: "commit",
  speech: "speech", pause: "pause", hold: "hold", asr: "ASR", llm: "LLM", tts: "TTS", network: "network", heard: "heard",
  response_heard: "{ms} ms to hear", response_heard_title: "From your last sound to the agent's first one in your loudspeaker",
  response_server: "server {ms} ms", response_server_title: "The server's part of it",
  status_live: "live", status_interrupted: "interrupted", status_failed: "failed",
  endpoint_pause: "Pause: recognition is finished ahead", endpoint_end: "End of turn after {ms} ms of silence",
  endpoint_client: "End of turn: the client said so", endpoint_longest: "End of turn: it reached the longest time",
  rule_words: "words", rule_fade: "voice falling", rule_habit: "this speaker's pauses", rule_heard: "model",
  barge_in_pause: "A voice: the agent pauses ({why})", barge_in_confirm: "The user takes the floor ({why})",
  barge_in_resume: "No interruption: the agent goes on ({why})",
  speculation_used: "The answer prepared ahead is used", speculation_wasted: "The answer prepared ahead is thrown away ({tokens} tokens)",
  reason_voice: "a voice", reason_command: "a command", reason_words: "words", reason_length: "long enough", reason_blip: "a blip",
  reason_noise: "noise", reason_echo: "its own echo", reason_backchannel: "a mere “mhm”", reason_short: "too short",
  tokens: "{input} + {output} tokens", cached: "{tokens} cached", cost: "cost {cost}",
  speculation_saved: "preparing ahead: {ms} ms head start", speculation_lost: "{count} prepared in vain ({tokens} tokens)",
};

const CHINESE = {
  title: "与智能体对话", language_name: "English", language_label: "Page language: English",
  conversation: "对话", turns: "轮次", settings: "设置",
  talk: "开始说话", end: "结束", mute: "静音", unmute: "取消静音", hush: "停止回答", afresh: "新对话",
  send: "发送", text_label: "用文字代替说话", text_hint: "输入消息……",
  microphone: "麦克风", microphone_default: "系统默认", microphone_nth: "麦克风 {number}",
  agent_label: "智能体", language: "所说语言", automatic: "自动", key: "访问密钥",
  key_hint: "只保存在此标签页中", level: "麦克风音量",
  hello: "按“开始说话”后开口，或在下方输入文字。随时可以打断。",
  no_turns: "每一轮对话都会画在这里：每一步用了多久，为什么。",
  help: "按键：回车发送，Esc 停止回答。",
  state_closed: "未连接", state_connecting: "正在连接……", state_waiting: "连接中断，正在重试……",
  state_open: "已连接", state_listening: "正在听", state_muted: "麦克风已静音", state_speaking: "智能体正在说话",
  why_idle: "长时间无人说话，对话已结束。", why_expired: "对话已达到最长时间。",
  why_finished: "对话已结束。", why_ended: "对话已被结束。", why_unreachable: "无法连接服务器。",
  why_refused: "服务器拒绝连接：访问密钥错误，或没有空位。", why_loading: "服务器正在启动……",
  problem_microphone_denied: "浏览器不允许使用麦克风，仍可输入文字。",
  problem_microphone_missing: "无法打开麦克风，仍可输入文字。",
  problem_microphone_lost: "麦克风已断开，请在设置中另选一个。",
  problem_reply_failed: "回答失败。", problem_sound: "此浏览器无法打开声音。",
  problem_insecure: "浏览器只在 https:// 或服务器本机上允许使用麦克风，仍可输入文字。",
  problem_config: "无法加载页面设置。",
  not_understood: "（没听懂）", listening: "……",
  user: "您", agent: "智能体", unheard: "被打断，未听到",
  turn: "第 {number} 轮", ms: "{ms} 毫秒", at_most_ms: "≤ {ms} 毫秒", s: "{s} 秒", commit: "提交",
  speech: "说话", pause: "停顿", hold: "预备", asr: "识别", llm: "模型", tts: "合成", network: "网络", heard: "听到",
  response_heard: "{ms} 毫秒后听到", response_heard_title: "从您的最后一个声音到扬声器里的第一个声音",
  response_server: "服务器 {ms} 毫秒", response_server_title: "其中服务器所用时间",
  status_live: "进行中", status_interrupted: "被打断", status_failed: "失败",
  endpoint_pause: "停顿：提前完成识别", endpoint_end: "静默 {ms} 毫秒后判定说完",
  endpoint_client: "客户端宣布说完", endpoint_longest: "达到最长时间，判定说完",
  rule_words: "话语", rule_fade: "语调下降", rule_habit: "此人的停顿习惯", rule_heard: "模型",
  barge_in_pause: "有人声：智能体暂停（{why}）", barge_in_confirm: "用户取得发言权（{why}）",
  barge_in_resume: "并非打断：智能体继续（{why}）",
  speculation_used: "采用预先准备的回答", speculation_wasted: "丢弃预先准备的回答（{tokens} 个词元）",
  reason_voice: "人声", reason_command: "命令", reason_words: "话语", reason_length: "足够长", reason_blip: "短促声响",
  reason_noise: "噪声", reason_echo: "自身回声", reason_backchannel: "只是“嗯”", reason_short: "太短",
  tokens: "{input} + {output} 个词元", cached: "缓存 {tokens}", cost: "费用 {cost}",
  speculation_saved: "预先准备提前了 {ms} 毫秒", speculation_lost: "{count} 次白准备（{tokens} 个词元）",
};

const LANGUAGES = { en: ENGLISH, zh: CHINESE };

/** A function from a key and its values to the words in that language; a key it does not know comes back as it is. */
export function words(language) {
  const known = LANGUAGES[language] ?? ENGLISH;
  return (key, values = {}) => (known[key] ?? key.replace(/^\w*?_/, "")).replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

/** The page's language that suits the user best. */
export function preferred(languages) {
  return languages.find((language) => /^(zh|en)/i.test(language))?.slice(0, 2).toLowerCase() ?? "en";
}

/** The names of all words of a language. */
export function keys(language) {
  return Object.keys(LANGUAGES[language]).sort();
}
