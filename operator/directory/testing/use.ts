import { afterAll, beforeAll, beforeEach } from 'vitest';
import type { MailboxRow } from '../rows.js';
import { callOn, projectInto, setHeartbeatAge, startDirectory, type TestDirectory } from './directory.js';

/** A directory for the tests of a file, without mailboxes and revocations and with a fresh heartbeat before each. */
export function useDirectory() {
  let test: TestDirectory;
  beforeAll(async () => {
    test = await startDirectory();
  });
  afterAll(async () => {
    await test?.stop();
  });
  beforeEach(async () => {
    await test.server.query('posthorn', 'DELETE FROM posthorn.mailboxes');
    await test.server.query('posthorn', 'DELETE FROM posthorn.revocations');
    await setHeartbeatAge(test.server, 0);
  });
  const call = (role: string, name: string, values: unknown[], server = test.server) =>
    callOn(server, role, name, values);
  return {
    /** Once the tests run. */
    get test() {
      return test;
    },
    project: (...rows: MailboxRow[]) => projectInto(test, ...rows),
    /** Rows of a function, asked by a role on the leader or another member. */
    call,
    /** The first column of its first row. */
    answer: async (role: string, name: string, values: unknown[], server = test.server): Promise<unknown> =>
      Object.values((await call(role, name, values, server))[0] ?? {})[0],
  };
}
