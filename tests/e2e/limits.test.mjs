// SPDX-License-Identifier: Apache-2.0
// What a key may use: requests and tokens per second, over HTTP and WebSocket.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, test } from 'node:test';
import { Daemon } from './daemon.mjs';
import { Client } from './websocket.mjs';

const hash = (key) => createHash('sha256').update(key).digest('hex');
const as = (key) => ({ authorization: `Bearer ${key}` });
const body = { prompt: [1, 2, 3], max_tokens: 7, ignore_eos: true };
let daemon;
before(async () => {
  // So slow that nothing comes back while the test runs.
  daemon = await Daemon.start({ config: `auth:
  keys:
    - {name: free, sha256: ${hash('free')}, scopes: [generate, read]}
    - {name: few, sha256: ${hash('few')}, scopes: [generate], limits: {requests_per_s: 0.001}}
    - {name: short, sha256: ${hash('short')}, scopes: [generate], limits: {tokens_per_s: 0.001}}
    - {name: socket, sha256: ${hash('socket')}, scopes: [generate], limits: {requests_per_s: 0.001}}
    - {name: watched, sha256: ${hash('watched')}, scopes: [generate], limits: {requests_per_s: 10, tokens_per_s: 100}}
` });
});
after(() => daemon?.stop());

test('keys without limits have no headers', async () => {
  const { status, headers } = await daemon.post('/v1/completions', body, as('free'));
  assert.equal(status, 200);
  assert.deepEqual([...headers.keys()].filter((name) => name.startsWith('x-ratelimit')), []);
});

test('requests', async () => {
  assert.equal((await daemon.get('/v1/models', as('few'))).status, 200);
  const refused = await daemon.post('/v1/completions', body, as('few'));
  assert.equal(refused.status, 429);
  assert.equal(refused.json.error.code, 'requests_exceeded');
  assert.equal(refused.json.error.type, 'rate_limit_error');
  assert.ok(Number(refused.headers.get('retry-after')) > 900);
  assert.equal(refused.headers.get('x-ratelimit-remaining-requests'), '0');
  // The others go on, and so does what needs no key.
  assert.equal((await daemon.post('/v1/completions', body, as('free'))).status, 200);
  assert.equal((await daemon.get('/health/ready', as('few'))).status, 200);
});

test('tokens, of a stream too', async () => {
  const first = await daemon.post('/v1/completions', { ...body, stream: true }, as('short'));
  assert.equal(first.status, 200);
  const refused = await daemon.post('/v1/completions', body, as('short'));
  assert.equal(refused.status, 429);
  assert.equal(refused.json.error.code, 'tokens_exceeded');
  // 1 in the bucket, 3 + 7 used.
  assert.ok(Number(refused.headers.get('retry-after')) > 9000);
  assert.equal((await daemon.get('/v1/models', as('short'))).status, 200);
});

test('headers tell what is left', async () => {
  const { headers } = await daemon.post('/v1/completions', body, as('watched'));
  assert.equal(headers.get('x-ratelimit-limit-requests'), '100');
  assert.equal(headers.get('x-ratelimit-limit-tokens'), '1000');
  assert.ok(Number(headers.get('x-ratelimit-remaining-requests')) <= 99);
  assert.match(headers.get('x-ratelimit-reset-tokens'), /^\d+s$/);
});

test('a WebSocket is no way around', async () => {
  const client = await Client.open(daemon, { headers: as('socket') });
  const { end } = await client.generate({ id: 'a', ...body });
  assert.equal(end.type, 'error');
  assert.equal(end.error.code, 'requests_exceeded');
  await client.close();
});
