// The page of `task-bundler try`: one prompt, one or two bundles side by side, each written by MediaPipe's engine in turn.
import { gpu, open } from "./engine.js";
import { filtered, USUAL_WORDS, wordsIn } from "./word_filter.js";

const TOGETHER = 400e6; // bytes of bundles that are kept loaded at the same time; beyond that, one engine at a time
const byId = (id) => document.getElementById(id);
const number = (id) => byId(id).valueAsNumber;
const { engine: version, bundles, prompt } = await (await fetch("bundles.json")).json();
const roomy = bundles.reduce((sum, bundle) => sum + bundle.bytes, 0) <= TOGETHER;

let busy = false; // loading or writing: an engine does one thing at a time
let stopping = false;

/** One bundle on the page: its engine, and the elements that show it. */
class Panel {
  constructor(bundle) {
    const element = byId("panel").content.cloneNode(true).firstElementChild;
    this.bundle = bundle;
    this.context = bundle.context ?? 512;
    this.engine = null;
    this.part = (selector) => element.querySelector(selector);
    this.figure = (name, text) => (this.part(`[data-figure="${name}"]`).textContent = text);
    this.part("h2").textContent = bundle.name;
    this.part(".about").textContent = `${(bundle.bytes / 1e6).toFixed(1)} MB · context ${this.context} tokens`;
    this.part("pre").setAttribute("aria-label", `What ${bundle.name} writes`);
    this.whole = ""; // the last text, with what was given
    const select = this.part("select");
    select.append(new Option("none", bundle.url), ...(bundle.adapters ?? []).map(({ name, url }) => new Option(name, url)));
    this.part(".choice").hidden = select.options.length === 1;
    this.part(".copy").addEventListener("click", () => this.copy());
    this.state("idle", "not loaded");
    byId("panels").append(element);
  }

  state(kind, text) {
    this.part(".state").dataset.state = kind;
    this.part(".state").textContent = text;
  }

  fail(error) {
    this.part(".error").textContent = error.message;
    this.part(".error").hidden = false;
    this.state("failed", "failed");
    console.info(error.raw ?? error.stack);
  }

  /** Have an engine with these options; they are taken only when it loads. */
  async load(options) {
    const url = this.part("select").value;
    if (this.engine && this.url === url && JSON.stringify(this.engine.options) === JSON.stringify(options)) return;
    this.close();
    if (!roomy) panels.filter((other) => other !== this).forEach((other) => other.close());
    this.part(".error").hidden = true;
    this.state("busy", "loading …");
    this.engine = await open(url, options);
    this.url = url;
    this.state("ready", `loaded in ${seconds(this.engine.loadMilliseconds)}`);
  }

  async write(text, limit) {
    let written = "";
    let tokens = 0;
    const asked = this.engine.sizeInTokens(text);
    this.part(".given").textContent = text;
    this.part(".written").classList.add("live");
    this.state("busy", "reading the prompt …");
    this.show("", false);
    for (const name of ["first", "speed", "tokens", "left"]) this.figure(name, "–");
    try {
      const result = await this.engine.write(text, { limit, onPiece: (piece) => {
        written += piece;
        tokens += 1;
        this.state("busy", "writing …");
        this.figure("tokens", `${tokens} tokens`);
        this.figure("left", `${this.context - 1 - asked - tokens}`);
        this.show(written, false);
        if (stopping) this.engine.stop();
      } });
      this.show(written, true);
      const rest = (result.milliseconds - result.firstMilliseconds) / 1000;
      this.figure("first", result.firstMilliseconds === null ? "–" : seconds(result.firstMilliseconds));
      this.figure("speed", result.tokens > 1 && rest > 0 ? `${((result.tokens - 1) / rest).toFixed(1)} tokens/s` : "–");
      this.figure("tokens", `${result.tokens} tokens`);
      this.figure("left", `${Math.max(0, this.context - 1 - asked - result.tokens)}`);
      this.state("ready", result.stopped ? "stopped" : result.tokens >= limit ? "done" : "ended by itself");
    } finally {
      this.whole = text + written;
      this.part(".copy").disabled = !written;
      this.part(".written").classList.remove("live");
    }
  }

  /** Put the text on the clipboard, as it is shown. */
  async copy() {
    const button = this.part(".copy");
    try {
      await navigator.clipboard.writeText(this.part("pre").textContent);
      button.textContent = "Copied";
    } catch {
      button.textContent = "The browser does not allow it";
    }
    setTimeout(() => (button.textContent = "Copy"), 2000);
  }

  show(written, ended) {
    this.last = [written, ended];
    const element = this.part(".written");
    element.textContent = byId("filter").checked ? filtered(written, wordsIn(byId("words").value), ended) : written;
    const frame = this.part("pre");
    frame.scrollTop = frame.scrollHeight;
  }

  close() {
    this.engine?.close();
    this.engine = null;
    if (this.part(".state").dataset.state === "ready") this.state("idle", "not loaded");
  }
}

function seconds(milliseconds) {
  return milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}

function options(panel) {
  const temperature = number("temperature");
  // Temperature 0 is greedy everywhere else; here it is top-k 1.
  return { maxTokens: panel.context, topK: temperature > 0 ? number("top-k") : 1, temperature: temperature > 0 ? temperature : 1,
    randomSeed: number("seed"), forceF32: byId("float32").checked };
}

function showBusy(now) {
  busy = now;
  byId("write").disabled = now;
  for (const id of ["another", "continue"]) byId(id).disabled = now || !panels.some((panel) => panel.whole);
  for (const panel of panels) panel.part("select").disabled = now;
  byId("stop").disabled = !now;
}

function count() {
  const loaded = panels.find((panel) => panel.engine);
  if (!loaded || busy) return;
  const [text, context] = [byId("prompt").value, Math.min(...panels.map((panel) => panel.context))];
  const tokens = loaded.engine.sizeInTokens(text);
  const left = context - 1 - tokens;
  byId("size").textContent = `${tokens} token${tokens === 1 ? "" : "s"} and the start token · ` + (left > 0 ? `${left} of ${context} left` : `too long for a context of ${context}`);
}

async function each(work) {
  showBusy(true);
  stopping = false;
  for (const panel of panels) {
    if (stopping) break;
    try {
      await work(panel);
    } catch (error) {
      panel.fail(error);
    }
  }
  showBusy(false);
  count();
}

async function write(event, goesOn = false) {
  event?.preventDefault();
  if (busy || !byId("form").reportValidity()) return;
  if (matchMedia("(max-width: 50rem)").matches) byId("panels").scrollIntoView({ block: "start" }); // below the form there
  const [text, limit] = [byId("prompt").value, number("limit")];
  if (text.includes("\0")) return panels.forEach((panel) => panel.fail(new Error("The prompt holds a NUL character, at which the engine stops reading. Remove it.")));
  await each(async (panel) => {
    panel.part(".error").hidden = true;
    await panel.load(options(panel));
    await panel.write((goesOn && panel.whole) || text, limit);
  });
}

function remember() {
  for (const id of ["limit", "temperature", "top-k", "seed"]) localStorage.setItem(id, byId(id).value);
  for (const id of ["float32", "filter"]) localStorage.setItem(id, byId(id).checked ? "on" : "");
  localStorage.setItem("words", byId("words").value);
}

function recall() {
  for (const id of ["limit", "temperature", "top-k", "seed"]) byId(id).value = localStorage.getItem(id) ?? byId(id).value;
  for (const id of ["float32", "filter"]) byId(id).checked = localStorage.getItem(id) === "on";
  byId("words").value = localStorage.getItem("words") ?? USUAL_WORDS.join(" ");
  document.documentElement.dataset.theme = localStorage.getItem("theme") ?? "";
}

recall();
byId("prompt").value = prompt;
const panels = bundles.map((bundle) => new Panel(bundle));
byId("form").addEventListener("submit", write);
byId("form").addEventListener("change", () => {
  remember();
  panels.forEach((panel) => panel.last && panel.show(...panel.last));
});
byId("prompt").addEventListener("input", count);
byId("continue").addEventListener("click", (event) => write(event, true));
byId("another").addEventListener("click", (event) => {
  byId("seed").value = Math.floor(Math.random() * 2 ** 31);
  remember();
  return write(event);
});
byId("stop").addEventListener("click", () => (stopping = true));
byId("theme").addEventListener("click", () => {
  const dark = (document.documentElement.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("theme", document.documentElement.dataset.theme);
});
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && busy) stopping = true;
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) write(event);
});

try {
  const { name, float16 } = await gpu();
  byId("machine").textContent = `MediaPipe ${version} · ${name}${float16 ? ", float16" : ""}`;
  await each((panel) => (roomy || panel === panels[0] ? panel.load(options(panel)) : undefined));
} catch (error) {
  byId("machine").textContent = "no WebGPU";
  panels.forEach((panel) => panel.fail(error));
}
