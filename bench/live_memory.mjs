// SPDX-License-Identifier: Apache-2.0
// What live memory costs, over HTTP, on the bundled model with a durable journal: a commit of 1,000 rows from request to
// answer, and the decode step with every row of the tables edited against none, in turns in one run.
//
//   ENGRAMD_BIN=build/release/bin/engramd node bench/live_memory.mjs
//
// MODEL: another model's directory; SETTINGS: --set values for it, separated by spaces; COMMITS, ROUNDS: how many.
import path from 'node:path';
import { Daemon, root } from '../tests/e2e/daemon.mjs';
import { randomValues, safetensors } from '../tests/e2e/memory_edits.mjs';

const commits = Number(process.env.COMMITS ?? 200);
const rounds = Number(process.env.ROUNDS ?? 30);
const median = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];
const model = path.resolve(process.env.MODEL ?? path.join(root, 'models/lexicon'));
const settings = (process.env.SETTINGS ?? '').split(' ').filter(Boolean);
const upload = { 'content-type': 'application/x-safetensors' };

function commitBody(layer, width, rows, seed) {
  return safetensors({}, {
    [`layer.${layer}.rows`]: { dtype: 'I64', shape: [rows.length], values: rows },
    [`layer.${layer}.values`]: { dtype: 'F32', shape: [rows.length, width], values: randomValues(rows.length * width, seed) },
  });
}
async function send(daemon, body) {
  const start = performance.now();
  const response = await fetch(`${daemon.url}/admin/v1/commits`, { method: 'POST', headers: upload, body });
  const text = await response.text();
  if (response.status !== 201) throw new Error(text);
  return performance.now() - start;
}
// Milliseconds per token of one stream.
async function decode(daemon) {
  const request = { prompt: 'The capital of Japan is', max_tokens: 128, temperature: 0, ignore_eos: true };
  const start = performance.now();
  const response = await fetch(`${daemon.url}/v1/completions`, { method: 'POST', body: JSON.stringify(request) });
  if (response.status !== 200) throw new Error(await response.text());
  await response.json();
  return (performance.now() - start) / request.max_tokens;
}

const plain = await Daemon.start({ model, settings });
const edited = await Daemon.start({ model, settings });
try {
  const { tables } = (await edited.get('/admin/v1/tables')).json;
  let total = 0;
  for (const { layer, rows, head_dim: width } of tables) {
    for (let first = 0; first < rows; first += 65_536) {
      const ids = Array.from({ length: Math.min(65_536, rows - first) }, (_, i) => first + i);
      await send(edited, commitBody(layer, width, ids, first + layer));
      total += ids.length;
    }
  }
  // The journal writes a gigabyte of log back in the background; what is measured is serving after that.
  await new Promise((resolve) => setTimeout(resolve, 12_000));
  const times = { plain: [], edited: [] };
  await Promise.all([decode(plain), decode(edited)]);
  for (let i = 0; i < rounds; ++i) {
    // Who comes first takes turns too.
    for (const name of i % 2 === 0 ? ['plain', 'edited'] : ['edited', 'plain']) {
      times[name].push(await decode(name === 'plain' ? plain : edited));
    }
  }
  const ratio = median(times.edited.map((time, i) => time / times.plain[i]));
  console.log(`decode, ${total} rows edited against none: ${median(times.edited).toFixed(3)} ms and ` +
    `${median(times.plain).toFixed(3)} ms a token, ratio of turns ${ratio.toFixed(4)}`);

  for (const daemon of [plain, edited]) {
    const { layer, rows, head_dim: width } = tables[0];
    const bodies = Array.from({ length: commits }, (_, i) =>
      commitBody(layer, width, Array.from({ length: 1000 }, (_, j) => (i * 7919 + j * 101) % rows), i));
    const took = [];
    for (const body of bodies) took.push(await send(daemon, body));
    console.log(`commit of 1,000 rows${daemon === plain ? '' : ' over as many edits'}: median ${median(took).toFixed(2)} ms, ` +
      `longest ${Math.max(...took).toFixed(1)} ms`);
  }
} finally {
  await plain.stop();
  await edited.stop();
}
