// SPDX-License-Identifier: Apache-2.0
// What a hostile or broken client does on the socket. After each test the daemon must still answer and run nothing.
import assert from 'node:assert/strict';
import net from 'node:net';
import { after, afterEach, before, test } from 'node:test';
import { Daemon, slowed } from './daemon.mjs';

const config = `server:
  header_timeout: 700ms
  body_timeout: 700ms
  idle_timeout: 60s
  write_timeout: 2s
  max_connections: 40
`;
let daemon;
let slow;
before(async () => {
  daemon = await Daemon.start({ config });
  slow = await Daemon.start({ config: slowed(config, 10_000) });
});
after(async () => {
  assert.deepEqual(await daemon.stop(), { code: 0, signal: null });
  assert.deepEqual(await slow.stop(), { code: 0, signal: null });
});
afterEach(async () => {
  for (const server of [daemon, slow]) await server.stillServes();
});

const host = 'Host: localhost\r\n';
const post = (body, headers = '') =>
  `POST /v1/completions HTTP/1.1\r\n${host}${headers}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
const long = { prompt: [5], max_tokens: 500, ignore_eos: true };

// Responses on one connection, split by Content-Length.
function split(text) {
  const responses = [];
  while (text.length > 0) {
    const end = text.indexOf('\r\n\r\n');
    assert.ok(end > 0, `no response in ${text.slice(0, 200)}`);
    const head = text.slice(0, end);
    const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
    responses.push({ status: Number(head.split(' ')[1]), head, body: text.slice(end + 4, end + 4 + length) });
    text = text.slice(end + 4 + length);
  }
  return responses;
}

// Connects and resolves once connected; collects what arrives in `received`.
function connect(bytes = '', server = daemon) {
  return new Promise((resolve, reject) => {
    const socket = net.connect(server.port, '127.0.0.1', () => {
      if (bytes) socket.write(bytes);
      resolve(socket);
    });
    socket.received = '';
    socket.on('data', (data) => (socket.received += data.toString('latin1')));
    socket.whenClosed = new Promise((done) => socket.on('close', done));
    socket.on('error', reject);
    socket.on('error', () => {});
  });
}

const malformed = [
  ['garbage', '\x16\x03\x01\x02\x00\r\n\r\n', 400],
  ['no version', 'GET /health/live\r\n\r\n', 400],
  ['bad version', `GET /health/live HTTP/2.7\r\n${host}\r\n`, 505],
  ['unknown method', `BREW /health/live HTTP/1.1\r\n${host}Connection: close\r\n\r\n`, 501],
  ['no host', 'GET /health/live HTTP/1.1\r\n\r\n', 400],
  ['two hosts', `GET /health/live HTTP/1.1\r\n${host}${host}\r\n`, 400],
  ['space before colon', `GET /health/live HTTP/1.1\r\n${host}A : b\r\n\r\n`, 400],
  ['NUL in a header', `GET /health/live HTTP/1.1\r\n${host}A: \0b\r\n\r\n`, 400],
  ['bad escape', `GET /%zz HTTP/1.1\r\n${host}\r\n`, 400],
  ['bad target', `GET health HTTP/1.1\r\n${host}\r\n`, 400],
  ['header too large', `GET /health/live HTTP/1.1\r\n${host}A: ${'a'.repeat(40_000)}\r\n\r\n`, 431],
  ['target too long', `GET /${'a'.repeat(40_000)} HTTP/1.1\r\n${host}\r\n`, 431],
  ['many headers', `GET /health/live HTTP/1.1\r\n${host}${'A: b\r\n'.repeat(9000)}\r\n`, 431],
  ['length and chunked', post('{}', 'Transfer-Encoding: chunked\r\n'), 400],
  ['chunked and length', `POST /tokenize HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n`, 400],
  ['two lengths', `POST /tokenize HTTP/1.1\r\n${host}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x`, 400],
  ['negative length', `POST /tokenize HTTP/1.1\r\n${host}Content-Length: -1\r\n\r\n`, 400],
  ['length with a plus', `POST /tokenize HTTP/1.1\r\n${host}Content-Length: +2\r\n\r\n{}`, 400],
  ['endless length', `POST /tokenize HTTP/1.1\r\n${host}Content-Length: ${'9'.repeat(40)}\r\n\r\n`, 400],
  ['gzip, chunked', `POST /tokenize HTTP/1.1\r\n${host}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`, 501],
  ['xchunked', `POST /tokenize HTTP/1.1\r\n${host}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`, 501],
  ['chunked in 1.0', `POST /tokenize HTTP/1.0\r\n${host}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400],
  ['bad chunk size', `POST /tokenize HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n`, 400],
  ['huge chunk size', `POST /tokenize HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n`, 400],
  ['endless chunk extension', `POST /tokenize HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\n\r\n1;${'a'.repeat(300_000)}`, 400],
  ['too long', `POST /tokenize HTTP/1.1\r\n${host}Content-Length: 67108864\r\n\r\n`, 413],
  ['too long, chunked', `POST /tokenize HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\n\r\n900000\r\n${'a'.repeat(0x900000)}\r\n0\r\n\r\n`, 413],
  ['unknown expectation', post('{}', 'Expect: miracles\r\n'), 417],
];
test('malformed requests get an error in OpenAI\'s shape and the connection closes', async (t) => {
  for (const [name, bytes, status] of malformed) {
    await t.test(name, async () => {
      const responses = split(await daemon.raw(bytes));
      assert.equal(responses.length, 1);
      assert.equal(responses[0].status, status);
      assert.match(responses[0].head, /connection: close/i);
      const { error } = JSON.parse(responses[0].body);
      assert.deepEqual(Object.keys(error), ['message', 'type', 'param', 'code']);
    });
  }
});

test('a 64 MiB body is refused', async () => {
  const refused = await daemon.raw(post('a'.repeat(64 << 20)));
  assert.equal(split(refused)[0].status, 413);
});

test('slow headers and slow bodies run into the deadline', async () => {
  const slowly = async (start, byte) => {
    const socket = await connect(start);
    const timer = setInterval(() => socket.write(byte), 100);
    await socket.whenClosed;
    clearInterval(timer);
    return split(socket.received)[0].status;
  };
  assert.deepEqual(
    await Promise.all([
      slowly(`GET /health/live HTTP/1.1\r\n${host}A: `, 'a'),
      slowly(`POST /tokenize HTTP/1.1\r\n${host}Content-Length: 100000\r\n\r\n`, ' '),
      slowly(`POST /tokenize HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\n\r\n`, '1\r\n \r\n'),
    ]),
    [408, 408, 408]);
});

test('a connection without a request is closed in silence', async () => {
  const socket = await connect();
  await socket.whenClosed;
  assert.equal(socket.received, '');
});

test('Expect: 100-continue', async () => {
  const body = JSON.stringify({ prompt: 'a' });
  const head = `POST /tokenize HTTP/1.1\r\n${host}Connection: close\r\nExpect: 100-continue\r\nContent-Length: ${body.length}\r\n\r\n`;
  const socket = await connect(head);
  await daemon.until(() => socket.received.includes('\r\n\r\n'));
  assert.match(socket.received, /^HTTP\/1\.1 100 Continue\r\n\r\n$/);
  socket.write(body);
  await socket.whenClosed;
  assert.match(socket.received, /100 Continue\r\n\r\nHTTP\/1\.1 200 OK/);
  const refused = split(await daemon.raw(head.replace('/tokenize', '/nowhere')));
  assert.deepEqual(refused.map((response) => response.status), [404]);
});

for (const stream of [true, false]) {
  for (const how of ['end', 'resetAndDestroy']) {
    test(`clients that vanish (${how}, ${stream ? 'streamed' : 'whole'}) are cancelled`, async () => {
      const cancelled = () => slow.metric('engramd_requests_total', 'cancelled').catch(() => 0);
      const before = await cancelled();
      const sockets = await Promise.all(Array.from({ length: 8 }, () =>
        connect(post(JSON.stringify({ ...long, stream })), slow)));
      await slow.until(async () => (await slow.metric('engramd_running_sequences')) > 0);
      for (const socket of sockets) socket[how]();
      await Promise.all(sockets.map((socket) => socket.whenClosed));
      await slow.nothingRuns();
      assert.ok((await cancelled()) > before);
    });
  }
}

test('a pipelined request behind a stream is answered, not taken for the end', async () => {
  const body = JSON.stringify({ ...long, max_tokens: 100, stream: true });
  const socket = await connect(post(body));
  await daemon.until(() => socket.received.includes('data: '));
  socket.write(`GET /health/live HTTP/1.1\r\n${host}Connection: close\r\n\r\n`);
  await socket.whenClosed;
  const done = socket.received.indexOf('data: [DONE]');
  assert.ok(done > 0);
  assert.match(socket.received.slice(done), /HTTP\/1\.1 200 OK/);
  assert.equal(socket.received.split('data: {').length - 1 > 50, true);
});

test('a hundred pipelined requests are answered in order', async () => {
  let bytes = '';
  for (let i = 0; i < 100; ++i) {
    const id = `X-Request-Id: r${i}\r\n${i === 99 ? 'Connection: close\r\n' : ''}`;
    bytes += i % 2 ? `GET /health/live HTTP/1.1\r\n${host}${id}\r\n` : post(JSON.stringify({ prompt: [1], max_tokens: 1 }), id);
  }
  const responses = split(await daemon.raw(bytes));
  assert.deepEqual(responses.map(({ status, head }) => [status, /x-request-id: (\S+)/i.exec(head)[1]]),
    Array.from({ length: 100 }, (_, i) => [200, `r${i}`]));
});

test('HTTP/1.0 gets no chunks', async () => {
  const body = JSON.stringify({ prompt: [1], max_tokens: 3, ignore_eos: true, stream: true });
  const text = await daemon.raw(`POST /v1/completions HTTP/1.0\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
  assert.doesNotMatch(text, /transfer-encoding/i);
  assert.match(text, /\r\n\r\ndata: \{/);
  assert.ok(text.endsWith('data: [DONE]\n\n'));
});

test('more connections than allowed get 503', async () => {
  const sockets = [];
  while (sockets.length < 60) sockets.push(await connect());
  await daemon.until(() => sockets.some((socket) => socket.received.includes('\r\n\r\n')));
  const refused = sockets.filter((socket) => socket.received !== '');
  for (const socket of refused) {
    await socket.whenClosed;
    const [response] = split(socket.received);
    assert.equal(response.status, 503);
    assert.match(response.head, /retry-after: \d+/i);
    assert.equal(JSON.parse(response.body).error.type, 'service_unavailable_error');
  }
  assert.ok(refused.length <= 60);
  for (const socket of sockets) socket.destroy();
  // The next request may still find the house full: wait on a connection of our own.
  await daemon.until(async () => {
    const answer = await fetch(`${daemon.url}/health/live`).catch(() => ({ status: 0 }));
    return answer.status === 200;
  });
});

test('a reader that stops reading is cut off', async () => {
  const socket = net.connect(slow.port, '127.0.0.1');
  socket.on('error', () => {});
  socket.pause();
  // Far more than the socket buffers hold: the answer carries every position's rows.
  const body = JSON.stringify({ ...long, max_tokens: 500, n: 8, logprobs: 20, engram: { rows: true, gates: true } });
  socket.write(Array(3).fill(post(body)).join(''));
  await slow.until(async () => (await slow.metric('engramd_running_sequences')) > 0);
  await slow.until(async () => (await slow.metric('engramd_http_connections')) <= 2 &&
    (await slow.metric('engramd_running_sequences')) === 0);
  socket.destroy();
});
