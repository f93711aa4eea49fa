/** A region as text for people: the guest's instructions on the left, what was made of them on the right. */
import type { PrintedInstruction } from '@tsvisor/wasm-codegen';
import { readModule } from '@tsvisor/wasm-codegen';
import { CPU } from '../state.ts';
import type { RegionReport, ReportedBlock, ReportedInstruction } from './report.ts';
import type { CodeRange } from './trace.ts';

/** Whether one of a region's instructions begins at, or goes across, a linear address. */
export function holdsAddress({ address, blocks }: RegionReport, wanted: bigint): boolean {
  const distance = wanted - address;
  return blocks.some(({ instructions }) =>
    instructions.some(({ offset, bytes }) => distance >= BigInt(offset) && distance < BigInt(offset + bytes.length)),
  );
}

const LEFT = 64;
const WIDE = 100;
/** What leaves nothing to go on with: a statement ends here. */
const ENDS = /(?:\.set|store\d*|^drop|^br\S*|^return\S*|^unreachable|^block|^loop|^if|^else|^end|^memory\.\w+)(?: |$)/;

/** Fields of the state by descending offset. */
const FIELDS = Object.entries(CPU.offset).sort(([, a], [, b]) => b - a);
const OFFSET = / offset=(\d+)$/;

/** Names the fields of the processor state where accesses say plainly that they are to it. */
function withFields(statement: readonly string[]): string[] {
  const named = (text: string): string => {
    const offset = Number(OFFSET.exec(text)?.[1] ?? 0);
    return `${text} (;${FIELDS.find(([, at]) => at <= offset)?.[0]};)`;
  };
  const state = 'local.get $cpu';
  return statement.map((text, n) => {
    if (/\.load/.test(text)) return statement[n - 1] === state ? named(text) : text;
    return /\.store/.test(text) && n === statement.length - 1 && statement[0] === state ? named(text) : text;
  });
}

type Origin =
  | { readonly kind: 'block'; readonly block: ReportedBlock }
  | { readonly kind: 'instruction'; readonly instruction: ReportedInstruction };
type Ranged = { readonly code: CodeRange; readonly origin: Origin };

/** Of ranges that begin together: what has no code, then the outer before the inner. */
const order = ({ start, end }: CodeRange): number => (start === end ? -Number.MAX_SAFE_INTEGER : -end);

class RegionPrinter {
  readonly #report: RegionReport;
  readonly #lines: string[] = [];
  readonly #ranges: Ranged[];
  /** Ranges around the place that is printed, the innermost last. */
  readonly #open: Ranged[] = [];
  #next = 0;
  #left = '';
  #statement: string[] = [];
  /** Depth that is printed as none. */
  #margin = 0;
  #indent = 0;

  constructor(report: RegionReport) {
    this.#report = report;
    const ranges = report.blocks.flatMap((block): Ranged[] => [
      { code: block.code, origin: { kind: 'block', block } },
      ...block.instructions.map(
        (instruction): Ranged => ({
          code: instruction.code,
          origin: { kind: 'instruction', instruction },
        }),
      ),
    ]);
    this.#ranges = ranges.sort((a, b) => a.code.start - b.code.start || order(a.code) - order(b.code));
  }

  #address(offset: number): string {
    const rip = this.#report.rip + BigInt(offset);
    return this.#report.codeSize === 64
      ? BigInt.asUintN(64, rip).toString(16).padStart(16, '0')
      : rip.toString(16).padStart(8, '0');
  }

  print(): string {
    const { blocks, wasm, locals, pages, address } = this.#report;
    const count = blocks.reduce((sum, { instructions }) => sum + instructions.length, 0);
    const size = `${blocks.length} blocks, ${count} instructions, ${pages.length} pages; ${wasm.length} bytes of WebAssembly`;
    this.#lines.push(`region at 0x${address.toString(16)}: ${size}`);
    const [region] = readModule(wasm, { local: (index) => locals.get(index) }).functions;
    this.#title('entry');
    for (const instruction of region.instructions) this.#instruction(instruction);
    this.#settle();
    return `${this.#lines.join('\n')}\n`;
  }

  #title(text: string): void {
    this.#settle();
    this.#lines.push('', text);
  }

  #instruction({ at, text, depth }: PrintedInstruction): void {
    this.#passTo(at, depth);
    // A call may have left nothing, which its text does not say.
    if (text === 'end' || text === 'else') this.#flush();
    if (this.#statement.length === 0) this.#indent = Math.max(0, depth - this.#margin);
    this.#statement.push(text);
    const length = this.#statement.reduce((sum, part) => sum + part.length + 2, 2 * this.#indent);
    if (ENDS.test(text) || length > WIDE) this.#flush();
  }

  /** Leaves the ranges that end before an offset, and enters those that begin there. */
  #passTo(at: number, depth: number): void {
    let left = false;
    for (let top = this.#open.at(-1); top && top.code.end <= at; top = this.#open.at(-1)) {
      this.#open.pop();
      left = true;
    }
    let entered = false;
    for (let next = this.#ranges[this.#next]; next && next.code.start <= at; next = this.#ranges[++this.#next]) {
      this.#enter(next, depth);
      if (next.code.end > at) this.#open.push(next);
      entered = true;
    }
    if (left && !entered) this.#back(depth);
  }

  #enter({ origin }: Ranged, depth: number): void {
    this.#settle();
    if (origin.kind === 'block') {
      const { offset, entry } = origin.block;
      this.#title(`block ${this.#address(offset)}${entry ? ', entry' : ''}`);
      this.#margin = depth;
      return;
    }
    this.#left = `  ${this.#address(origin.instruction.offset)}  ${origin.instruction.text}`;
  }

  /** After a range that was within another: what follows belongs to that one. */
  #back(depth: number): void {
    this.#settle();
    const origin = this.#open.at(-1)?.origin;
    if (origin === undefined) {
      this.#title(this.#next === this.#ranges.length ? 'exit' : 'between blocks');
      this.#margin = depth;
    } else if (origin.kind === 'instruction') {
      this.#left = `  ${this.#address(origin.instruction.offset)}  ... ${origin.instruction.text}`;
      this.#margin = depth;
    }
  }

  #flush(): void {
    if (this.#statement.length === 0) return;
    this.#emit('  '.repeat(this.#indent) + withFields(this.#statement).join('  '));
    this.#statement = [];
  }

  /** An instruction of which nothing became has its line, too. */
  #settle(): void {
    this.#flush();
    if (this.#left !== '') this.#emit('');
  }

  #emit(right: string): void {
    this.#lines.push(`${this.#left.padEnd(LEFT)}| ${right}`.trimEnd());
    this.#left = '';
  }
}

/** Guest code beside the WebAssembly that a region became, in the order of the latter. */
export function printRegion(report: RegionReport): string {
  return new RegionPrinter(report).print();
}
