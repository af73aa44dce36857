// SPDX-License-Identifier: Apache-2.0
// Streams and their readers' speed: whoever reads gets everything however fast tokens come, and who does not read is
// cancelled and told so.
import assert from 'node:assert/strict';
import net from 'node:net';
import { test } from 'node:test';
import { Daemon, pluginDirectories } from './daemon.mjs';
import { Client } from './websocket.mjs';

// A backbone whose steps take no time, or `step_us`, and whose contexts hardly end.
const start = (options = []) => Daemon.start({ settings: [
  `plugins.directories=[${pluginDirectories.join(',')}]`, 'backbone.plugin=null_backbone',
  ...['max_positions=1000000', 'kv_tokens=4000000', ...options].map((option) => `backbone.options.${option}`)] });

test('tokens faster than a connection can be served: none is lost, and nobody who reads is cancelled', async (t) => {
  const daemon = await start();
  t.after(() => daemon.stop());
  const body = { prompt: [1], max_tokens: 5_000, temperature: 0, ignore_eos: true };
  const answers = await Promise.all(Array.from({ length: 8 }, () => daemon.stream('/v1/completions', body)));
  for (const events of answers) {
    assert.equal(events.pop(), '[DONE]');
    assert.equal(events.at(-1).choices[0]?.finish_reason, 'length', JSON.stringify(events.at(-1)));
    assert.equal(events.filter(({ choices }) => choices[0].text !== '').length, 5_000);
  }
  const client = await Client.open(daemon);
  const { end, tokens } = await client.generate({ id: 'a', ...body });
  assert.equal(end.type, 'done', JSON.stringify(end));
  assert.equal(tokens.length, 5_000);
  await client.close();
});

test('a stream that is not read is cancelled, and says so to who reads it then', async (t) => {
  const daemon = await start(['step_us=100']);
  t.after(() => daemon.stop());
  const body = JSON.stringify({ prompt: [1], max_tokens: 900_000, ignore_eos: true, logprobs: 5, stream: true });
  const socket = net.connect(daemon.port, '127.0.0.1');
  t.after(() => socket.destroy());
  let last = '';
  socket.on('data', (data) => (last = (last + data.toString('latin1')).slice(-2000)));
  socket.pause();
  socket.write(`POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n` +
    `Content-Length: ${body.length}\r\n\r\n${body}`);
  await daemon.until(async () => (await daemon.metric('engramd_requests_total', 'cancelled').catch(() => 0)) > 0);
  await daemon.nothingRuns();
  socket.resume();
  await daemon.until(() => last.endsWith('0\r\n\r\n'));
  const end = JSON.parse(last.slice(last.lastIndexOf('data: ') + 'data: '.length).split('\n')[0]);
  assert.equal(end.error?.message, 'the stream was cancelled: the client reads too slowly');
  assert.equal(end.error.type, 'service_unavailable_error');
});
