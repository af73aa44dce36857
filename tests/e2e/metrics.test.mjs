// SPDX-License-Identifier: Apache-2.0
// /metrics of a busy daemon: valid for Prometheus' own checker, bounded, and all that docs and dashboard name.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { Daemon, root, vectorModelDir } from './daemon.mjs';
import { Client } from './websocket.mjs';

let daemon;
let text; // of /metrics, after a bit of everything
before(async () => {
  daemon = await Daemon.start({ settings: ['memory.hot_set.save_every=50ms', 'models.directories=[/tmp]'] });
  const completion = { prompt: 'The capital of Mongolia is', max_tokens: 8, ignore_eos: true };
  await Promise.all(Array.from({ length: 8 }, () => daemon.post('/v1/completions', completion)));
  await daemon.stream('/v1/completions', completion);
  await daemon.post('/v1/completions', { prompt: 7 });
  await daemon.get('/none');
  const client = await Client.open(daemon);
  client.send({ type: 'generate', id: 'a', ...completion });
  await client.wait((m) => m.type === 'done');
  const { json: tables } = await daemon.get('/admin/v1/tables');
  const { layer, head_dim: size } = tables.tables[0];
  const edit = { layer, row: 3, values: new Array(size).fill(0.5) };
  assert.equal((await daemon.post('/admin/v1/commits', { edits: [edit] })).status, 201);
  assert.equal((await daemon.call('PUT', '/admin/v1/overlays/o', { entries: [edit] })).status, 201);
  const { json: swap } = await daemon.post('/admin/v1/models/swap', { model: vectorModelDir('dense-paper', daemon.dir) });
  await daemon.until(async () => {
    const { json } = await daemon.get(`/admin/v1/operations/${swap.operation}`);
    return json.state !== 'queued' && json.state !== 'running';
  });
  await daemon.post('/v1/completions', completion);
  ({ text } = await daemon.get('/metrics'));
  await client.close();
});
after(() => daemon?.stop());

const familyOf = (sample) => sample.replace(/_(bucket|sum|count)$/, '');
const families = () => [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, type]) => ({ name, type }));

test('promtool finds nothing to complain about', (t) => {
  const own = path.join(root, 'build/tools/promtool');
  const promtool = fs.existsSync(own) ? own : 'promtool';
  const { status, error, stdout, stderr } = spawnSync(promtool, ['check', 'metrics'], { input: text, encoding: 'utf8' });
  if (error?.code === 'ENOENT') {
    t.skip('promtool is missing; scripts/setup --tests fetches it');
    return;
  }
  assert.equal(error, undefined);
  assert.equal(`${stdout}${stderr}`, '');
  assert.equal(status, 0);
});

test('gates, commits and operations are counted', async () => {
  assert.ok(await daemon.metric('engramd_memory_gate_ratio_count', 'stream="0"') > 0);
  assert.ok(await daemon.metric('engramd_memory_gate_ratio_bucket', 'le="1"') > 0);
  assert.equal(await daemon.metric('engramd_memory_changes_total', 'kind="commit"'), 1);
  assert.equal(await daemon.metric('engramd_memory_changes_total', 'kind="overlay_put"'), 1);
  assert.equal(await daemon.metric('engramd_operations_total', 'kind="model.load",state="succeeded"'), 1);
  assert.equal(await daemon.metric('engramd_operations_total', 'kind="model.swap"'), 1);
});

test('clients cannot make metrics or labels', async () => {
  const count = async () => (await daemon.get('/metrics')).text.split('\n').length;
  await daemon.raw('BREW /coffee HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n');
  const once = await count();
  for (const method of ['BREW', 'STEEP', 'POUR']) {
    for (const route of ['/a', '/admin/v1/overlays/b', '/v1/nowhere']) {
      await daemon.raw(`${method} ${route} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
    }
  }
  await daemon.post('/v1/completions', { prompt: 'a', model: 'no such model' });
  // At most a known route's first histogram, and a status code or two.
  assert.ok(await count() - once < 60);
  for (const word of ['STEEP', '/v1/nowhere', 'no such model']) {
    assert.ok(!(await daemon.get('/metrics')).text.includes(word), word);
  }
});

test('docs/metrics.md lists every metric', () => {
  const listed = fs.readFileSync(path.join(root, 'docs/metrics.md'), 'utf8');
  for (const { name, type } of families()) {
    const row = listed.split('\n').find((line) => line.startsWith(`| \`${name}\` |`));
    assert.ok(row, `${name} is not in docs/metrics.md`);
    assert.equal(row.split('|')[2].trim(), type, name);
  }
});

test('every metric of the Grafana dashboard is exported', () => {
  const dashboard = JSON.parse(fs.readFileSync(path.join(root, 'packaging/grafana/engramd.json'), 'utf8'));
  const queries = JSON.stringify(dashboard);
  const exported = new Set(families().map(({ name }) => name));
  const named = new Set([...queries.matchAll(/engramd_[a-z_]+/g)].map(([name]) => name));
  assert.ok(named.size > 30, `${named.size} metrics`);
  for (const name of named) assert.ok(exported.has(name) || exported.has(familyOf(name)), `${name} is not exported`);
  const ids = dashboard.panels.map((panel) => panel.id);
  assert.equal(new Set(ids).size, ids.length);
  for (const panel of dashboard.panels.filter(({ type }) => type !== 'row')) {
    assert.ok(panel.title && panel.targets.length > 0 && panel.targets.every(({ expr }) => expr), panel.title);
  }
});
