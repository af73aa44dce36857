// SPDX-License-Identifier: Apache-2.0
// 64 streams at once, for ENGRAMD_LOAD_SECONDS (5): every answer equals the one got alone, and memory stays flat.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';
import { Daemon } from './daemon.mjs';

const seconds = Number(process.env.ENGRAMD_LOAD_SECONDS ?? 5);
const numStreams = 64;
const bodies = Array.from({ length: numStreams }, (_, i) => ({
  prompt: Array.from({ length: 1 + (i % 7) * 5 }, (_, j) => 100 + i * 31 + j * 7),
  max_tokens: 8 + (i % 5) * 4,
  ignore_eos: true,
  return_token_ids: true,
  ...(i % 3 === 0 ? { temperature: 0.8, seed: i } : { temperature: 0 }),
  ...(i % 4 === 0 ? { engram: { enabled: false } } : {}),
}));

async function run(daemon, body) {
  const events = await daemon.stream('/v1/completions', body);
  assert.equal(events.pop(), '[DONE]');
  assert.equal(events.at(-1).choices[0].finish_reason, 'length');
  return {
    ids: events.flatMap((event) => event.choices[0].token_ids),
    text: events.map((event) => event.choices[0].text).join(''),
  };
}

const residentBytes = (daemon) =>
  Number(/VmRSS:\s+(\d+) kB/.exec(fs.readFileSync(`/proc/${daemon.child.pid}/status`, 'utf8'))[1]) * 1024;

test('64 streams at once', async (t) => {
  const daemon = await Daemon.start();
  t.after(() => daemon.stop());
  const alone = [];
  for (const body of bodies) alone.push(await run(daemon, body));

  const runAll = async (until) => {
    let answers = 0;
    await Promise.all(bodies.map(async (body, i) => {
      do {
        assert.deepEqual(await run(daemon, body), alone[i]);
        ++answers;
      } while (Date.now() < until);
    }));
    return answers;
  };
  await runAll(Date.now() + 1000);
  const warm = residentBytes(daemon);
  const answers = await runAll(Date.now() + seconds * 1000);
  const grown = residentBytes(daemon) - warm;
  t.diagnostic(`${answers} answers, resident ${warm} bytes after warm-up, grown by ${grown}`);
  assert.ok(answers >= numStreams);
  // A leak of one small event per answer would show; allocator noise is below this.
  assert.ok(grown < Math.max(8 << 20, warm * 0.1), `resident memory grew by ${grown} bytes`);
  assert.equal(await daemon.metric('engramd_running_sequences'), 0);
});
