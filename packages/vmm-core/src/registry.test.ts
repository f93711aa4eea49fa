import { describe, expect, it } from 'vitest';
import { buildPlugins, type Plugin } from './registry.ts';

type Services = { readonly bus: string; readonly clock: number; readonly irq: (gsi: number) => void };

function setup() {
  const log: string[] = [];
  const plugin = <N extends keyof Services = never>(name: string, needs: readonly N[] = []): Plugin<Services, N> => ({
    name,
    needs,
    create: (services) => {
      log.push(`+${name}(${Object.keys(services).join()})`);
      return { dispose: () => log.push(`-${name}`) };
    },
  });
  return { log, plugin };
}

describe('building a machine from plugins', () => {
  it('creates in order and disposes in reverse', () => {
    const { log, plugin } = setup();
    const built = buildPlugins<Services>({}, [plugin('a'), plugin('b'), plugin('c')]);
    built.dispose();
    expect(log).toEqual(['+a()', '+b()', '+c()', '-c', '-b', '-a']);
  });

  it('gives a plugin the services it asked for and no others', () => {
    const { log, plugin } = setup();
    buildPlugins<Services>({ bus: 'pio', clock: 1 }, [plugin('a', ['clock'])]);
    expect(log).toEqual(['+a(clock)']);
  });

  it('hands what a plugin provides to those after it', () => {
    const irq = (): void => undefined;
    const chip: Plugin<Services, never, 'irq'> = {
      name: 'chip',
      needs: [],
      provides: ['irq'],
      create: () => ({ dispose: () => undefined, services: { irq } }),
    };
    const { log, plugin } = setup();
    const built = buildPlugins<Services>({}, [chip, plugin('uart', ['irq'])]);
    expect(log).toEqual(['+uart(irq)']);
    expect(built.services.irq).toBe(irq);
  });

  it('refuses a need that nothing before it provides, before anything is created', () => {
    const { log, plugin } = setup();
    expect(() => buildPlugins<Services>({ clock: 1 }, [plugin('a'), plugin('uart', ['irq', 'clock'])])).toThrow(
      expect.objectContaining({ code: 'VMM_PLUGIN_NEEDS', message: 'uart needs irq, which nothing before it provides' }),
    );
    expect(log).toEqual([]);
  });

  it('refuses two plugins of one name', () => {
    const { log, plugin } = setup();
    expect(() => buildPlugins<Services>({}, [plugin('a'), plugin('a')])).toThrow(
      expect.objectContaining({ code: 'VMM_PLUGIN_DUPLICATE' }),
    );
    expect(log).toEqual([]);
  });

  it('takes down what is there when one cannot be created', () => {
    const { log, plugin } = setup();
    const broken: Plugin<Services> = {
      name: 'broken',
      needs: [],
      create: () => {
        throw new Error('no');
      },
    };
    expect(() => buildPlugins<Services>({}, [plugin('a'), plugin('b'), broken])).toThrow('no');
    expect(log).toEqual(['+a()', '+b()', '-b', '-a']);
  });
});
