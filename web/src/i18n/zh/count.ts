// SPDX-License-Identifier: Apache-2.0
export const count = (n: number): string => n.toLocaleString('en-US');
