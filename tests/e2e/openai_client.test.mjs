// SPDX-License-Identifier: Apache-2.0
// OpenAI's own client against the bundled model.
import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, test } from 'node:test';
import OpenAI from 'openai';
import { Daemon, root } from './daemon.mjs';

const prompt = 'The capital of Japan is';
let daemon;
let client;
before(async () => {
  daemon = await Daemon.start({ model: path.join(root, 'models/lexicon') });
  client = new OpenAI({ baseURL: `${daemon.url}/v1`, apiKey: 'any', maxRetries: 0 });
});
after(() => daemon?.stop());

test('lists models', async () => {
  const models = await client.models.list();
  assert.deepEqual(models.data.map((model) => model.id), ['lexicon']);
  assert.equal((await client.models.retrieve('lexicon')).object, 'model');
});

test('completes', async () => {
  const answer = await client.completions.create({ model: 'lexicon', prompt, max_tokens: 8, temperature: 0 });
  assert.match(answer.choices[0].text, /^ Tokyo\./);
  assert.match(answer.id, /^cmpl-/);
  assert.equal(answer.object, 'text_completion');
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
});

test('without its memory it does not know', async () => {
  const answer = await client.completions.create({
    model: 'lexicon', prompt, max_tokens: 8, temperature: 0, engram: { enabled: false },
  });
  assert.doesNotMatch(answer.choices[0].text, /Tokyo/);
});

test('streams the same text', async () => {
  const body = { model: 'lexicon', prompt, max_tokens: 24, temperature: 0 };
  const whole = await client.completions.create(body);
  let text = '';
  let usage = null;
  let reason = null;
  for await (const chunk of await client.completions.create({
    ...body, stream: true, stream_options: { include_usage: true },
  })) {
    text += chunk.choices[0]?.text ?? '';
    reason = chunk.choices[0]?.finish_reason ?? reason;
    usage = chunk.usage ?? usage;
  }
  assert.equal(text, whole.choices[0].text);
  assert.equal(reason, whole.choices[0].finish_reason);
  assert.deepEqual(usage, whole.usage);
});

// A token as log probabilities name it: its text, or "bytes:\\xc3" where it is a part of a character.
function tokenBytes(token) {
  if (!token.startsWith('bytes:')) return Buffer.from(token);
  return Buffer.from(token.slice('bytes:'.length).replaceAll('\\x', ''), 'hex');
}

test('n choices, seed and log probabilities', async () => {
  // A beginning that leaves much open: of the capital the model is too sure.
  const body = { model: 'lexicon', prompt: 'The', max_tokens: 8, n: 3, seed: 7, temperature: 1, logprobs: 2 };
  const first = await client.completions.create(body);
  const second = await client.completions.create(body);
  assert.deepEqual(first.choices.map((choice) => choice.index), [0, 1, 2]);
  assert.deepEqual(first.choices, second.choices);
  assert.ok(new Set(first.choices.map((choice) => choice.text)).size > 1, 'choices of one seed differ');
  for (const choice of first.choices) {
    const { tokens, token_logprobs: logprobs, top_logprobs: top, text_offset: offsets } = choice.logprobs;
    assert.equal(tokens.length, logprobs.length);
    const bytes = tokens.map(tokenBytes);
    assert.equal(Buffer.concat(bytes).toString(), choice.text);
    // Offsets count code points; one that is split over tokens belongs to the token with its first byte.
    offsets.forEach((offset, i) => {
      const before = [...Buffer.concat(bytes.slice(0, i))].filter((byte) => (byte & 0xc0) !== 0x80);
      assert.equal(offset, before.length);
    });
    top.forEach((entry, i) => assert.equal(entry[tokens[i]], logprobs[i]));
  }
});

test('chats, whole and streamed', async () => {
  const body = {
    model: 'lexicon',
    messages: [{ role: 'user', content: 'What is the capital of Japan?' }],
    max_completion_tokens: 12,
    temperature: 0,
    logprobs: true,
    top_logprobs: 2,
  };
  const whole = await client.chat.completions.create(body);
  assert.match(whole.id, /^chatcmpl-/);
  assert.equal(whole.object, 'chat.completion');
  assert.equal(whole.choices[0].message.role, 'assistant');
  assert.equal(whole.choices[0].message.content, ' Tokyo.');
  for (const token of whole.choices[0].logprobs.content) {
    assert.equal(token.top_logprobs.length, 2);
    // Greedy: the likeliest token is the one taken.
    assert.equal(token.top_logprobs[0].logprob, token.logprob);
  }
  let text = '';
  const roles = [];
  for await (const chunk of await client.chat.completions.create({ ...body, stream: true })) {
    assert.equal(chunk.object, 'chat.completion.chunk');
    text += chunk.choices[0].delta.content ?? '';
    roles.push(chunk.choices[0].delta.role);
  }
  assert.equal(text, whole.choices[0].message.content);
  assert.equal(roles[0], 'assistant');
  assert.ok(roles.slice(1).every((role) => role === undefined));
  const parts = await client.chat.completions.create({
    ...body, messages: [{ role: 'user', content: [{ type: 'text', text: body.messages[0].content }] }],
  });
  assert.equal(parts.choices[0].message.content, text);
});

test('a stream that the client leaves is cancelled', async () => {
  const stream = await client.completions.create({
    model: 'lexicon', prompt, max_tokens: 400, ignore_eos: true, stream: true,
  });
  for await (const chunk of stream) {
    assert.equal(chunk.object, 'text_completion');
    break;
  }
  await daemon.until(async () => (await daemon.metric('engramd_running_sequences')) === 0);
});

test('errors arrive as the client\'s own types', async () => {
  const create = (body) => client.completions.create({ model: 'lexicon', prompt, ...body });
  await assert.rejects(create({ model: 'nobody' }), (error) => {
    assert.ok(error instanceof OpenAI.NotFoundError);
    assert.equal(error.code, 'model_not_found');
    return error.param === 'model';
  });
  await assert.rejects(create({ temperature: -1 }), (error) => {
    assert.ok(error instanceof OpenAI.BadRequestError);
    return error.param === 'temperature';
  });
});

test('a model without a chat template says so', async (t) => {
  const plain = await Daemon.start({ model: 'plain' });
  t.after(() => plain.stop());
  const other = new OpenAI({ baseURL: `${plain.url}/v1`, apiKey: 'any', maxRetries: 0 });
  await assert.rejects(
    other.chat.completions.create({ model: 'plain', messages: [{ role: 'user', content: 'hi' }] }),
    (error) => error instanceof OpenAI.BadRequestError && /chat template/.test(error.message));
});
