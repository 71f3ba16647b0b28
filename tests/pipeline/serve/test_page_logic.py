"""Edits, identities and search of the page, run in the browser without a service."""

import bisect
import json
import struct
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from test_support.services.browser import opened_files, run_module, skip_reason

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(skip_reason() is not None, reason=str(skip_reason())),
]


@pytest.fixture(scope="module")
def page(browser: Any) -> Iterator[Any]:
    with opened_files(browser) as page:
        yield page


def segment(name: str, person: int, start: float, end: float, label: str | None = "walk") -> dict[str, Any]:
    flags = {"source": "model", "rejected": False, "reviewed": False}
    return {"id": name, "person": person, "start": start, "end": end, "label": label, **flags}


def document(*segments: dict[str, Any]) -> dict[str, Any]:
    return {"version": 0, "segments": list(segments), "identities": [], "classes": []}


def edited(page: Any, given: dict[str, Any], body: str) -> dict[str, Any]:
    """Result of an expression of `m` (the edits) and `d` (the document), or the message of its error."""
    script = f"const d = given; try {{ return {body}; }} catch (e) {{ return {{ refused: e.message }}; }}"
    found: dict[str, Any] = run_module(page, "model/edits.js", script, given)
    return found


def spans(content: dict[str, Any], person: int = 1) -> list[tuple[float, float]]:
    return sorted((one["start"], one["end"]) for one in content["segments"] if one["person"] == person)


def test_a_new_label_marks_the_segment_as_reviewed(page: Any) -> None:
    after = edited(page, document(segment("a", 1, 0, 1), segment("b", 1, 1, 2)), "m.relabel(d, 'a', 'run')")
    first, second = after["segments"]
    assert first == segment("a", 1, 0, 1, "run") | {"source": "user", "reviewed": True}
    assert second == segment("b", 1, 1, 2)


def test_confirming_keeps_the_source(page: Any) -> None:
    (after,) = edited(page, document(segment("a", 1, 0, 1)), "m.confirm(d, 'a')")["segments"]
    assert after["reviewed"] and after["source"] == "model"


def test_rejecting_a_found_segment_can_be_taken_back_and_a_made_one_disappears(page: Any) -> None:
    content = document(segment("a", 1, 0, 1), segment("u1", 1, 1, 2))
    assert [one["rejected"] for one in edited(page, content, "m.reject(d, 'a')")["segments"]] == [True, False]
    assert edited(page, content, "m.reject(m.reject(d, 'a'), 'a')") == content
    assert [one["id"] for one in edited(page, content, "m.reject(d, 'u1')")["segments"]] == ["a"]
    # A part of a found segment is a finding, too.
    after = edited(page, content, "m.reject(m.split(d, 'a', 0.5), 's2')")
    assert [(one["id"], one["rejected"]) for one in after["segments"]] == [("a", False), ("s2", True), ("u1", False)]


def test_splitting_and_merging_restore_the_span(page: Any) -> None:
    content = document(segment("a", 1, 0, 2))
    assert spans(edited(page, content, "m.split(d, 'a', 0.7)")) == [(0, 0.7), (0.7, 2)]
    assert spans(edited(page, content, "m.merge(m.split(d, 'a', 0.7), 'a')")) == [(0, 2)]
    assert "playhead" in edited(page, content, "m.split(d, 'a', 2.5)")["refused"]
    assert "no later segment" in edited(page, content, "m.merge(d, 'a')")["refused"]


@pytest.mark.parametrize(
    ("edge", "to", "expected"),
    [
        ("end", 1.4, [(0, 1.4), (1.4, 2), (3, 4)]),  # A neighbour that touches moves along,
        ("end", 9, [(0, 1.96), (1.96, 2), (3, 4)]),  # but keeps its shortest length.
        ("start", -5, [(0, 1), (1, 2), (3, 4)]),  # The person is not seen before 0 s.
        ("start", 5, [(0.96, 1), (1, 2), (3, 4)]),
    ],
)
def test_edges_move_up_to_what_is_next_to_them(page: Any, edge: str, to: float, expected: list) -> None:
    content = document(segment("a", 1, 0, 1), segment("b", 1, 1, 2), segment("c", 1, 3, 4), segment("d", 2, 0, 9))
    assert spans(edited(page, content, f"m.moveEdge(d, 'a', '{edge}', {to}, {{start: 0, end: 4}})")) == expected


def test_a_neighbour_that_does_not_touch_is_a_limit(page: Any) -> None:
    content = document(segment("b", 1, 1, 2), segment("c", 1, 3, 4))
    assert spans(edited(page, content, "m.moveEdge(d, 'b', 'end', 3.5, {start: 0, end: 4})")) == [(1, 3), (3, 4)]


def test_a_new_segment_cuts_what_it_covers(page: Any) -> None:
    content = document(segment("a", 1, 0, 3), segment("b", 1, 3, 3.5), segment("c", 1, 4, 6), segment("d", 2, 0, 6))
    after = edited(page, content, "m.add(d, 1, 1, 5, 'run').document")
    assert spans(after) == [(0, 1), (1, 5), (5, 6)] and spans(after, 2) == [(0, 6)]
    assert spans(edited(page, content, "m.add(d, 1, 1, 2, 'run').document"))[:3] == [(0, 1), (1, 2), (2, 3)]


def test_swapped_persons_exchange_their_segments_from_then_on(page: Any) -> None:
    content = document(segment("a", 1, 0, 4, "walk"), segment("b", 2, 1, 2, "run"), segment("c", 2, 3, 4, "wave"))
    after = edited(page, content, "m.swap(d, 1, 2, 2.5)")
    assert [(one["start"], one["label"]) for one in after["segments"] if one["person"] == 1] == [
        (0, "walk"),
        (3, "wave"),
    ]
    assert [(one["start"], one["label"]) for one in after["segments"] if one["person"] == 2] == [
        (2.5, "walk"),
        (1, "run"),
    ]
    assert after["identities"] == [{"kind": "swap", "a": 1, "b": 2, "time": 2.5}]


def test_classes_have_names_of_their_own(page: Any) -> None:
    content = document()
    assert edited(page, content, "m.addClass(d, ' juggle ', ['walk'])")["classes"] == ["juggle"]
    assert "already" in edited(page, content, "m.addClass(d, 'WALK', ['walk'])")["refused"]
    assert "already" in edited(page, content, "m.addClass(d, 'unknown', ['walk'])")["refused"]
    assert "name" in edited(page, content, "m.addClass(d, '  ', ['walk'])")["refused"]


# Edits in random order: what is impossible is refused, and everything else can be undone and done again.
RANDOM_EDITS = """
const { begin, record, undo, redo } = await import('/page/model/history.js');
let history = begin(given.document);
const valid = [];
let refused = 0;
for (const [name, share, time, other] of given.edits) {
  const d = history.present;
  const id = d.segments[Math.floor(share * d.segments.length)]?.id ?? 'none';
  const edit = {
    relabel: () => m.relabel(d, id, 'run'), confirm: () => m.confirm(d, id), reject: () => m.reject(d, id),
    split: () => m.split(d, id, time), merge: () => m.merge(d, id),
    start: () => m.moveEdge(d, id, 'start', time, { start: 0, end: 10 }),
    end: () => m.moveEdge(d, id, 'end', time, { start: 0, end: 10 }),
    add: () => m.add(d, other, time, time + 1, null).document,
    swap: () => m.swap(d, 1, 2, time),
  }[name];
  try { history = record(history, edit(), name); } catch (e) {
    if (!(e instanceof m.EditError)) throw e;
    refused++;
  }
  valid.push(history.present.segments);
}
const last = history.present;
const steps = history.past.length;
while (history.past.length) history = undo(history);
const isFirst = history.present === given.document;
while (history.future.length) history = redo(history);
return { valid, refused, steps, isFirst, isLast: history.present === last };
"""


@pytest.mark.parametrize("seed", range(4))
def test_any_edits_leave_separate_segments_and_can_be_undone(page: Any, seed: int) -> None:
    random = np.random.default_rng(seed)
    names = ["relabel", "confirm", "reject", "split", "merge", "start", "end", "add", "swap"]
    edits = [
        [str(random.choice(names)), float(random.random()), float(random.uniform(0, 9)), int(random.integers(1, 3))]
        for _ in range(80)
    ]
    content = document(*[segment(f"{p}-{i}", p, i * 2.5, i * 2.5 + 2, "walk") for p in (1, 2) for i in range(4)])
    found = run_module(page, "model/edits.js", RANDOM_EDITS, {"document": content, "edits": edits})
    assert found["isFirst"] and found["isLast"] and found["steps"] > 30
    for segments in found["valid"]:
        assert len({one["id"] for one in segments}) == len(segments)
        for person in (1, 2):
            lane = spans({"segments": segments}, person)
            assert all(start < end for start, end in lane)
            assert all(first[1] <= second[0] for first, second in pairwise(lane))


def identity(entries: list[dict[str, Any]], track: int, time: float) -> int:
    """Reference: the person that a track is at a time."""
    for entry in entries:
        if entry["kind"] == "join":
            track = entry["to"] if track == entry["from"] else track
        elif time >= entry["time"]:
            track = {entry["a"]: entry["b"], entry["b"]: entry["a"]}.get(track, track)
    return track


@pytest.mark.parametrize("seed", range(3))
def test_tracks_are_cut_where_their_identity_changes(page: Any, seed: int) -> None:
    random = np.random.default_rng(seed)
    entries = []
    for _ in range(6):
        a, b = (int(one) for one in random.choice(4, 2, replace=False))
        swap = {"kind": "swap", "a": a, "b": b, "time": round(float(random.uniform(0, 10)), 3)}
        entries.append(swap if random.random() < 0.7 else {"kind": "join", "from": a, "to": b})
    tracks = [{"id": i, "start": 1.5 * i, "end": 6.0 + i} for i in range(4)]
    given = {"entries": entries, "tracks": tracks}
    pieces = run_module(page, "model/identities.js", "return m.piecesOf(given.entries, given.tracks)", given)
    for track in tracks:
        own = [piece for piece in pieces if piece["track"] == track["id"]]
        assert own[0]["start"] == track["start"] and own[-1]["end"] == track["end"]
        for first, second in pairwise(own):
            assert first["end"] == second["start"] and first["person"] != second["person"]
        for piece in own:
            for time in np.linspace(piece["start"], piece["end"], 9)[:-1]:
                assert piece["person"] == identity(entries, track["id"], time)


def test_persons_seen_at_the_same_time_are_not_joined(page: Any) -> None:
    tracks = [{"id": 1, "start": 0, "end": 4}, {"id": 2, "start": 3, "end": 6}, {"id": 3, "start": 4, "end": 6}]
    body = "const p = m.piecesOf([], given); return [m.overlapOf(p, 1, 2), m.overlapOf(p, 1, 3)]"
    assert run_module(page, "model/identities.js", body, tracks) == [[3, 4], None]


def test_search_finds_the_last_value_up_to_a_limit(page: Any) -> None:
    random = np.random.default_rng(0)
    values = sorted(random.integers(0, 20, 30).tolist())
    limits = [-1, *range(21), 7.5]
    body = "return given.limits.map((limit) => [m.lastUpTo(given.values, limit), m.firstAbove(given.values, limit)])"
    found = run_module(page, "model/search.js", body, {"values": values, "limits": limits})
    assert found == [[bisect.bisect_right(values, one) - 1, bisect.bisect_right(values, one)] for one in limits]


def packed(frames: np.ndarray, persons: dict[int, tuple[np.ndarray, np.ndarray]]) -> list[int]:
    """Skeletons in the binary format of the service."""
    header = json.dumps(
        {"frames": len(frames), "persons": [{"id": n, "frames": len(t)} for n, (t, _) in persons.items()]}
    )
    text = header.encode()
    text += b" " * (-(4 + len(text)) % 8)
    parts = [struct.pack("<I", len(text)), text, frames.astype("<f8").tobytes()]
    for times, joints in persons.values():
        parts += [times.astype("<f8").tobytes(), joints.astype("<f4").tobytes(), bytes(-joints.size * 4 % 8)]
    return list(b"".join(parts))


def test_the_skeletons_of_exactly_the_frame_shown_at_a_variable_rate(page: Any) -> None:
    random = np.random.default_rng(1)
    frames = np.cumsum(random.choice([0.004, 0.033, 0.04, 0.4], 60))
    first, second = frames[:35], np.delete(frames, slice(10, 20))
    joints = {1: random.normal(size=(len(first), 17, 3)), 2: random.normal(size=(len(second), 17, 3))}
    content = packed(frames, {1: (first, joints[1]), 2: (second, joints[2])})
    # Browsers round to microseconds.
    times = np.round(np.concatenate([frames, frames + 0.0015, [frames[0] - 0.002]]), 6).tolist()
    body = """
    const piece = m.decodePoses(new Uint8Array(given.content).buffer);
    return given.times.map((time) => {
      const shown = m.shownAt(piece, time);
      return shown && [shown.time, shown.persons.map(({ id, joints }) => [id, joints[5]])];
    });
    """
    found = run_module(page, "model/poses.js", body, {"content": content, "times": times})
    assert found.pop() is None
    for index, (time, persons) in enumerate(found):
        frame = index % len(frames)
        assert time == frames[frame]
        expected = [
            [name, np.float32(joints[name].reshape(-1, 51)[np.flatnonzero(own == frames[frame])[0], 5])]
            for name, own in ((1, first), (2, second))
            if frames[frame] in own
        ]
        assert persons == expected


def test_the_last_frame_of_a_piece_is_shown_until_the_next_one(page: Any) -> None:
    body = """
    const pieces = { 0: [0, 19.95], 20: [20.4, 21] };
    const asked = [];
    let arrived;
    const done = new Promise((resolve) => { arrived = resolve; });
    const pack = (times) => {
      const text = JSON.stringify({ frames: times.length, persons: [] }).padEnd(44, ' ');
      const buffer = new ArrayBuffer(48 + times.length * 8);
      new DataView(buffer).setUint32(0, 44, true);
      new Uint8Array(buffer, 4, 44).set(new TextEncoder().encode(text));
      new Float64Array(buffer, 48).set(times);
      return buffer;
    };
    const load = async (start) => { asked.push(start); return pack(pieces[start]); };
    let count = 0;
    const cache = new m.PoseCache(load, 40, () => { if (++count === 2) arrived(); });
    const before = cache.at(20.1);
    cache.at(19.99);
    await done;
    return [before, cache.at(20.1)?.time, cache.at(20.4)?.time, cache.timesAround(20), asked.sort()];
    """
    found = run_module(page, "model/poses.js", body)
    assert found == [None, 19.95, 20.4, [0, 19.95, 20.4, 21], [0, 20]]


def test_zooming_keeps_the_time_under_the_pointer(page: Any) -> None:
    body = """
    const axis = new m.Axis(1800);
    axis.width = 900;
    const seen = [];
    for (let i = 0; i < 12; i++) {
      axis.zoom(2, 700);
      seen.push([axis.x(700), axis.start, axis.end, axis.ticks().times.length]);
    }
    axis.pan(1e6);
    return { seen, end: axis.end, turned: axis.reveal(3), start: axis.start };
    """
    found = run_module(page, "model/axis.js", body)
    for x, start, end, ticks in found["seen"]:
        assert x == pytest.approx(350, abs=0.01) and 0 <= start < end <= 1800 and ticks <= 13
    assert found["end"] == 1800 and found["turned"] and found["start"] <= 3


def test_attention_is_stretched_around_its_mean(page: Any) -> None:
    random = np.random.default_rng(0)
    values = 1 + 0.05 * random.uniform(-1, 1, (200, 17))
    values[3, 4] = np.nan
    given = {
        "times": list(range(200)),
        "values": [[None if np.isnan(v) else v for v in row] for row in values.tolist()],
    }
    found = run_module(page, "model/heat.js", "return m.stretched(given).values", given)
    stretched = np.array([[np.nan if v is None else v for v in row] for row in found], float)
    spread = np.sort(np.abs(values - 1)[np.isfinite(values)])[int(0.95 * (values.size - 2))]
    seen = np.isfinite(values)
    assert stretched[seen] == pytest.approx(1 + (values[seen] - 1) / spread)
    even = run_module(page, "model/heat.js", "return m.stretched({ times: [0], values: [[1, 1.0001]] }).values")
    assert even[0] == pytest.approx([1, 1.005])


def test_an_answer_that_was_overtaken_by_an_event_changes_nothing(page: Any) -> None:
    body = """
    const before = { fetch: window.fetch, EventSource: window.EventSource };
    let source;
    window.EventSource = class extends EventTarget { constructor() { super(); source = this; } };
    const waiting = [];
    window.fetch = (path) => new Promise((resolve) => waiting.push([String(path), resolve]));
    const answer = (jobs) => {
      for (const [path, resolve] of waiting.splice(0)) {
        const content = path.startsWith('/v1/jobs?') ? { jobs } : path.startsWith('/v1/jobs/') ? jobs[0] : [];
        resolve(new Response(JSON.stringify(content)));
      }
    };
    const tell = (kind, data) => source.dispatchEvent(new MessageEvent(kind, { data: JSON.stringify(data) }));
    const service = new m.Service();
    const states = () => [...service.jobs.values()].map(({ id, state }) => id + ' ' + state).sort();
    const found = [];
    const started = service.start();
    tell('state', { id: 'a', state: 'failed' });
    tell('state', { id: 'c', state: 'done' });
    tell('removed', { id: 'b' });
    answer([{ id: 'a', state: 'queued' }, { id: 'b', state: 'done' }, { id: 'd', state: 'queued' }]);
    await started;
    found.push(states());
    const refreshed = service.refresh('d');
    tell('state', { id: 'd', state: 'failed' });
    answer([{ id: 'd', state: 'queued' }]);
    found.push((await refreshed).state, states());
    Object.assign(window, before);
    return found;
    """
    found = run_module(page, "service.js", body)
    assert found == [
        ["a failed", "c done", "d queued"],
        "failed",
        ["a failed", "c done", "d failed"],
    ]


def test_what_cannot_be_read_in_a_drop_is_named_and_the_rest_is_found(page: Any) -> None:
    # As a browser shows a folder with a file that may not be opened, and a folder that has disappeared.
    body = """
    const lost = (_, reject) => reject(new DOMException('no permission', 'NotReadableError'));
    const file = (name) => ({ name, isFile: true, file: (resolve) => resolve(new File([], name)) });
    const folder = (name, ...parts) => ({
      name, createReader: () => ({ readEntries: (resolve) => resolve(parts.splice(0)) }),
    });
    const entries = [
      folder('session', file('a.mp4'), { name: 'b.mp4', isFile: true, file: lost }, file('c.mp4')),
      { name: 'gone', createReader: () => ({ readEntries: lost }) },
    ];
    const items = entries.map((entry) => ({ webkitGetAsEntry: () => entry }));
    const { files, unreadable } = await m.filesOf({ items, files: [] });
    return [files.map(({ name }) => name), unreadable];
    """
    assert run_module(page, "uploads.js", body) == [["a.mp4", "c.mp4"], ["b.mp4", "gone"]]
