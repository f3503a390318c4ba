// SPDX-License-Identifier: ISC
// A headless Chromium that does what it is told, one JSON command a line, and answers each with a line of JSON.
// node browser.js CHROMIUM USER-DATA-DIR
'use strict';
const readline = require('readline');
const { chromium } = require('playwright-core');

async function main() {
  const [executablePath, dir] = process.argv.slice(2);
  const args = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync'];
  const browser = await chromium.launchPersistentContext(dir, { executablePath, args, headless: true });
  let page = null;
  let seen = null;

  const commands = {
    // A new page; what it does wrong is gathered: errors, refused by the policy, dialogs, requests to anybody else.
    async open({ url, scheme, width, height }) {
      if (page) await page.close();
      page = await browser.newPage();
      seen = { errors: [], dialogs: [], requests: [] };
      const own = seen;
      page.on('console', (m) => { if (['error', 'warning'].includes(m.type())) own.errors.push(m.text()); });
      page.on('pageerror', (e) => own.errors.push(String(e)));
      page.on('dialog', (d) => { own.dialogs.push(d.message()); d.dismiss(); });
      page.on('request', (r) => own.requests.push(r.url()));
      await page.setViewportSize({ width, height });
      await page.emulateMedia({ colorScheme: scheme });
      const answer = await page.goto(url);
      return answer.headers();
    },
    evaluate: ({ code }) => page.evaluate(code),
    // Not waitForFunction, which evaluates text in the page: the page's policy forbids that.
    async wait({ code, timeout }) {
      for (const end = Date.now() + timeout; ; await new Promise((go) => { setTimeout(go, 50); })) {
        if (await page.evaluate(code)) return true;
        if (Date.now() > end) throw new Error(`never true: ${code}`);
      }
    },
    async fill({ selector, text }) { await page.fill(selector, text); return true; },
    async select({ selector, value }) { await page.selectOption(selector, value); return true; },
    async click({ selector }) { await page.click(selector); return true; },
    async press({ key }) { await page.keyboard.press(key); return true; },
    async shot({ path, full }) { await page.screenshot({ path, fullPage: full }); return true; },
    seen: async () => seen,
  };

  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { op, ...rest } = JSON.parse(line);
    let answer;
    try {
      answer = { value: (await commands[op](rest)) ?? null };
    } catch (problem) {
      answer = { problem: String(problem) };
    }
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
  await browser.close();
}

main().catch((problem) => { console.error(problem); process.exit(1); });
