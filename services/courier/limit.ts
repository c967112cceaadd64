const HOUR = 3_600_000;

/** At most so many in any hour for each name; in memory, so for each replica. */
export function createHourlyLimit(limit: number, now = Date.now): (name: string) => boolean {
  const times = new Map<string, number[]>();
  const recent = (name: string) => (times.get(name) ?? []).filter((time) => time > now() - HOUR);
  return (name) => {
    const before = recent(name);
    if (before.length >= limit) return false;
    times.set(name, [...before, now()]);
    if (times.size > 10_000) forget(times, recent);
    return true;
  };
}

function forget(times: Map<string, number[]>, recent: (name: string) => number[]): void {
  for (const name of times.keys()) if (recent(name).length === 0) times.delete(name);
}
