/** Help: all keys of an open clip. */

import { h, iconButton } from "../dom.js";
import { keyName } from "./keys.js";

export class Help {
  constructor() {
    this._content = h("div.key-groups");
    this.element = h(
      "dialog.help",
      { "aria-labelledby": "help-title" },
      h(
        "header",
        null,
        h("h2", { id: "help-title" }, "Keys"),
        iconButton("close", "Close", "Esc", () => this.element.close()),
      ),
      this._content,
    );
    // A click outside the dialog closes it.
    this.element.addEventListener("click", (/** @type {Event} */ event) => {
      if (event.target === this.element) this.element.close();
    });
  }

  /** @param {{title: string, bindings: import("./keys.js").Binding[]}[]} groups */
  toggle(groups) {
    if (this.element.open) {
      this.element.close();
      return;
    }
    this._content.replaceChildren(
      ...groups.map(({ title, bindings }) =>
        h(
          "section",
          null,
          h("h3", null, title),
          h(
            "dl",
            null,
            ...bindings.map(({ keys, what }) => h("div", null, h("dt", null, ...names(keys)), h("dd", null, what))),
          ),
        ),
      ),
    );
    this.element.showModal();
  }
}

/** @param {string[]} keys */
function names(keys) {
  if (keys.length > 3) return [h("kbd", null, keyName(keys[0])), "…", h("kbd", null, keyName(keys[keys.length - 1]))];
  return keys.filter((key) => key !== "=").map((key) => h("kbd", null, keyName(key)));
}
