// SPDX-License-Identifier: Apache-2.0
// How smooth the microscope is with a long prompt:  node frames.mjs [--tokens 10000] [--rounds 3] [--dist DIR]...
// While it loads, scrolls, is hovered over, switches layers and moves by keys: frame times, and the tasks of the page's main
// thread by the processor time they take, which another program's work does not change as it does the clock's. A frame has
// 16.7 ms; a task over 50 ms is felt. Several --dist (built dashboards) take turns. By hand; ctest does not run it.
import { setTimeout as sleep } from 'node:timers/promises';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { launch, longModel, openPage, root, startDaemon } from './support.mjs';

const { values: options } = parseArgs({
  options: {
    tokens: { type: 'string', default: '10000' },
    rounds: { type: 'string', default: '3' },
    dist: { type: 'string', multiple: true, default: [path.join(root, 'web/dist')] },
  },
});
const [tokens, rounds] = ['tokens', 'rounds'].map((name) => {
  const value = Number(options[name]);
  if (!(value > 0)) throw new Error(`--${name} ${options[name]}: not a number above 0`);
  return value;
});
for (const dist of options.dist) if (!fs.existsSync(path.join(dist, 'index.html'))) throw new Error(`--dist ${dist}: no index.html`);

process.on('SIGINT', () => process.exit(130)); // With what "exit" ends: the daemon.
process.on('SIGTERM', () => process.exit(143));
const long = longModel();
process.on('exit', () => long.remove());
const browser = await launch();

// The project's own documentation, cut to length.
async function prose(daemon) {
  const docs = path.join(root, 'docs');
  const text = ['live-memory.md', 'formats.md', 'decisions.md'].map((name) => fs.readFileSync(path.join(docs, name), 'utf8')).join('\n');
  const { json: whole } = await daemon.post('/tokenize', { prompt: text });
  if (whole.count < tokens) throw new Error(`--tokens ${tokens}: the text has ${whole.count}`);
  return (await daemon.post('/detokenize', { tokens: whole.tokens.slice(0, tokens) })).json.prompt;
}

// In the page: time stamps of all frames.
function watch() {
  globalThis.frames = [];
  const frame = (at) => {
    globalThis.frames.push(at);
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
}

// Milliseconds of processor time of each task on pages' main threads during `work`. Tracing itself takes some of both.
async function tasksDuring(session, work) {
  const events = [];
  const collect = ({ value }) => events.push(...value);
  session.on('Tracing.dataCollected', collect);
  await session.send('Tracing.start', { transferMode: 'ReportEvents', traceConfig: { includedCategories: ['toplevel', '__metadata'] } });
  await work();
  const complete = new Promise((resolve) => session.once('Tracing.tracingComplete', resolve));
  await session.send('Tracing.end');
  await complete;
  session.off('Tracing.dataCollected', collect);
  const threads = new Set(events.filter(({ ph, name, args }) => ph === 'M' && name === 'thread_name' && args.name === 'CrRendererMain').map(({ pid, tid }) => `${pid}/${tid}`));
  const tasks = events.filter(({ ph, name, pid, tid }) => ph === 'X' && name === 'ThreadControllerImpl::RunTask' && threads.has(`${pid}/${tid}`));
  if (tasks.length === 0) throw new Error('the trace has no task of a page');
  return tasks.map(({ tdur }) => (tdur ?? 0) / 1000);
}

const phases = {
  load: async (page, prompt) => {
    await page.getByLabel('New tokens').fill('0');
    // As pasting does, which takes 0.2 s; what the driver does instead keeps the browser busy for seconds.
    await page.getByLabel('Prompt', { exact: true }).evaluate((area, text) => {
      area.value = text;
      area.dispatchEvent(new Event('input', { bubbles: true }));
    }, prompt);
    const look = page.getByRole('button', { name: 'Look', exact: true });
    await look.click();
    await look.waitFor({ timeout: 300_000 }); // Until then it says "Stop".
  },
  scroll: async (page) => {
    await page.mouse.move(...(await middle(page)));
    for (let step = 0; step < 60; ++step) await page.mouse.wheel(0, step < 40 ? 300 : -600);
  },
  hover: async (page) => {
    const [x, y] = await middle(page);
    for (let step = 0; step < 60; ++step) await page.mouse.move(x + ((step * 37) % 400) - 200, y + ((step * 23) % 240) - 120);
  },
  layers: async (page) => {
    const layer = page.getByLabel('Layer');
    for (let step = 0; step < 15; ++step) await layer.selectOption({ index: step % 3 });
  },
  keys: async (page) => {
    await page.getByTestId('strip').focus();
    await page.keyboard.press('Home');
    for (let step = 0; step < 60; ++step) await page.keyboard.press(step < 30 ? 'PageDown' : 'ArrowRight');
  },
};
async function middle(page) {
  const box = await page.getByTestId('strip').boundingBox();
  return [box.x + box.width / 2, box.y + box.height / 2];
}

const results = options.dist.map(() => Object.fromEntries(Object.keys(phases).map((name) => [name, { gaps: [], tasks: [], nodes: 0 }])));
for (let round = 0; round < rounds; ++round) {
  for (const [which, dist] of options.dist.entries()) {
    const daemon = await startDaemon({ model: long.directory, settings: [`web.root=${dist}`] });
    const page = await openPage(browser, daemon.url);
    const session = await page.context().newCDPSession(page);
    await page.show('microscope');
    await page.evaluate(watch);
    const prompt = await prose(daemon);
    for (const [name, act] of Object.entries(phases)) {
      await page.evaluate(() => (globalThis.frames = []));
      const tasks = await tasksDuring(session, async () => {
        await act(page, prompt);
        await sleep(500); // What it set off belongs to it.
      });
      const { frames, nodes } = await page.evaluate(() => ({ frames: globalThis.frames, nodes: document.querySelectorAll('*').length }));
      const result = results[which][name];
      for (let at = 1; at < frames.length; ++at) result.gaps.push(frames[at] - frames[at - 1]);
      result.tasks.push(...tasks);
      result.nodes = Math.max(result.nodes, nodes);
    }
    await page.done();
    await daemon.stop();
    console.log(`round ${round + 1} of ${rounds}: ${dist}`);
  }
}
await browser.close();

const cell = (value, width, digits = 1) => value.toFixed(digits).padStart(width);
console.log(`${tokens} tokens, ${rounds} rounds, ${os.cpus().length} processors with a load of ${os.loadavg()[0].toFixed(1)}`);
for (const [which, dist] of options.dist.entries()) {
  console.log(`\n${dist}\n         frames: number, p50, p95 ms   tasks, processor time: sum ms, longest, over 16.7 ms, over 50 ms   elements`);
  for (const [name, { gaps, tasks, nodes }] of Object.entries(results[which])) {
    gaps.sort((a, b) => a - b);
    const at = (share) => gaps[Math.floor((gaps.length - 1) * share)] ?? 0;
    const over = (limit) => tasks.filter((task) => task > limit).length;
    const sum = tasks.reduce((total, one) => total + one, 0);
    console.log(`${name.padEnd(8)}${cell(gaps.length, 8, 0)}${cell(at(0.5), 9)}${cell(at(0.95), 9)}${cell(sum, 20, 0)}${cell(tasks.reduce((most, one) => Math.max(most, one), 0), 10)}${cell(over(16.7), 10, 0)}${cell(over(50), 10, 0)}${cell(nodes, 14, 0)}`);
  }
}
