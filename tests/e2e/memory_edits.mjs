// SPDX-License-Identifier: Apache-2.0
// What tests of live memory send: values and safetensors files.

// `count` numbers from -1 to 1, the same for the same seed (mulberry32).
export function randomValues(count, seed) {
  let state = (seed * 0x9e3779b9) >>> 0;
  return Array.from({ length: count }, () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let bits = Math.imul(state ^ (state >>> 15), state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 31 - 1;
  });
}

export const float32Bytes = (values) => new Uint8Array(Float32Array.from(values).buffer);

const bytesOf = {
  I64: (values) => new Uint8Array(BigInt64Array.from(values, BigInt).buffer),
  F32: float32Bytes,
  U8: (values) => Uint8Array.from(values),
};

// A safetensors file of {name: {dtype, shape, values}}.
export function safetensors(metadata, tensors) {
  const header = { __metadata__: metadata };
  const parts = [];
  let offset = 0;
  for (const [name, { dtype, shape, values }] of Object.entries(tensors)) {
    const bytes = bytesOf[dtype](values);
    header[name] = { dtype, shape, data_offsets: [offset, offset + bytes.length] };
    parts.push(bytes);
    offset += bytes.length;
  }
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, ...parts]);
}
