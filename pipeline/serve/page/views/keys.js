/** Keyboard of an open clip. */

/** @typedef {import("./actions.js").Actions} Actions */
/** @typedef {{keys: string[], what: string, run: (event: KeyboardEvent) => void}} Binding */

/**
 * @param {Actions} actions
 * @param {import("./workspace.js").Workspace} workspace
 * @returns {{title: string, bindings: Binding[]}[]}
 */
export function bindingsOf(actions, workspace) {
  const { player } = actions;
  return [
    {
      title: "Playback",
      bindings: [
        { keys: [" "], what: "Play or pause", run: () => player.toggle() },
        { keys: [","], what: "Previous frame", run: () => player.step(-1) },
        { keys: ["."], what: "Next frame", run: () => player.step(1) },
        { keys: ["j"], what: "Play backwards; again: faster", run: () => player.rewind() },
        { keys: ["k"], what: "Pause", run: () => player.pause() },
        { keys: ["l"], what: "Play; again: faster", run: () => player.faster() },
        { keys: ["ArrowLeft"], what: "Back 1 s; with Shift 5 s", run: (event) => actions.jump(-1, event.shiftKey) },
        { keys: ["ArrowRight"], what: "Forward 1 s; with Shift 5 s", run: (event) => actions.jump(1, event.shiftKey) },
        { keys: ["Home"], what: "First frame", run: () => player.seek(0) },
        { keys: ["End"], what: "Last frame", run: () => player.seek(player.duration) },
        { keys: ["r"], what: "Repeat the selected segment", run: () => actions.loop() },
      ],
    },
    {
      title: "Selection and view",
      bindings: [
        { keys: ["["], what: "Previous segment", run: () => actions.neighbour(-1) },
        { keys: ["]"], what: "Next segment", run: () => actions.neighbour(1) },
        { keys: ["ArrowUp"], what: "Previous person", run: () => actions.person(-1) },
        { keys: ["ArrowDown"], what: "Next person", run: () => actions.person(1) },
        { keys: ["n"], what: "Next uncertain segment", run: () => workspace.nextUncertain() },
        { keys: ["+", "="], what: "Zoom in", run: () => workspace.timeline.zoom(1.6) },
        { keys: ["-"], what: "Zoom out", run: () => workspace.timeline.zoom(1 / 1.6) },
        { keys: ["f"], what: "Show the whole clip", run: () => workspace.timeline.fit() },
        { keys: ["h"], what: "Attention on or off", run: () => workspace.toggleLayer("heat") },
      ],
    },
    {
      title: "Corrections",
      bindings: [
        ...digits(workspace),
        { keys: ["c"], what: "Find or add a class", run: () => workspace.inspector.focusFilter() },
        { keys: ["Enter"], what: "Confirm the segment", run: () => actions.confirm() },
        { keys: ["x", "Delete"], what: "Reject or remove the segment", run: () => actions.reject() },
        { keys: ["a"], what: "New segment at the playhead", run: () => actions.add() },
        { keys: ["s"], what: "Split at the playhead", run: () => actions.split() },
        { keys: ["m"], what: "Merge with the next segment", run: () => actions.merge() },
        { keys: ["i"], what: "Start of the segment to the playhead", run: () => actions.setEdge("start") },
        { keys: ["o"], what: "End of the segment to the playhead", run: () => actions.setEdge("end") },
        { keys: ["w"], what: "Swap two persons, or join them", run: () => workspace.inspector.focusPersons() },
        { keys: ["z"], what: "Undo", run: () => actions.undo() },
        { keys: ["Z", "y"], what: "Redo", run: () => actions.redo() },
      ],
    },
  ];
}

/** @param {import("./workspace.js").Workspace} workspace @returns {Binding[]} */
function digits(workspace) {
  const keys = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "0"];
  return [{ keys, what: "Class with this number", run: (event) => workspace.inspector.chooseNumber(event.key) }];
}

/**
 * Handle keys while a clip is open.
 *
 * @param {{title: string, bindings: Binding[]}[]} groups
 * @returns {(event: KeyboardEvent) => void}
 */
export function keyHandler(groups) {
  const table = new Map(
    groups.flatMap(({ bindings }) => bindings.flatMap((one) => one.keys.map((key) => [key, one.run]))),
  );
  return (event) => {
    if (event.defaultPrevented || event.altKey || isTyping(event)) return;
    let { key } = event;
    if (event.ctrlKey || event.metaKey) {
      // The usual short-cuts of undo; all others belong to the browser.
      if (key.toLowerCase() !== "z" && key.toLowerCase() !== "y") return;
    } else if (isOperating(event)) {
      return;
    }
    // Caps lock must not turn undo into redo.
    if (key.length === 1 && key !== key.toLowerCase()) key = event.shiftKey ? key : key.toLowerCase();
    const run = table.get(key) ?? table.get(key.toLowerCase());
    if (!run) return;
    event.preventDefault();
    run(event);
  };
}

/** Name of a key for the reader. @param {string} key */
export function keyName(key) {
  const names = /** @type {Record<string, string>} */ ({
    " ": "Space",
    ArrowLeft: "←",
    ArrowRight: "→",
    ArrowUp: "↑",
    ArrowDown: "↓",
    Delete: "Del",
    Z: "Shift Z",
  });
  return names[key] ?? (key.length === 1 ? key.toUpperCase() : key);
}

/** Whether the key is text for a field. @param {KeyboardEvent} event */
function isTyping({ target }) {
  if (!(target instanceof HTMLElement)) return false;
  const isField = target.matches("input:not([type=checkbox]):not([type=range]), textarea, select");
  return isField || !!target.closest("dialog[open]");
}

/** Whether the key operates the element that has the focus. @param {KeyboardEvent} event */
function isOperating({ target, key }) {
  if (!(target instanceof HTMLElement)) return false;
  return (key === " " || key === "Enter") && target.matches("button, a[href], summary, input, [role=option]");
}
