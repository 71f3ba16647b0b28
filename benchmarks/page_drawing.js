// Runs in the page that benchmarks/page_drawing.py opens; `given` has minutes, persons and frames.
const { Axis } = await import("/page/model/axis.js");
const { Scene } = await import("/page/model/scene.js");
const { Session } = await import("/page/model/session.js");
const { moveEdge } = await import("/page/model/edits.js");
const { arrange, drawLanes, drawRuler } = await import("/page/views/lanes.js");
const { drawOverlay } = await import("/page/views/overlay.js");
const NUM_CLASSES = 24,
  WINDOW = 0.75,
  RATE = 30;
let state = 1;
const random = () => (state = (state * 48271) % 2147483647) / 2147483647;
const duration = given.minutes * 60;
const classes = Array.from({ length: NUM_CLASSES }, (_, i) => `action ${i}`);
const bones = [
  [15, 13],
  [13, 11],
  [16, 14],
  [14, 12],
  [11, 12],
  [5, 11],
  [6, 12],
  [5, 6],
  [5, 7],
  [6, 8],
  [7, 9],
  [8, 10],
  [1, 2],
  [0, 1],
  [0, 2],
  [1, 3],
  [2, 4],
  [3, 5],
  [4, 6],
];
const persons = Array.from({ length: given.persons }, (_, id) => {
  const windows = [],
    segments = [];
  for (let start = 0; start < duration; start += WINDOW) {
    const raw = classes.map(() => random() ** 8);
    const total = raw.reduce((sum, one) => sum + one, 0);
    const probabilities = raw.map((one) => one / total);
    windows.push({ start, end: start + WINDOW, probabilities });
    const probability = Math.max(...probabilities);
    const label = classes[probabilities.indexOf(probability)];
    segments.push({ id: `${id}-${segments.length}`, start, end: start + WINDOW, label, probability, unknown_score: 1 });
  }
  return { id, start: 0, end: duration, windows, segments };
});
const video = { width: 1920, height: 1080, duration, frame_rate: RATE };
const joints = Array.from({ length: 17 }, (_, i) => `joint ${i}`);
const scene = new Scene({ video, joints, bones, classes, persons, attention: true });
const flags = { source: "model", rejected: false, reviewed: false };
const segments = persons.flatMap(({ id: person, segments: found }) =>
  found.map(({ id, start, end, label }) => ({ id, person, start, end, label, ...flags })),
);
const session = new Session("made", scene, { version: 0, segments, identities: [], classes: [] }, "");
const times = Array.from({ length: duration * RATE }, (_, i) => i / RATE);
const values = times.map((time) => joints.map((_, i) => 1 + Math.sin(time + i)));
for (const { id } of persons) session._attention.set(id, { times, values });
const jointsOf = (id, time) =>
  Float32Array.from({ length: 51 }, (_, i) => {
    if (i % 3 === 2) return 0.8;
    if (i % 3 === 1) return 400 + 90 * Math.sin(i + time);
    return ((id + 0.5) * 1920) / given.persons + 60 * Math.cos(i + time);
  });
session.poses = { at: (time) => ({ time, persons: persons.map(({ id }) => ({ id, joints: jointsOf(id, time) })) }) };
const canvas = (width, height) => Object.assign(document.createElement("canvas"), { width, height });
const overlay = canvas(1280, 720),
  lanes = canvas(900, 260),
  ruler = canvas(900, 24);
const theme = { text: "#111", muted: "#555", line: "#ccc", lane: "#eee", accent: "#077", font: "sans-serif" };
const axis = new Axis(duration);
axis.width = lanes.width;
const drawTimeline = () => {
  const arranged = arrange(session, true);
  drawLanes(lanes.getContext("2d"), session, arranged.lanes, axis, { scroll: 0, height: lanes.height }, theme);
  drawRuler(ruler.getContext("2d"), axis, ruler.height, theme);
  return lanes;
};
const drawFrame = (time, heat) => {
  drawOverlay(overlay, session, time, { skeletons: true, names: true, heat }, "sans-serif");
  return overlay;
};
const measure = (draw) => {
  const taken = [];
  for (let i = 0; i < given.frames + 5; i++) {
    const start = performance.now();
    draw(i).getContext("2d").getImageData(0, 0, 1, 1);
    taken.push(performance.now() - start);
  }
  const sorted = taken.slice(5).sort((a, b) => a - b);
  return [sorted[sorted.length >> 1], sorted[Math.floor(sorted.length * 0.95)]];
};
session.select(session.document.segments[40]);
const before = session.document;
const at = (start, end, draw) => {
  axis.show(start, end);
  return measure(draw);
};
return {
  "overlay of a frame": measure((i) => drawFrame(i / RATE, false)),
  "the same with attention": measure((i) => drawFrame(i / RATE, true)),
  "timeline, whole clip": at(0, duration, drawTimeline),
  "timeline, one minute": at(600, 660, drawTimeline),
  "timeline, ten seconds": at(600, 610, drawTimeline),
  "timeline, dragging an edge": at(0, 60, (i) => {
    const to = 30.1 + (i % 50) / 100;
    session.preview(moveEdge(before, before.segments[40].id, "end", to, { start: 0, end: duration }));
    return drawTimeline();
  }),
};
