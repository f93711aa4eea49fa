import { describe, expect, it } from 'vitest';
import { rows } from '../decode/lookup.ts';
import { x87Semantics } from './x87.ts';

describe('x87 semantics', () => {
  const escapes = new Set(
    rows.filter((row) => row.map === 0 && !row.vex && row.opcode >= 0xd8 && row.opcode <= 0xdf).map((row) => row.sem),
  );

  it('exist for every instruction of the escape opcodes D8–DF, and for FWAIT (SDM vol. 2, tables A-7 to A-22)', () => {
    expect(escapes.size).toBeGreaterThan(80);
    expect([...escapes, 'fwait'].filter((sem) => !(sem in x87Semantics))).toEqual([]);
  });

  it('name nothing that no opcode asks for', () => {
    expect(Object.keys(x87Semantics).filter((sem) => sem !== 'fwait' && !escapes.has(sem))).toEqual([]);
  });
});
