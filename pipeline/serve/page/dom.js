/** Elements, text and times. Text reaches the page as text nodes only, never as HTML. */

/**
 * Create an element.
 *
 * @param {string} selector Tag with classes, such as "button.primary".
 * @param {Record<string, unknown> | null} [properties] Attributes; functions become listeners of the event "on...".
 * @param {...(Node | string | null | undefined | false)} children
 * @returns {any} An element; its type follows from the tag.
 */
export function h(selector, properties, ...children) {
  const [tag, ...classes] = selector.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  if (tag === "button") element.setAttribute("type", "button");
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (typeof value === "function") element.addEventListener(name.slice(2), /** @type {EventListener} */ (value));
    else setAttribute(element, name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/**
 * Set or remove an attribute.
 *
 * @param {Element} element
 * @param {string} name
 * @param {unknown} value Null removes the attribute, and so does false, except that states of ARIA may be "false".
 */
export function setAttribute(element, name, value) {
  const aria = name.startsWith("aria-");
  if (value === null || value === undefined || (value === false && !aria)) element.removeAttribute(name);
  else element.setAttribute(name, value === true && !aria ? "" : String(value));
}

const SVG = "http://www.w3.org/2000/svg";

/**
 * Create an SVG element.
 *
 * @param {string} tag
 * @param {Record<string, string | number>} attributes
 * @param {...(Node | string)} children
 */
export function svg(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

/** Outlines of the icons, on a grid of 24 units. */
const ICONS = {
  play: "M8 5v14l11-7z",
  pause: "M7 5h4v14H7zM13 5h4v14h-4z",
  stepBack: "M15 6l-6 6 6 6",
  stepForward: "M9 6l6 6-6 6",
  previous: "M18 6l-8 6 8 6zM6 6v12",
  next: "M6 6l8 6-8 6zM18 6v12",
  loop: "M17 2l4 4-4 4M3 11V9a3 3 0 013-3h15M7 22l-4-4 4-4M21 13v2a3 3 0 01-3 3H3",
  plus: "M12 5v14M5 12h14",
  minus: "M5 12h14",
  fit: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
  close: "M6 6l12 12M18 6L6 18",
  check: "M5 12.5l4.5 4.5L19 7.5",
  upload: "M12 16V4M7 9l5-5 5 5M4 16v3a1 1 0 001 1h14a1 1 0 001-1v-3",
  back: "M14 6l-6 6 6 6",
  undo: "M4 9h10a6 6 0 010 12h-3M4 9l5-5M4 9l5 5",
  redo: "M20 9H10a6 6 0 000 12h3M20 9l-5-5M20 9l-5 5",
};

/** @param {keyof typeof ICONS} name */
export function icon(name) {
  const filled = name === "play" || name === "pause" ? "icon filled" : "icon";
  return svg("svg", { class: filled, viewBox: "0 0 24 24", "aria-hidden": "true" }, svg("path", { d: ICONS[name] }));
}

/**
 * Create a button that shows an icon only.
 *
 * @param {keyof typeof ICONS} name
 * @param {string} label
 * @param {string} key Keyboard short-cut, shown in the tooltip.
 * @param {() => void} onclick
 */
export function iconButton(name, label, key, onclick) {
  return h(
    "button.icon-button",
    { "aria-label": label, title: key ? `${label} (${key})` : label, onclick },
    icon(name),
  );
}

/** Format seconds as m:ss.mmm or h:mm:ss.mmm. @param {number} seconds @param {number} [digits] */
export function clock(seconds, digits = 3) {
  const scale = 10 ** digits;
  const total = Math.round(Math.max(0, seconds) * scale);
  const whole = Math.floor(total / scale);
  const fraction = digits ? `.${String(total % scale).padStart(digits, "0")}` : "";
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  const start = hours ? `${hours}:${String(minutes).padStart(2, "0")}` : String(minutes);
  return `${start}:${String(whole % 60).padStart(2, "0")}${fraction}`;
}

/** Format a duration in words: "8 s", "3 min". @param {number} seconds */
export function duration(seconds) {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

/** @param {number} share */
export function percent(share) {
  return `${Math.round(share * 100)} %`;
}

/** @param {number} count @param {string} noun */
export function counted(count, noun) {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/**
 * Return a function that runs `draw` once before the next frame of the screen, however often it is called.
 *
 * @param {() => void} draw
 */
export function oncePerFrame(draw) {
  let requested = 0;
  return () => {
    if (requested) return;
    requested = requestAnimationFrame(() => {
      requested = 0;
      draw();
    });
  };
}

/**
 * Show a message for some seconds.
 *
 * @param {string} text
 * @param {"note" | "error"} [kind]
 * @param {number} [seconds]
 */
export function toast(text, kind = "note", seconds = kind === "error" ? 12 : 4) {
  const stack = /** @type {HTMLElement} */ (document.getElementById("toasts"));
  for (const old of stack.children) if (old.firstChild?.textContent === text) old.remove();
  const element = h(`div.toast.${kind}`, { role: kind === "error" ? "alert" : "status" }, h("span", null, text));
  element.append(iconButton("close", "Close message", "", () => element.remove()));
  stack.append(element);
  setTimeout(() => element.remove(), 1000 * seconds);
}
