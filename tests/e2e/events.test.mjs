// SPDX-License-Identifier: Apache-2.0
// GET /admin/v1/events: a snapshot, then what changes.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Daemon } from './daemon.mjs';
import { Client, rawClient } from './websocket.mjs';

const route = '/admin/v1/events';
let daemon;
before(async () => {
  daemon = await Daemon.start();
});
after(() => daemon?.stop());

test('a snapshot, then deltas that add up to the metrics', async () => {
  const client = await Client.open(daemon, { route });
  const snapshot = await client.wait(() => true);
  assert.equal(snapshot.type, 'snapshot');
  assert.equal(snapshot.state, 'ready');
  assert.ok(Array.isArray(snapshot.operations));
  const generated = Object.keys(snapshot.metrics).find((name) => name.startsWith('engramd_generated_tokens_total'));
  const before = snapshot.metrics[generated];
  await daemon.post('/v1/completions', { prompt: [1], max_tokens: 20, ignore_eos: true });
  const delta = await client.wait((m) => m.type === 'delta' && m.metrics[generated] === before + 20);
  assert.ok(delta.summary.tokens_per_s > 0);
  assert.ok(delta.summary.step_s > 0);
  assert.ok(delta.summary.tier_hit_shares.dram >= 0);
  // Only what has changed.
  assert.ok(Object.keys(delta.metrics).length < Object.keys(snapshot.metrics).length);
  assert.ok(client.messages.filter((m) => m.type === 'snapshot').length === 1);
  // Sums of histograms, no buckets, the names of /metrics.
  const { text } = await daemon.get('/metrics');
  for (const name of Object.keys(snapshot.metrics)) {
    assert.ok(!name.includes('_bucket{'));
    assert.ok(text.includes(`${name} `), name);
  }
  client.send({ type: 'ping' });
  await client.wait((m) => m.type === 'pong');
  client.send({ type: 'generate', id: 'a' });
  assert.equal((await client.wait((m) => m.type === 'error')).error.param, 'type');
  await client.close();
});

test('every subscriber is told at the same bounded rate', async () => {
  const clients = await Promise.all(Array.from({ length: 20 }, () => Client.open(daemon, { route })));
  await Promise.all(clients.map((client) => client.wait((m) => m.type === 'delta')));
  const counts = clients.map((client) => client.messages.length);
  assert.ok(Math.max(...counts) - Math.min(...counts) <= 1, counts.join());
  const times = clients[0].messages.map((m) => m.unix_ms);
  for (const client of clients) {
    const common = client.messages.filter((m) => m.type === 'delta').map((m) => m.unix_ms);
    assert.ok(common.every((time) => times.includes(time) || time > times.at(-1)));
  }
  await Promise.all(clients.map((client) => client.close()));
});

test('a subscriber that does not read costs two messages at most, and ends with the daemon', async () => {
  const own = await Daemon.start();
  const silent = await rawClient(own, route);
  silent.pause();
  const lively = await Client.open(own, { route });
  await lively.wait((m) => m.type === 'delta');
  const stopped = own.stop();
  assert.equal((await lively.closed).code, 1001);
  silent.resume();
  assert.equal(await silent.closeCode(), 1001);
  assert.deepEqual(await stopped, { code: 0, signal: null });
});
