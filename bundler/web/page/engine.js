// MediaPipe's LLM Inference engine: load a bundle, count tokens, write, stop. Errors come as one sentence, see explain.js.
import { FilesetResolver, LlmInference } from "./runtime/genai_bundle.mjs";
import { explain } from "./explain.js";
import { Pieces } from "./pieces.js";

const KEPT_LINES = 500;
const lines = []; // what the engine printed, oldest first; its errors are more telling than its exceptions
let count = 0; // of all lines ever

for (const level of ["log", "info", "warn", "error"]) {
  const print = console[level].bind(console);
  console[level] = (...parts) => {
    lines.push(parts.map(String).join(" "));
    lines.splice(0, lines.length - KEPT_LINES);
    count += 1;
    print(...parts);
  };
}

/**
 * Thrown out of the engine's progress listener: it unwinds the decode loop, and the engine can be used again. Each time
 * some of the WebAssembly stack is lost for good; 0.10.29 aborts after some 20 of them, so the engine is loaded again before.
 */
class Enough extends Error {}
const UNWINDS = 8;

/** Name of the GPU behind WebGPU, and whether it computes in float16. Throws a sentence where there is none. */
export async function gpu() {
  const adapter = await navigator.gpu?.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) throw new Error(explain("no WebGPU", []));
  const { vendor, architecture, description } = adapter.info;
  return { name: description || [vendor, architecture].filter(Boolean).join(" ") || "unnamed GPU", float16: adapter.features.has("shader-f16") };
}

/**
 * Load the bundle at `url`. `options` are MediaPipe's: maxTokens (prompt and output together), topK, temperature,
 * randomSeed, forceF32. They hold until the engine is opened again: for a .task it takes them only when it loads.
 */
export async function open(url, options) {
  await gpu();
  const engine = new Engine(url, options);
  await engine.load();
  return engine;
}

class Engine {
  #url;
  #engine;
  #device;
  #stop = false;
  #unwound = 0;

  constructor(url, options) {
    this.#url = url;
    this.options = options;
  }

  async load() {
    this.close();
    const [seen, started] = [count, performance.now()];
    try {
      const files = await FilesetResolver.forGenAiTasks(new URL("./runtime/wasm", import.meta.url).href);
      // A device of our own: the engine does not give its memory back when it is closed.
      this.#device = await LlmInference.createWebGpuDevice();
      const baseOptions = { modelAssetBuffer: await read(this.#url), gpuOptions: { device: this.#device } };
      this.#engine = await LlmInference.createFromOptions(files, { baseOptions, ...this.options });
    } catch (error) {
      this.close();
      throw sentence(error, since(seen));
    }
    this.#unwound = 0;
    this.loadMilliseconds = performance.now() - started;
  }

  /** Tokens of `text`, without the start token that the engine puts before a prompt. */
  sizeInTokens(text) {
    return text ? this.#engine.sizeInTokens(text) : 0;
  }

  /**
   * Continue `prompt` by at most `limit` tokens. `onPiece(piece)` is called once a token; of a character that takes
   * several, the first ones are empty. Resolves to {text, tokens, stopped, firstMilliseconds, milliseconds}; what ends
   * it is a stop token, the limit, or stop().
   */
  async write(prompt, { limit = Infinity, onPiece = () => {} } = {}) {
    if (this.#unwound >= UNWINDS) await this.load();
    const [seen, started] = [count, performance.now()];
    const pieces = new Pieces();
    let [text, tokens, first] = ["", 0, null];
    this.#stop = false;
    const listen = (piece, done) => {
      if (done && !piece) return; // these calls end a text, and are no token
      first ??= performance.now() - started;
      tokens += 1;
      const read = pieces.add(piece);
      text += read;
      onPiece(read);
      // cancelProcessing() does nothing for a .task in 0.10.29.
      if (this.#stop || tokens >= limit) throw new Enough();
    };
    try {
      await this.#engine.generateResponse(prompt, listen);
    } catch (error) {
      this.#unwound += error instanceof Enough ? 1 : error instanceof WebAssembly.RuntimeError ? UNWINDS : 0;
      if (!(error instanceof Enough)) {
        pieces.end();
        throw sentence(error, since(seen));
      }
    }
    const rest = pieces.end();
    if (rest) onPiece(rest);
    text += rest;
    return { text, tokens, stopped: this.#stop, firstMilliseconds: first, milliseconds: performance.now() - started };
  }

  /** End what is being written after the next token. Reading the prompt cannot be interrupted. */
  stop() {
    this.#stop = true;
  }

  close() {
    try {
      this.#engine?.close();
    } catch {
      // An engine that has aborted cannot be closed either.
    }
    this.#device?.destroy();
    this.#engine = this.#device = undefined;
  }
}

/** Read here, because the engine, when it reads a URL, now and then cancels its own download while it looks for the file's type. */
async function read(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`Failed to fetch model: ${url} (${response.status})`);
  try {
    return new Uint8Array(await response.arrayBuffer());
  } catch {
    throw new Error(`Failed to fetch model: ${url} ended early`); // cut short while it was read; browsers word it in many ways
  }
}

/** Everything the engine printed since this page was loaded (the last few hundred lines). */
export function printed() {
  return [...lines];
}

function since(seen) {
  return count > seen ? lines.slice(seen - count) : [];
}

function sentence(error, printedNow) {
  // The engine throws lists of errors too, and aborts with a trace of WebAssembly frames.
  const raw = (Array.isArray(error) ? error : [error]).map((one) => one?.message ?? String(one)).join("; ");
  const wrapped = new Error(explain(raw, printedNow));
  wrapped.raw = raw;
  return wrapped;
}
