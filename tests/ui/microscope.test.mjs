// SPDX-License-Identifier: Apache-2.0
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { launch, longModel, openPage, startDaemon } from './support.mjs';

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

async function lookAt(prompt, { length = 0, ...options } = {}) {
  const page = await openPage(browser, daemon.url, options);
  await page.show(`microscope?prompt=${encodeURIComponent(prompt)}`);
  await page.getByLabel('New tokens').fill(String(length));
  const look = page.getByRole('button', { name: 'Look', exact: true });
  await look.click();
  await look.waitFor(); // Until then it says "Stop".
  return page;
}
const options = (page) => page.getByTestId('strip').getByRole('option');
const tokens = (page) => options(page).allTextContents();

test('tokens carry the gates that the API gives', async () => {
  const { json } = await daemon.post('/v1/completions', {
    prompt: 'The capital of Mongolia is', max_tokens: 0, echo: true, engram: { gates: true, rows: true },
  });
  const gates = json.choices[0].engram.gates;
  const page = await lookAt('The capital of Mongolia is');
  assert.deepEqual(await tokens(page), ['The', ' capital', ' of', ' M', 'ongolia', ' is']);
  const shown = () => options(page).evaluateAll((all) => all.map((one) => Number(one.style.getPropertyValue('--g'))));
  const close = (actual, wanted) => actual.forEach((value, at) => assert.ok(Math.abs(value - wanted[at]) < 1e-4, `${at}: ${value} ${wanted[at]}`));
  close(await shown(), gates.map((layers) => (layers[0][0] + layers[1][0]) / 2));
  await page.getByLabel('Layer').selectOption('2');
  close(await shown(), gates.map((layers) => layers[1][0]));

  // One token's n-grams and rows.
  await options(page).nth(4).click();
  const detail = page.getByTestId('detail');
  await detail.getByText('of Mongolia', { exact: false }).first().waitFor();
  for (const layer of json.choices[0].engram.rows[4]) {
    for (const row of layer) await detail.getByText(String(row), { exact: true }).waitFor();
  }
  await page.done();
});

test('arrow keys move, and the pointer only looks', async () => {
  const page = await lookAt('The capital of Mongolia is');
  const strip = page.getByTestId('strip');
  await strip.focus();
  await page.keyboard.press('Home');
  await page.keyboard.press('ArrowRight');
  assert.equal(await page.getByTestId('strip').locator('[aria-selected=true]').textContent(), ' capital');
  await options(page).nth(3).hover();
  await page.getByTestId('detail').getByText('Position 3').waitFor();
  assert.equal(await page.getByTestId('strip').locator('[aria-selected=true]').textContent(), ' capital');
  await page.done();
});

test('memory on and off, side by side, with the difference', async () => {
  const page = await lookAt('The capital of Mongolia is', { length: 8 });
  assert.equal((await page.getByTestId('with-memory').textContent()).trim(), 'Ulaanbaatar.');
  assert.doesNotMatch(await page.getByTestId('without-memory').textContent(), /Ulaanbaatar/);
  await page.getByText('Effect of memory', { exact: true }).click();
  const lifted = await options(page).evaluateAll((all) => all.filter((one) => !one.classList.contains('cool') && Number(one.style.getPropertyValue('--g')) > 0.5).length);
  assert.ok(lifted > 0, 'memory lifts some token of the answer');
  await page.done();
});

test('a generation token by token', async () => {
  const page = await lookAt('The capital of Mongolia is', { length: 8 });
  const shown = () => options(page).evaluateAll((all) => all.filter((one) => getComputedStyle(one).visibility === 'visible').map((one) => one.textContent).join(''));
  await page.getByRole('button', { name: 'Next token' }).click();
  assert.equal(await shown(), 'The capital of Mongolia is U');
  await page.getByRole('button', { name: 'Next token' }).click();
  assert.equal(await shown(), 'The capital of Mongolia is Ulaanbaatar');
  await page.getByText('token 2 of').waitFor();
  await page.getByRole('button', { name: 'Whole text' }).click();
  assert.equal(await shown(), 'The capital of Mongolia is Ulaanbaatar.');
  await page.done();
});

test('the logit lens tells what each layer would say', async () => {
  const page = await lookAt('The capital of Mongolia is');
  const lens = page.getByTestId('lens');
  await lens.waitFor();
  assert.equal(await lens.locator('table').count(), 2);
  assert.equal(await lens.locator('table').first().locator('tbody tr').count(), 4);
  await page.done();
});

test('Chinese and combining characters: parts of characters, and marks, are seen', async () => {
  const prompt = '東京は日本 e\u0301 क\u094dष';
  const page = await lookAt(prompt);
  const shown = await tokens(page);
  const { json } = await daemon.post('/tokenize', { prompt });
  assert.equal(shown.length, json.count);
  assert.ok(shown.some((label) => label.includes('東')), shown.join('|'));
  assert.ok(shown.includes('‥'), 'a token that is the rest of a character');
  assert.ok(shown.every((label) => label !== '' && !label.includes('\ufffd')), shown.join('|'));
  const whole = shown.filter((label) => label !== '‥').join('').replaceAll('◌', '').replaceAll('␣', ' ').normalize('NFC');
  assert.equal(whole, prompt.normalize('NFC'));
  await page.done();
});

test('what looks like markup, or would turn the text around, stays text', async () => {
  const evil = '<img src=x onerror="window.stung=1"><script>window.stung=1</script>\u202Egnp.exe\u200B\u0000\u0007{@html 1}';
  const page = await lookAt(evil);
  const shown = (await tokens(page)).join('');
  assert.ok(shown.includes('<img'), shown);
  assert.ok(!/[\u202e\u200b\u0000-\u001f]/.test(shown), 'invisible and directional characters have names');
  assert.ok(shown.includes('⟨202E⟩') || shown.includes('‥'), shown);
  assert.equal(await page.evaluate(() => window.stung), undefined);
  assert.equal(await page.locator('main img, main script').count(), 0);
  await options(page).first().click();
  await page.done();
});

test('a prompt that is too long is refused in the server\'s words', async () => {
  const page = await openPage(browser, daemon.url);
  await page.show('microscope');
  await page.getByLabel('Prompt', { exact: true }).fill('word '.repeat(2000));
  await page.getByRole('button', { name: 'Look', exact: true }).click();
  await page.getByRole('alert').filter({ hasText: '512' }).waitFor();
  await page.done();
});

test('10,000 tokens: only what is in view exists, whatever is done, and it is what belongs there', async () => {
  const long = longModel();
  const other = await startDaemon({ model: long.directory });
  try {
    const text = 'The capital of Mongolia is Ulaanbaatar. The capital of Peru is Lima.\n'.repeat(700);
    const all = (await other.post('/tokenize', { prompt: text })).json;
    const ids = all.tokens.slice(0, 10_000);
    const prompt = (await other.post('/detokenize', { tokens: ids })).json.prompt;
    const page = await openPage(browser, other.url);
    await page.show('microscope');
    await page.getByLabel('New tokens').fill('0');
    // What the driver's own fill() does with many lines keeps the browser busy for seconds.
    await page.getByLabel('Prompt', { exact: true }).evaluate((area, value) => {
      area.value = value;
      area.dispatchEvent(new Event('input', { bubbles: true }));
    }, prompt);
    const look = page.getByRole('button', { name: 'Look', exact: true });
    await look.click();
    await page.getByText('10,000 tokens of prompt').waitFor({ timeout: 300_000 });
    await look.waitFor({ timeout: 300_000 });

    // The elements of the page, the tokens in view, and which of those do not show what stands at their position.
    const { json } = await other.post('/v1/completions', { prompt: ids, max_tokens: 0, echo: true, logprobs: 0 });
    const labels = json.choices[0].logprobs.tokens;
    assert.equal(labels.length, 10_000);
    await page.evaluate((tokens) => (globalThis.tokens = tokens.map((token) => token.replaceAll('\n', '↵'))), labels);
    const state = () =>
      page.evaluate(() => {
        const options = [...document.querySelectorAll('[data-testid=strip] [role=option]')];
        return {
          elements: document.querySelectorAll('*').length,
          options: options.length,
          wrong: options.filter((one) => one.textContent !== globalThis.tokens[Number(one.getAttribute('aria-posinset')) - 1]).length,
          twice: options.length - new Set(options.map((one) => one.dataset.at)).size,
          selected: options.filter((one) => one.getAttribute('aria-selected') === 'true').map((one) => Number(one.dataset.at)),
        };
      });
    const bounded = async (what) => {
      const now = await state();
      assert.ok(now.options > 0 && now.options < 600 && now.elements < 1500, `${what}: ${JSON.stringify(now)}`);
      assert.deepEqual([now.wrong, now.twice], [0, 0], `${what}: ${JSON.stringify(now)}`);
      return now;
    };
    await bounded('the end');
    const strip = page.getByTestId('strip');
    for (let step = 0; step <= 20; ++step) {
      await strip.evaluate((element, share) => {
        element.scrollTop = element.scrollHeight * share;
        return new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
      }, ((step * 7) % 20) / 20);
      await bounded(`scrolled, step ${step}`);
    }
    for (let one = 0; one < 10; ++one) {
      await options(page).nth(one * 15).hover({ force: true });
      await bounded(`hovered, ${one}`);
    }
    for (const layer of ['1', '2', 'mean']) {
      await page.getByLabel('Layer').selectOption(layer);
      await bounded(`layer ${layer}`);
    }
    await strip.focus();
    for (const [key, selected] of [['Home', 0], ['ArrowRight', 1], ['End', 9999], ['ArrowLeft', 9998]]) {
      await page.keyboard.press(key);
      assert.deepEqual((await bounded(key)).selected, [selected], key);
    }

    // The lens of a token deep in the text is what the server says of that position.
    const lens = page.getByTestId('lens');
    const shows = async (position) => {
      const { json: inspection } = await other.post('/admin/v1/inspect', { prompt: ids.slice(0, position + 1), from: position, top: 3 });
      const wanted = inspection.positions[0].lens.at(-1);
      await page.getByTestId('detail').getByText(`Position ${position} `).waitFor();
      const first = lens.locator('table').first().locator('tbody tr').first();
      await first.waitFor({ timeout: 300_000 });
      assert.equal(await first.locator('bdi').first().textContent(), wanted.top[0].text);
      assert.equal(await first.locator('small').first().textContent(), (wanted.top[0].p * 100).toFixed(0));
    };
    await page.mouse.move(0, 0);
    await shows(9998);
    await page.keyboard.press('Home');
    await shows(0);

    // What the server would not take at once.
    for (const [body, param] of [[{ prompt: ids }, 'prompt'], [{ prompt: ids, from: 10, count: 4097 }, 'count']]) {
      const { status, json: refused } = await other.post('/admin/v1/inspect', body);
      assert.equal(status, 400);
      assert.equal(refused.error.param, param);
    }
    await page.done();
  } finally {
    await other.stop();
    long.remove();
  }
});
