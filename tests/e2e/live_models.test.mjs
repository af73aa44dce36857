// SPDX-License-Identifier: Apache-2.0
// Live memory of two models at once: each has its own history, overlays and tables, in one journal.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { Daemon, expected, vectorModelDir } from './daemon.mjs';
import { randomValues } from './memory_edits.mjs';
import { Client } from './websocket.mjs';

const names = { first: 'dense-paper-hc4', second: 'dense-v41-hc4-fp8' };
const widths = { first: 32, second: 64 };
const prompts = Object.fromEntries(Object.entries(names).map(([key, name]) => [key, expected(name).cases[0].prompt]));
let dir;
let daemon;

async function start(settings = []) {
  daemon = await Daemon.start({ model: path.join(dir, names.first), stateDir: path.join(dir, 'state'),
    settings: [`models.directories=[${dir}]`, 'model.name=first', ...settings] });
}
before(async () => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'engramd-models-'));
  for (const name of Object.values(names)) vectorModelDir(name, dir);
  await start();
});
after(async () => {
  await daemon?.stop();
  fs.rmSync(dir, { recursive: true, force: true });
});

async function ok(method, route, body, status = null) {
  const answer = await daemon.call(method, route, body);
  assert.ok(status === null ? answer.status < 300 : answer.status === status, `${method} ${route}: ${answer.text}`);
  return answer.json;
}
async function finish(route, body) {
  const { operation } = await ok('POST', route, body, 202);
  let state;
  await daemon.until(async () => {
    state = await ok('GET', `/admin/v1/operations/${operation}`);
    return !['queued', 'running'].includes(state.state);
  });
  assert.equal(state.state, 'succeeded', JSON.stringify(state));
  return state;
}
const load = () => finish('/admin/v1/models/load', { model: path.join(dir, names.second), name: 'second' });
async function answer(model, engram = {}) {
  const { choices, engram: { memory_version: version } } = await ok('POST', '/v1/completions', { model,
    prompt: prompts[model], max_tokens: 4, temperature: 0, ignore_eos: true, return_token_ids: true, logprobs: 2, engram });
  return { tokens: choices[0].token_ids, logprobs: choices[0].logprobs, version };
}
const both = async () => ({ first: await answer('first'), second: await answer('second') });
async function editsAt(model, seed) {
  const { rows } = await ok('POST', `/admin/v1/locate?model=${model}`, { tokens: prompts[model] });
  return rows[1].at(-1).map((row, i) => ({ layer: 1, row, values: randomValues(widths[model], seed + i) }));
}
const commit = async (model, seed) =>
  (await ok('POST', '/admin/v1/commits', { model, edits: await editsAt(model, seed) }, 201)).version;
const journal = (model) => ok('GET', `/admin/v1/journal?model=${model}`);

test('each model has commits, versions, overlays and tables of its own', async () => {
  assert.equal((await daemon.get('/admin/v1/journal?model=second')).status, 404);
  await load();
  const base = await both();
  const events = await Client.open(daemon, { route: '/admin/v1/events' });
  await events.wait((m) => m.type === 'snapshot');

  assert.equal(await commit('first', 1), 1);
  assert.equal(await commit('second', 50), 1);
  assert.equal(await commit('second', 60), 2);
  const edited = await both();
  for (const model of ['first', 'second']) assert.notDeepEqual(edited[model].logprobs, base[model].logprobs);
  assert.deepEqual([edited.first.version, edited.second.version], [1, 2]);
  const status = await ok('GET', '/admin/v1/status');
  assert.deepEqual(status.models.map((model) => [model.name, model.memory_version]), [['first', 1], ['second', 2]]);
  assert.equal((await ok('GET', '/admin/v1/commits')).commits.length, 1);
  assert.equal((await ok('GET', '/admin/v1/commits?model=second')).commits.length, 2);
  assert.equal((await daemon.post('/admin/v1/commits', { model: 'nobody', edits: [] })).status, 404);

  // One name, two overlays.
  for (const model of ['first', 'second']) {
    await ok('PUT', `/admin/v1/overlays/tenant?model=${model}`, { entries: await editsAt(model, 70) });
  }
  const overlaid = { first: await answer('first', { overlays: ['tenant'] }), second: await answer('second', { overlays: ['tenant'] }) };
  for (const model of ['first', 'second']) assert.notDeepEqual(overlaid[model].logprobs, edited[model].logprobs);
  await ok('DELETE', '/admin/v1/overlays/tenant');
  assert.equal((await ok('GET', '/admin/v1/overlays')).overlays.length, 0);
  assert.equal((await daemon.post('/v1/completions', { model: 'first', prompt: [1], engram: { overlays: ['tenant'] } })).status, 404);
  assert.deepEqual((await answer('second', { overlays: ['tenant'] })).logprobs, overlaid.second.logprobs);

  await ok('POST', '/admin/v1/rollback', { model: 'second', to: 1 }, 201);
  assert.deepEqual((await answer('first')), edited.first);
  await ok('POST', '/admin/v1/rollback', { model: 'second', to: 0 }, 201);
  assert.deepEqual((await answer('second')).logprobs, base.second.logprobs);
  assert.deepEqual((await answer('second', { as_of: 2 })).logprobs, edited.second.logprobs);

  await finish('/admin/v1/compact', { model: 'first' });
  await ok('POST', '/admin/v1/rollback', { model: 'second', to: 2 }, 201);
  await finish('/admin/v1/compact', { model: 'second' });
  assert.deepEqual([(await journal('first')).base_version, (await journal('second')).base_version], [1, 5]);
  assert.equal(fs.readdirSync(path.join(dir, 'state/tables')).length, 2);

  // What happened, in order, and to which model.
  await events.wait((m) => m.memory_events?.some((event) => event.kind === 'compaction' && event.model === 'second'));
  const heard = events.messages.flatMap((m) => m.memory_events ?? []);
  assert.deepEqual(heard.map((event) => [event.kind, event.model, event.version, event.overlay]), [
    ['commit', 'first', 1, null], ['commit', 'second', 1, null], ['commit', 'second', 2, null],
    ['overlay_put', 'first', 1, 'tenant'], ['overlay_put', 'second', 2, 'tenant'],
    ['overlay_deleted', 'first', 1, 'tenant'],
    ['rollback', 'second', 3, null], ['rollback', 'second', 4, null],
    ['compaction', 'first', 1, null], ['rollback', 'second', 5, null], ['compaction', 'second', 5, null]]);
  assert.deepEqual(heard.map((event) => event.number), heard.map((event, i) => heard[0].number + i));
  await events.close();
});

test('both come back: after an unload, a swap, a kill, and from one backup', async () => {
  const before = await both();
  const { logprobs } = await answer('second', { overlays: ['tenant'] });
  await finish('/admin/v1/models/unload', { name: 'second' });
  assert.equal((await daemon.get('/admin/v1/rows?layer=1&ids=1&model=second')).status, 404);
  assert.equal(await commit('first', 80), 2);
  await load();
  assert.deepEqual(await answer('second'), before.second);
  await ok('POST', '/admin/v1/rollback', { to: 1 }, 201);

  // A swap of one goes through its own history alone.
  await finish('/admin/v1/models/swap', { name: 'second', model: path.join(dir, names.first) });
  assert.equal((await journal('second')).version, 0);
  assert.deepEqual((await answer('first')).logprobs, before.first.logprobs);
  await finish('/admin/v1/models/swap', { name: 'second', model: path.join(dir, names.second) });
  assert.deepEqual(await answer('second'), before.second);

  const copy = await finish('/admin/v1/backup', { directory: 'both' });
  assert.match(copy.stage, /^3 files/);
  await daemon.kill();
  await start();
  await load();
  for (const model of ['first', 'second']) {
    assert.deepEqual((await answer(model)).logprobs, before[model].logprobs);
    assert.deepEqual((await ok('GET', `/admin/v1/journal/verify?model=${model}`)).ok, true);
  }
  assert.deepEqual((await answer('second', { overlays: ['tenant'] })).logprobs, logprobs);

  // The copy, in the place of the state directory.
  await daemon.stop();
  fs.renameSync(path.join(dir, 'state/backups/both'), path.join(dir, 'restored'));
  fs.rmSync(path.join(dir, 'state'), { recursive: true });
  fs.renameSync(path.join(dir, 'restored'), path.join(dir, 'state'));
  await start();
  await load();
  for (const model of ['first', 'second']) assert.deepEqual((await answer(model)).logprobs, before[model].logprobs);
});
