// SPDX-License-Identifier: Apache-2.0
// WebSocket clients for the tests: npm's `ws` with an inbox, and one that writes frames byte by byte.
import { randomBytes } from 'node:crypto';
import net from 'node:net';
import WebSocket from 'ws';

// Opens a connection and collects its messages.
export class Client {
  static #open = new Set();
  // What a test that failed half-way has left.
  static terminateAll() {
    for (const client of Client.#open) client.socket.terminate();
  }
  static open(daemon, { route = '/v1/stream', protocols = [], ...options } = {}) {
    const client = new Client();
    client.messages = [];
    client.waiting = [];
    Client.#open.add(client);
    client.socket = new WebSocket(daemon.url.replace('http', 'ws') + route, protocols, options);
    client.socket.on('message', (data) => {
      client.messages.push(JSON.parse(data));
      for (const check of client.waiting) check();
    });
    client.closed = new Promise((resolve) => {
      client.socket.on('close', (code, reason) => {
        Client.#open.delete(client);
        resolve({ code, reason: reason.toString() });
        for (const check of client.waiting) check();
      });
    });
    client.socket.on('error', () => {});
    return new Promise((resolve, reject) => {
      client.socket.on('open', () => resolve(client));
      client.socket.on('error', reject);
    });
  }
  send(message) {
    this.socket.send(typeof message === 'string' ? message : JSON.stringify(message));
  }
  // The first message that `wanted` holds of; rejects when the connection closes before it comes, or when it has not come
  // for so long that it never will.
  wait(wanted, { giveUpAfterS = 120 } = {}) {
    return new Promise((resolve, reject) => {
      const end = (why) => {
        clearTimeout(timer);
        this.waiting = this.waiting.filter((other) => other !== check);
        if (why) reject(new Error(`${why}: ${wanted}; got ${JSON.stringify(this.messages).slice(0, 1000)}`));
      };
      const timer = setTimeout(() => end('does not come'), giveUpAfterS * 1000);
      const check = () => {
        const found = this.messages.find(wanted);
        if (found) resolve(found);
        if (found) end();
        else if (this.socket.readyState === WebSocket.CLOSED) end('closed');
      };
      this.waiting.push(check);
      check();
    });
  }
  // All messages of a generation once it has ended.
  async generate(body) {
    this.send({ type: 'generate', ...body });
    const end = await this.wait((m) => m.id === body.id && (m.type === 'done' || m.type === 'error'));
    const mine = this.messages.filter((m) => m.id === body.id);
    return { end, tokens: mine.filter((m) => m.type === 'token'), prompts: mine.filter((m) => m.type === 'prompt') };
  }
  async close(code = 1000) {
    this.socket.close(code);
    return this.closed;
  }
}

// What the server answers to an upgrade request it refuses: {status, headers, body}.
export function refusal(daemon, { route = '/v1/stream', protocols = [], ...options } = {}) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(daemon.url.replace('http', 'ws') + route, protocols, options);
    socket.on('open', () => reject(new Error('the connection was opened')));
    socket.on('error', () => {});
    socket.on('unexpected-response', (_, response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (data) => (body += data));
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, body }));
    });
  });
}

// One frame as a client sends it.
export function frame(opcode, payload = '', { fin = true, masked = true, rsv = 0 } = {}) {
  const data = Buffer.from(payload);
  const first = (fin ? 0x80 : 0) | (rsv << 4) | opcode;
  const bit = masked ? 0x80 : 0;
  let head;
  if (data.length < 126) {
    head = Buffer.from([first, bit | data.length]);
  } else if (data.length < 65536) {
    head = Buffer.from([first, bit | 126, data.length >> 8, data.length & 255]);
  } else {
    head = Buffer.alloc(10);
    head[0] = first;
    head[1] = bit | 127;
    head.writeBigUInt64BE(BigInt(data.length), 2);
  }
  if (!masked) return Buffer.concat([head, data]);
  const mask = randomBytes(4);
  return Buffer.concat([head, mask, data.map((byte, i) => byte ^ mask[i % 4])]);
}

// A connection after a hand-made upgrade. `frames()` parses what has come: [{opcode, payload}].
export function rawClient(daemon, route = '/v1/stream') {
  return new Promise((resolve, reject) => {
    const socket = net.connect(daemon.port, '127.0.0.1', () => socket.write(
      `GET ${route} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
      `Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\nSec-WebSocket-Version: 13\r\n\r\n`));
    let received = Buffer.alloc(0);
    let opened = false;
    socket.on('error', (error) => (opened ? undefined : reject(error)));
    socket.whenClosed = new Promise((done) => socket.on('close', done));
    socket.on('data', (data) => {
      received = Buffer.concat([received, data]);
      const end = received.indexOf('\r\n\r\n');
      if (opened || end < 0) return;
      opened = true;
      const head = received.subarray(0, end).toString();
      received = received.subarray(end + 4);
      if (!head.startsWith('HTTP/1.1 101 ')) return reject(new Error(head));
      resolve(socket);
    });
    socket.frames = () => {
      const frames = [];
      let rest = received;
      while (rest.length >= 2) {
        let length = rest[1] & 127;
        let start = 2;
        if (length === 126) [length, start] = [rest.readUInt16BE(2), 4];
        if (length === 127) [length, start] = [Number(rest.readBigUInt64BE(2)), 10];
        if (rest.length < start + length) break;
        frames.push({ opcode: rest[0] & 15, payload: rest.subarray(start, start + length) });
        rest = rest.subarray(start + length);
      }
      return frames;
    };
    // The code of the server's close frame once the connection has ended; null without one.
    socket.closeCode = async () => {
      await socket.whenClosed;
      const last = socket.frames().find(({ opcode }) => opcode === 8);
      return last ? last.payload.readUInt16BE(0) : null;
    };
  });
}
