// SPDX-License-Identifier: Apache-2.0
// API keys that come and go while the daemon runs, what each may do, and the log of who did what.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { operations } from './contract.mjs';
import { Daemon, engramctl } from './daemon.mjs';
import { randomValues } from './memory_edits.mjs';
import { Client, refusal } from './websocket.mjs';

const scopes = ['generate', 'read', 'edit', 'operate'];
const as = (key) => ({ authorization: `Bearer ${key}` });
const ctl = (args, env = {}) => new Promise((resolve) => {
  execFile(engramctl, args, { env: { ...process.env, ...env } }, (error, stdout, stderr) =>
    resolve({ status: error ? error.code : 0, stdout, stderr }));
});
// As many tokens and choices as may be: long enough to be interrupted.
const long = { prompt: [5], max_tokens: 500, n: 16, temperature: 1, ignore_eos: true };

let daemon;
let boss; // a key with every scope
const keys = {}; // by name: {id, key}
async function create(name, body) {
  const { status, json } = await daemon.post('/admin/v1/keys', { name, ...body }, as(boss));
  assert.equal(status, 201, JSON.stringify(json));
  return (keys[name] = json);
}
const revoke = (id) => daemon.call('DELETE', `/admin/v1/keys/${id}`, undefined, as(boss));
const audit = async (query = '') => (await daemon.get(`/admin/v1/audit${query}`, as(boss))).json;

before(async () => {
  daemon = await Daemon.start({ config: 'server: {max_events_behind: 65536}\n' });
});
after(() => daemon?.stop());

test('the first key must be able to make others, and turns authentication on at once', async () => {
  assert.equal((await daemon.get('/admin/v1/status')).status, 200);
  assert.deepEqual((await daemon.get('/admin/v1/keys')).json, { keys: [] });
  assert.deepEqual((await daemon.get('/admin/v1/keys/self')).json, { scopes, key: null });
  assert.match((await ctl(['key', 'self'], { ENGRAM_URL: daemon.url })).stdout, /^no key is needed/);
  const refused = await daemon.post('/admin/v1/keys', { name: 'reader', scopes: ['read'] });
  assert.equal(refused.status, 409);
  assert.match(refused.json.error.message, /operate/);
  assert.equal((await daemon.get('/admin/v1/status')).status, 200);

  // What is open without a key ends.
  const events = await Client.open(daemon, { route: '/admin/v1/events' });
  const stream = await Client.open(daemon);
  stream.send({ type: 'generate', id: 'a', ...long });
  await stream.wait((m) => m.type === 'token');
  const { status, json } = await daemon.post('/admin/v1/keys', { name: 'boss', scopes });
  assert.equal(status, 201);
  boss = json.key;
  assert.match(boss, /^engram_[\w-]{43}$/);
  assert.equal(json.prefix, boss.slice(0, 11));
  assert.equal(json.created_by, '127.0.0.1');
  for (const client of [events, stream]) {
    assert.deepEqual(await client.closed, { code: 1008, reason: 'an API key is needed now' });
  }
  for (const headers of [{}, as('engram_wrong')]) assert.equal((await daemon.get('/admin/v1/status', headers)).status, 401);
  assert.equal((await daemon.get('/admin/v1/status', as(boss))).status, 200);
  assert.equal((await daemon.get('/health/live')).status, 200);
  await daemon.until(async () => (await daemonMetric('engramd_running_sequences')) === 0);
});

async function daemonMetric(name) {
  const { text } = await daemon.get('/metrics', as(boss));
  return [...text.matchAll(new RegExp(`^${name}(?:\\{.*\\})? (\\S+)$`, 'gm'))].reduce((sum, [, value]) => sum + Number(value), 0);
}

test('keys are listed without what they are', async () => {
  await create('app', { scopes: ['generate'], limits: { requests_per_second: 1000, tokens_per_second: null }, expires_in: 3600 });
  const { json, text } = await daemon.get('/admin/v1/keys', as(boss));
  assert.deepEqual(json.keys.map(({ name }) => name), ['boss', 'app']);
  assert.ok(!text.includes(boss) && !text.includes(keys.app.key));
  const [first, app] = json.keys;
  assert.equal(app.created_by, 'boss');
  assert.equal(app.expires_at - app.created_at, 3600);
  assert.deepEqual(app.limits, { requests_per_second: 1000, tokens_per_second: null });
  assert.deepEqual([app.source, app.last_used_at, app.revoked_at, app.overlays], ['journal', null, null, []]);
  assert.ok(first.last_used_at >= first.created_at);
});

test('a key is told what it may do, and nothing of others', async () => {
  const { status, json, text } = await daemon.get('/admin/v1/keys/self', as(keys.app.key));
  assert.equal(status, 200);
  const { id, name, expires_at, limits, overlays } = keys.app;
  assert.deepEqual(json, { scopes: ['generate'], key: { id, name, expires_at, limits, overlays } });
  assert.ok(!text.includes('boss'));
  assert.deepEqual((await daemon.get('/admin/v1/keys/self', as(boss))).json.scopes, scopes);
  for (const headers of [{}, as('engram_wrong')]) assert.equal((await daemon.get('/admin/v1/keys/self', headers)).status, 401);
  const said = await ctl(['key', 'self'], { ENGRAM_URL: daemon.url, ENGRAM_API_KEY: keys.app.key });
  assert.match(said.stdout, /^name +app\nid +key_\w+\nscopes +generate\nexpires +\d{4}-.*\nlimits +1000 req\/s\noverlays +none\n$/);
});

test('bad requests name the field', async () => {
  const bad = [
    [{ scopes: ['read'] }, 'name'],
    [{ name: 'a' }, 'scopes'],
    [{ name: 'a', scopes: [] }, 'scopes'],
    [{ name: 'a', scopes: 'read' }, 'scopes'],
    [{ name: 'a', scopes: ['read', 1] }, 'scopes[1]'],
    [{ name: 'a', scopes: ['fly'] }, 'scopes'],
    [{ name: ' a', scopes: ['read'] }, 'name'],
    [{ name: 'é', scopes: ['read'] }, 'name'],
    [{ name: 'a', scopes: ['read'], overlays: ['no such/name'] }, 'overlays[0]'],
    [{ name: 'a', scopes: ['read'], limits: { requests_per_second: 0 } }, 'limits.requests_per_second'],
    [{ name: 'a', scopes: ['read'], limits: { other: 1 } }, 'limits.other'],
    [{ name: 'a', scopes: ['read'], expires_in: 0 }, 'expires_in'],
    [{ name: 'a', scopes: ['read'], key: 'mine' }, 'key'],
  ];
  for (const [body, param] of bad) {
    const { status, json } = await daemon.post('/admin/v1/keys', body, as(boss));
    assert.deepEqual([status, json.error.param], [400, param], JSON.stringify(body));
  }
  assert.equal((await daemon.post('/admin/v1/keys', { name: 'app', scopes: ['read'] }, as(boss))).status, 409);
  assert.equal((await revoke('key_none')).status, 404);
  for (const query of ['?limit=0', '?limit=x', '?before=-1', '?other=1']) {
    assert.equal((await daemon.get(`/admin/v1/audit${query}`, as(boss))).status, 400, query);
  }
});

test('a revoked key ends everywhere at once', async () => {
  const { id, key } = await create('gone', { scopes: ['generate', 'read'] });
  const stream = await Client.open(daemon, { headers: as(key) });
  const other = await Client.open(daemon, { headers: as(keys.app.key) });
  stream.send({ type: 'generate', id: 'a', ...long });
  await stream.wait((m) => m.type === 'token');
  const events = await Client.open(daemon, { route: '/admin/v1/events', headers: as(key) });
  // A stream over HTTP, its head read.
  const sse = await fetch(`${daemon.url}/v1/completions`, { method: 'POST', headers: as(key), body: JSON.stringify({ ...long, stream: true }) });
  assert.equal(sse.status, 200);
  const read = sse.text();
  const { status, json } = await revoke(id);
  assert.equal(status, 200);
  assert.ok(json.revoked_at >= json.created_at);
  for (const client of [stream, events]) {
    assert.deepEqual(await client.closed, { code: 1008, reason: 'the API key was revoked' });
  }
  const text = await read;
  const last = text.trim().split('\n\n').at(-1);
  // Unless it was over before, the stream ends with the error.
  if (last !== 'data: [DONE]') assert.equal(JSON.parse(last.slice('data: '.length)).error.code, 'invalid_api_key');
  await daemon.until(async () => (await daemonMetric('engramd_running_sequences')) === 0);
  assert.equal((await daemon.post('/v1/completions', { prompt: [1] }, as(key))).status, 401);
  assert.equal((await refusal(daemon, { headers: as(key) })).status, 401);
  // The other key's connection goes on.
  assert.equal((await other.generate({ id: 'b', prompt: [1], max_tokens: 2, ignore_eos: true })).end.type, 'done');
  await other.close();
  // Once more changes nothing, and the name is free.
  assert.equal((await revoke(id)).json.revoked_at, json.revoked_at);
  assert.equal((await revoke((await create('gone', { scopes: ['read'] })).id)).status, 200);
});

test('an expired key ends too', async () => {
  const { key } = await create('short', { scopes: ['generate'], expires_in: 1 });
  const client = await Client.open(daemon, { headers: as(key) }).catch(() => null);
  // On a machine so slow that it expired before, there is nothing to close.
  if (client) assert.deepEqual(await client.closed, { code: 1008, reason: 'the API key has expired' });
  const refused = await daemon.post('/v1/completions', { prompt: [1] }, as(key));
  assert.equal(refused.status, 401);
  assert.match(refused.json.error.message, /expired/);
});

test('the last key that may operate stays', async () => {
  const { id } = (await daemon.get('/admin/v1/keys', as(boss))).json.keys[0];
  const refused = await revoke(id);
  assert.equal(refused.status, 409);
  assert.match(refused.json.error.message, /last one/);
  // With another one it may go, by its own request.
  const second = await create('second', { scopes });
  assert.equal((await revoke(id)).status, 200);
  assert.equal((await daemon.get('/admin/v1/keys', as(boss))).status, 401);
  boss = second.key;
  assert.equal((await daemon.get('/admin/v1/keys', as(boss))).status, 200);
});

test('every route of docs/openapi.yaml gives each scope what its description says', async () => {
  for (const scope of scopes) await create(`only-${scope}`, { scopes: [scope] });
  for (const { method, template, operation } of operations) {
    const route = template.replace(/\{\w+\}/g, 'none-of-these');
    const open = operation.security?.length === 0;
    const wanted = /Scope `(\w+)`/.exec(operation.description ?? '')?.[1];
    assert.ok(open || wanted === 'any' || scopes.includes(wanted), `${method} ${template} has no scope`);
    // A body that no route accepts: what may be done is not done.
    const ask = async (headers) => (await daemon.call(method, route, method === 'GET' ? undefined : '[]', headers)).status;
    for (const headers of [{}, as('engram_wrong'), { authorization: 'Basic eDp5' }]) {
      assert.equal(await ask(headers) === 401, !open, `${method} ${route} with ${JSON.stringify(headers)}`);
    }
    for (const scope of scopes) {
      const status = await ask(as(keys[`only-${scope}`].key));
      assert.notEqual(status, 401, `${method} ${route} with ${scope}`);
      assert.equal(status === 403, !open && wanted !== 'any' && scope !== wanted, `${method} ${route} with ${scope}: ${status}`);
    }
  }
  // WebSockets likewise, before they are one.
  for (const [route, wanted] of [['/v1/stream', 'generate'], ['/admin/v1/events', 'read']]) {
    for (const scope of scopes.filter((each) => each !== wanted)) {
      assert.equal((await refusal(daemon, { route, headers: as(keys[`only-${scope}`].key) })).status, 403, `${route} with ${scope}`);
    }
    await (await Client.open(daemon, { route, headers: as(keys[`only-${wanted}`].key) })).close();
  }
  for (const scope of scopes) await revoke(keys[`only-${scope}`].id);
});

test("a key's overlays are attached to requests that name none", async () => {
  const [table] = (await daemon.get('/admin/v1/tables', as(boss))).json.tables;
  const prompt = [1849, 650, 77];
  const { json: located } = await daemon.post('/admin/v1/locate', { tokens: prompt }, as(boss));
  const rows = located.rows[table.layer].at(-1);
  const entries = rows.map((row, i) => ({ layer: table.layer, row, values: randomValues(table.head_dim, i + 1) }));
  const put = await daemon.call('PUT', '/admin/v1/overlays/tenant', { entries }, as(boss));
  assert.equal(put.status, 201, put.text);
  const tenant = await create('tenant', { scopes: ['generate', 'read'], overlays: ['tenant'] });
  const plain = await create('plain', { scopes: ['generate', 'read'] });
  const body = { prompt, max_tokens: 1, temperature: 0, logprobs: 5, ignore_eos: true };
  const answer = async ({ key }, engram) => {
    const { status, json } = await daemon.post('/v1/completions', { ...body, engram }, as(key));
    assert.equal(status, 200, JSON.stringify(json));
    return JSON.stringify(json.choices[0].logprobs);
  };
  const base = await answer(plain);
  const edited = await answer(plain, { overlays: ['tenant'] });
  assert.notEqual(base, edited);
  assert.equal(await answer(tenant), edited);
  assert.equal(await answer(tenant, { gates: true }), edited);
  assert.equal(await answer(tenant, { overlays: [] }), base);
  const client = await Client.open(daemon, { headers: as(tenant.key) });
  const { tokens } = await client.generate({ id: 'a', ...body });
  const plainClient = await Client.open(daemon, { headers: as(plain.key) });
  const { tokens: plainTokens } = await plainClient.generate({ id: 'a', ...body, engram: { overlays: ['tenant'] } });
  assert.deepEqual(tokens.map((m) => m.logprob), plainTokens.map((m) => m.logprob));
  await client.close();
  await plainClient.close();

  const { json: list } = await daemon.get('/admin/v1/overlays', as(boss));
  assert.deepEqual(list.overlays.map(({ name, keys: names }) => [name, names]), [['tenant', ['tenant']]]);
  // Gone means gone, not silently without it.
  assert.equal((await daemon.call('DELETE', '/admin/v1/overlays/tenant', undefined, as(boss))).status, 200);
  const missing = await daemon.post('/v1/completions', body, as(tenant.key));
  assert.ok(missing.status >= 400 && missing.status < 500);
  assert.equal(missing.json.error.param, 'engram.overlays[0]');
});

test('the log says who changed what, and who was refused', async () => {
  const editor = await create('editor', { scopes: ['edit', 'read'] });
  const note = await daemon.post('/admin/v1/rollback', { to: 0, note: 'x' }, as(editor.key));
  const [rollback] = (await audit('?limit=1')).entries;
  assert.deepEqual(rollback.key, { id: editor.id, name: 'editor' });
  assert.deepEqual([rollback.address, rollback.action, rollback.target, rollback.status],
    ['127.0.0.1', 'POST /admin/v1/rollback', '0', note.status]);
  assert.equal(rollback.detail.includes(note.status < 400 ? 'version' : note.json.error.message.slice(0, 50)), true, rollback.detail);

  const refused = await daemon.call('DELETE', '/admin/v1/overlays/nothing', undefined, as(editor.key));
  assert.equal(refused.status, 404);
  const [missing] = (await audit('?limit=1')).entries;
  assert.deepEqual([missing.action, missing.target, missing.status], ['DELETE /admin/v1/overlays/*', 'nothing', 404]);
  assert.ok(missing.detail.length > 0);

  // Reading is not recorded.
  const newest = (await audit('?limit=1')).entries[0].id;
  await daemon.get('/admin/v1/keys', as(boss));
  await daemon.post('/admin/v1/locate', { tokens: [1, 2] }, as(editor.key));
  await daemon.post('/v1/completions', { prompt: [1] }, as(keys.plain.key));
  assert.equal((await audit('?limit=1')).entries[0].id, newest);

  // Every key that was made is there; what they are is not.
  const made = (await audit('?limit=1000&action=post%20/admin/v1/keys')).entries.filter(({ status }) => status === 201);
  assert.deepEqual(made.map(({ target }) => target).sort(), [...new Set(made.map(({ target }) => target)), 'gone'].sort());
  assert.ok(made.some(({ target, key }) => target === 'boss' && key === null));
  const all = JSON.stringify((await audit('?limit=1000')).entries);
  for (const { key } of Object.values(keys)) assert.ok(!all.includes(key));
  assert.ok((await audit(`?key=${editor.id}`)).entries.every(({ key }) => key.name === 'editor'));
  assert.equal((await audit('?key=editor')).entries.length, 2);

  // Pages.
  const total = (await audit('?limit=1000')).entries;
  let pages = [];
  for (let before = ''; before !== null;) {
    const page = await audit(`?limit=7${before === '' ? '' : `&before=${before}`}`);
    pages = pages.concat(page.entries);
    before = page.next_before;
  }
  assert.deepEqual(pages, total);
});

test('failed authentications are recorded, few of many', async () => {
  const refusals = 300;
  for (let i = 0; i < refusals; i += 50) {
    await Promise.all(Array.from({ length: 50 }, () => daemon.get('/admin/v1/status', as('engram_guess'))));
  }
  const { entries } = await audit('?limit=1000&action=GET%20/admin/v1/status');
  const unknown = entries.filter(({ status }) => status === 401);
  assert.ok(unknown.length > 0 && unknown.length < refusals, `${unknown.length} entries`);
  assert.ok(unknown.every(({ key }) => key === null));
});

test('keys and log outlive a kill', async () => {
  const { entries } = await audit('?limit=1000');
  const { json: before } = await daemon.get('/admin/v1/keys', as(boss));
  const dir = await daemon.kill();
  daemon = await Daemon.start({ dir });
  const { json: later } = await daemon.get('/admin/v1/keys', as(boss));
  const lasting = ({ last_used_at, ...key }) => key;
  assert.deepEqual(later.keys.map(lasting), before.keys.map(lasting));
  assert.deepEqual((await audit('?limit=1000')).entries, entries);
  assert.equal((await daemon.get('/admin/v1/status')).status, 401);
});

test('engramctl key and engramctl audit', async () => {
  const env = { ENGRAM_URL: daemon.url, ENGRAM_API_KEY: boss };
  const made = await ctl(['key', 'create', '--scope', 'generate,read', '--overlay', 'a', '--requests-per-s', '2.5',
    '--expires-in', '30d', 'from-ctl'], env);
  assert.equal(made.status, 0, made.stderr);
  assert.match(made.stdout, /^engram_[\w-]{43}\n$/);
  assert.match(made.stderr, /from-ctl.*generate,read/);
  assert.equal((await daemon.get('/v1/models', as(made.stdout.trim()))).status, 200);
  const list = await ctl(['key', 'list'], env);
  assert.match(list.stdout, /^NAME +ID +SCOPES +KEY +STATE/);
  assert.match(list.stdout, /^from-ctl +key_\w+ +generate,read +engram_.{4}… +until \d{4}-.*2\.5 req\/s +a$/m);
  const json = JSON.parse((await ctl(['key', 'list', '--json'], env)).stdout);
  assert.equal(json.keys.at(-1).expires_at - json.keys.at(-1).created_at, 30 * 86400);
  const revoked = await ctl(['key', 'revoke', 'from-ctl'], env);
  assert.match(revoked.stdout, /revoked \d{4}/);
  assert.equal((await daemon.get('/v1/models', as(made.stdout.trim()))).status, 401);
  const log = await ctl(['audit', '--limit', '2', '--action', 'admin/v1/keys'], env);
  assert.match(log.stdout, /DELETE \/admin\/v1\/keys\/\*.*\n.*POST \/admin\/v1\/keys +from-ctl +201/);
  assert.match(log.stdout, /older ones: --before \d+/);
  for (const wrong of [['key', 'create', 'x'], ['key', 'create', '--scope', 'read'], ['key', 'fly'],
    ['key', 'self', 'x'], ['key', 'self', '--state-dir', '/nowhere'],
    ['key', 'create', '--scope', 'read', '--expires-in', 'soon', 'x'], ['audit', 'x'], ['audit', '--limit', '0']]) {
    assert.equal((await ctl(wrong, env)).status, 2, wrong.join(' '));
  }
});

test('offline, engramctl makes the first key, and the one after a lock-out', async () => {
  const dir = fs.mkdtempSync(path.join(daemon.dir, 'offline-'));
  const state = path.join(dir, 'state');
  const offline = (...args) => ctl(['key', ...args, '--state-dir', state]);
  assert.equal((await offline('create', '--scope', 'read', 'x')).status, 1); // not operate
  const first = await offline('create', '--scope', scopes.join(), 'me');
  assert.equal(first.status, 0, first.stderr);
  assert.match((await offline('list')).stdout, /^me /m);
  assert.equal(fs.statSync(state).mode & 0o777, 0o700);
  // With a key in its state the daemon may listen where others reach it.
  const own = await Daemon.start({ stateDir: state, listen: '0.0.0.0:0' });
  try {
    assert.equal((await own.get('/admin/v1/status')).status, 401);
    assert.equal((await own.get('/admin/v1/status', as(first.stdout.trim()))).status, 200);
    // Not while a daemon uses it.
    const busy = await offline('create', '--scope', 'operate', 'other');
    assert.equal(busy.status, 1);
    assert.match(busy.stderr, /another engramd/);
    const { json } = await own.get('/admin/v1/audit?action=engramctl', as(first.stdout.trim()));
    assert.deepEqual(json.entries.map(({ action, target, status, address }) => [action, target, status, address]),
      [['engramctl key create', 'me', 0, '']]);
  } finally {
    await own.stop();
  }
  assert.equal((await offline('create', '--scope', 'operate', 'after')).status, 0);
  assert.equal((await offline('revoke', 'me')).status, 0);
  assert.equal((await offline('revoke', 'after')).status, 1);
});

test('keys of the configuration stand beside the others', async () => {
  const secret = 'of the configuration';
  const sha256 = createHash('sha256').update(secret).digest('hex');
  const own = await Daemon.start({
    config: `auth: {keys: [{name: fixed, sha256: ${sha256}, scopes: [read, operate], overlays: [o]}]}\n` });
  try {
    const { json } = await own.get('/admin/v1/keys', as(secret));
    const [fixed] = json.keys;
    assert.deepEqual([fixed.name, fixed.source, fixed.prefix, fixed.created_at, fixed.overlays], ['fixed', 'config', null, null, ['o']]);
    assert.equal((await own.call('DELETE', `/admin/v1/keys/${fixed.id}`, undefined, as(secret))).status, 409);
    assert.equal((await own.post('/admin/v1/keys', { name: 'fixed', scopes: ['read'] }, as(secret))).status, 409);
    const { status, json: made } = await own.post('/admin/v1/keys', { name: 'more', scopes: ['read'] }, as(secret));
    assert.equal(status, 201);
    assert.equal((await own.get('/admin/v1/status', as(made.key))).status, 200);
  } finally {
    await own.stop();
  }
});
