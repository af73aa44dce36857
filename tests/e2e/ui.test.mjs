// SPDX-License-Identifier: Apache-2.0
// The dashboard's files under /ui/.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { Daemon } from './daemon.mjs';

let dir;
let daemon;
before(async () => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'engramd-ui-'));
  fs.mkdirSync(path.join(dir, 'ui/assets'), { recursive: true });
  fs.writeFileSync(path.join(dir, 'ui/index.html'), '<!doctype html>');
  fs.writeFileSync(path.join(dir, 'ui/assets/index-DQ3kx2aB.js'), 'export {}');
  fs.writeFileSync(path.join(dir, 'secret'), 'secret');
  daemon = await Daemon.start({ settings: [`web.root=${path.join(dir, 'ui')}`] });
});
after(async () => {
  await daemon?.stop();
  fs.rmSync(dir, { recursive: true, force: true });
});

test('pages and assets', async () => {
  const page = await daemon.get('/ui/');
  assert.equal(page.status, 200);
  assert.equal(page.text, '<!doctype html>');
  assert.equal(page.headers.get('content-type'), 'text/html; charset=utf-8');
  assert.match(page.headers.get('content-security-policy'), /^default-src 'self';/);
  assert.doesNotMatch(page.headers.get('content-security-policy'), /unsafe/);
  assert.equal((await daemon.get('/ui/models')).text, page.text);
  const again = await daemon.get('/ui/', { 'if-none-match': page.headers.get('etag') });
  assert.equal(again.status, 304);
  assert.equal(again.text, '');
  const script = await daemon.get('/ui/assets/index-DQ3kx2aB.js');
  assert.match(script.headers.get('cache-control'), /immutable/);
  assert.equal((await daemon.get('/ui/missing.js')).status, 404);
  const head = await daemon.call('HEAD', '/ui/');
  assert.deepEqual([head.text, head.headers.get('content-length')], ['', '15']);
});

test('the way there', async () => {
  for (const from of ['/', '/ui']) {
    const response = await fetch(daemon.url + from, { redirect: 'manual' });
    assert.deepEqual([response.status, response.headers.get('location')], [308, '/ui/']);
  }
});

test('nothing outside is served', async () => {
  for (const target of ['/ui/../secret', '/ui/..%2fsecret', '/ui/%2e%2e/secret', '/ui//secret', '/ui/assets/../../secret',
    '/ui/%2fetc/passwd', '/ui/..%5csecret', `/ui/${path.join(dir, 'secret')}`]) {
    const answer = await daemon.raw(`GET ${target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
    assert.doesNotMatch(answer, /\r\n\r\nsecret|root:/, target);
  }
});

test('SIGHUP reads the files again', async () => {
  fs.writeFileSync(path.join(dir, 'ui/index.html'), '<!doctype html>2');
  daemon.child.kill('SIGHUP');
  await daemon.until(async () => (await daemon.get('/ui/')).text.endsWith('2'));
  fs.rmSync(path.join(dir, 'ui/index.html'));
  daemon.child.kill('SIGHUP');
  await daemon.until(() => daemon.log.includes('no index.html'));
  assert.ok((await daemon.get('/ui/')).text.endsWith('2'));
});
