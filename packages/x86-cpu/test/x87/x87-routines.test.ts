import { describe, expect, it } from 'vitest';
import { cases } from './cases.ts';
import { compareCases } from './compare.ts';
import { hostUnavailable, openHost } from './host.ts';
import { Machine } from './machine.ts';

const PER_CASE = 1400;
const unavailable = hostUnavailable();

describe(`x87 routines against the host processor${unavailable && `: not run, ${unavailable}`}`, () => {
  // Every bit: registers, empty registers, control and status word, memory operand, RFLAGS; all rounding modes and precisions, any mask.
  it.runIf(unavailable === '')('have the results and flags of hardware (SDM vol. 1 §8)', () => {
    using host = openHost();
    const differences = compareCases(host, new Machine(), cases(), PER_CASE, 0x5eed);
    expect(differences.slice(0, 3).map((d) => d.text)).toEqual([]);
  });
});

describe('x87 routines', () => {
  it('round 1/3 to the precision that the control word asks for (SDM vol. 1 §8.1.5.2)', () => {
    const machine = new Machine();
    const third = (control: number): string => {
      machine.call('x87.init');
      machine.call('x87.setControl', control);
      machine.call('x87.load', 1n, 2);
      machine.call('x87.div.m', 3n, 2);
      return BigInt.asUintN(64, machine.call('x87.storeExtended') as bigint).toString(16);
    };
    expect([0x07f, 0x27f, 0x37f, 0xf7f].map(third)).toEqual([
      'aaaaab0000000000',
      'aaaaaaaaaaaaa800',
      'aaaaaaaaaaaaaaab',
      'aaaaaaaaaaaaaaaa',
    ]);
    expect(machine.cpu.fsw & 0x20).toBe(0x20);
  });

  it('make an unmasked exception pending and leave the stack alone (SDM vol. 1 §8.6)', () => {
    const machine = new Machine();
    machine.call('x87.init');
    machine.call('x87.setControl', 0x37b);
    machine.call('x87.load', 1n, 2);
    machine.call('x87.div.m', 0n, 2);
    expect(machine.cpu.fsw).toBe(0x8084);
    machine.call('x87.clear');
    expect(machine.call('x87.storeInteger', 1, 4, 0)).toBe(1n);
    expect(machine.cpu.fempty).toBe(0xff);
  });
});
