import { saveCore } from '@tsvisor/x86-cpu';
import { describe, expect, it } from 'vitest';
import { savedCore } from '../generated/core.js';
import { CORE_LAYOUTS } from './core-layouts.ts';

describe('the generated core', () => {
  it('is what the sources make: else run the `generate` script of this package', () => {
    expect(savedCore).toEqual(saveCore(CORE_LAYOUTS));
  });
});
