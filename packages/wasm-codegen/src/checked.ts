/**
 * Checked building: every value token is unique, and every operation verifies that its operands are the topmost values of the operand
 * stack, in order. It finds what WebAssembly's validation cannot: an expression emitted too early (kept in a variable while something
 * else was pushed) whose type happens to fit. Far too slow for code generation at run time; for tests of emitters.
 */
import { anyToken } from './types.ts';

class CheckedToken {
  readonly made: string;
  constructor(made: string) {
    this.made = made;
  }
}

export class OperandOrderError extends Error {
  readonly code = 'WASM_CODEGEN_OPERAND_ORDER';
}

/** Operations whose operands may come in either order. */
const COMMUTATIVE = /^(add|mul|and|or|xor|eq|ne)$|_(add|mul|eq|ne)$/;

const flatten = (args: readonly unknown[]): CheckedToken[] => args.flat().filter((arg) => arg instanceof CheckedToken);

/** Replaces the methods of `target` (an operations object, or a function builder) by checking ones that share `stack`. */
export function checkMethods(target: object, stack: CheckedToken[], functionName: () => string): void {
  for (let proto = Object.getPrototypeOf(target); proto && proto !== Object.prototype; proto = Object.getPrototypeOf(proto)) {
    for (const [name, descriptor] of Object.entries(Object.getOwnPropertyDescriptors(proto))) {
      const method = descriptor.value as unknown;
      if (name === 'constructor' || typeof method !== 'function' || Object.hasOwn(target, name)) continue;
      Object.defineProperty(target, name, {
        value: checked(target, name, method as (...args: unknown[]) => unknown, stack, functionName),
      });
    }
  }
}

function checked(
  target: object,
  name: string,
  method: (...args: unknown[]) => unknown,
  stack: CheckedToken[],
  functionName: () => string,
): (...args: unknown[]) => unknown {
  const body =
    (callback: (...args: unknown[]) => unknown) =>
    (...args: unknown[]): unknown => {
      const height = stack.length;
      const result = callback(...args);
      if (result instanceof CheckedToken && stack.at(-1) !== result)
        throw new OperandOrderError(
          `${functionName()}: ${name}'s body returned ${result.made}, which is not on top of the stack`,
        );
      stack.length = height;
      return result;
    };
  return (...args) => {
    const operands = flatten(args);
    const top = stack.slice(stack.length - operands.length);
    if (COMMUTATIVE.test(name) && operands.length === 2 && operands[0] === top[1]) operands.reverse();
    operands.forEach((operand, n) => {
      if (operand !== top[n])
        throw new OperandOrderError(
          `${functionName()}: operand ${n} of ${name} is ${operand.made}, but the stack holds ${top[n]?.made ?? 'nothing'}`,
        );
    });
    stack.length -= operands.length;
    const wrapped = args.map((arg) => (typeof arg === 'function' ? body(arg as (...args: unknown[]) => unknown) : arg));
    const result = method.apply(target, wrapped);
    if (result !== (anyToken as unknown)) return result;
    const token = new CheckedToken(name);
    stack.push(token);
    return token;
  };
}
