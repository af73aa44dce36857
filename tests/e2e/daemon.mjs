// SPDX-License-Identifier: Apache-2.0
// Starts the real engramd for a test and talks to it.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { checkAnswer } from './contract.mjs';

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
export const binary = process.env.ENGRAMD_BIN ?? path.join(root, 'build/release/bin/engramd');
export const engramctl = path.join(path.dirname(binary), 'engramctl');
// What a test that names plugins of tests/plugins needs.
export const pluginDirectories = ['', '/test'].map((sub) => path.join(path.dirname(binary), `../lib/engram/plugins${sub}`));
const vectors = path.join(root, 'tests/vectors');
const trained = 'lexicon'; // the bundled model has reference values of its own
export const vectorModels = [...fs.readdirSync(path.join(vectors, 'models')).sort(), trained];

const source = (name) => (name === trained ? path.join(root, 'models', name) : path.join(vectors, 'models', name));

// A model directory made of a vector model and the tokenizer all but the trained one share.
export function vectorModelDir(name, dir) {
  if (name === trained) return source(name);
  const model = path.join(dir, name);
  fs.mkdirSync(model);
  for (const file of ['config.json', 'model.safetensors']) {
    fs.copyFileSync(path.join(source(name), file), path.join(model, file));
  }
  fs.copyFileSync(path.join(vectors, 'tokenizer.json'), path.join(model, 'tokenizer.json'));
  return model;
}

export function expected(name) {
  return JSON.parse(fs.readFileSync(path.join(source(name), 'expected.json'), 'utf8'));
}

// `config` with steps that take so long: what a test wants to see running still runs when it looks.
export const slowed = (config, microseconds) => `${config}plugins: {directories: [${pluginDirectories}]}
memory: {tiers: [{name: slow, plugin: fault_tier, options: {delay_us: ${microseconds}}}]}
`;

export class Daemon {
  // `model`: a vector model's name, or a directory. `settings`: more --set KEY=VALUE. `config`: text of a YAML file.
  // `dir`: that of a daemon that was killed, to go on with its state. `listen`: 127.0.0.1 must be part of it.
  static async start({ model = 'dense-paper-hc4', settings = [], config = null, dir = null, stateDir = null,
    listen = '127.0.0.1:0' } = {}) {
    const daemon = new Daemon();
    daemon.dir = dir ?? fs.mkdtempSync(path.join(os.tmpdir(), 'engramd-e2e-'));
    const modelDir = model.includes('/') ? model
      : dir === null ? vectorModelDir(model, daemon.dir) : path.join(dir, model);
    const args = ['--model', modelDir, '--listen', listen, '--state-dir', stateDir ?? path.join(daemon.dir, 'state'),
      '--weights', 'native', ...settings.flatMap((setting) => ['--set', setting])];
    if (config !== null) {
      fs.writeFileSync(path.join(daemon.dir, 'engramd.yaml'), config);
      args.push('--config', path.join(daemon.dir, 'engramd.yaml'));
    }
    daemon.child = spawn(binary, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    daemon.log = '';
    daemon.exited = new Promise((resolve) => {
      daemon.child.on('exit', (code, signal) => resolve({ code, signal }));
      daemon.child.on('error', (error) => resolve({ error }));
    });
    // Whoever forgets stop(), or fails before it, leaves no process behind.
    process.on('exit', () => daemon.child.kill('SIGKILL'));
    const listening = new Promise((resolve) => {
      daemon.child.stderr.setEncoding('utf8').on('data', (text) => {
        daemon.log = (daemon.log + text).slice(-200_000);
        const found = /ready: .*listening on (https?):\/\/[\d.]+:(\d+)/.exec(daemon.log);
        if (!found || daemon.port !== undefined) return;
        daemon.url = `${found[1]}://127.0.0.1:${found[2]}`;
        resolve((daemon.port = Number(found[2])));
      });
    });
    const end = await Promise.race([listening, daemon.exited]);
    if (daemon.port === undefined) {
      throw new Error(`${binary} did not start: ${end.error ?? `exit ${end.code ?? end.signal}`}\n${daemon.log}`);
    }
    // Tests of TLS know which certificate to trust, and ask themselves.
    if (daemon.url.startsWith('https')) return daemon;
    const ready = await fetch(`${daemon.url}/health/ready`);
    await ready.arrayBuffer();
    if (ready.status !== 200) throw new Error(`engramd is not ready: ${ready.status}\n${daemon.log}`);
    return daemon;
  }

  // SIGTERM, and what the process ended with.
  async stop() {
    this.child.kill('SIGTERM');
    const end = await this.exited;
    fs.rmSync(this.dir, { recursive: true, force: true });
    return end;
  }

  // SIGKILL; the directory stays, for start({ dir }).
  async kill() {
    this.child.kill('SIGKILL');
    await this.exited;
    return this.dir;
  }

  // {status, headers, json, text} of one request, held to docs/openapi.yaml; objects are sent as JSON, strings as they are.
  async call(method, route, body, headers = {}) {
    const response = await fetch(this.url + route, {
      method,
      redirect: 'manual',
      headers: body === undefined ? headers : { 'content-type': 'application/json', ...headers },
      body: body === undefined || typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body),
    });
    const text = await response.text();
    let json = null;
    const contentType = response.headers.get('content-type') ?? '';
    if (contentType.startsWith('application/json') && text) json = JSON.parse(text);
    const { pathname } = new URL(this.url + route);
    checkAnswer({ method, pathname, status: response.status, contentType, text, json });
    return { status: response.status, headers: response.headers, text, json };
  }
  post(route, body, headers) {
    return this.call('POST', route, body, headers);
  }
  get(route, headers) {
    return this.call('GET', route, undefined, headers);
  }

  // The events of a streamed request, [DONE] as the string.
  async stream(route, body) {
    const { status, text } = await this.post(route, { ...body, stream: true });
    if (status !== 200) throw new Error(`stream: ${status} ${text}`);
    return text.split('\n\n').filter(Boolean).map((event) => {
      if (!event.startsWith('data: ')) throw new Error(`not an event: ${event}`);
      const data = event.slice('data: '.length);
      return data === '[DONE]' ? data : JSON.parse(data);
    });
  }

  // The sum of a metric's values over all labels that contain `labels`.
  async metric(name, labels = '') {
    const { text } = await this.get('/metrics');
    let sum = 0;
    let seen = false;
    for (const line of text.split('\n')) {
      const found = /^([a-zA-Z_:]+)(\{.*\})? (\S+)$/.exec(line);
      if (!found || found[1] !== name || !(found[2] ?? '').includes(labels)) continue;
      sum += Number(found[3]);
      seen = true;
    }
    if (!seen) throw new Error(`no metric ${name}${labels}`);
    return sum;
  }

  // Polls until `condition` holds. Gives up only when it will plainly never hold, so that a test fails rather than hangs.
  async until(condition, { giveUpAfterS = 120 } = {}) {
    const started = Date.now();
    while (!(await condition())) {
      if (Date.now() - started > giveUpAfterS * 1000) throw new Error(`does not come to hold: ${condition}\n${this.log.slice(-2000)}`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  nothingRuns() {
    return this.until(async () => (await this.metric('engramd_running_sequences')) === 0);
  }
  // After whatever was done to it: nothing is left running, and a request is answered.
  async stillServes() {
    await this.nothingRuns();
    const { status, text } = await this.post('/v1/completions', { prompt: [1], max_tokens: 1 });
    if (status !== 200) throw new Error(`does not serve any more: ${status} ${text}`);
  }

  // Sends bytes on a fresh connection and returns all that comes back until the server closes.
  raw(bytes, { end = false } = {}) {
    return new Promise((resolve, reject) => {
      const socket = net.connect(this.port, '127.0.0.1', () => (end ? socket.end(bytes) : socket.write(bytes)));
      let text = '';
      socket.setEncoding('latin1').on('data', (data) => (text += data));
      socket.on('error', (error) => (text ? resolve(text) : reject(error)));
      socket.on('close', () => resolve(text));
    });
  }
}

