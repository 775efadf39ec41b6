// The words of a report, besides those of the turns.

import { words } from "./words.js";

const REPORT_WORDS = {
  en: {
    report: "Report of a talk", other: "中文", other_label: "Language: English. 切换到中文", session: "Session", protocol: "Protocol",
    date: "Began", tenant: "Key", length: "Length", turns: "Turns", response: "Response, median", cost: "Cost", ended: "Ended",
    nobody: "No turn was recorded.", open: "The talk was still going on, or the server stopped in the middle of it.",
    cut: "The recording was cut after {s} s: the disk was too slow or full.", overview: "Loudness of the whole talk: the user above, the agent below",
    listen: "Listen", listen_label: "Listen to turn {number}", at: "at {time}", failed: "Error: {code}",
  },
  zh: {
    report: "对话报告", other: "English", other_label: "语言：中文。Switch to English", session: "会话", protocol: "协议",
    date: "开始于", tenant: "密钥", length: "时长", turns: "轮次", response: "响应中位数", cost: "费用", ended: "结束原因",
    nobody: "没有录到任何轮次。", open: "对话仍在进行，或服务器中途停止。",
    cut: "录音在 {s} 秒后中断：磁盘太慢或已满。", overview: "整个对话的音量：上为用户，下为智能体",
    listen: "收听", listen_label: "收听第 {number} 轮", at: "于 {time}", failed: "错误：{code}",
  },
};

/** Like `words`, with the report's own first. */
export function reportWords(language) {
  const known = REPORT_WORDS[language] ?? REPORT_WORDS.en;
  const others = words(language);
  return (key, values = {}) =>
    known[key] === undefined ? others(key, values) : known[key].replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}
