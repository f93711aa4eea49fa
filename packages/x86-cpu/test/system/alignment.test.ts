/** Alignment checking (SDM vol. 3 §6.15, "Interrupt 17"): what it takes, and how it comes and goes. Which accesses count, the host says. */
import { beforeEach, describe, expect, it } from 'vitest';
import { Rflags } from '../../src/index.ts';
import { Cr0 } from '../../src/system/context.ts';
import { TIERS } from './engine.ts';
import { LongModeMachine, Place, Selector } from './long-mode.ts';

const AC = 17;
const UD = 6;
const UD2 = '0f 0b';
/** mov eax, [rdi+1] */
const MISALIGNED = '8b 47 01';
/** pushfq; or dword [rsp], 40000h; popfq */
const SET_AC = '9c 81 0c 24 00 00 04 00 9d';

describe.each(TIERS)('%s', (_name, options) => {
  let m: LongModeMachine;
  beforeEach(() => {
    m = new LongModeMachine(options);
    m.state.gpr[7] = BigInt(Place.user + 0x1000);
    m.state.cr0 |= BigInt(Cr0.AM);
  });
  const user = (program: string): ReturnType<LongModeMachine['event']> => {
    m.enterUser();
    m.load(`${program} ${UD2}`, Place.user);
    return m.event();
  };

  it('is #AC(0) with CR0.AM and RFLAGS.AC at CPL 3, from the instruction on that sets AC', () => {
    expect(user(`${MISALIGNED} ${SET_AC} ${MISALIGNED}`)).toMatchObject({ vector: AC, error: 0, rip: Place.user + 12 });
  });

  it('is none without CR0.AM, and none below CPL 3', () => {
    m.state.cr0 &= ~BigInt(Cr0.AM);
    expect(user(`${SET_AC} ${MISALIGNED}`).vector).toBe(UD);
    m = new LongModeMachine(options);
    m.state.cr0 |= BigInt(Cr0.AM);
    m.state.gpr[7] = BigInt(Place.data);
    m.load(`${SET_AC} ${MISALIGNED} ${UD2}`);
    expect(m.event().vector).toBe(UD);
  });

  it('aligned accesses are none, however many', () => {
    // again: mov eax, [rdi]; add dword [rdi+4], 1; cmp dword [rdi+4], 100; jb again
    expect(user(`${SET_AC} 8b 07 83 47 04 01 83 7f 04 64 72 f4`).vector).toBe(UD);
    expect(m.u32(Place.user + 0x1004)).toBe(100);
  });

  it('a misaligned stack is one', () => {
    expect(user(`${SET_AC} 48 ff cc 50`)).toMatchObject({ vector: AC, rip: Place.user + 12 });
  });

  it('goes when AC is cleared', () => {
    expect(user(`${SET_AC} 9c 81 24 24 ff ff fb ff 9d ${MISALIGNED}`).vector).toBe(UD);
  });

  it('comes back with IRET and SYSRET to code that has it set', () => {
    m.write(Place.user, [0x8b, 0x47, 0x01]);
    const { state } = m;
    const frame = [Place.user, Selector.userCode, Rflags.FIXED | Rflags.AC, Place.userStack, Selector.userData];
    frame.forEach((word, n) => {
      m.setU64(Place.stack - 40 + 8 * n, BigInt(word));
    });
    state.gpr[4] = BigInt(Place.stack - 40);
    m.load('48 cf');
    expect(m.event()).toMatchObject({ vector: AC, error: 0, rip: Place.user, cs: Selector.userCode });
    m = new LongModeMachine(options);
    m.state.gpr[7] = BigInt(Place.user + 0x1000);
    m.state.cr0 |= BigInt(Cr0.AM);
    m.write(Place.user, [0x8b, 0x47, 0x01]);
    m.state.star = BigInt(Selector.userData - 8) << 48n;
    m.state.gpr[1] = BigInt(Place.user);
    m.state.gpr[11] = BigInt(Rflags.FIXED | Rflags.AC);
    m.load('48 0f 07');
    expect(m.event()).toMatchObject({ vector: AC, error: 0, rip: Place.user });
  });
});
