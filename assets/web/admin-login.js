// The login page's words.

import { adminWords } from "./admin-words.js";
import { preferred } from "./words.js";

const language = preferred(navigator.languages ?? ["en"]);
const t = adminWords(language);
document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
document.title = t("admin");
for (const node of document.querySelectorAll("[data-t]")) node.textContent = t(node.dataset.t);
