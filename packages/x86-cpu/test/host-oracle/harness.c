/*
 * Runs single x86 instructions on the host processor, each with a fully chosen state, and reports the state it leaves: the truth that the
 * engine is compared with. Linux on x86-64 only.
 *
 * Reads a batch from standard input, writes one result per case to standard output; host.ts has the other side of both formats.
 *
 * Address space of a case (the same that the engine gets; see layout.ts):
 *   DATA  2 pages, read-write, not executable; the pages on both sides are not mapped
 *   CODE  2 pages, read-execute; the pages on both sides are not mapped
 * and, out of the way, STUB (how a case gets back here) and CONTEXT (registers in and out, at absolute addresses so that neither entry
 * nor exit needs a register).
 *
 * A case is entered by IRETQ, which loads RIP, CS, RFLAGS, RSP and SS at once, also into the 32-bit code segment, or into 16- and 32-bit
 * segments of the local descriptor table that are not flat. (IRETQ to a 16-bit stack segment loads SP alone: bits 16-31 of ESP stay those
 * of CONTEXT's address, so such cases have them there from the start.) It ends in a jump to
 * STUB placed after the instruction, in a single-step trap (branches: the trap says where they went), or in an exception, which Linux
 * turns into a signal with the processor's vector, error code and CR2. The handler never returns: it jumps back to the loop.
 */
#define _GNU_SOURCE
#include <asm/ldt.h>
#include <asm/prctl.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define DATA_ADDRESS 0x10000000UL
#define CODE_ADDRESS 0x20000000UL
#define AREA_BYTES 0x2000UL
#define STUB_ADDRESS 0x3a5c7000UL
#define CONTEXT_ADDRESS 0x3a5c9000UL
#define GS_BASE DATA_ADDRESS
#define MAGIC 0x4c43524fU /* "ORCL" */

enum { CASE_32 = 1, CASE_FP = 2, CASE_AVX = 4, CASE_STEP = 8, CASE_16 = 16, CASE_LONG = 32, CASE_SELECT = 64 };
#define MAX_CODE 256
#define NO_TRAP 0xffffffffU

struct case_in {
  u32 size, flags;
  u64 gpr[16];
  u64 rflags;
  u32 code_offset, code_length;
  u8 code[16]; /* or, with CASE_LONG, behind everything else that is fixed in size */
  u32 patches;
  u8 segments[4]; /* entries of the batch's descriptors for CS, SS, DS, ES; 0 the flat segments of Linux */
};

/* Descriptors for the local descriptor table; entry 0 is not used. */
struct descriptor {
  u32 base, limit, flags; /* flags as in struct user_desc, from seg_32bit on */
};
#define DESCRIPTORS 16

struct case_out {
  u32 size, trap;
  u64 gpr[16];
  u64 rip, rflags, cr2;
  u32 error, runs;
  u16 selectors[8]; /* ES CS SS DS FS GS */
};

struct run {
  u32 offset, length;
};

/* Offsets are known to the assembly below. */
struct context {
  u64 gpr[16];        /* 0x00, in encoding order; RSP is not loaded from here but from the frame */
  u64 frame[5];       /* 0x80: RIP, CS, RFLAGS, RSP, SS for IRETQ */
  u64 rflags;         /* 0xa8: out */
  u64 host_rsp;       /* 0xb0 */
  u64 back;           /* 0xb8: where STUB jumps to */
  u32 fp;             /* 0xc0: 0 none, 1 FXSAVE, 2 XSAVE */
  u32 trapped;        /* 0xc4: a signal ended the case, FP state is in place already */
  u32 trap, error;    /* 0xc8 */
  u64 cr2, rip;       /* 0xd0 */
  u16 cs, ss;         /* 0xe0, of a trap */
  u64 reserved[3];
  u8 state[1024] __attribute__((aligned(64))); /* 0x100: FXSAVE image, XSAVE header, upper halves of YMM */
};
_Static_assert(offsetof(struct context, fp) == 0xc0, "");
_Static_assert(offsetof(struct context, state) == 0x100, "");

#define CTX ((volatile struct context *)CONTEXT_ADDRESS)

void enter_case(void);
void leave_case(void);
extern const u8 exit_stub[], exit_stub_end[];

#define C(offset) "0x3a5c9000+" #offset
asm(".text\n"
    ".globl enter_case\n"
    "enter_case:\n"
    "  push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
    "  mov %rsp, " C(0xb0) "\n"
    "  cmpl $1, " C(0xc0) "\n"
    "  jb 2f\n"
    "  ja 1f\n"
    "  fxrstor64 " C(0x100) "\n"
    "  jmp 2f\n"
    "1: mov $7, %eax\n"
    "  xor %edx, %edx\n"
    "  xrstor64 " C(0x100) "\n"
    "2: mov $" C(0x80) ", %rsp\n"
    "  mov " C(0x00) ", %rax; mov " C(0x08) ", %rcx; mov " C(0x10) ", %rdx; mov " C(0x18) ", %rbx\n"
    "  mov " C(0x28) ", %rbp; mov " C(0x30) ", %rsi; mov " C(0x38) ", %rdi\n"
    "  mov " C(0x40) ", %r8; mov " C(0x48) ", %r9; mov " C(0x50) ", %r10; mov " C(0x58) ", %r11\n"
    "  mov " C(0x60) ", %r12; mov " C(0x68) ", %r13; mov " C(0x70) ", %r14; mov " C(0x78) ", %r15\n"
    "  iretq\n"

    /* Copied to STUB; ends with the host's stack and the case's registers saved. */
    ".globl exit_stub, exit_stub_end\n"
    "exit_stub:\n"
    "  mov %rax, " C(0x00) "; mov %rcx, " C(0x08) "; mov %rdx, " C(0x10) "; mov %rbx, " C(0x18) "\n"
    "  mov %rsp, " C(0x20) "; mov %rbp, " C(0x28) "; mov %rsi, " C(0x30) "; mov %rdi, " C(0x38) "\n"
    "  mov %r8, " C(0x40) "; mov %r9, " C(0x48) "; mov %r10, " C(0x50) "; mov %r11, " C(0x58) "\n"
    "  mov %r12, " C(0x60) "; mov %r13, " C(0x68) "; mov %r14, " C(0x70) "; mov %r15, " C(0x78) "\n"
    "  mov " C(0xb0) ", %rsp\n"
    "  pushfq\n"
    "  popq " C(0xa8) "\n"
    "  pushq $2; popfq\n" /* AC is the case's */
    "  jmp *" C(0xb8) "\n"
    "exit_stub_end:\n"

    ".globl leave_case\n"
    "leave_case:\n"
    "  mov " C(0xb0) ", %rsp\n"
    "  cld\n"
    "  cmpl $0, " C(0xc4) "\n"
    "  jne 2f\n"
    "  cmpl $1, " C(0xc0) "\n"
    "  jb 2f\n"
    "  ja 1f\n"
    "  fxsave64 " C(0x100) "\n"
    "  jmp 3f\n"
    "1: mov $7, %eax\n"
    "  xor %edx, %edx\n"
    "  xsave64 " C(0x100) "\n"
    "  vzeroupper\n"
    "3: fninit\n"
    "  pushq $0x1f80\n"
    "  ldmxcsr (%rsp)\n"
    "  pop %rax\n"
    "2: pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
    "  ret\n");

static volatile int running;

static const int GREGS[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                              REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

static void on_signal(int signal, siginfo_t *info, void *where) {
  (void)info;
  /* Linux lets the handler begin with the case's AC. */
  __asm__ volatile("pushfq; andl $~0x40000, (%%rsp); popfq" ::: "memory", "cc");
  const ucontext_t *uc = where;
  if (!running) {
    static const char text[] = "host oracle: fault outside a case\n";
    if (write(2, text, sizeof text - 1) < 0 || signal) _exit(3);
  }
  const greg_t *regs = uc->uc_mcontext.gregs;
  for (int i = 0; i < 16; i++) CTX->gpr[i] = regs[GREGS[i]];
  CTX->rip = regs[REG_RIP];
  CTX->rflags = regs[REG_EFL];
  CTX->trap = regs[REG_TRAPNO];
  CTX->error = regs[REG_ERR];
  CTX->cr2 = regs[REG_CR2];
  CTX->cs = regs[REG_CSGSFS];
  CTX->ss = (u64)regs[REG_CSGSFS] >> 48;
  CTX->trapped = 1;
  if (CTX->fp) {
    const u8 *image = (const u8 *)uc->uc_mcontext.fpregs;
    u8 *state = (u8 *)CTX->state;
    for (int i = 0; i < 512; i++) state[i] = image[i];
    if (CTX->fp == 2) {
      /* XSTATE_BV of the frame: a component in its initial state may not have been written. */
      u64 present = *(const u64 *)(image + 512);
      for (int i = 0; i < 256; i++) state[576 + i] = present & 4 ? image[576 + i] : 0;
    }
  }
  leave_case();
  __builtin_unreachable();
}

static void die(const char *what) {
  perror(what);
  exit(2);
}

static void *map_at(u64 address, u64 bytes, int protection) {
  void *at = mmap((void *)address, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_POPULATE, -1, 0);
  if (at != (void *)address) die("mmap");
  return at;
}

static u8 *code_alias;
/* Where thread-local storage is. */
static u64 fs_base;

static void set_up(void) {
  map_at(DATA_ADDRESS, AREA_BYTES, PROT_READ | PROT_WRITE);
  map_at(CONTEXT_ADDRESS, 0x1000, PROT_READ | PROT_WRITE);
  u8 *stub = map_at(STUB_ADDRESS, 0x1000, PROT_READ | PROT_WRITE);
  memset(stub, 0xcc, 0x1000);
  memcpy(stub, exit_stub, exit_stub_end - exit_stub);
  if (mprotect(stub, 0x1000, PROT_READ | PROT_EXEC)) die("mprotect");
  /* Code is writable through a second mapping only, so that a case that writes to it faults. */
  int memory = memfd_create("code", 0);
  if (memory < 0 || ftruncate(memory, AREA_BYTES)) die("memfd");
  code_alias = mmap(NULL, AREA_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, memory, 0);
  if (code_alias == MAP_FAILED) die("mmap");
  memset(code_alias, 0xcc, AREA_BYTES);
  void *code = mmap((void *)CODE_ADDRESS, AREA_BYTES, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED_NOREPLACE | MAP_POPULATE, memory, 0);
  if (code != (void *)CODE_ADDRESS) die("mmap code");
  for (volatile u8 *p = code; p < (u8 *)code + AREA_BYTES; p += 4096) (void)*p;

  stack_t stack = {.ss_sp = malloc(1 << 17), .ss_size = 1 << 17, .ss_flags = 0};
  if (sigaltstack(&stack, NULL)) die("sigaltstack");
  struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
  const int signals[] = {SIGSEGV, SIGFPE, SIGILL, SIGBUS, SIGTRAP};
  for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++)
    if (sigaction(signals[i], &action, NULL)) die("sigaction");
  /* 32-bit code needs these; 64-bit code does not look at them. GS is unused by the C library here. */
  asm volatile("mov %0, %%ds; mov %0, %%es" ::"r"(0x2b));
  if (syscall(SYS_arch_prctl, ARCH_SET_GS, GS_BASE)) die("arch_prctl");
  if (syscall(SYS_arch_prctl, ARCH_GET_FS, &fs_base)) die("arch_prctl");
  CTX->back = (u64)leave_case;
}

/* Not all kernels have modify_ldt. Only cases that name descriptors need it. */
static int descriptors_failed;

static void set_descriptors(const struct descriptor *from) {
  for (int i = 1; i < DESCRIPTORS; i++) {
    if (!from[i].flags) continue;
    struct user_desc d;
    memset(&d, 0, sizeof d);
    d.entry_number = i;
    d.base_addr = from[i].base;
    d.limit = from[i].limit;
    d.seg_32bit = from[i].flags & 1;
    d.contents = from[i].flags >> 1 & 3;
    d.read_exec_only = from[i].flags >> 3 & 1;
    d.limit_in_pages = from[i].flags >> 4 & 1;
    d.seg_not_present = from[i].flags >> 6 & 1;
    d.useable = 1;
    if (syscall(SYS_modify_ldt, 0x11, &d, sizeof d)) descriptors_failed = 1;
  }
}

static u32 selector(u8 entry, u32 flat) {
  return entry ? entry * 8U + 7 : flat;
}

/* Where the jump back goes, after the instruction. */
static unsigned put_tail(u8 *at, u64 address, u32 flags) {
  if (flags & CASE_16) *at++ = 0x66;
  if (flags & (CASE_16 | CASE_32)) { /* jmp far 0x33:STUB */
    u32 target = STUB_ADDRESS;
    at[0] = 0xea;
    memcpy(at + 1, &target, 4);
    at[5] = 0x33;
    at[6] = 0;
    return flags & CASE_16 ? 8 : 7;
  }
  u32 displacement = STUB_ADDRESS - (address + 5);
  at[0] = 0xe9;
  memcpy(at + 1, &displacement, 4);
  return 5;
}

/* Without libc, which wants FS to be right. */
static void set_base(int which, u64 base) {
  long number = SYS_arch_prctl;
  asm volatile("syscall" : "+a"(number) : "D"((long)which), "S"(base) : "rcx", "r11", "memory");
}

/* The segment registers as the case left them; then as C needs them. */
static void take_selectors(u16 *out, const struct case_in *in) {
  u16 es, ss, ds, fs, gs;
  asm volatile("mov %%es, %0; mov %%ss, %1; mov %%ds, %2; mov %%fs, %3; mov %%gs, %4" : "=r"(es), "=r"(ss), "=r"(ds), "=r"(fs), "=r"(gs));
  out[0] = es;
  out[1] = CTX->trapped ? CTX->cs : CTX->frame[1];
  out[2] = CTX->trapped ? CTX->ss : ss;
  out[3] = ds;
  out[4] = fs;
  out[5] = gs;
  if (!(in->flags & CASE_SELECT)) return;
  asm volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%ss" ::"r"(0x2b));
  set_base(ARCH_SET_FS, fs_base);
  set_base(ARCH_SET_GS, GS_BASE);
}

static void run_case(const struct case_in *in, const u8 *code, u16 *selectors) {
  u8 text[MAX_CODE + 16];
  memcpy(text, code, in->code_length);
  unsigned length = in->code_length;
  if (!(in->flags & CASE_STEP)) length += put_tail(text + length, CODE_ADDRESS + in->code_offset + length, in->flags);
  unsigned room = AREA_BYTES - in->code_offset;
  if (length > room) length = room;
  memcpy(code_alias + in->code_offset, text, length);

  memcpy((void *)CTX->gpr, in->gpr, sizeof in->gpr);
  const u64 start = in->segments[0] ? in->code_offset : CODE_ADDRESS + in->code_offset;
  CTX->frame[0] = start;
  CTX->frame[1] = selector(in->segments[0], in->flags & CASE_32 ? 0x23 : 0x33);
  CTX->frame[2] = (in->rflags & 0x244cd5) | 0x202 | (in->flags & CASE_STEP ? 0x100 : 0);
  CTX->frame[3] = in->gpr[4];
  CTX->frame[4] = selector(in->segments[1], 0x2b);
  CTX->trapped = 0;
  CTX->trap = NO_TRAP;
  CTX->error = 0;
  CTX->cr2 = 0;
  CTX->rip = start + in->code_length;
  const int segmented = in->segments[0] | in->segments[1] | in->segments[2] | in->segments[3];
  if (segmented && descriptors_failed) die("modify_ldt");
  if (segmented) {
    asm volatile("mov %0, %%ds" ::"r"(selector(in->segments[2], 0x2b)));
    asm volatile("mov %0, %%es" ::"r"(selector(in->segments[3], 0x2b)));
  }
  running = 1;
  enter_case();
  take_selectors(selectors, in);
  running = 0;
  if (segmented) asm volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%ss" ::"r"(0x2b));
  if (in->flags & CASE_STEP) {
    CTX->rflags &= ~0x100UL;
    if (CTX->trap == 1) CTX->trap = NO_TRAP;
  }
  memset(code_alias + in->code_offset, 0xcc, length);
}

static u8 *input, *output;
static u64 input_bytes, output_bytes, output_room;

static void read_all(void) {
  u64 room = 1 << 20;
  input = malloc(room);
  for (;;) {
    ssize_t got = read(0, input + input_bytes, room - input_bytes);
    if (got < 0) die("read");
    if (got == 0) break;
    input_bytes += got;
    if (input_bytes == room) input = realloc(input, room *= 2);
    if (!input) die("memory");
  }
}

static u8 *reserve(u64 bytes) {
  if (output_bytes + bytes > output_room) {
    output_room = (output_bytes + bytes) * 2;
    output = realloc(output, output_room);
    if (!output) die("memory");
  }
  return output + output_bytes;
}

/* Appends the words of DATA that differ from `before` as runs, and puts them back. */
static u32 put_changes(u8 **at, u8 *before) {
  u32 runs = 0;
  u8 *data = (u8 *)DATA_ADDRESS;
  for (u32 chunk = 0; chunk < AREA_BYTES; chunk += 256) {
    if (memcmp(data + chunk, before + chunk, 256) == 0) continue;
    for (u32 i = chunk; i < chunk + 256; i += 8) {
      if (memcmp(data + i, before + i, 8) == 0) continue;
      struct run run = {i, 8};
      memcpy(*at, &run, sizeof run);
      memcpy(*at + sizeof run, data + i, 8);
      *at += sizeof run + 8;
      runs++;
    }
  }
  return runs;
}

int main(void) {
  read_all();
  if (input_bytes < 8 + sizeof(struct descriptor) * DESCRIPTORS + AREA_BYTES || *(u32 *)input != MAGIC) {
    fprintf(stderr, "host oracle: not a batch\n");
    return 2;
  }
  set_up();
  const u32 count = ((u32 *)input)[1];
  set_descriptors((const struct descriptor *)(input + 8));
  const u8 *base = input + 8 + sizeof(struct descriptor) * DESCRIPTORS;
  static u8 before[AREA_BYTES];
  memcpy(before, base, AREA_BYTES);
  memcpy((void *)DATA_ADDRESS, base, AREA_BYTES);
  u64 at = 8 + sizeof(struct descriptor) * DESCRIPTORS + AREA_BYTES;
  u8 *state = (u8 *)CTX->state;
  for (u32 n = 0; n < count; n++) {
    const struct case_in *in = (const struct case_in *)(input + at);
    if (at + sizeof *in > input_bytes || at + in->size > input_bytes || in->code_length > (in->flags & CASE_LONG ? MAX_CODE : 16) || in->code_offset >= AREA_BYTES) {
      fprintf(stderr, "host oracle: bad case %u\n", n);
      return 2;
    }
    const u8 *rest = (const u8 *)(in + 1);
    CTX->fp = in->flags & CASE_AVX ? 2 : in->flags & CASE_FP ? 1 : 0;
    if (CTX->fp) {
      memcpy(state, rest, 512);
      rest += 512;
      if (CTX->fp == 2) {
        memset(state + 512, 0, 64);
        state[512] = 7;
        memcpy(state + 576, rest, 256);
        rest += 256;
      }
    }
    const u8 *code = in->code;
    if (in->flags & CASE_LONG) {
      code = rest;
      rest += (in->code_length + 7) & ~7U;
    }
    const u8 *patches = rest;
    for (u32 i = 0; i < in->patches; i++) {
      const struct run *run = (const struct run *)rest;
      memcpy(before + run->offset, run + 1, run->length);
      memcpy((u8 *)DATA_ADDRESS + run->offset, run + 1, run->length);
      rest += sizeof *run + ((run->length + 7) & ~7U);
    }

    u16 selectors[8] = {0};
    run_case(in, code, selectors);

    struct case_out *out = (struct case_out *)reserve(sizeof *out + 768 + AREA_BYTES * 2);
    out->trap = CTX->trap;
    memcpy(out->gpr, (void *)CTX->gpr, sizeof out->gpr);
    out->rip = CTX->rip;
    out->rflags = CTX->rflags;
    out->cr2 = CTX->cr2;
    out->error = CTX->error;
    memcpy(out->selectors, selectors, sizeof selectors);
    u8 *end = (u8 *)(out + 1);
    if (CTX->fp) {
      memcpy(end, state, 512);
      end += 512;
      if (CTX->fp == 2) {
        if (!(state[512] & 4)) memset(state + 576, 0, 256);
        memcpy(end, state + 576, 256);
        end += 256;
      }
    }
    u8 *runs = end;
    out->runs = put_changes(&end, before);
    out->size = end - (u8 *)out;
    output_bytes += out->size;
    for (u8 *p = runs; p < end; p += sizeof(struct run) + 8) {
      u32 offset = ((struct run *)p)->offset;
      memcpy(before + offset, base + offset, 8);
      memcpy((u8 *)DATA_ADDRESS + offset, base + offset, 8);
    }
    for (u32 i = 0; i < in->patches; i++) {
      const struct run *run = (const struct run *)patches;
      memcpy(before + run->offset, base + run->offset, run->length);
      memcpy((u8 *)DATA_ADDRESS + run->offset, base + run->offset, run->length);
      patches += sizeof *run + ((run->length + 7) & ~7U);
    }
    at += in->size;
  }
  for (u64 done = 0; done < output_bytes;) {
    ssize_t put = write(1, output + done, output_bytes - done);
    if (put <= 0) die("write");
    done += put;
  }
  return 0;
}
