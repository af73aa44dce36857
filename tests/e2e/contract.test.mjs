// SPDX-License-Identifier: Apache-2.0
// docs/openapi.yaml and the server's routes are the same, and each key gets exactly what its scopes allow. What the
// answers look like is checked wherever the tests call the daemon (contract.mjs).
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { openapi, operations } from './contract.mjs';
import { Daemon, root } from './daemon.mjs';

const scopes = ['generate', 'read', 'edit', 'operate'];
const hash = (key) => createHash('sha256').update(key).digest('hex');
let daemon;
let routes;
before(async () => {
  daemon = await Daemon.start({ config: `log: {level: debug}
auth:
  keys:
${scopes.map((scope) => `    - {name: ${scope}, sha256: ${hash(`key-${scope}`)}, scopes: [${scope}]}\n`).join('')}` });
  routes = [...daemon.log.matchAll(/ route (\S+) (\S+) (\S+)$/gm)].map(([, method, pattern, scope]) =>
    ({ method, pattern, scope }));
});
after(() => daemon?.stop());

test('every route is in docs/openapi.yaml, and nothing else', () => {
  const served = routes.map(({ method, pattern }) => `${method} ${pattern}`);
  const described = operations.map(({ method, template }) => `${method} ${template.replace(/\{\w+\}$/, '*')}`);
  assert.deepEqual(described.sort(), served.sort());
});

test('docs/openapi.yaml says which scope a route needs', () => {
  for (const { method, pattern, scope } of routes) {
    const { operation, template } = operations.find((candidate) => candidate.method === method &&
      candidate.template.replace(/\{\w+\}$/, '*') === pattern);
    if (scope === 'none') {
      assert.deepEqual(operation.security, [], `${method} ${template} needs no key: "security: []"`);
    } else {
      assert.match(operation.description ?? '', new RegExp(`Scope \`${scope}\``), `${method} ${template}`);
    }
  }
});

test('each key gets exactly what its scopes allow', async () => {
  for (const { method, pattern, scope } of routes) {
    const route = pattern.replace('*', 'none-of-these');
    // A body that no route accepts: what may be done is not done.
    const body = method === 'GET' ? undefined : '[]';
    const statusWith = async (key) => {
      const headers = key === null ? {} : { authorization: `Bearer ${key}` };
      return (await daemon.call(method, route, body, headers)).status;
    };
    const open = scope === 'none';
    for (const key of [null, 'key-other']) {
      const status = await statusWith(key);
      assert.equal(status === 401, !open, `${method} ${route} with key ${key}: ${status}`);
    }
    for (const other of scopes) {
      const status = await statusWith(`key-${other}`);
      assert.notEqual(status, 401, `${method} ${route} with scope ${other}`);
      assert.equal(status === 403, !open && scope !== 'any' && other !== scope, `${method} ${route} with scope ${other}: ${status}`);
    }
  }
});

test('/openapi.yaml is the file', async () => {
  const { status, text, headers } = await daemon.get('/openapi.yaml');
  assert.equal(status, 200);
  assert.equal(headers.get('content-type'), 'application/yaml');
  assert.equal(text, fs.readFileSync(path.join(root, 'docs/openapi.yaml'), 'utf8'));
});

test('docs/openapi.yaml has no schema that nothing refers to', () => {
  const text = JSON.stringify(openapi);
  for (const name of Object.keys(openapi.components.schemas)) {
    assert.ok(text.includes(`"#/components/schemas/${name}"`), name);
  }
});
