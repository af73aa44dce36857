// SPDX-License-Identifier: Apache-2.0
// What live memory costs, over HTTP, on the bundled model with a durable journal: a commit of 1,000 rows from request to
// answer, and the decode step with every row of the tables edited against none, in turns in one run. The same daemon
// decodes both, one of them as of version 0, and what is added to the rows is nothing, so that both say the same tokens
// and nothing but where the rows come from differs.
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

function body(layer, width, rows, values, metadata = {}) {
  return safetensors(metadata, {
    [`layer.${layer}.rows`]: { dtype: 'I64', shape: [rows.length], values: rows },
    [`layer.${layer}.values`]: { dtype: 'F32', shape: [rows.length, width], values },
  });
}
async function send(daemon, sent) {
  const start = performance.now();
  const response = await fetch(`${daemon.url}/admin/v1/commits`, { method: 'POST', headers: upload, body: sent });
  const text = await response.text();
  if (response.status !== 201) throw new Error(text);
  return performance.now() - start;
}
// Milliseconds per token of one stream, and what it said.
async function decode(daemon, seed, engram) {
  const request = { prompt: 'The capital of Mongolia is', max_tokens: 128, temperature: 1, seed, ignore_eos: true, engram };
  const start = performance.now();
  const response = await fetch(`${daemon.url}/v1/completions`, { method: 'POST', body: JSON.stringify(request) });
  if (response.status !== 200) throw new Error(await response.text());
  const { choices } = await response.json();
  return { ms: (performance.now() - start) / request.max_tokens, text: choices[0].text };
}

const plain = await Daemon.start({ model, settings });
const edited = await Daemon.start({ model, settings });
try {
  const { tables } = (await edited.get('/admin/v1/tables')).json;
  let total = 0;
  for (const { layer, rows, head_dim: width } of tables) {
    for (let first = 0; first < rows; first += 65_536) {
      const ids = Array.from({ length: Math.min(65_536, rows - first) }, (_, i) => first + i);
      await send(edited, body(layer, width, ids, new Float32Array(ids.length * width), { mode: 'add' }));
      total += ids.length;
    }
  }
  const views = { none: { as_of: 0 }, edited: {} };
  const times = { none: [], edited: [] };
  for (const engram of Object.values(views)) await decode(edited, 0, engram);
  for (let i = 0; i < rounds; ++i) {
    // Who comes first takes turns too.
    const said = {};
    for (const name of i % 2 === 0 ? ['none', 'edited'] : ['edited', 'none']) {
      const { ms, text } = await decode(edited, i, views[name]);
      times[name].push(ms);
      said[name] = text;
    }
    if (said.none !== said.edited) throw new Error(`turn ${i}: different texts`);
  }
  const ratios = times.edited.map((time, i) => time / times.none[i]).sort((a, b) => a - b);
  const at = (share) => ratios[Math.floor(share * ratios.length)].toFixed(4);
  console.log(`decode, ${total} rows edited against none: ${median(times.edited).toFixed(3)} ms and ` +
    `${median(times.none).toFixed(3)} ms a token, ratio of turns ${at(0.5)} (quartiles ${at(0.25)} and ${at(0.75)})`);

  for (const daemon of [plain, edited]) {
    const { layer, rows, head_dim: width } = tables[0];
    const bodies = Array.from({ length: commits }, (_, i) => {
      const ids = Array.from({ length: 1000 }, (_, j) => (i * 7919 + j * 101) % rows);
      return body(layer, width, ids, randomValues(ids.length * width, i));
    });
    const took = [];
    for (const each of bodies) took.push(await send(daemon, each));
    console.log(`commit of 1,000 rows${daemon === plain ? '' : ' over as many edits'}: median ${median(took).toFixed(2)} ms, ` +
      `longest ${Math.max(...took).toFixed(1)} ms`);
  }
} finally {
  await plain.stop();
  await edited.stop();
}
