import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { root, workspacePackages } from './workspace.ts';

const run = promisify(execFile);

/** The examples of a README: TypeScript blocks that import something. Blocks without imports only illustrate. */
function examples(markdown: string): string[] {
  const blocks = [...markdown.matchAll(/^```ts\n([\s\S]*?)^```/gm)].map(([, code]) => code);
  return blocks.filter((code) => /^import /m.test(code));
}

const withReadme = workspacePackages().filter(({ path }) => existsSync(join(path, 'README.md')));

describe.concurrent('examples in READMEs run as they stand', () => {
  for (const { folder, path } of withReadme) {
    for (const [index, code] of examples(readFileSync(join(path, 'README.md'), 'utf8')).entries()) {
      it(`${folder}, example ${index + 1}`, async () => {
        // Inside the package's folder, so that the package resolves by its own name.
        mkdirSync(join(path, '.cache'), { recursive: true });
        const file = join(path, '.cache', `readme-${index + 1}.ts`);
        writeFileSync(file, code);
        const { stderr } = await run(process.execPath, ['--conditions=tsvisor-source', file], { cwd: root, timeout: 60_000 });
        expect(stderr).toBe('');
      });
    }
  }
});
