import { describe, expect, it } from 'vitest';
import { cases } from './cases.ts';
import { compareCases } from './compare.ts';
import { hostUnavailable, openHost } from './host.ts';
import { Machine } from './machine.ts';

const PER_CASE = 1200;
const unavailable = hostUnavailable();

describe(`x87 routines against the host processor${unavailable && `: not run, ${unavailable}`}`, () => {
  // Every bit: registers, empty registers, control and status word, memory operand, RFLAGS; all rounding modes and precisions,
  // any mask.
  it.runIf(unavailable === '')(
    'have the results and flags of hardware (SDM vol. 1 §8)',
    () => {
      using host = openHost();
      const differences = compareCases(host, new Machine(), cases(), PER_CASE, 0x5eed);
      expect(differences.slice(0, 3).map((d) => d.text)).toEqual([]);
    },
    60_000,
  );
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

  it('round transcendental functions to the nearest value (SDM vol. 1 §8.3.10 asks for less than one unit)', () => {
    const machine = new Machine();
    const ONE = [1n << 63n, 0x3fff] as const;
    const THREE = [3n << 62n, 0x4000] as const;
    const result = (name: string, ...args: (number | bigint)[]): string => {
      machine.call('x87.init');
      const sig = BigInt.asUintN(64, machine.call(`x87.value.${name}`, ...args) as bigint);
      return `${(machine.helper(0) & 0xffffn).toString(16)}:${sig.toString(16)}`;
    };
    expect(result('sin', ...ONE)).toBe('3ffe:d76aa47848677021');
    expect(result('cos', ...ONE)).toBe('3ffe:8a51407da8345c92');
    expect(result('tan', ...ONE)).toBe('3fff:c75922e5f71d2dc5');
    expect(result('atan', ...ONE, ...THREE)).toBe('3ffd:a4bc7d1934f70924');
    expect(result('atan', ...ONE, THREE[0], THREE[1] | 0x8000)).toBe('4000:b4784afefac9e110');
    expect(result('2xm1', 1n << 63n, 0x3ffe)).toBe('3ffd:d413cccfe7799211');
    expect(result('yl2x', ...ONE, 10n << 60n, 0x4002)).toBe('4000:d49a784bcd1b8afe');
    expect(result('yl2xp1', ...ONE, 1n << 63n, 0x3ffc)).toBe('3ffc:ae00d1cfdeb43cfd');
  });
});
