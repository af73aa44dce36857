// SPDX-License-Identifier: Apache-2.0
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { launch, openPage, root, startDaemon } from './support.mjs';

let daemon;
let browser;
before(async () => {
  daemon = await startDaemon();
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await daemon?.stop();
});

async function playground() {
  const page = await openPage(browser, daemon.url);
  await page.show('playground');
  return page;
}

test('a completion streams over the WebSocket', async () => {
  const page = await playground();
  const sockets = [];
  page.on('websocket', (socket) => sockets.push(new URL(socket.url()).pathname));
  await page.getByLabel('Temperature').fill('0');
  await page.getByRole('button', { name: 'Generate' }).click();
  await page.getByTestId('finish').filter({ hasText: 'ended by itself' }).waitFor();
  assert.equal(await page.getByTestId('output').textContent(), 'The capital of Mongolia is Ulaanbaatar.');
  assert.equal(await page.getByTestId('transport').textContent(), 'WebSocket');
  assert.deepEqual(sockets, ['/v1/stream']);
  await page.done();
});

test('memory off gives another answer', async () => {
  const page = await playground();
  await page.getByLabel('Temperature').fill('0');
  await page.getByLabel('Engram memory on').uncheck();
  await page.getByRole('button', { name: 'Generate' }).click();
  await page.getByTestId('finish').waitFor();
  assert.doesNotMatch(await page.getByTestId('output').textContent(), /Ulaanbaatar/);
  await page.done();
});

test('where no WebSocket opens, the same comes as server-sent events', async () => {
  const page = await playground();
  await page.evaluate(() => {
    globalThis.WebSocket = class {
      constructor() {
        throw new Error('none here');
      }
    };
  });
  await page.getByLabel('Temperature').fill('0');
  await page.getByRole('button', { name: 'Generate' }).click();
  await page.getByTestId('finish').waitFor();
  assert.equal(await page.getByTestId('transport').textContent(), 'server-sent events');
  assert.equal(await page.getByTestId('output').textContent(), 'The capital of Mongolia is Ulaanbaatar.');
  await page.done();
});

test('stop ends the generation here and in the daemon', async () => {
  const page = await playground();
  const cancelled = () => daemon.metric('engramd_requests_total', 'finish_reason="cancelled"');
  const before = await cancelled();
  // A small model is quick: others slow it down, and should it end before the click all the same, it is tried again.
  let busy = true;
  const others = Promise.all(Array.from({ length: 32 }, async () => {
    while (busy) await daemon.post('/v1/completions', { prompt: 'The', max_tokens: 400, ignore_eos: true });
  }));
  await page.getByLabel('Most tokens').fill('500');
  await page.getByLabel('Temperature').fill('2');
  for (let tries = 0; (await cancelled()) === before; ++tries) {
    assert.ok(tries < 50, 'never caught it running');
    await page.getByLabel('Seed').fill(String(tries));
    await page.getByRole('button', { name: 'Generate' }).click();
    const stop = page.getByRole('button', { name: 'Stop', exact: true });
    await stop.click({ timeout: 1000 }).catch(() => {});
    await page.getByTestId('finish').waitFor();
  }
  busy = false;
  await others;
  await page.getByRole('button', { name: 'Generate' }).waitFor();
  await daemon.until(async () => (await daemon.metric('engramd_running_sequences')) === 0);
  await page.done();
});

test('chat goes through the model\'s template, turn by turn', async () => {
  const page = await playground();
  await page.getByRole('tab', { name: 'Chat' }).click();
  await page.getByLabel('Temperature').fill('0');
  for (let turn = 1; turn <= 2; ++turn) {
    await page.getByLabel('Message', { exact: true }).fill('What is the capital of Mongolia?');
    await page.keyboard.press('Enter');
    await page.getByTestId('finish').waitFor();
    assert.equal(await page.getByTestId('output').getByRole('heading', { name: 'Model' }).count(), turn);
  }
  const { json } = await daemon.post('/v1/chat/completions', { messages: [{ role: 'user', content: 'What is the capital of Mongolia?' }], temperature: 0, max_tokens: 64 });
  const first = await page.getByTestId('output').locator('.assistant pre').first().textContent();
  assert.equal(first, json.choices[0].message.content);
  await page.getByRole('button', { name: 'Start over' }).click();
  await page.getByText('Say something.').waitFor();
  await page.done();
});

test('an error leaves the message to try again', async () => {
  const page = await playground();
  await page.getByRole('tab', { name: 'Chat' }).click();
  await page.getByLabel('Message', { exact: true }).fill('What is the capital of Mongolia?');
  await page.getByLabel('Memory version').fill('12345');
  await page.getByRole('button', { name: 'Send' }).click();
  await page.getByRole('alert').filter({ hasText: '12345' }).waitFor();
  assert.equal(await page.getByLabel('Message', { exact: true }).inputValue(), 'What is the capital of Mongolia?');
  await page.done();
});

test('a refused request shows the server\'s words', async () => {
  const page = await playground();
  await page.getByLabel('Overlays').fill('no-such-overlay');
  await page.getByRole('button', { name: 'Generate' }).click();
  await page.getByRole('alert').filter({ hasText: 'no-such-overlay' }).waitFor();
  await page.done();
});

test('the curl command does what the page did', async () => {
  const page = await playground();
  await page.getByLabel('Prompt').fill("The capital of Mongolia is");
  await page.getByLabel('Temperature').fill('0');
  await page.getByLabel('Stop at').fill("it's over");
  const command = await page.getByTestId('code').textContent();
  const events = execFileSync('bash', ['-c', command], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  const text = events.split('\n\n').filter((event) => event.startsWith('data: {')).map((event) => JSON.parse(event.slice(6)).choices[0]?.text ?? '').join('');
  assert.equal(text, ' Ulaanbaatar.');
  await page.done();
});

test('the code for OpenAI\'s clients runs as it is', async () => {
  const page = await playground();
  // Everything that must be written otherwise in another language: quotes, true and false, fields the client does not know.
  await page.getByLabel('Prompt').fill('The capital of Mongolia is');
  await page.getByLabel('Temperature').fill('0');
  await page.getByLabel('Stop at').fill(`it's "over"\nand "out"`);
  await page.getByLabel('Top k').fill('40');
  await page.getByLabel('Engram memory on').uncheck();
  await page.getByLabel('Engram memory on').check();
  const source = async (dialect) => {
    await page.getByLabel('Copy as').selectOption(dialect);
    return page.getByTestId('code').textContent();
  };
  const run = (command, args) => execFileSync(command, args, { encoding: 'utf8', cwd: path.join(root, 'tests/e2e') });
  assert.equal(run('node', ['--input-type=module', '-e', await source('node')]), ' Ulaanbaatar.');
  await page.getByLabel('Engram memory on').uncheck();
  const python = await source('python');
  assert.match(python, /model="lexicon"/);
  assert.match(python, /extra_body=\{"top_k": 40, "engram": \{"enabled": False\}\}/);
  run('python3', ['-c', `import ast, sys; ast.parse(sys.argv[1])`, python]);
  await page.getByRole('tab', { name: 'Chat' }).click();
  await page.getByLabel('Message', { exact: true }).fill('What is the capital of Mongolia?');
  await page.getByLabel('Engram memory on').check();
  const { json } = await daemon.post('/v1/chat/completions', { messages: [{ role: 'user', content: 'What is the capital of Mongolia?' }], temperature: 0, max_tokens: 64 });
  assert.equal(run('node', ['--input-type=module', '-e', await source('node')]), json.choices[0].message.content);
  await page.done();
});
