/** From a decoded instruction and the mode it runs in to its form. */
import { BASE_RIP, type Insn } from '../decode/insn.ts';
import type { Form } from '../form.ts';
import { AddressMode, formNumber, formOf } from '../form.ts';
import { Seg } from '../state.ts';
import { ModeKey, stackMode } from './mode-key.ts';
import { TWO_PAGES } from './record-writer.ts';
import type { RowFacts } from './row-facts.ts';
import { isRefused, knownException, rowFacts } from './row-facts.ts';

/** ModRM bytes from here on name a register; without a ModRM byte the decoder says -1, which includes moffs. */
const MODRM_REGISTER = 0xc0;

/** x87 opcodes, FISTTP of SSE3 among them (SDM vol. 2, appendix A.5). */
const isEscape = ({ row }: Insn): boolean => row.map === 0 && !row.vex && (row.opcode & 0xf8) === 0xd8;

export class FormFinder {
  readonly #hasFeature: (feature: string) => boolean;
  readonly #hasSemantics: (sem: string) => boolean;
  readonly #facts: RowFacts[] = [];
  readonly #forms = new Map<number, Form>();

  /** @param hasFeature whether the processor model has a feature of the opcode table; @param hasSemantics whether the engine has a `sem` */
  constructor(hasFeature: (feature: string) => boolean, hasSemantics: (sem: string) => boolean) {
    this.#hasFeature = hasFeature;
    this.#hasSemantics = hasSemantics;
  }

  facts({ row }: Insn): RowFacts {
    return (this.#facts[row.id] ??= rowFacts(row, this.#hasFeature, this.#hasSemantics));
  }

  /** The form, in compiled code, of an instruction that neither raises nor is refused. */
  describe(insn: Insn, key: number): Form | undefined {
    const { needs } = this.facts(insn);
    if (knownException(needs, key) || isRefused(needs)) return undefined;
    const address = this.#address(insn, key, true);
    const number = formNumber(insn, address, stackMode(key));
    let form = this.#forms.get(number);
    if (!form) {
      form = formOf(insn, address, stackMode(key), this.facts(insn).sem);
      this.#forms.set(number, form);
    }
    return form;
  }

  /** A number that is the same for the same form of an interpreter's record. */
  number(insn: Insn, key: number): number {
    return formNumber(insn, this.#address(insn, key, false), stackMode(key));
  }

  /** That form. */
  form(insn: Insn, key: number): Form {
    return formOf(insn, this.#address(insn, key, false), stackMode(key), this.facts(insn).sem);
  }

  /** Compiled code may address in ways that records have no room for. */
  #address(insn: Insn, key: number, compiled: boolean): AddressMode {
    const facts = this.facts(insn);
    const addressed = insn.modrm < MODRM_REGISTER || facts.string || facts.masked;
    return addressed ? this.#addressMode(insn, key, facts, compiled) : AddressMode.Base;
  }

  #addressMode(insn: Insn, key: number, facts: RowFacts, compiled: boolean): AddressMode {
    const segment = insn.seg;
    const special = segment === Seg.FS || segment === Seg.GS;
    const flatSegment = special ? key & (segment === Seg.FS ? ModeKey.FLAT_FS : ModeKey.FLAT_GS) : key & ModeKey.FLAT;
    if (insn.row.sem === 'lea')
      return insn.mode === 64 && insn.addrSize === 8 && insn.index < 0 ? AddressMode.Base : AddressMode.Indexed;
    if (facts.string) {
      if (!(key & ModeKey.FLAT) || !flatSegment) return AddressMode.Segmented;
      return special ? AddressMode.Indexed : AddressMode.Base;
    }
    if (!flatSegment) return AddressMode.Segmented;
    // Code segments are not writable, flat or not: leave the check to the segmented forms.
    if (segment === Seg.CS && insn.mode !== 64) return AddressMode.Segmented;
    if (facts.moffs && insn.mode === 64) return AddressMode.Absolute;
    // With FS or GS the segment base takes the index's place in a record. The x87's data pointer is without it (SDM vol. 1 §8.1.8).
    if (special && ((insn.index >= 0 && !compiled) || isEscape(insn))) return AddressMode.Segmented;
    // A 32- or 16-bit offset must be cut before the base is added.
    if (special && insn.addrSize * 8 !== insn.mode) return AddressMode.Segmented;
    if (facts.moffs) return AddressMode.Indexed;
    if (insn.row.sem === 'xlat') return special ? AddressMode.Indexed : AddressMode.Base;
    const rebased = insn.base === BASE_RIP && insn.disp > 0x7fff_ffff - TWO_PAGES;
    return insn.mode === 64 && insn.addrSize === 8 && insn.index < 0 && !special && !rebased
      ? AddressMode.Base
      : AddressMode.Indexed;
  }
}
