import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ensurePackages } from './debian-packages.ts';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tsvisor-debian-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const onDebian = existsSync('/usr/bin/dpkg-deb');
const reason = onDebian ? '' : ' (skipped: this host has no dpkg)';

describe('ensurePackages', () => {
  it.skipIf(!onDebian)(`uses what the host has installed and fetches nothing for it${reason}`, async () => {
    const packages = await ensurePackages(['dpkg'], folder);
    expect(packages.missing.size).toBe(0);
    expect(packages.find('usr/bin/dpkg-deb')).toBe('/usr/bin/dpkg-deb');
    expect(packages.find('usr/bin/no-such-program')).toBeUndefined();
  });

  it.each(['', '-o', '../x', 'a b', 'Dir::State=/'])(
    'refuses %o, which is no package name but might be an option',
    async (name) => {
      await expect(ensurePackages([name], folder)).rejects.toThrow(TypeError);
    },
  );

  it('takes over a lock whose owner has died, finds an unpacked package again, and unlocks', async () => {
    writeFileSync(join(folder, 'lock'), '4194305'); // above Linux's largest process id
    const { missing } = await ensurePackages(['tsvisor-has-no-such-package'], folder);
    expect([...missing.keys()]).toEqual(['tsvisor-has-no-such-package']);
    expect(() => statSync(join(folder, 'lock'))).toThrow('ENOENT');
  }, 120_000);
});
