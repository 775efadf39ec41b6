// The words of the operator's view, besides those of the turns.

import { words } from "./words.js";

const ADMIN_WORDS = {
  en: {
    admin: "Operator's view", other: "中文", other_label: "Language: English. 切换到中文", login: "Sign in", logout: "Sign out", key: "Admin key",
    wrong_key: "This key is wrong.", state_open: "Live", state_waiting: "Connecting…", state_closed: "Signed out, or the server is down. Load the page again.",
    talks: "Talks in progress", no_talks: "Nobody is talking.", talk: "Talk", protocol: "Protocol", tenant: "Key", since: "Since",
    doing: "State", turns_count: "Turns", last_response: "Last response", cost_title: "Cost", actions: "Actions",
    doing_listening: "silence", doing_user: "user speaks", doing_thinking: "answer is made", doing_agent: "agent speaks",
    watch: "Watch", watch_label: "Watch talk {id}", stop: "End", stop_label: "End talk {id}", stop_sure: "End it now?", unwatch: "Stop watching",
    watching: "Watching {id}", watched_over: "The talk is over.", watched_missed: "{count} events were missed.", watched_none: "Nothing has happened since you began to watch.",
    latency: "Latency", stage: "Stage", stage_response: "whole response", stage_endpointing: "end of turn", stage_asr: "ASR", stage_llm_first_token: "LLM, first token",
    stage_first_clause: "LLM, first clause", stage_tts_first_audio: "TTS, first sound", errors: "Errors", code: "Code", count: "Count", none: "none", refused: "refused: {why}",
    spend: "Answers and their cost", endpoint: "Endpoint", replies: "Answers", tokens_title: "Tokens", endpoints: "Language model endpoints",
    model: "Model", health: "Health", health_closed: "well", health_open: "down", "health_half-open": "on trial", first_token_p50: "First token p50", failures: "Failures", in_flight: "In flight", requests: "Requests",
    recorded: "Recorded talks", reload: "Look again", ago: "Last sound", size: "Size", sound: "Sound", download: "WAV", download_label: "Sound of {id} as WAV",
    recorded_off: "Nothing is recorded: [recordings] path is not set.", recorded_none: "Nothing is recorded yet.", running: "still going on",
    figure_sessions: "Talks", figure_response: "Response p50", figure_lag: "Loop lag", figure_spend: "Cost", figure_errors: "Errors", figure_uptime: "Up for", draining: "The server is shutting down.",
  },
  zh: {
    admin: "运维视图", other: "English", other_label: "语言：中文。Switch to English", login: "登录", logout: "退出", key: "管理密钥",
    wrong_key: "密钥错误。", state_open: "实时", state_waiting: "正在连接……", state_closed: "已退出登录或服务器已停止，请重新加载页面。",
    talks: "进行中的对话", no_talks: "当前无人对话。", talk: "对话", protocol: "协议", tenant: "密钥", since: "已进行",
    doing: "状态", turns_count: "轮次", last_response: "上次响应", cost_title: "费用", actions: "操作",
    doing_listening: "静默", doing_user: "用户说话", doing_thinking: "正在准备回答", doing_agent: "智能体说话",
    watch: "观看", watch_label: "观看对话 {id}", stop: "结束", stop_label: "结束对话 {id}", stop_sure: "确定结束？", unwatch: "停止观看",
    watching: "正在观看 {id}", watched_over: "对话已结束。", watched_missed: "漏掉了 {count} 个事件。", watched_none: "开始观看以来还没有发生任何事。",
    latency: "延迟", stage: "阶段", stage_response: "整个响应", stage_endpointing: "判定说完", stage_asr: "识别", stage_llm_first_token: "模型首个词元",
    stage_first_clause: "模型首个分句", stage_tts_first_audio: "合成首个声音", errors: "错误", code: "代码", count: "次数", none: "无", refused: "拒绝：{why}",
    spend: "回答及费用", endpoint: "端点", replies: "回答", tokens_title: "词元", endpoints: "语言模型端点",
    model: "模型", health: "健康", health_closed: "正常", health_open: "故障", "health_half-open": "试探中", first_token_p50: "首个词元 p50", failures: "失败率", in_flight: "进行中", requests: "请求",
    recorded: "录制的对话", reload: "刷新", ago: "最后声音", size: "大小", sound: "声音", download: "WAV", download_label: "下载 {id} 的 WAV 声音",
    recorded_off: "未录制：没有设置 [recordings] path。", recorded_none: "还没有录制。", running: "仍在进行",
    figure_sessions: "对话", figure_response: "响应 p50", figure_lag: "循环延迟", figure_spend: "费用", figure_errors: "错误", figure_uptime: "已运行", draining: "服务器正在关闭。",
  },
};

/** Like `words`, with the operator's own first. */
export function adminWords(language) {
  const known = ADMIN_WORDS[language] ?? ADMIN_WORDS.en;
  const others = words(language);
  return (key, values = {}) =>
    known[key] === undefined ? others(key, values) : known[key].replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

/** The names of all words of a language. */
export function adminKeys(language) {
  return Object.keys(ADMIN_WORDS[language]).sort();
}
