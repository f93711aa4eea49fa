/* Runs x87 instructions on the host: reads 288-byte records from stdin, writes them back with what the processor made of them.
 * A record: FNSAVE image (108 bytes, 4 spare), instruction bytes (16, padded with NOP; [rdx] is the memory operand), 16 spare,
 * RFLAGS (8), 8 spare, memory operand (128). */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { RECORD = 288, AT = 16 };
static const uint8_t head[AT] = {
  0x48, 0x8d, 0x97, 0xa0, 0, 0, 0,    /* lea rdx, [rdi+160] */
  0xdd, 0x27,                         /* frstor [rdi] */
  0xff, 0xb7, 0x90, 0, 0, 0,          /* push [rdi+144] */
  0x9d,                               /* popfq */
};
static const uint8_t tail[] = {
  0x9c, 0x58,                         /* pushfq; pop rax */
  0x48, 0x89, 0x87, 0x90, 0, 0, 0,    /* mov [rdi+144], rax */
  0xdd, 0x37,                         /* fnsave [rdi] */
  0xc3,
};

int main(void) {
  size_t room = 1 << 20, have = 0, got;
  uint8_t *in = malloc(room);
  while ((got = fread(in + have, 1, room - have, stdin)) > 0)
    if ((have += got) == room) in = realloc(in, room *= 2);
  uint8_t *code = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (code == MAP_FAILED) return 2;
  memcpy(code, head, AT);
  memcpy(code + AT + 16, tail, sizeof tail);
  for (size_t at = 0; at + RECORD <= have; at += RECORD) {
    if (memcmp(code + AT, in + at + 112, 16)) memcpy(code + AT, in + at + 112, 16);
    ((void (*)(uint8_t *))code)(in + at);
  }
  fwrite(in, 1, have / RECORD * RECORD, stdout);
  return 0;
}
