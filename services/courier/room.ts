/** Room for one rule's deliveries, so that a target that hangs holds up its own messages only. */
export interface Room {
  /** Resolves to a function that gives the place back, or to undefined when there is none. */
  enter(): Promise<((stuck: boolean) => void) | undefined>;
}

export interface RoomOptions {
  /** Deliveries of one rule at a time. Default 4. */
  readonly places?: number;
  /** Deliveries that may wait for a place, and how long, ms. Defaults 4, 10 000. */
  readonly waiting?: number;
  readonly waitMs?: number;
}

interface State {
  inside: number;
  queue: (() => void)[];
  /** The last delivery got no answer: one at a time, and nobody waits, until one does. */
  stuck: boolean;
}

/** Rooms by name. A room in which nothing happens is forgotten, unless its target hung. */
export function createRooms({ places = 4, waiting = 4, waitMs = 10_000 }: RoomOptions = {}): (name: string) => Room {
  const rooms = new Map<string, State>();

  const leave = (name: string, state: State) => (stuck: boolean) => {
    state.inside -= 1;
    state.stuck = stuck;
    const next = free(state) ? state.queue.shift() : undefined;
    next?.();
    if (state.inside === 0 && state.queue.length === 0 && !stuck) rooms.delete(name);
  };
  const free = (state: State) => state.inside < (state.stuck ? 1 : places);

  const admitted = async (state: State): Promise<boolean> => {
    if (!free(state)) return !state.stuck && state.queue.length < waiting && turn(state, waitMs);
    state.inside += 1;
    return true;
  };
  return (name) => ({
    enter: async () => {
      const state = rooms.get(name) ?? { inside: 0, queue: [], stuck: false };
      rooms.set(name, state);
      return (await admitted(state)) ? once(leave(name, state)) : undefined;
    },
  });
}

/** Waits in line. The place is taken on behalf of the waiter by whoever leaves, so nobody slips in between. */
function turn(state: State, waitMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    const call = () => {
      clearTimeout(timer);
      state.inside += 1;
      resolve(true);
    };
    const timer = setTimeout(() => {
      state.queue.splice(state.queue.indexOf(call), 1);
      resolve(false);
    }, waitMs);
    state.queue.push(call);
  });
}

function once(action: (stuck: boolean) => void): (stuck: boolean) => void {
  let done = false;
  return (stuck) => {
    if (done) return;
    done = true;
    action(stuck);
  };
}
