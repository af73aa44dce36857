// SPDX-License-Identifier: Apache-2.0
// A safetensors file of edits. Its tensors go to the server as they are, unread; only what the file says of itself
// (__metadata__) is written anew, for a plan, a note and the version that it is meant for.
import type { Messages } from './i18n/en';

export interface TensorFile {
  name: string;
  size: number; // bytes
  header: Record<string, unknown>;
  values: Blob; // all that follows the header
  metadata: Record<string, string>;
  layers: { layer: number; rows: number }[];
}

const kMostHeaderBytes = 1 << 20; // as the server's

// Throws an Error in the language of `m`. What the tensors hold is the server's to judge.
export async function readTensorFile(file: File, m: Messages['edit']['tensors']): Promise<TensorFile> {
  if (file.size < 8) throw new Error(m.short);
  const bytes = Number(new DataView(await file.slice(0, 8).arrayBuffer()).getBigUint64(0, true));
  if (bytes > Math.min(kMostHeaderBytes, file.size - 8)) throw new Error(m.header(bytes));
  const text = await file.slice(8, 8 + bytes).text();
  let header: unknown;
  try {
    header = JSON.parse(text);
  } catch (error) {
    throw new Error(m.json(error instanceof Error ? error.message : String(error)));
  }
  if (header === null || typeof header !== 'object' || Array.isArray(header)) throw new Error(m.json(text.slice(0, 40)));
  const entries = header as Record<string, unknown>;
  const layers = Object.entries(entries).flatMap(([name, tensor]) => {
    const found = /^layer\.(\d+)\.rows$/.exec(name);
    const shape = (tensor as { shape?: unknown } | null)?.shape;
    return found && Array.isArray(shape) ? [{ layer: Number(found[1]), rows: Number(shape[0]) || 0 }] : [];
  });
  if (layers.length === 0) throw new Error(m.none);
  const metadata = entries.__metadata__;
  const told = metadata !== null && typeof metadata === 'object' ? Object.entries(metadata).filter(([, value]) => typeof value === 'string') : [];
  return { name: file.name, size: file.size, header: entries, values: file.slice(8 + bytes), metadata: Object.fromEntries(told), layers };
}

// The file with more said of itself.
export function withMetadata({ header, metadata, values }: TensorFile, more: Record<string, string>): Blob {
  const text = new TextEncoder().encode(JSON.stringify({ ...header, __metadata__: { ...metadata, ...more } }));
  const padded = new Uint8Array(Math.ceil(text.length / 8) * 8).fill(0x20);
  padded.set(text);
  const length = new DataView(new ArrayBuffer(8));
  length.setBigUint64(0, BigInt(padded.length), true);
  return new Blob([length.buffer, padded, values]);
}
