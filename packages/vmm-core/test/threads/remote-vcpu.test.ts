/** What the embedding thread hears of a vCPU's thread, whose part the test plays. */
import { describe, expect, it } from 'vitest';
import { RemoteVcpu } from '../../src/threads/remote-vcpu.ts';
import type { Answer, Question } from '../../src/threads/spec.ts';

function remote() {
  const posted: Question[] = [];
  const ended: number[] = [];
  let answer: (message: Answer) => void = () => undefined;
  let end: (error: Error) => void = () => undefined;
  let gone: () => void = () => undefined;
  const terminated = new Promise<void>((resolve) => {
    gone = resolve;
  });
  const vcpu = new RemoteVcpu(
    3,
    {
      post: (message) => void posted.push(message as Question),
      onMessage: (fn) => {
        answer = fn;
      },
      onEnd: (fn) => {
        end = fn;
      },
      terminate: () => terminated,
    },
    { memory: new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }), vcpu: 0, parking: 1024 },
    (id) => void ended.push(id),
  );
  return { vcpu, posted, ended, gone, answer: (message: Answer) => answer(message), end: (error: Error) => end(error) };
}

describe('a vCPU on another thread', () => {
  it('answers what it is asked, in any order', async () => {
    const { vcpu, posted, answer } = remote();
    answer({ id: 0, value: undefined });
    await vcpu.ready;
    const answers = [vcpu.getMpState(), vcpu.getMsrs([0x10])];
    answer({ id: posted[1].id, value: [7n] });
    answer({ id: posted[0].id, error: { code: 'VMM_EINVAL', message: 'no' } });
    await expect(answers[0]).rejects.toMatchObject({ code: 'VMM_EINVAL', message: 'no' });
    expect(await answers[1]).toEqual([7n]);
  });

  it('that cannot be set up answers nothing else, and says why', async () => {
    const { vcpu, answer } = remote();
    const early = vcpu.getRegs();
    answer({ id: 0, error: { code: 'CPU_MODEL', message: 'there is no such model' } });
    const why = {
      code: 'VMM_THREAD_ENDED',
      message: 'vCPU 3 cannot be set up: there is no such model',
      cause: { code: 'CPU_MODEL' },
    };
    await expect(vcpu.ready).rejects.toMatchObject(why);
    await expect(early).rejects.toMatchObject(why);
    await expect(vcpu.run()).rejects.toMatchObject(why);
  });

  it('whose thread ends rejects what waits and what comes', async () => {
    const { vcpu, ended, end } = remote();
    const run = vcpu.run();
    end(new Error('exit with status 1'));
    const why = { code: 'VMM_THREAD_ENDED', message: 'the thread of vCPU 3 has ended: exit with status 1' };
    await expect(run).rejects.toMatchObject(why);
    await expect(vcpu.getRegs()).rejects.toMatchObject(why);
    expect(ended).toEqual([3]);
  });

  it('that is disposed of is over when its thread is, which need not say so', async () => {
    const { vcpu, ended, gone } = remote();
    const run = vcpu.run();
    const disposed = vcpu.dispose();
    await expect(run).rejects.toMatchObject({ code: 'VMM_THREAD_ENDED' });
    // It may still be in the middle of something.
    expect(ended).toEqual([]);
    gone();
    await disposed;
    expect(ended).toEqual([3]);
  });
});
