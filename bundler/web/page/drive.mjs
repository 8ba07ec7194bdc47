// Drives MediaPipe's engine in a headless Chromium for another program: JSON lines on standard input and output.
//   node drive.mjs '{"packages": FOLDER, "chromium": PATH, "flags": [...], "page": URL}'
// in:  {"id", "do": "open", "url", "options"} | {"id", "do": "sizeInTokens", "text"} | {"id", "do": "write", "prompt", "limit"}
//      | {"id", "do": "stop"} | {"id", "do": "printed"} | {"id", "do": "gpu"}; the end of the input ends everything
// out: {"browser": PID}, then {"ready": VERSION}; {"id", "piece"} while it writes; {"id", "value"} or {"id", "error"}; {"gone": REASON}
import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";

const { packages, chromium: executablePath, flags, page: address } = JSON.parse(process.argv[2]);
const { chromium } = createRequire(join(packages, "package.json"))("playwright-core");
const say = (message) => process.stdout.write(JSON.stringify(message) + "\n");

// A server rather than launch(): it tells the browser's process id, and whoever reads us may have to end it.
const server = await chromium.launchServer({ executablePath, headless: true, args: flags, host: "127.0.0.1" });
say({ browser: server.process().pid });
const browser = await chromium.connect(server.wsEndpoint());
const page = await browser.newPage();
let closing = false;
for (const [source, event] of [[browser, "disconnected"], [page, "crash"]]) {
  source.on(event, () => closing || say({ gone: event === "crash" ? "the page crashed, often for lack of memory" : "the browser ended" }));
}
await page.exposeFunction("taskBundlerPiece", (id, piece) => say({ id, piece }));
await page.goto(address);
say({ ready: browser.version() });

const actions = {
  gpu: () => page.evaluate(async () => (await import("./engine.js")).gpu()),
  open: ({ url, options }) => page.evaluate(async ([url, options]) => {
    globalThis.taskBundlerEngine?.close();
    globalThis.taskBundlerEngine = undefined;
    const engine = await (await import("./engine.js")).open(url, options);
    globalThis.taskBundlerEngine = engine;
    return engine.loadMilliseconds;
  }, [url, options]),
  sizeInTokens: ({ text }) => page.evaluate((text) => globalThis.taskBundlerEngine.sizeInTokens(text), text),
  write: ({ id, prompt, limit }) => page.evaluate(([id, prompt, limit]) => globalThis.taskBundlerEngine.write(
    prompt, { limit: limit ?? Infinity, onPiece: (piece) => void globalThis.taskBundlerPiece(id, piece) }), [id, prompt, limit]),
  stop: () => page.evaluate(() => globalThis.taskBundlerEngine.stop()),
  printed: () => page.evaluate(async () => (await import("./engine.js")).printed()),
};

async function answer(request) {
  try {
    say({ id: request.id, value: (await actions[request.do](request)) ?? null });
  } catch (error) {
    if (!browser.isConnected() || page.isClosed()) return; // that was said already
    // page.evaluate puts its own name before the message and a trace after it.
    say({ id: request.id, error: error.message.replace(/^page\.evaluate: (Error: )?/, "").split("\n    at ")[0] });
  }
}

for await (const line of createInterface({ input: process.stdin })) void answer(JSON.parse(line)); // stop comes while it writes
closing = true;
await browser.close();
await server.close();
