/** When something was last known to work. */
export interface Pulse {
  beat(): void;
  /** The longest time without a beat, ms, that began or ended between two wall-clock times. */
  longestGapMs(from: number, to: number): number;
}

export function createPulse(now: () => number = Date.now): Pulse {
  const beats: number[] = [now()];
  return {
    beat: () => beats.push(now()),
    longestGapMs: (from, to) => {
      const ends = [...beats, now()];
      let longest = 0;
      for (let i = 1; i < ends.length; i += 1) {
        const begin = ends[i - 1] as number;
        const end = ends[i] as number;
        if (end >= from && begin <= to) longest = Math.max(longest, end - begin);
      }
      return longest;
    },
  };
}
