// SPDX-License-Identifier: Apache-2.0
// What engramd adds to the backbone's own step, over HTTP, in one run and in turns:
//
//   ENGRAMD_BIN=build/release/bin/engramd node bench/overhead.mjs steps|gates|idle
//
//   steps  8 streams: processor time of all threads a step, with a backbone that only sleeps and with the real one on
//          one thread, which tells what serving adds; and the time between two steps against the step itself
//   gates  8 streams of one daemon with gate statistics and without, switched while they run: two daemons that do the
//          same differ by several per cent
//   idle   32 streams beside 1,000 idle WebSockets and beside none: gaps between tokens, memory of an idle connection
//
// MODEL: another model's directory; SETTINGS: --set values for it, separated by spaces; ROUNDS: turns; SECONDS: of one
// turn (gates wants many short ones: ROUNDS=100 SECONDS=0.5). A step of the bundled model takes a fraction of a millisecond: relative goals need a larger one
// (bench/make_model.py).
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { Daemon, pluginDirectories, root } from '../tests/e2e/daemon.mjs';
import { Client } from '../tests/e2e/websocket.mjs';

const what = process.argv[2];
const rounds = Number(process.env.ROUNDS ?? 9);
const seconds = Number(process.env.SECONDS ?? 3);
const model = path.resolve(process.env.MODEL ?? path.join(root, 'models/lexicon'));
const own = (process.env.SETTINGS ?? '').split(' ').filter(Boolean);
const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
const quantile = (values, q) => [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(q * values.length))];
const us = (s) => `${(s * 1e6).toFixed(1)} us`;
const percent = (x) => `${(x * 100).toFixed(2)} %`;
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const start = (settings) => Daemon.start({ model, settings: [...own, ...settings] });
// It sleeps in its steps: its KV cache does not hold eight contexts that would outlast a turn without.
const nullBackbone = ['backbone.plugin=null_backbone', 'backbone.options.step_us=500',
  `plugins.directories=[${pluginDirectories.join(',')}]`];

// A streamed completion whose bytes are thrown away. Greedy: what drawing costs is measured elsewhere.
function stream(daemon, maxTokens, prompt) {
  const body = JSON.stringify({ prompt, max_tokens: maxTokens, temperature: 0, ignore_eos: true,
    stream: true });
  const socket = net.connect(daemon.port, '127.0.0.1');
  socket.on('data', () => {});
  socket.on('error', () => {});
  socket.write(`POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n` +
    `Content-Length: ${body.length}\r\n\r\n${body}`);
  return socket;
}

// Keeps `count` streams running until the returned function is called: one that ends is followed by another. `promptOf`
// gives the tokens of each. The first ones end one after another, so that steps cost the same at any time.
async function keepStreams(daemon, count, promptOf = () => [1, 2, 3]) {
  const { json } = await daemon.post('/tokenize', { prompt: 'a' });
  let running = true;
  const sockets = new Set();
  let started = 0;
  const add = () => {
    const prompt = promptOf(started++);
    const most = json.max_model_len - prompt.length - 8;
    const socket = stream(daemon, started > count ? most : Math.ceil(most * started / count), prompt);
    sockets.add(socket);
    let tail = '';
    socket.on('data', (data) => {
      tail = (tail + data.toString('latin1')).slice(-8);
      if (!tail.endsWith('0\r\n\r\n')) return;
      socket.destroy();
      sockets.delete(socket);
      if (running) add();
    });
  };
  for (let i = 0; i < count; ++i) add();
  await daemon.until(async () => (await daemon.metric('engramd_running_sequences')) >= count);
  return async () => {
    running = false;
    for (const socket of sockets) socket.destroy();
    await daemon.until(async () => (await daemon.metric('engramd_running_sequences')) === 0);
  };
}

// Processor seconds of the daemon's threads by name.
function threads(daemon) {
  const times = {};
  for (const tid of fs.readdirSync(`/proc/${daemon.child.pid}/task`)) {
    const file = (name) => fs.readFileSync(`/proc/${daemon.child.pid}/task/${tid}/${name}`, 'latin1');
    const name = file('comm').trim().replace(/-\d+$/, '');
    times[name] = (times[name] ?? 0) + Number(file('schedstat').split(' ')[0]) / 1e9;
  }
  return times;
}

async function reading(daemon) {
  const metrics = await (await fetch(`${daemon.url}/metrics`)).text();
  const metric = (name) => [...metrics.matchAll(new RegExp(`^${name}(?:{[^}]*})? (\\S+)$`, 'gm'))]
    .reduce((sum, match) => sum + Number(match[1]), 0);
  return { at: performance.now() / 1e3, threads: threads(daemon), steps: metric('engramd_step_duration_seconds_count'),
    inside: metric('engramd_step_duration_seconds_sum'), sequences: metric('engramd_batch_sequences_sum') };
}

// Seconds per step between two readings, and what of them the backbone takes.
function between(before, after) {
  const steps = after.steps - before.steps;
  const used = {};
  for (const [name, time] of Object.entries(after.threads)) used[name] = (time - (before.threads[name] ?? 0)) / steps;
  return { interval: (after.at - before.at) / steps, step: (after.inside - before.inside) / steps,
    sequences: (after.sequences - before.sequences) / steps, used };
}

async function turn(daemon, streams) {
  const end = await keepStreams(daemon, streams);
  await sleep(200);
  const before = await reading(daemon);
  await sleep(seconds * 1e3);
  const after = await reading(daemon);
  await end();
  return between(before, after);
}

async function inTurns(daemons, streams) {
  const results = daemons.map(() => []);
  for (const daemon of daemons) await turn(daemon, streams);
  for (let i = 0; i < rounds; ++i) {
    const order = daemons.map((_, index) => index);
    if (i % 2 === 1) order.reverse();
    for (const index of order) results[index].push(await turn(daemons[index], streams));
  }
  return results;
}

function report(name, turns) {
  const interval = median(turns.map((t) => t.interval));
  const step = median(turns.map((t) => t.step));
  const added = median(turns.map((t) => t.interval / t.step - 1));
  const used = Object.fromEntries(Object.keys(turns[0].used).map((thread) => [thread, median(turns.map((t) => t.used[thread] ?? 0))]));
  const shown = Object.entries(used).filter(([, time]) => time > 1e-7).map(([thread, time]) => `${thread} ${us(time)}`);
  console.log(`${name}: ${us(interval)} from step to step, ${us(step)} of it in the backbone, added ${us(interval - step)} ` +
    `(${percent(added)}), ${median(turns.map((t) => t.sequences)).toFixed(2)} sequences a step`);
  console.log(`  processor time a step: ${shown.join(', ')}`);
}

// Processor time of all threads in each turn.
const total = (turns) => turns.map((t) => Object.values(t.used).reduce((sum, time) => sum + time, 0));

const oneThread = ['backbone.options.threads=1'];

async function steps() {
  const empty = await start(nullBackbone);
  const real = await start(oneThread);
  try {
    const [none, some] = await inTurns([empty, real], 8);
    report('null backbone', none);
    report('real backbone', some);
    const serving = median(total(none));
    const all = median(total(some));
    console.log(`serving takes ${us(serving)} of processor time a step, ${percent(serving / (all - serving))} of the ` +
      `${us(all - serving)} that are the backbone's`);
  } finally {
    await empty.stop();
    await real.stop();
  }
}

// Streams that say different things: counting takes least where all say the same.
const differently = (i) => Array.from({ length: 8 }, (_, j) => 10 + (i * 131 + j * 977) % 900);

async function gates() {
  const daemon = await start(oneThread);
  try {
    const end = await keepStreams(daemon, 8, differently);
    const measure = async (way) => {
      await daemon.post(`/admin/v1/gates/${way}`, {});
      await sleep(20);
      const before = await reading(daemon);
      await sleep(seconds * 1e3);
      return between(before, await reading(daemon));
    };
    await measure('resume');
    const pairs = [];
    for (let i = 0; i < rounds; ++i) {
      const pair = {};
      for (const way of i % 2 === 0 ? ['resume', 'pause'] : ['pause', 'resume']) pair[way] = await measure(way);
      pairs.push(pair);
    }
    await end();
    const counted = pairs.map((pair) => pair.resume);
    const paused = pairs.map((pair) => pair.pause);
    report('gate statistics', counted);
    report('paused', paused);
    const ratios = (value) => {
      const all = counted.map((t, i) => value(t) / value(paused[i]));
      return `${median(all).toFixed(4)} (quarters ${quantile(all, 0.25).toFixed(4)} to ${quantile(all, 0.75).toFixed(4)})`;
    };
    console.log(`counted against paused, pairs of turns: from step to step ${ratios((t) => t.interval)}, the step ` +
      `${ratios((t) => t.step)}, processor time ${ratios((t) => Object.values(t.used).reduce((x, y) => x + y, 0))}`);
  } finally {
    await daemon.stop();
  }
}

const resident = (daemon) => Number(/VmRSS:\s+(\d+)/.exec(fs.readFileSync(`/proc/${daemon.child.pid}/status`, 'utf8'))[1]) * 1024;

// Gaps between the tokens of 32 generations over one WebSocket each, seconds.
async function gaps(daemon) {
  const found = [];
  await Promise.all(Array.from({ length: 32 }, async (_, i) => {
    const client = await Client.open(daemon);
    let last = null;
    client.socket.removeAllListeners('message');
    const done = new Promise((resolve) => client.socket.on('message', (data) => {
      const now = performance.now();
      if (data.includes('"done"')) resolve();
      if (last !== null) found.push((now - last) / 1e3);
      last = now;
    }));
    client.send({ type: 'generate', id: `g${i}`, prompt: [1, 2, 3], max_tokens: 200, ignore_eos: true });
    await done;
    await client.close();
  }));
  return found;
}

async function idle() {
  const daemon = await start(['server.max_connections=2000']);
  try {
    await gaps(daemon);
    const alone = [];
    const beside = [];
    const bytes = [];
    for (let i = 0; i < rounds; ++i) {
      alone.push(await gaps(daemon));
      const before = resident(daemon);
      const clients = [];
      for (let j = 0; j < 1000; j += 50) {
        clients.push(...await Promise.all(Array.from({ length: 50 }, () => Client.open(daemon))));
      }
      if (i === 0) bytes.push((resident(daemon) - before) / 1000);
      beside.push(await gaps(daemon));
      await Promise.all(clients.map((client) => client.close()));
    }
    for (const [name, all] of [['alone', alone], ['beside 1,000 idle', beside]]) {
      console.log(`32 streams ${name}: gap between tokens median ${us(median(all.map((g) => median(g))))}, 99 % ` +
        `${us(median(all.map((g) => quantile(g, 0.99))))}, longest of a round ${us(median(all.map((g) => Math.max(...g))))}`);
    }
    console.log(`an idle connection: ${Math.round(median(bytes))} bytes resident`);
  } finally {
    await daemon.stop();
  }
}

const modes = { steps, gates, idle };
if (!modes[what]) {
  console.error('usage: node bench/overhead.mjs steps|gates|idle');
  process.exit(2);
}
await modes[what]();
