import type { Answer, Question, VcpuCalls, VcpuSpec } from './spec.ts';
import { VcpuThread, type VcpuThreadParts } from './vcpu-thread.ts';

/** The thread's end of its line to the embedding thread; in Node.js, `parentPort`. */
export type ThreadPort = {
  readonly post: (message: unknown) => void;
  readonly onMessage: (fn: (message: unknown) => void) => void;
};

/** Makes this thread a vCPU's: sets it up, says so, and does what it is asked. */
export function serveVcpu(spec: VcpuSpec, parts: VcpuThreadParts, port: ThreadPort): void {
  const answer = (message: Answer): void => port.post(message);
  const failed = (id: number, cause: unknown): void => {
    const { code, message } = cause as { readonly code?: unknown; readonly message?: unknown };
    answer({ id, error: { message: String(message ?? cause), ...(typeof code === 'string' ? { code } : {}) } });
  };
  let calls: VcpuCalls;
  try {
    calls = callsOf(new VcpuThread(spec, parts));
  } catch (error) {
    failed(SET_UP, error);
    return;
  }
  port.onMessage(async (message) => {
    const { id, call, args } = message as Question;
    try {
      answer({ id, value: await (calls[call] as (...args: readonly unknown[]) => unknown)(...args) });
    } catch (error) {
      failed(id, error);
    }
  });
  answer({ id: SET_UP, value: undefined });
}

/** Of the answer that nobody asked for. */
export const SET_UP = 0;

function callsOf(thread: VcpuThread): VcpuCalls {
  const { vcpu } = thread;
  return {
    run: async () => {
      const exit = await thread.run();
      const { processor } = vcpu;
      return {
        exit,
        stats: { processor: { ...processor.stats(), instructions: processor.instructions }, loop: thread.counters },
      };
    },
    getRegs: () => vcpu.getRegs(),
    setRegs: (regs) => vcpu.setRegs(regs),
    getSregs: () => vcpu.getSregs(),
    setSregs: (sregs) => vcpu.setSregs(sregs),
    getMpState: () => vcpu.getMpState(),
    setMpState: (state) => vcpu.setMpState(state),
    getMsrs: (indices) => vcpu.getMsrs(indices),
    setMsrs: (entries) => vcpu.setMsrs(entries),
  };
}
