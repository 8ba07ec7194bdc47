// A person at the page: node try_page.mjs '{"packages", "chromium", "flags", "page", "prompt"}' prints what there was to see, as JSON.
import { createRequire } from "node:module";
import { join } from "node:path";

const { packages, chromium: executablePath, flags, page: address, prompt } = JSON.parse(process.argv[2]);
const { chromium } = createRequire(join(packages, "package.json"))("playwright-core");
const browser = await chromium.launch({ executablePath, headless: true, args: flags });
try {
  const page = await browser.newPage();
  const [outside, refused] = [[], []];
  page.on("request", (request) => request.url().startsWith(address) || outside.push(request.url()));
  page.on("console", (message) => /Content Security Policy/.test(message.text()) && refused.push(message.text()));
  page.on("pageerror", (error) => refused.push(String(error)));
  const idle = () => page.waitForSelector("#write:enabled", { timeout: 120000 });
  const text = (selector) => page.$$eval(selector, (all) => all.map((one) => one.textContent));
  const seen = { outside, refused };

  await page.goto(address);
  await idle();
  await page.fill("#prompt", prompt);
  seen.size = (await text("#size"))[0];
  await page.fill("#temperature", "0");
  await page.fill("#limit", "12");
  await page.keyboard.press("Control+Enter");
  await idle();
  seen.written = await text(".written");
  seen.errors = (await text(".error")).filter(Boolean);
  seen.figures = await text("dd");

  await page.check("#filter");
  await page.click("summary");
  const word = seen.written[0].match(/[a-z]{3,}/)[0];
  await page.fill("#words", word);
  await page.press("#words", "Tab");
  seen.word = word;
  seen.filtered = (await text(".written"))[0];

  await page.fill("#limit", "80");
  await page.click("#write");
  await page.waitForFunction(() => document.querySelector(".written").textContent.length > 2, null, { timeout: 60000 });
  await page.keyboard.press("Escape");
  await idle();
  seen.state = (await text(".state"))[0];
  seen.tokens = parseInt((await text("dd"))[2]);

  seen.whole = (await text("pre"))[0];
  await page.fill("#limit", "4");
  await page.click("#continue");
  await idle();
  seen.given = (await text(".given"))[0];
  const seed = await page.inputValue("#seed");
  await page.click("#another");
  await idle();
  seen.another = [seed, await page.inputValue("#seed"), (await text(".given"))[0]];
  await page.setViewportSize({ width: 390, height: 844 });
  await page.click("#write");
  await idle();
  seen.inView = await page.$eval("pre", (element) => element.getBoundingClientRect().top < innerHeight);
  seen.tooWide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);

  await page.fill("#prompt", prompt.repeat(100));
  seen.tooLong = (await text("#size"))[0];
  await page.click("#write");
  await idle();
  seen.error = (await text(".error"))[0];
  process.stdout.write(JSON.stringify(seen));
} finally {
  await browser.close();
}
