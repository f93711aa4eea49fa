/** What the guest runs, in machine code. EDI is the doorbell's address, RSI the data's, EBP the phase; R8 counts rings. */
import { makeKernel } from './kernel.ts';
import * as at from './layout.ts';
import { DOORBELL, type DoorbellPath } from './paths.ts';

type Code = readonly number[];

const dword = (value: number): Code => [value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, value >>> 24];

const RDTSC = [0x0f, 0x31, 0x48, 0xc1, 0xe2, 0x20, 0x48, 0x09, 0xd0]; // rdtsc; shl rdx, 32; or rax, rdx
/** mov dx, PM1_CNT; mov ax, SLP_EN | 5 << 10; out dx, ax; hlt; jmp to the hlt (ACPI §4.8.3.2, §16.1.7) */
const POWER_OFF = [0x66, 0xba, 0x04, 0x06, 0x66, 0xb8, 0x00, 0x34, 0x66, 0xef, 0xf4, 0xeb, 0xfd];

const JB = [0x0f, 0x82];
const JNE = [0x0f, 0x85];
/** A conditional jump from the end of `body` to its beginning. */
const backOver = (jump: Code, body: Code): Code => [...body, ...jump, ...dword(-(body.length + jump.length + 4))];

/** Runs `body` for both phases, each with a deadline of the TSC in R10, its beginning in R9, and R11 where samples go. */
function phases(body: Code): Code {
  const phase = [
    ...[0x89, 0x6e, at.PHASE], // mov [rsi + PHASE], ebp
    ...[0x41, 0xbb, ...dword(at.SAMPLES)], // mov r11d, SAMPLES
    ...RDTSC,
    ...[0x49, 0x89, 0xc1], // mov r9, rax
    ...[0x4c, 0x8b, 0x14, 0xee], // mov r10, [rsi + rbp * 8]
    ...[0x4d, 0x01, 0xca], // add r10, r9
    ...body, // leaves the TSC in RAX
    ...[0x4c, 0x29, 0xc8], // sub rax, r9
    ...[0x48, 0x89, 0x46, at.TICKS], // mov [rsi + TICKS], rax
    ...[0x4c, 0x89, 0x46, at.RINGS], // mov [rsi + RINGS], r8
    ...[0x4c, 0x89, 0x5e, at.SAMPLES_END], // mov [rsi + SAMPLES_END], r11
    ...[0xff, 0xc5], // inc ebp
    ...[0x83, 0xfd, at.Phase.over], // cmp ebp, Phase.over
  ];
  return [
    ...[0xbe, ...dword(at.DATA)], // mov esi, DATA
    ...[0xbf, ...dword(DOORBELL)], // mov edi, DOORBELL
    ...[0x31, 0xed], // xor ebp, ebp
    ...[0x45, 0x31, 0xc0], // xor r8d, r8d
    ...backOver(JB, phase),
    ...[0x89, 0x6e, at.PHASE], // mov [rsi + PHASE], ebp
    ...POWER_OFF,
  ];
}

/** Rings as fast as it can. Samples: ticks of each `batch` of rings, 32 bits. */
export function streamingGuest({ code }: DoorbellPath, batch: number): Uint8Array {
  const ring = backOver(JNE, [...code, 0xff, 0xc9]); // the ring; dec ecx; jnz to it
  const rings = [
    ...[0x49, 0x89, 0xc5], // mov r13, rax: when the batch began
    ...[0xb9, ...dword(batch)], // mov ecx, batch
    ...ring,
    ...[0x49, 0x81, 0xc0, ...dword(batch)], // add r8, batch
    ...RDTSC,
    ...[0x48, 0x89, 0xc1], // mov rcx, rax
    ...[0x4c, 0x29, 0xe9], // sub rcx, r13
    ...[0x41, 0x89, 0x0b], // mov [r11], ecx
    ...[0x41, 0x81, 0xfb, ...dword(at.SAMPLES_LIMIT - 8)], // cmp r11d, the last place
    ...[0x73, 0x04], // jae over the next
    ...[0x49, 0x83, 0xc3, 0x04], // add r11, 4
    ...[0x4c, 0x39, 0xd0], // cmp rax, r10
  ];
  // xor r8d, r8d, for this phase's rings alone
  return makeKernel({ 0: phases([0x45, 0x31, 0xc0, ...backOver(JB, rings)]) });
}

/** Rings, waits for the answer, rests. Samples: ticks of the ring's instruction and ticks until the answer, 32 bits each. */
export function idleGuest({ code }: DoorbellPath): Uint8Array {
  const wait = [0xf3, 0x90, 0x44, 0x39, 0x86, ...dword(at.ANSWER)]; // pause; cmp [rsi + ANSWER], r8d
  const rest = [0xf3, 0x90, ...RDTSC, 0x4c, 0x39, 0xe0]; // pause; the TSC; cmp rax, r12
  const round = [
    ...RDTSC,
    ...[0x49, 0x89, 0xc5], // mov r13, rax
    ...code,
    ...RDTSC,
    ...[0x49, 0x89, 0xc6], // mov r14, rax
    ...[0x41, 0xff, 0xc0], // inc r8d
    ...backOver(JNE, wait),
    ...RDTSC,
    ...[0x49, 0x89, 0xc4], // mov r12, rax
    ...[0x4d, 0x29, 0xee], // sub r14, r13
    ...[0x45, 0x89, 0x33], // mov [r11], r14d
    ...[0x4c, 0x29, 0xe8], // sub rax, r13
    ...[0x41, 0x89, 0x43, 0x04], // mov [r11 + 4], eax
    ...[0x41, 0x81, 0xfb, ...dword(at.SAMPLES_LIMIT - 16)], // cmp r11d, the last place
    ...[0x73, 0x04], // jae over the next
    ...[0x49, 0x83, 0xc3, 0x08], // add r11, 8
    ...[0x4c, 0x03, 0x66, at.PAUSE_NS], // add r12, [rsi + PAUSE_NS]
    ...backOver(JB, rest),
    ...[0x4c, 0x39, 0xd0], // cmp rax, r10
  ];
  return makeKernel({ 0: phases(backOver(JB, round)) });
}

const SVR = 0xfee0_00f0;
const EOI = 0xfee0_00b0;
const MSR_KVM_SYSTEM_TIME_NEW = 0x4b56_4d01;
const ENABLED = 1;

/** Shows its clock, and halts until it is told to stop. Its handler notes the TSC, ends the interrupt and counts it in ANSWER. */
export function haltedGuest(): Uint8Array {
  const halt = [0xf4, 0x83, 0x7e, at.STOP, 0]; // hlt; cmp dword [rsi + STOP], 0
  return makeKernel({
    0: [
      ...[0xbc, ...dword(at.STACK_TOP)], // mov esp, STACK_TOP
      ...[0xbe, ...dword(at.DATA)], // mov esi, DATA
      ...[0x0f, 0x01, 0x5e, at.IDTR], // lidt [rsi + IDTR]
      ...[0xb9, ...dword(MSR_KVM_SYSTEM_TIME_NEW)], // mov ecx, MSR_KVM_SYSTEM_TIME_NEW
      ...[0xb8, ...dword((at.DATA + at.PVCLOCK) | ENABLED), 0x31, 0xd2, 0x0f, 0x30], // mov eax, its page; xor edx, edx; wrmsr
      ...[0xb8, ...dword(SVR), 0xc7, 0x00, ...dword(0x1ff)], // mov eax, SVR; mov dword [rax], enabled | vector 255
      ...[0xbb, ...dword(EOI)], // mov ebx, EOI
      ...[0xfb, ...backOver([0x0f, 0x84], halt)], // sti; the halt; je to it
      ...POWER_OFF,
    ],
    [at.HANDLER]: [
      ...RDTSC,
      ...[0x48, 0x89, 0x46, at.TICKS], // mov [rsi + TICKS], rax
      ...[0xc7, 0x03, 0, 0, 0, 0], // mov dword [rbx], 0
      ...[0xf0, 0xff, 0x86, ...dword(at.ANSWER)], // lock inc dword [rsi + ANSWER]
      ...[0x48, 0xcf], // iretq
    ],
  });
}
