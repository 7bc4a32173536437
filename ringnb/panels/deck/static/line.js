// What the line is made of: marks, lanes, scale, bins. No DOM here, so that it can be tried without a page.
const MARK_BYTES = 16; // marks.py: LAYOUT
const CHECKPOINT = 0, DISTURBED = 1, ADJUSTED = 2, NOT_GOOD = 3;
const PINNED = 1, DAMAGED = 2, GOING = 4;
const APART = 7; // pixels between two marks
const isSound = (mark) => mark.kind === CHECKPOINT && !(mark.flags & DAMAGED);
const words = (n) => Math.round(n).toLocaleString("en-US");

// The marks by versions. `take` returns false if a version was missed: then all are to be asked for.
function makeMarks() {
  const byKey = new Map();
  const ofLanes = new Map(); // sorted by step, made when asked for
  let version = 0;
  const forget = (key) => {
    const mark = byKey.get(key);
    if (mark) ofLanes.delete(mark.lane);
    byKey.delete(key);
  };
  return {
    get version() { return version; },
    get size() { return byKey.size; },
    get: (key) => byKey.get(key),
    take({ v, from, add, gone }) {
      if (!v || v === version) return true;
      if (from === 0) { byKey.clear(); ofLanes.clear(); } else if (from !== version) return false;
      for (const key of gone) forget(key);
      for (let at = 0; at + MARK_BYTES <= add.byteLength; at += MARK_BYTES) {
        const key = add.getUint32(at, true);
        forget(key);
        const mark = { key, step: add.getFloat64(at + 4, true), lane: add.getUint16(at + 12, true), kind: add.getUint8(at + 14), flags: add.getUint8(at + 15) };
        byKey.set(key, mark);
        ofLanes.delete(mark.lane);
      }
      version = v;
      return true;
    },
    ofLane(number) {
      if (!ofLanes.size && byKey.size) {
        for (const mark of byKey.values()) {
          if (!ofLanes.has(mark.lane)) ofLanes.set(mark.lane, []);
          ofLanes.get(mark.lane).push(mark);
        }
        for (const marks of ofLanes.values()) marks.sort((a, b) => a.step - b.step || a.key - b.key);
      }
      if (!ofLanes.has(number)) {
        const marks = [...byKey.values()].filter((mark) => mark.lane === number);
        ofLanes.set(number, marks.sort((a, b) => a.step - b.step || a.key - b.key));
      }
      return ofLanes.get(number);
    },
  };
}

// The place of the first mark whose step is at least this one.
function lowerBound(marks, step) {
  let low = 0, high = marks.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (marks[middle].step < step) low = middle + 1; else high = middle;
  }
  return low;
}

// The lanes that lead to the end of one, it first, each with the step where it is left.
function wayOf(lanes, number) {
  const found = [];
  let top = Infinity;
  let lane = lanes.find((one) => one.n === number);
  while (lane && !found.some((one) => one.lane === lane)) {
    found.push({ lane, top });
    if (lane.fork !== null) top = Math.min(top, lane.fork);
    const parent = lane.parent;
    lane = parent === null ? undefined : lanes.find((one) => one.n === parent);
  }
  return found;
}
const runName = (lane) => lane.name || `run ${lane.n}`;
// Which lane of a way a step lies on.
function laneAt(way, step) {
  return (way.find((one, i) => i === way.length - 1 || one.lane.fork === null || step > one.lane.fork) ?? way[0])?.lane;
}
// The newest sound checkpoint at or before a step of a way; the first after it if there is none.
function nearestOf(marks, way, step) {
  for (const { lane, top } of way) {
    const own = marks.ofLane(lane.n);
    for (let i = lowerBound(own, Math.min(step, top) + 0.5) - 1; i >= 0; i--) if (isSound(own[i])) return own[i];
  }
  return neighbour(marks, way, -1, 1, isSound);
}
// The sound checkpoints of one step of a way, oldest first.
function soundAt(marks, way, step) {
  return [...way].reverse().flatMap(({ lane, top }) => {
    if (step > top) return [];
    const own = marks.ofLane(lane.n), found = [];
    for (let i = lowerBound(own, step); i < own.length && own[i].step === step; i++) if (isSound(own[i])) found.push(own[i]);
    return found;
  });
}
const canRest = (mark) => mark.kind !== CHECKPOINT || isSound(mark);
// The mark of a way next to a step, earlier (-1) or later (1); of checkpoints only the sound ones.
function neighbour(marks, way, step, by, fits = canRest) {
  let best = null;
  for (const { lane, top } of way) {
    const own = marks.ofLane(lane.n);
    let i = by > 0 ? lowerBound(own, step + 0.5) : lowerBound(own, Math.min(step, top + 0.5)) - 1;
    for (; i >= 0 && i < own.length; i += by) {
      const mark = own[i];
      if (mark.step > top) break;
      if (!fits(mark)) continue;
      if (!best || (by > 0 ? mark.step < best.step : mark.step > best.step)) best = mark;
      break;
    }
  }
  return best;
}
// Where the next mark takes the playhead from a step that `near` shows: to another checkpoint of the same step first.
function nextOf(marks, way, step, near, by) {
  const here = soundAt(marks, way, step), twin = here[here.indexOf(near) + by];
  if (twin) return twin;
  const mark = neighbour(marks, way, step, by);
  return mark && (soundAt(marks, way, mark.step).at(by > 0 ? 0 : -1) ?? mark);
}
// Sound checkpoints of a way that are at least so many pixels apart, those in view.
function spaced(marks, way, scale, apart) {
  const found = [];
  let from = scale.low;
  while (from <= scale.high) {
    let best = null;
    for (const { lane, top } of way) {
      const own = marks.ofLane(lane.n);
      for (let i = lowerBound(own, from); i < own.length && own[i].step <= top; i++) {
        if (!isSound(own[i])) continue;
        if (!best || own[i].step < best.step) best = own[i];
        break;
      }
    }
    if (!best || best.step > scale.high) break;
    found.push(best);
    from = best.step + Math.max(apart / scale.perStep, 1e-9);
  }
  return found;
}
// Of the same, all that each stands for: the sound checkpoints up to the next one.
function columnsOf(marks, way, scale, apart) {
  return spaced(marks, way, scale, apart).map((first, i, all) => {
    const end = all[i + 1]?.step ?? scale.high + 1e-9;
    return [first, ...way.flatMap(({ lane, top }) => {
      const own = marks.ofLane(lane.n);
      return own.slice(lowerBound(own, first.step), lowerBound(own, Math.min(end, top + 0.5))).filter((mark) => mark !== first && isSound(mark));
    })];
  });
}
// The trace of columns: the lowest low and the highest high of what is known of each, so that no peak is lost in one.
function traceOf(columns, valuesOf) {
  return columns.flatMap((column) => {
    const known = column.map((mark) => valuesOf(mark.key)).filter((item) => item && item.mean !== undefined && item.mean !== null);
    if (!known.length) return [];
    const mean = known.reduce((sum, item) => sum + item.mean / known.length, 0);
    return [{ step: column[0].step, low: Math.min(...known.map((item) => item.low)), mean, high: Math.max(...known.map((item) => item.high)) }];
  });
}

// From steps to pixels. `low` and `high` are the steps at the edges.
function makeScale(low, high, left, right) {
  const perStep = (right - left) / Math.max(high - low, 1e-9);
  return { low, high, left, right, perStep, x: (step) => left + (step - low) * perStep, step: (x) => low + (x - left) / perStep };
}
// Which steps the line shows, from `origin` on `reach` of them: those from the first checkpoint that is kept, for
// what retention has deleted would leave the line empty. As long as it will do, what was there stays, so that
// marks stand still while it runs; the end goes ahead of the live step.
function stretchOf({ origin, reach }, first, last, running) {
  const far = origin > 0 ? { ahead: 1.25, most: 1.6 } : { ahead: 1.06, most: 1.25 };
  if (first < origin || first - origin > 0.4 * (last - origin)) {
    const from = Math.max(0, Math.floor(first - 0.03 * (last - first)));
    if (from !== origin) return stretchOf({ origin: from, reach: 0 }, first, last, running);
  }
  const length = Math.max(100, last - origin);
  if (last - origin + 0.005 * length <= reach && reach <= far.most * length) return { origin, reach };
  return { origin, reach: length * (running ? far.ahead : 1.012) };
}
// The distance of ticks: 1, 2 or 5 times a power of ten, at least so many pixels apart.
function tickOf(scale, least) {
  const raw = least / scale.perStep;
  const power = 10 ** Math.floor(Math.log10(raw));
  return Math.max(1, [1, 2, 5, 10].map((k) => k * power).find((k) => k >= raw));
}
// What is drawn of a lane's checkpoints: single ones, moved apart within 7 pixels, and bars with a count where
// there is no room for each. A bar ends at a tick. What is special about one stands on top of its bar.
function binsOf(own, scale, tick) {
  const marks = [];
  const end = lowerBound(own, scale.high + 1e-9);
  for (let i = lowerBound(own, scale.low); i < end; i++) if (own[i].kind === CHECKPOINT) marks.push(own[i]);
  const single = [], bars = [];
  let edge = scale.left - APART; // nothing is moved beyond it
  for (let i = 0; i < marks.length;) {
    let last = i;
    const cell = Math.floor(marks[i].step / tick);
    while (last + 1 < marks.length && scale.x(marks[last + 1].step) - scale.x(marks[last].step) < APART) last++;
    if (last - i + 1 > 3) { // too many to move: cut at the ticks
      let stop = i;
      while (stop < last && Math.floor(marks[stop + 1].step / tick) === cell) stop++;
      last = stop;
    }
    const count = last - i + 1;
    const from = scale.x(marks[i].step), to = scale.x(marks[last].step);
    if (count <= 3) {
      const middle = (from + to) / 2, half = Math.max((to - from) / 2, ((count - 1) * APART) / 2);
      const begin = Math.max(middle - half, edge + APART);
      for (let k = 0; k < count; k++) single.push({ mark: marks[i + k], x: count === 1 ? Math.max(from, Math.min(edge + APART, from + APART)) : begin + (k * 2 * half) / (count - 1) });
      edge = single[single.length - 1].x;
    } else {
      const special = marks.slice(i, last + 1).filter((mark) => mark.flags);
      bars.push({ from, to, count });
      for (const mark of special.slice(0, 40)) single.push({ mark, x: scale.x(mark.step), onBar: true });
      edge = to;
    }
    i = last + 1;
  }
  return { single, bars };
}
// The lanes that have room: the way to the live edge and to the playhead, then the newest; the others fold.
function foldOf(lanes, keep, most) {
  if (lanes.length <= most) return { shown: lanes, folded: [] };
  const wanted = new Set(keep.map((one) => one.n));
  for (const lane of lanes) if (wanted.size < most - 1) wanted.add(lane.n);
  return { shown: lanes.filter((lane) => wanted.has(lane.n)), folded: lanes.filter((lane) => !wanted.has(lane.n)) };
}
