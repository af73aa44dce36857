// SPDX-License-Identifier: Apache-2.0
// A real daemon with the bundled model, and a real browser looking at its dashboard.
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import assert from 'node:assert/strict';
import { chromium } from 'playwright-core';
import axe from 'axe-core';
import { Daemon, root } from '../e2e/daemon.mjs';

export { Daemon, root };
export const model = path.join(root, 'models/lexicon');
const dist = path.join(root, 'web/dist');

// `settings` and `config` as Daemon.start has them.
export function startDaemon({ settings = [], model: directory = model, ...more } = {}) {
  return Daemon.start({ model: directory, settings: [`web.root=${dist}`, ...settings], ...more });
}

// The bundled model with a longer context, in a directory that the caller removes: its positions are rotations, so any
// length will do.
export function longModel() {
  const parent = fs.mkdtempSync(path.join(os.tmpdir(), 'engramd-ui-'));
  const directory = path.join(parent, 'lexicon-long');
  fs.cpSync(model, directory, { recursive: true });
  const file = path.join(directory, 'config.json');
  const config = JSON.parse(fs.readFileSync(file, 'utf8'));
  fs.writeFileSync(file, JSON.stringify({ ...config, max_position_embeddings: 16384 }));
  return { directory, remove: () => fs.rmSync(parent, { recursive: true, force: true }) };
}

export function findChromium() {
  const places = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
  return places.find((place) => place && fs.existsSync(place));
}

export function launch(more = {}) {
  // The sandbox needs rights that containers and root do not have; every page here is our own.
  return chromium.launch({ executablePath: findChromium(), args: ['--no-sandbox', '--force-color-profile=srgb'], ...more });
}

// A page that fails the test on anything it should not do: errors, violated policy, requests to elsewhere. `scopes`: those of
// `key`, which the page then does not find out by itself.
export async function openPage(browser, url, { theme = 'light', width = 1280, height = 860, language = 'en-US', key = null, scopes = null } = {}) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: theme, locale: language, reducedMotion: 'reduce' });
  const page = await context.newPage();
  page.complaints = [];
  page.on('pageerror', (error) => page.complaints.push(`error: ${error.stack ?? error}`));
  page.on('console', (message) => {
    // The browser's own word on an answer that is no success; whether that is right is the test's business.
    if (message.type() === 'error' && !/Failed to load resource|WebSocket connection/.test(message.text())) page.complaints.push(message.text());
  });
  page.on('request', (request) => {
    if (!request.url().startsWith(url) && !/^(data|blob):/.test(request.url())) page.complaints.push(`request: ${request.url()}`);
  });
  if (key) await context.addInitScript((value) => sessionStorage.setItem('engramd.key', value), key);
  if (scopes) await context.addInitScript((value) => sessionStorage.setItem('engramd.scopes', value), scopes.join(' '));
  page.show = async (hash) => {
    await page.goto(`${url}/ui/#/${hash}`);
    await page.getByRole('heading', { level: 1 }).waitFor();
  };
  page.done = async () => {
    assert.deepEqual(page.complaints, []);
    await context.close();
  };
  return page;
}

export async function assertAccessible(page, what) {
  await page.evaluate(axe.source);
  const violations = await page.evaluate(async () => {
    const result = await globalThis.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] });
    return result.violations.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map(({ html, any }) => `${html.slice(0, 160)} (${any[0]?.message ?? ''})`).join(' | ')}`);
  });
  assert.deepEqual(violations, [], what);
}

// A way to the daemon that can be cut and mended.
export class Link {
  static async to(port) {
    const link = new Link();
    link.sockets = new Set();
    link.port = port;
    link.server = net.createServer((client) => {
      const server = net.connect(port, '127.0.0.1');
      client.pipe(server).pipe(client);
      for (const socket of [client, server]) {
        link.sockets.add(socket);
        socket.on('error', () => socket.destroy());
        socket.on('close', () => link.sockets.delete(socket));
      }
      client.on('close', () => server.destroy());
      server.on('close', () => client.destroy());
    });
    await link.mend();
    link.url = `http://127.0.0.1:${link.server.address().port}`;
    return link;
  }
  mend() {
    const port = this.url ? Number(new URL(this.url).port) : 0;
    return new Promise((resolve) => this.server.listen(port, '127.0.0.1', resolve));
  }
  cut() {
    const closed = new Promise((resolve) => this.server.close(resolve));
    for (const socket of this.sockets) socket.destroy();
    return closed;
  }
}
