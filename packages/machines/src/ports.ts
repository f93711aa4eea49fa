/** What a machine is made for and made with: its caller's sinks and the processor engine. */
import type { CpuidSource, ProcessorFactory } from '@tsvisor/vmm-core';

/** Takes what a guest's UART transmits. */
export type SerialSink = { readonly write: (bytes: Uint8Array) => void };

/** Processors, and the models they can pose as. */
export type Engine = {
  readonly createProcessor: ProcessorFactory;
  /** CPUID by the name of a model. */
  readonly models: Readonly<Record<string, CpuidSource>>;
};
