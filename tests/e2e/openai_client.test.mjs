// SPDX-License-Identifier: Apache-2.0
// OpenAI's own client against the bundled model.
import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, test } from 'node:test';
import OpenAI from 'openai';
import { Daemon, root } from './daemon.mjs';

const prompt = 'The capital of Mongolia is';
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
  assert.match(answer.choices[0].text, /^ Ulaanbaatar\./);
  assert.match(answer.id, /^cmpl-/);
  assert.equal(answer.object, 'text_completion');
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
});

test('without its memory it does not know', async () => {
  const answer = await client.completions.create({
    model: 'lexicon', prompt, max_tokens: 8, temperature: 0, engram: { enabled: false },
  });
  assert.doesNotMatch(answer.choices[0].text, /Ulaanbaatar/);
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
    messages: [{ role: 'user', content: 'What is the capital of Mongolia?' }],
    max_completion_tokens: 12,
    temperature: 0,
    logprobs: true,
    top_logprobs: 2,
  };
  const whole = await client.chat.completions.create(body);
  assert.match(whole.id, /^chatcmpl-/);
  assert.equal(whole.object, 'chat.completion');
  assert.equal(whole.choices[0].message.role, 'assistant');
  assert.equal(whole.choices[0].message.content, ' Ulaanbaatar.');
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
  await daemon.nothingRuns();
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

const person = {
  type: 'object',
  properties: {
    name: { type: 'string', minLength: 1, maxLength: 12 },
    age: { type: 'integer', minimum: 0, maximum: 120 },
    tags: { type: 'array', items: { enum: ['a', 'b'] }, maxItems: 2 },
  },
  required: ['name', 'age', 'tags'],
  additionalProperties: false,
};
const question = [{ role: 'user', content: 'What is the capital of Mongolia?' }];
function checkPerson(text) {
  const value = JSON.parse(text);
  assert.deepEqual(Object.keys(value), ['name', 'age', 'tags']);
  assert.ok([...value.name].length >= 1 && [...value.name].length <= 12, text);
  assert.ok(Number.isInteger(value.age) && value.age >= 0 && value.age <= 120, text);
  assert.ok(value.tags.length <= 2 && value.tags.every((tag) => tag === 'a' || tag === 'b'), text);
}

test('answers that a JSON schema describes, whole and streamed', async () => {
  const body = {
    model: 'lexicon',
    messages: question,
    max_completion_tokens: 200,
    temperature: 1,
    seed: 5,
    n: 3,
    logprobs: true,
    user: 'someone',
    response_format: { type: 'json_schema', json_schema: { name: 'person', schema: person, strict: true } },
  };
  const whole = await client.chat.completions.create(body);
  for (const choice of whole.choices) {
    assert.equal(choice.finish_reason, 'stop');
    checkPerson(choice.message.content);
    // The model's own log-probabilities: of tokens it had never taken, too.
    for (const token of choice.logprobs.content) assert.ok(Number.isFinite(token.logprob) && token.logprob <= 0);
    assert.equal(choice.logprobs.content.map((token) => Buffer.from(token.bytes)).join(''), choice.message.content);
  }
  const texts = ['', '', ''];
  for await (const chunk of await client.chat.completions.create({ ...body, stream: true })) {
    for (const choice of chunk.choices) texts[choice.index] += choice.delta.content ?? '';
  }
  assert.deepEqual(texts, whole.choices.map((choice) => choice.message.content));
});

test('any JSON object', async () => {
  const answer = await client.chat.completions.create({
    model: 'lexicon', messages: question, temperature: 0, max_tokens: 300, response_format: { type: 'json_object' },
    // Of objects without end there are many; this asks for an early one.
    logit_bias: Object.fromEntries((await closers()).map((id) => [id, 30])),
  });
  assert.equal(answer.choices[0].finish_reason, 'stop', answer.choices[0].message.content);
  assert.equal(typeof JSON.parse(answer.choices[0].message.content), 'object');
});
async function closers() {
  const ids = [];
  for (const text of ['}', '"', ']', '}}']) {
    const { json } = await daemon.post('/tokenize', { prompt: text, add_special_tokens: false });
    if (json.tokens.length === 1) ids.push(json.tokens[0]);
  }
  return ids;
}

const tools = [
  { type: 'function', function: { name: 'find_person', description: 'Finds one', parameters: person } },
  { type: 'function', function: { name: 'now', parameters: { type: 'object', properties: {}, additionalProperties: false } } },
];
const callBody = { model: 'lexicon', messages: question, max_tokens: 300, temperature: 1, seed: 3, tools };
function checkCall(call) {
  assert.equal(call.type, 'function');
  assert.match(call.id, /^call_/);
  if (call.function.name === 'find_person') {
    checkPerson(call.function.arguments);
  } else {
    assert.equal(call.function.name, 'now');
    assert.deepEqual(JSON.parse(call.function.arguments), {});
  }
}

test('tool calls that must come, whole and streamed', async () => {
  for (const more of [
    { tool_choice: 'required', parallel_tool_calls: false },
    { tool_choice: { type: 'function', function: { name: 'find_person' } } },
  ]) {
    const whole = await client.chat.completions.create({ ...callBody, ...more });
    const { message, finish_reason: reason } = whole.choices[0];
    assert.equal(reason, 'tool_calls');
    assert.equal(message.content, null);
    assert.equal(message.tool_calls.length, 1);
    checkCall(message.tool_calls[0]);
    if (typeof more.tool_choice === 'object') assert.equal(message.tool_calls[0].function.name, 'find_person');

    // The client's own way of putting the pieces together.
    const chunks = [];
    const stream = client.beta.chat.completions.stream({ ...callBody, ...more });
    stream.on('chunk', (chunk) => chunks.push(chunk));
    const streamed = await stream.finalChatCompletion();
    checkCall(streamed.choices[0].message.tool_calls[0]);
    assert.deepEqual(streamed.choices[0].message.tool_calls[0].function.arguments, message.tool_calls[0].function.arguments);
    assert.equal(streamed.choices[0].finish_reason, 'tool_calls');
    const deltas = chunks.flatMap((chunk) => chunk.choices[0]?.delta.tool_calls ?? []);
    assert.ok(deltas[0].id && deltas[0].function.name && deltas[0].index === 0);
    assert.ok(deltas.slice(1).every((delta) => delta.id === undefined && delta.function.name === undefined));
    assert.ok(deltas.length > 3, 'arguments come bit by bit');
  }
});

test('several calls, and their results given back', async () => {
  const answer = await client.chat.completions.create({
    ...callBody, tool_choice: 'required', tools: [tools[1]], temperature: 0, max_tokens: 200,
    logit_bias: Object.fromEntries((await newlines()).map((id) => [id, 50])),
  });
  const calls = answer.choices[0].message.tool_calls;
  assert.ok(calls.length > 1, 'a line end after a call begins the next');
  assert.equal(new Set(calls.map((call) => call.id)).size, calls.length);
  const complete = calls.slice(0, 2);
  complete.forEach(checkCall);
  const next = await client.chat.completions.create({
    model: 'lexicon',
    temperature: 0,
    max_tokens: 8,
    tools,
    messages: [
      ...question,
      { role: 'assistant', content: null, tool_calls: complete },
      ...complete.map((call) => ({ role: 'tool', tool_call_id: call.id, content: 'noon' })),
      question[0],
    ],
  });
  // The bundled model knows no tools, and nobody made it use one.
  assert.equal(next.choices[0].message.tool_calls, undefined);
  assert.equal(typeof next.choices[0].message.content, 'string');
});
async function newlines() {
  const { json } = await daemon.post('/tokenize', { prompt: '\n', add_special_tokens: false });
  return json.tokens;
}

test('schemas and tools that cannot be followed are refused by their place', async () => {
  const refused = (body, pattern) => assert.rejects(client.chat.completions.create({ ...callBody, ...body }), (error) => {
    assert.ok(error instanceof OpenAI.BadRequestError, String(error));
    assert.match(error.message, pattern);
    return true;
  });
  await refused({
    tools: [{ type: 'function', function: { name: 'f', parameters: { type: 'object', properties: { a: { type: 'integer', multipleOf: 3 } } } } }],
  }, /tools\[0\]\.function\.parameters\/properties\/a\/multipleOf/);
  await refused({ tool_choice: { type: 'function', function: { name: 'nobody' } } }, /none of the tools/);
  await refused({ tools: [tools[0], tools[0]] }, /given twice/);
  await refused({ response_format: { type: 'json_object' } }, /cannot be combined with tools/);
  await refused({ tools: undefined, response_format: { type: 'json_schema', json_schema: { name: 'x', schema: { $ref: '#' } } } },
    /left recursion/);
});

test('embeddings are refused for what they are', async () => {
  await assert.rejects(client.embeddings.create({ model: 'lexicon', input: 'x' }), (error) => {
    assert.equal(error.status, 501);
    return error.code === 'embeddings_not_supported';
  });
});
