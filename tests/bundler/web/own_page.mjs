// A reader of the page of docs/WEB.md: node own_page.mjs '{"packages", "chromium", "flags", "page", "prompt"}' prints what it writes, as JSON.
import { createRequire } from "node:module";
import { join } from "node:path";

const { packages, chromium: executablePath, flags, page: address, prompt } = JSON.parse(process.argv[2]);
const { chromium } = createRequire(join(packages, "package.json"))("playwright-core");
const browser = await chromium.launch({ executablePath, headless: true, args: flags });
try {
  const page = await browser.newPage();
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  await page.goto(address);
  await page.waitForSelector("#write:enabled", { timeout: 120000 });
  await page.fill("#prompt", prompt);
  await page.click("#write");
  await page.waitForSelector("#write:enabled", { timeout: 120000 });
  process.stdout.write(JSON.stringify({ errors, text: await page.textContent("#text") }));
} finally {
  await browser.close();
}
