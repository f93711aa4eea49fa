import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RunnerError } from '../errors.ts';
import { type CommandResult, PrivateApt, parseRecords, type RunCommand } from './apt.ts';
import { cacheFolder, readCache, workFolder, writeCache } from './cache.ts';
import { debianFiles } from './fetch.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tsvisor-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const ok = (stdout = ''): CommandResult => ({ status: 0, stdout, stderr: '' });
const failed = (stderr: string): CommandResult => ({ status: 100, stdout: '', stderr });
const MID_SYNC = failed(
  'E: Failed to fetch a/Packages.xz  File has unexpected size (346968 != 363364). Mirror sync in progress?\n' +
    'E: Some index files failed to download. They have been ignored, or old ones used instead.\n',
);

/** An apt that answers from a table; what it was asked is kept. */
function fakeApt(
  answer: (command: string, args: readonly string[], cwd: string) => CommandResult,
): RunCommand & { asked: string[] } {
  const asked: string[] = [];
  const run = async (command: string, args: readonly string[], cwd = ''): Promise<CommandResult> => {
    const own = args.slice(2).filter((arg) => arg !== '-q');
    asked.push(`${command} ${own.join(' ')}`);
    return answer(command, own, cwd);
  };
  return Object.assign(run, { asked });
}

describe('records of apt-cache', () => {
  it('are paragraphs of fields', () => {
    const text = 'Package: a\nVersion: 1\nDescription: x\n more\nDepends: b (= 1), c\n\nPackage: a\nVersion: 0\n';
    const records = parseRecords(text);
    expect(records.map((r) => r.get('Version'))).toEqual(['1', '0']);
    expect(records[0].get('Depends')).toBe('b (= 1), c');
  });
});

describe('fetching with a private apt', () => {
  const download = (args: readonly string[], cwd: string): CommandResult => {
    writeFileSync(join(cwd, `${args[1]}_1_amd64.deb`), 'deb');
    return ok();
  };

  it('updates first, then downloads; an index in the middle of a synchronisation does not stop it', async () => {
    let updated = false;
    const run = fakeApt((command, args, cwd) => {
      if (args[0] === 'update') {
        updated = true;
        return MID_SYNC;
      }
      return command === 'apt-get' ? download(args, cwd) : ok();
    });
    const apt = new PrivateApt(folder, 'amd64', run, [0, 0]);
    const deb = await apt.fetch('linux', async () => (updated ? ['linux-image-6'] : []));
    expect(deb).toMatch(/linux-image-6_1_amd64\.deb$/);
    expect(run.asked).toEqual(['apt-get update', 'apt-get download linux-image-6']);
  });

  it('takes an older version when the newest cannot be downloaded', async () => {
    const run = fakeApt((_, args, cwd) => (args[1] === 'linux-image-7' ? failed('E: 404  Not Found') : download(args, cwd)));
    const apt = new PrivateApt(folder, 'amd64', run, [0]);
    expect(await apt.fetch('linux', async () => ['linux-image-7', 'linux-image-6'])).toContain('linux-image-6_');
  });

  it('tries again, and then says in one line what to pass instead', async () => {
    const run = fakeApt(() => MID_SYNC);
    const apt = new PrivateApt(folder, 'i386', run, [0, 0, 0]);
    const error = await apt.fetch('linux-image-686', async () => []).catch((e) => e);
    expect(error).toBeInstanceOf(RunnerError);
    expect(error.message).toMatch(/^the host's package sources have no linux-image-686; pass --kernel FILE/);
    expect(run.asked.filter((text) => text === 'apt-get update')).toHaveLength(3);
  });

  it('on a host without apt says in one line what to pass instead', async () => {
    const run: RunCommand = async () => {
      throw Object.assign(new Error('spawn apt-get ENOENT'), { code: 'ENOENT' });
    };
    await expect(debianFiles({ arch: 'amd64', cacheRoot: folder, progress: () => undefined, run })).rejects.toMatchObject({
      code: 'RUNNER_NO_APT',
      message: expect.stringMatching(/^[^\n]*pass --kernel FILE[^\n]*--initrd FILE$/),
    });
    expect(readdirSync(folder)).toEqual([]);
  });

  it("asks for one architecture and clears the host's hooks", () => {
    new PrivateApt(
      folder,
      'i386',
      fakeApt(() => ok()),
    );
    const config = readFileSync(join(folder, 'apt.conf'), 'utf8');
    expect(config).toContain('APT::Architecture "i386";');
    expect(config).toContain('#clear APT::Update::Post-Invoke;');
    expect(config).toContain(`Dir::State "${folder}/state";`);
  });
});

describe('the cache', () => {
  const files = { kernel: Uint8Array.of(1, 2), initramfs: Uint8Array.of(3), version: '6.1' };

  it('follows XDG_CACHE_HOME when that is absolute', () => {
    expect(cacheFolder({ XDG_CACHE_HOME: '/x' })).toBe('/x/tsvisor');
    expect(cacheFolder({ XDG_CACHE_HOME: 'relative' })).toMatch(/\/\.cache\/tsvisor$/);
    expect(cacheFolder({})).toMatch(/\/\.cache\/tsvisor$/);
  });

  it('returns what was stored, per architecture, and leaves nothing temporary', () => {
    const root = join(folder, 'new', 'cache');
    expect(readCache(root, 'amd64')).toBeUndefined();
    writeCache(root, 'amd64', files);
    expect(readCache(root, 'i386')).toBeUndefined();
    const read = readCache(root, 'amd64');
    expect([...(read?.kernel ?? [])]).toEqual([1, 2]);
    expect([...(read?.initramfs ?? [])]).toEqual([3]);
    expect(read?.version).toBe('6.1');
    expect(readdirSync(root)).toHaveLength(1);
  });

  it('keeps the first of two writers', () => {
    writeCache(folder, 'amd64', files);
    writeCache(folder, 'amd64', { ...files, version: 'other' });
    expect(readCache(folder, 'amd64')?.version).toBe('6.1');
    expect(readdirSync(folder)).toHaveLength(1);
  });

  it('does not take an incomplete folder for a cache', () => {
    mkdirSync(join(folder, 'tmp-1-2-cache'));
    writeFileSync(join(folder, 'tmp-1-2-cache', 'kernel'), 'x');
    expect(readCache(folder, 'amd64')).toBeUndefined();
  });

  it('removes what a dead process left, when it is old', () => {
    mkdirSync(join(folder, 'tmp-1-old'));
    mkdirSync(join(folder, 'tmp-1-new'));
    utimesSync(join(folder, 'tmp-1-old'), 1, 1);
    const work = workFolder(folder);
    expect(readdirSync(folder).sort()).toEqual(['tmp-1-new', work.slice(folder.length + 1)].sort());
  });

  it('says in one line that it cannot be written', () => {
    writeFileSync(join(folder, 'file'), '');
    expect(() => workFolder(join(folder, 'file', 'cache'))).toThrow(
      /cannot write the cache folder .*: a part of the path is not a directory/,
    );
  });
});
