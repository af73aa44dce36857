// SPDX-License-Identifier: Apache-2.0
// Resident memory of an idle connection: HTTP kept alive after one request, and a WebSocket after one message, each
// without TLS and with it. Needs the openssl command.
//
//   ENGRAMD_BIN=build/release/bin/engramd node bench/idle_connections.mjs
//
// CONNECTIONS: how many of each kind, default 1000.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { Daemon, root } from '../tests/e2e/daemon.mjs';

const WebSocket = createRequire(path.join(root, 'tests/e2e/package.json'))('ws');
const count = Number(process.env.CONNECTIONS ?? 1000);
const warm = 50;
const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'engramd-idle-'));
const file = (name) => path.join(dir, name);
execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj',
  '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', file('key.pem'), '-out', file('cert.pem')], { stdio: 'pipe' });
const ca = fs.readFileSync(file('cert.pem'));

// An answered request on a connection of its own, which stays open.
function keptAlive(daemon) {
  const { Agent, get } = daemon.url.startsWith('https') ? https : http;
  return new Promise((resolve, reject) => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    get(`${daemon.url}/health/live`, { agent, ca }, (response) => {
      response.resume();
      response.on('end', () => resolve(() => agent.destroy()));
    }).on('error', reject);
  });
}
function webSocket(daemon) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(daemon.url.replace('http', 'ws') + '/v1/stream', { ca });
    socket.on('error', reject);
    socket.on('open', () => socket.send(JSON.stringify({ type: 'ping', id: 'x'.repeat(100) })));
    socket.once('message', () => resolve(() => socket.terminate()));
  });
}

async function measure(tls, open) {
  const config = `server: {max_connections: ${count + warm + 50}, idle_timeout: 1h${
    tls ? `, tls: {certificate: ${file('cert.pem')}, key: ${file('key.pem')}}` : ''}}\n`;
  const daemon = await Daemon.start({ config });
  const resident = () =>
    Number(/VmRSS:\s+(\d+) kB/.exec(fs.readFileSync(`/proc/${daemon.child.pid}/status`, 'utf8'))[1]) * 1024;
  const close = [];
  for (let i = 0; i < warm; ++i) close.push(await open(daemon));
  const before = resident();
  for (let i = 0; i < count; ++i) close.push(await open(daemon));
  const each = (resident() - before) / count;
  for (const end of close) end();
  await daemon.stop();
  return each;
}

try {
  for (const [what, open] of [['HTTP, kept alive', keptAlive], ['WebSocket', webSocket]]) {
    const plain = await measure(false, open);
    const tls = await measure(true, open);
    console.log(`${what}: ${Math.round(plain)} bytes, with TLS ${Math.round(tls)} bytes`);
  }
} finally {
  fs.rmSync(dir, { recursive: true, force: true });
}
