/**
 * Which forms are cases of the interpreter function: what compilers emit all the time. Everything else is a function behind the default
 * case. More cases are not free: the function's size is compile time at start and instruction cache while it runs.
 */
import type { Form } from '../form.ts';
import { AddressMode, StackMode } from '../form.ts';
import { listForms } from './form-list.ts';

const HOT = new Set(
  (
    'add sub adc sbb and or xor cmp test inc dec neg not mov movzx movsx movsxd lea cmovcc setcc shl shr sar rol ror imul2 imul3 mul ' +
    'xchg push pop call ret jmp jcc jmp_ind call_ind leave cbw cwd bt nop bswap'
  ).split(' '),
);
/** Only worth a case without a memory operand. */
const REGISTER_ONLY = new Set('adc sbb neg not rol ror mul xchg bt cmovcc setcc imul3'.split(' '));

function isHot(form: Form): boolean {
  if (!HOT.has(form.sem) || form.lock || form.rep !== 0) return false;
  if (form.address > AddressMode.Indexed || form.stack === StackMode.Segmented) return false;
  if (form.branch && form.mode === 16) return false;
  const memory = form.classes.includes('m');
  if (memory && REGISTER_ONLY.has(form.sem)) return false;
  // 16-bit operands are rare outside moves and compares.
  const size = form.sizes[0] ?? form.opSize;
  if (size === 2 && !['mov', 'cmp', 'test', 'movzx', 'movsx', 'add', 'and', 'or', 'nop'].includes(form.sem)) return false;
  if (size === 2 && memory && !['mov', 'cmp', 'nop'].includes(form.sem)) return false;
  return true;
}

/** All hot forms, in a fixed order. */
export const hotForms = (): Form[] => listForms(({ sem }) => HOT.has(sem)).filter(isHot);
