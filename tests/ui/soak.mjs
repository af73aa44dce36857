// SPDX-License-Identifier: Apache-2.0
// What an open dashboard costs the daemon, and whether either grows:  node soak.mjs --minutes 60 --out soak.log
// First, in turns under the same load: no dashboard, then one tab of each page of --pages, alone. Then all of these tabs
// stay open for --minutes. What it prints is in --out at once; with `setsid nohup` and `&` it outlives the shell. Ends with 1
// if a page costs the daemon 1 % of a core or more, a request failed, or a page complained. Linux only (/proc); not one of
// the tests that ctest runs.
import { setTimeout as sleep } from 'node:timers/promises';
import fs from 'node:fs';
import { parseArgs } from 'node:util';
import { launch, openPage, startDaemon } from './support.mjs';

const { values: options } = parseArgs({
  options: {
    minutes: { type: 'string', default: '60' }, // that the tabs stay open
    rounds: { type: 'string', default: '4' }, // of turns
    turn: { type: 'string', default: '30' }, // seconds
    rate: { type: 'string', default: '4' }, // requests a second, of 32 tokens each
    pages: { type: 'string', default: 'overview,memory,operate' },
    every: { type: 'string', default: '60' }, // seconds between readings while the tabs are open
    out: { type: 'string', default: 'soak.log' },
  },
});
const [minutes, rounds, turn_s, rate, every_s] = ['minutes', 'rounds', 'turn', 'rate', 'every'].map((name) => {
  const value = Number(options[name]);
  if (!(value > 0)) throw new Error(`--${name} ${options[name]}: not a number above 0`);
  return value;
});
const pages = options.pages.split(',');

const kMostPercent = 1; // of a core, that a page may cost
const out = fs.openSync(options.out, 'w');
process.stdout.on('error', () => {}); // Whoever read it is gone; --out has everything.
function say(text) {
  fs.writeSync(out, `${text}\n`);
  console.log(text);
}

const daemon = await startDaemon();
process.on('SIGINT', () => process.exit(130)); // With what "exit" ends: the daemon.
process.on('SIGTERM', () => process.exit(143));
process.on('SIGHUP', () => {}); // Node.js forgets that nohup ignored it.
const browser = await launch({ handleSIGHUP: false });
// What went wrong ends it here, with all that it started.
process.on('uncaughtException', (error) => {
  say(`failed: ${error.stack ?? error}`);
  process.exit(1);
});
const within = (promise, seconds, what) =>
  Promise.race([promise, sleep(seconds * 1000, null, { ref: false }).then(() => Promise.reject(new Error(`${what}: no answer in ${seconds} s`)))]);
const proc = `/proc/${daemon.child.pid}`;

// Nanoseconds on a processor: of the process, and of the threads that serve HTTP.
function cpu() {
  const used = { all: 0, http: 0 };
  for (const thread of fs.readdirSync(`${proc}/task`)) {
    const name = fs.readFileSync(`${proc}/task/${thread}/comm`, 'utf8');
    const ns = Number(fs.readFileSync(`${proc}/task/${thread}/schedstat`, 'utf8').split(' ')[0]);
    used.all += ns;
    if (name.startsWith('http')) used.http += ns;
  }
  return used;
}
const rss_mib = () => Number(/VmRSS:\s+(\d+)/.exec(fs.readFileSync(`${proc}/status`, 'utf8'))[1]) / 1024;

// The same requests at the same times, whoever looks; what cannot be sent in time is counted, not caught up with.
const countries = ['Mongolia', 'France', 'Italy', 'Peru', 'Kenya', 'Canada', 'Norway', 'Cuba', 'India', 'Chad', 'Spain', 'Egypt'];
const load = { sent: 0, failed: 0, late: 0, running: 0 };
const timer = setInterval(async () => {
  if (load.running >= 64) {
    load.late += 1;
    return;
  }
  load.running += 1;
  const prompt = `The capital of ${countries[load.sent++ % countries.length]} is`;
  try {
    const response = await fetch(`${daemon.url}/v1/completions`, {
      method: 'POST', body: JSON.stringify({ prompt, max_tokens: 32, ignore_eos: true, temperature: 0 }),
    });
    await response.arrayBuffer();
    if (!response.ok) load.failed += 1;
  } catch {
    load.failed += 1;
  }
  load.running -= 1;
}, 1000 / rate);

async function open(name) {
  const page = await openPage(browser, daemon.url);
  await page.show(name);
  if (name === 'operate') await page.getByRole('tab', { name: 'Events' }).click();
  page.on('crash', () => page.complaints.push('the page crashed'));
  page.requests = 0;
  page.on('request', () => (page.requests += 1));
  return page;
}
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
const median = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];

say(`${new Date().toISOString()}: ${((rounds * (pages.length + 1) * (turn_s + 3)) / 60).toFixed(1)} minutes of turns, then ${minutes} minutes with ${pages.join(', ')} open; ${rate} requests/s`);
await sleep(5000);

// ---- Turns
const turns = Object.fromEntries(['closed', ...pages].map((name) => [name, { all: [], http: [], requests: [] }]));
for (let round = 0; round < rounds; ++round) {
  for (const name of ['closed', ...pages]) {
    const page = name === 'closed' ? null : await open(name);
    await sleep(3000); // Loading the page is no part of leaving it open.
    if (page) page.requests = 0;
    const before = cpu();
    const started = performance.now();
    await sleep(turn_s * 1000);
    const after = cpu();
    const elapsed_ns = (performance.now() - started) * 1e6;
    for (const part of ['all', 'http']) turns[name][part].push((100 * (after[part] - before[part])) / elapsed_ns);
    turns[name].requests.push((page?.requests ?? 0) / turn_s);
    await page?.done();
    say(`turn ${round + 1} of ${rounds}, ${name}: ${turns[name].all.at(-1).toFixed(2)} % of a core, HTTP threads ${turns[name].http.at(-1).toFixed(2)} %`);
  }
}
// The HTTP threads do what a dashboard asks for; the others' time shifts with who else uses the processor.
say('\ndaemon, percent of one core: all threads (median, min..max), HTTP threads (median), above closed; requests/s of the page');
const base = { all: median(turns.closed.all), http: median(turns.closed.http) };
const dear = []; // pages
for (const [name, { all, http, requests }] of Object.entries(turns)) {
  const shown = [median(all), Math.min(...all), Math.max(...all), median(http)].map((value) => value.toFixed(2));
  const signed = (value) => `${value < 0 ? '' : '+'}${value.toFixed(2)}`;
  if (name !== 'closed' && median(http) - base.http >= kMostPercent) dear.push(name);
  const above = name === 'closed' ? '' : `  ${signed(median(all) - base.all)} all, ${signed(median(http) - base.http)} HTTP`;
  say(`${name.padEnd(10)} ${shown[0]} (${shown[1]}..${shown[2]})  HTTP ${shown[3]}${above}  ${mean(requests).toFixed(1)}/s`);
}

// ---- Left open
const tabs = await Promise.all(pages.map(async (name) => {
  const page = await open(name);
  const session = await page.context().newCDPSession(page);
  return { name, page, session };
}));
async function reading({ session }) {
  await session.send('HeapProfiler.collectGarbage');
  const { usedSize } = await session.send('Runtime.getHeapUsage');
  const { nodes, jsEventListeners } = await session.send('Memory.getDOMCounters');
  return { heap_mb: usedSize / 1e6, nodes, listeners: jsEventListeners };
}
say(`\nminute  daemon RSS MiB  CPU %  HTTP threads %  ${pages.map((name) => `${name}: heap MB, nodes, listeners`).join('  ')}`);
const began = performance.now();
const series = { minute: [], rss: [], heap: pages.map(() => []) };
let before = cpu();
let at = began;
for (;;) {
  const now = performance.now();
  const used = cpu();
  const readings = [];
  for (const tab of tabs) readings.push(await within(reading(tab), 60, tab.name));
  const minute = (now - began) / 60_000;
  series.minute.push(minute);
  series.rss.push(rss_mib());
  readings.forEach(({ heap_mb }, tab) => series.heap[tab].push(heap_mb));
  const share = (part) => (now > at ? (100 * (used[part] - before[part])) / ((now - at) * 1e6) : 0);
  say(
    `${minute.toFixed(1).padStart(6)}  ${series.rss.at(-1).toFixed(1).padStart(14)}  ${share('all').toFixed(1).padStart(5)}  ${share('http').toFixed(2).padStart(14)}  ` +
      readings.map(({ heap_mb, nodes, listeners }) => `${heap_mb.toFixed(2)} ${nodes} ${listeners}`).join('  '),
  );
  before = used;
  at = now;
  if (minute >= minutes) break;
  await sleep(Math.min(every_s * 1000, Math.max(0, minutes * 60_000 - (performance.now() - began))) + 1);
}
// Least squares over the second half: what came in with the first readings (series that fill, caches) is not growth.
function growthPerHour(values) {
  const from = Math.floor(values.length / 2);
  const x = series.minute.slice(from);
  const y = values.slice(from);
  const [mx, my] = [mean(x), mean(y)];
  const spread = x.reduce((sum, one) => sum + (one - mx) ** 2, 0);
  return spread === 0 ? 0 : (60 * x.reduce((sum, one, index) => sum + (one - mx) * (y[index] - my), 0)) / spread;
}
say('\ngrowth an hour, fitted to the second half:');
say(`daemon RSS ${growthPerHour(series.rss).toFixed(2)} MiB`);
pages.forEach((name, tab) => say(`${name} heap ${growthPerHour(series.heap[tab]).toFixed(2)} MB`));
say(`load: ${load.sent} requests, ${load.failed} failed, ${load.late} not sent in time`);
const complaints = tabs.flatMap(({ page }) => page.complaints);
for (const complaint of complaints) say(`page: ${complaint}`);

if (dear.length > 0) say(`${dear.join(', ')}: ${kMostPercent} % of a core or more`);
clearInterval(timer);
while (load.running > 0) await sleep(20);
await browser.close();
await daemon.stop();
process.exitCode = load.failed > 0 || complaints.length > 0 || dear.length > 0 ? 1 : 0;
say(`${new Date().toISOString()}: ended, ${process.exitCode === 0 ? 'all well' : 'with failures'}`);
