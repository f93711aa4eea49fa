import { saveCore } from '@tsvisor/x86-cpu';
import { describe, expect, it } from 'vitest';
import { savedCore } from '../generated/core.js';
import { engineId } from '../generated/engine-id.js';
import { engineIdOf } from '../scripts/engine-id.ts';
import { CORE_LAYOUTS } from './core-layouts.ts';

describe('the generated core', () => {
  it('is what the sources make: else run the `generate` script of this package', () => {
    expect(savedCore).toEqual(saveCore(CORE_LAYOUTS));
  });

  it('has the name of those sources', () => {
    expect(engineId).toBe(engineIdOf(JSON.stringify(savedCore)));
  });
});
