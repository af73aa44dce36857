// SPDX-License-Identifier: Apache-2.0
// https:// and wss://, certificates that change while it runs, client certificates. Needs the openssl command, as the build does its
// library.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import https from 'node:https';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import tls from 'node:tls';
import WebSocket from 'ws';
import { Daemon, engramctl, slowed } from './daemon.mjs';

const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'engramd-tls-'));
const file = (name) => path.join(dir, name);
const openssl = (...args) => execFileSync('openssl', args, { stdio: 'pipe' });

// A certificate for localhost, self-signed or by the CA of that name.
function makeCertificate(name, ca = null) {
  openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj',
    `/CN=${name}`, '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1', '-keyout', file(`${name}.key`), '-out',
    file(`${name}.pem`), ...(ca ? ['-CA', file(`${ca}.pem`), '-CAkey', file(`${ca}.key`)] : []));
}
const read = (name) => fs.readFileSync(file(name), 'utf8');
const config = (more = '') =>
  `server: {tls: {certificate: ${file('server.pem')}, key: ${file('server.key')}${more}}, header_timeout: 2s}\n`;

let daemon;
before(async () => {
  makeCertificate('first');
  makeCertificate('second');
  use('first');
  daemon = await Daemon.start({ config: config() });
});
after(async () => {
  assert.deepEqual(await daemon?.stop(), { code: 0, signal: null });
  fs.rmSync(dir, { recursive: true, force: true });
});
function use(name) {
  for (const each of ['server.pem', 'server.key']) fs.rmSync(file(each), { force: true }); // it may be a link
  fs.copyFileSync(file(`${name}.pem`), file('server.pem'));
  fs.copyFileSync(file(`${name}.key`), file('server.key'));
}

// {status, text, subject} of one request.
function call(port, method, route, { body, ...options } = {}) {
  return new Promise((resolve, reject) => {
    const request = https.request({ host: '127.0.0.1', port, method, path: route, agent: false, ...options }, (response) => {
      const subject = response.socket.getPeerCertificate().subject.CN;
      let text = '';
      response.setEncoding('utf8').on('data', (data) => (text += data));
      response.on('end', () => resolve({ status: response.statusCode, text, subject }));
      response.on('error', reject);
    });
    request.on('error', reject);
    request.end(body);
  });
}

test('answers, large ones and streams', async () => {
  const ca = read('first.pem');
  assert.match(daemon.url, /^https:/);
  const body = JSON.stringify({ prompt: [1], max_tokens: 50, ignore_eos: true, stream: true });
  const stream = await call(daemon.port, 'POST', '/v1/completions', { ca, body });
  assert.equal(stream.status, 200);
  assert.ok(stream.text.endsWith('data: [DONE]\n\n'));
  const large = JSON.stringify({ prompt: 'a '.repeat(500_000) });
  const tokens = await call(daemon.port, 'POST', '/tokenize', { ca, body: large });
  assert.equal(tokens.status, 200);
  assert.ok(JSON.parse(tokens.text).count > 100_000);
});

test('keep-alive over one connection', async () => {
  const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
  for (let i = 0; i < 5; ++i) {
    assert.equal((await call(daemon.port, 'GET', '/health/live', { ca: read('first.pem'), agent })).status, 200);
  }
  agent.destroy();
});

test('WebSockets', async () => {
  const socket = new WebSocket(`wss://127.0.0.1:${daemon.port}/v1/stream`, { ca: read('first.pem') });
  await new Promise((resolve, reject) => socket.on('open', resolve).on('error', reject));
  const types = [];
  const done = new Promise((resolve) => socket.on('message', (data) => {
    types.push(JSON.parse(data).type);
    if (types.at(-1) === 'done') resolve();
  }));
  socket.send(JSON.stringify({ type: 'generate', id: 'a', prompt: [1], max_tokens: 5, ignore_eos: true }));
  await done;
  assert.equal(types.length, 6);
  const closed = new Promise((resolve) => socket.on('close', resolve));
  socket.close(1000);
  assert.equal(await closed, 1000);
});

// {code, out, err} of engramctl; `until`: interrupted once it has said that.
function ctl(args, env, until) {
  return new Promise((resolve, reject) => {
    const child = spawn(engramctl, args, { env: { ...process.env, ...env } });
    let out = '';
    let err = '';
    child.stdout.setEncoding('utf8').on('data', (data) => {
      if (until && !out.includes(until) && (out + data).includes(until)) child.kill('SIGINT');
      out += data;
    });
    child.stderr.setEncoding('utf8').on('data', (data) => (err += data));
    child.on('error', reject).on('close', (code) => resolve({ code, out, err }));
  });
}

test('engramctl asks, streams and follows, of a daemon whose certificate it trusts', async () => {
  const knows = { SSL_CERT_FILE: file('first.pem') };
  for (const host of ['127.0.0.1', 'localhost']) {
    const url = ['--url', `https://${host}:${daemon.port}`];
    const status = await ctl(['status', ...url], knows);
    assert.equal(status.code, 0, status.err);
    assert.match(status.out, /^ready/);
    const said = await ctl(['generate', ...url, '--max-tokens', '5', '--temperature', '0', 'a'], knows);
    assert.equal(said.code, 0, said.err);
    assert.notEqual(said.out, '');
    const events = await ctl(['events', ...url, '--json'], knows, 'snapshot');
    assert.equal(events.code, 0, events.err);
    for (const command of ['status', 'events']) {
      const stranger = await ctl([command, ...url], { SSL_CERT_FILE: file('second.pem') });
      assert.equal(stranger.code, 1);
      assert.match(stranger.err, /certificate: self.signed certificate .*SSL_CERT_FILE/);
    }
  }
  // The same address under a name that the certificate does not have.
  const otherName = await ctl(['status', '--url', `https://127.1:${daemon.port}`], knows);
  assert.equal(otherName.code, 1);
  assert.match(otherName.err, /TLS with 127\.1:\d+: .*certificate/);
});

test('plain HTTP, garbage and silence are cut off', async () => {
  assert.doesNotMatch(await daemon.raw('GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n').catch(() => ''), /200/);
  await daemon.raw(Buffer.alloc(1000, 7)).catch(() => '');
  assert.equal(await daemon.raw('').catch(() => ''), '');
  assert.equal((await call(daemon.port, 'GET', '/health/live', { ca: read('first.pem') })).status, 200);
});

test('old protocols and unknown ones are refused', async () => {
  const connect = (options) => new Promise((resolve, reject) => {
    const socket = tls.connect({ port: daemon.port, host: '127.0.0.1', ca: read('first.pem'), ...options }, () => {
      resolve([socket.getProtocol(), socket.alpnProtocol]);
      socket.destroy();
    });
    socket.on('error', reject);
  });
  assert.deepEqual(await connect({ ALPNProtocols: ['h2', 'http/1.1'] }), ['TLSv1.3', 'http/1.1']);
  assert.deepEqual(await connect({ maxVersion: 'TLSv1.2' }), ['TLSv1.2', false]);
  await assert.rejects(connect({ ALPNProtocols: ['h2'] }));
  await assert.rejects(connect({ minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1' }));
});

test('SIGHUP takes a new certificate and leaves connections alone; a bad one changes nothing', async () => {
  const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
  const ca = [read('first.pem'), read('second.pem')];
  assert.equal((await call(daemon.port, 'GET', '/health/live', { ca, agent })).subject, 'first');
  use('second');
  daemon.child.kill('SIGHUP');
  await daemon.until(async () => (await call(daemon.port, 'GET', '/health/live', { ca })).subject === 'second');
  assert.equal((await call(daemon.port, 'GET', '/health/live', { ca, agent })).status, 200);
  fs.copyFileSync(file('first.key'), file('server.key'));
  daemon.child.kill('SIGHUP');
  await daemon.until(() => daemon.log.includes('server.tls.key'));
  assert.equal((await call(daemon.port, 'GET', '/health/live', { ca })).subject, 'second');
  agent.destroy();
});

test('changed files are taken without a signal; a bad one is logged and changes nothing', async () => {
  const ca = [read('first.pem'), read('second.pem')];
  const subject = async () => (await call(daemon.port, 'GET', '/health/live', { ca })).subject;
  use('first');
  await daemon.until(async () => (await subject()) === 'first');
  fs.writeFileSync(file('server.pem'), 'nonsense');
  await daemon.until(() => /have changed: server\.tls\.certificate: .*stays in use/.test(daemon.log));
  assert.equal(await subject(), 'first');
  // Links that change what they lead to, as tools for certificates have them.
  for (const each of ['pem', 'key']) {
    fs.symlinkSync(file(`second.${each}`), file(`next.${each}`));
    fs.renameSync(file(`next.${each}`), file(`server.${each}`));
  }
  await daemon.until(async () => (await subject()) === 'second');
});

// A connection; what came is in `received`.
function connect(port) {
  return new Promise((resolve, reject) => {
    const socket = tls.connect({ port, host: '127.0.0.1', ca: [read('first.pem'), read('second.pem')] }, () => resolve(socket));
    socket.received = '';
    socket.setEncoding('latin1').on('data', (data) => (socket.received += data));
    socket.on('error', reject); // of no use once it is connected
  });
}
const head = (line, more = '') => `${line} HTTP/1.1\r\nHost: localhost\r\n${more}\r\n`;

test('requests that come in one record, and bytes that come in one each', async () => {
  const socket = await connect(daemon.port);
  const answers = () => socket.received.split('HTTP/1.1 200').length - 1;
  socket.write(head('GET /health/live').repeat(5));
  await daemon.until(() => answers() === 5);
  for (const byte of head('GET /health/live')) await new Promise((sent) => socket.write(byte, sent));
  await daemon.until(() => answers() === 6);
  socket.destroy();
});

test('a client that reads slowly gets all of a large answer', async () => {
  const body = JSON.stringify({ prompt: 'a '.repeat(500_000) });
  const socket = await connect(daemon.port);
  // As fast as this process gets to it, 16 KiB at a time: the answer waits for it, again and again.
  socket.on('data', () => {
    socket.pause();
    setImmediate(() => socket.resume());
  });
  socket.write(head('POST /tokenize', `Content-Length: ${body.length}\r\n`) + body);
  const text = () => socket.received.slice(socket.received.indexOf('\r\n\r\n') + 4);
  const size = () => Number(/Content-Length: (\d+)/i.exec(socket.received)?.[1] ?? NaN);
  await daemon.until(() => text().length === size());
  assert.equal(JSON.parse(text()).tokens.length, JSON.parse(text()).count);
  assert.ok(size() > 500_000, `${size()} bytes`);
  socket.destroy();
});

test('a client that leaves ends what runs for it', async () => {
  const own = await Daemon.start({ config: slowed(config(), 20_000) });
  const ca = [read('first.pem'), read('second.pem')];
  for (const leave of [(socket) => socket.destroy(), (socket) => socket.end()]) {
    const metric = async (pattern) => Number(pattern.exec((await call(own.port, 'GET', '/metrics', { ca })).text)?.[1] ?? 0);
    const cancelled = () => metric(/^engramd_requests_total\{.*cancelled.*\} (\d+)$/m);
    const before = await cancelled();
    const socket = await connect(own.port);
    const body = JSON.stringify({ prompt: [5], max_tokens: 500, ignore_eos: true, stream: true });
    socket.write(head('POST /v1/completions', `Content-Length: ${body.length}\r\n`) + body);
    await own.until(() => socket.received.includes('data: '));
    leave(socket);
    await own.until(async () => (await cancelled()) === before + 1 && (await metric(/^engramd_running_sequences.* (\d+)$/m)) === 0);
  }
  assert.deepEqual(await own.stop(), { code: 0, signal: null });
});

test('client certificates', async () => {
  makeCertificate('authority');
  makeCertificate('member', 'authority');
  use('first');
  const own = await Daemon.start({ config: config(`, client_ca: ${file('authority.pem')}`) });
  const ca = read('first.pem');
  const with_ = (name) => call(own.port, 'GET', '/health/live',
    { ca, ...(name ? { cert: read(`${name}.pem`), key: read(`${name}.key`) } : {}) });
  assert.equal((await with_('member')).status, 200);
  await assert.rejects(with_(null));
  await assert.rejects(with_('second'));
  const status = ['status', '--url', own.url];
  const shows = { SSL_CERT_FILE: file('first.pem'), ENGRAM_CLIENT_CERTIFICATE: file('member.pem'), ENGRAM_CLIENT_KEY: file('member.key') };
  const member = await ctl(status, shows);
  assert.equal(member.code, 0, member.err);
  assert.equal((await ctl(status, { SSL_CERT_FILE: file('first.pem') })).code, 1);
  const lost = await ctl(status, { ...shows, ENGRAM_CLIENT_KEY: file('nowhere.key') });
  assert.equal(lost.code, 1);
  assert.match(lost.err, /ENGRAM_CLIENT_KEY, .*nowhere\.key/);
  await own.stop();
});

test('files that are wrong stop the start and are named', async () => {
  fs.writeFileSync(file('server.pem'), 'nonsense');
  await assert.rejects(Daemon.start({ config: config() }), /server\.tls\.certificate.*server\.pem/);
});
