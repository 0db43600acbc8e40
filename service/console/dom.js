// SPDX-License-Identifier: Apache-2.0
// Elements, lists that are updated in place, notes and dialogs.  Nothing here parses HTML: whatever a
// guest has printed or named only ever becomes text.

// Make an element: h("a", {href: "#/x", class: "y", onclick: f}, "text", child, ...).
// A property that is null, undefined or false is left out.
export function h(tag, properties, ...children) {
	const element = document.createElement(tag);
	for (const [name, value] of Object.entries(properties ?? {})) {
		if (value === null || value === undefined || value === false)
			continue;
		if (name.startsWith("on"))
			element.addEventListener(name.slice(2), value);
		else
			element.setAttribute(name, value === true ? "" : value);
	}
	element.append(...children.flat().filter((child) => child !== null && child !== undefined));
	return element;
}

// Set an element's text only where it differs, so that a selection survives and nothing is read aloud again.
export function setText(element, text) {
	if (element.textContent !== String(text))
		element.textContent = text;
}

// Show items as children of a parent, in their order.  Each keeps its element for as long as its key is
// there, so the focus stays where it is.  make(item) returns {element, update(item)}.
export function keyedList(parent, keyOf, make) {
	const shown = new Map();
	return (items) => {
		const keys = new Set(items.map(keyOf));
		for (const [key, row] of shown) {
			if (!keys.has(key)) {
				row.element.remove();
				shown.delete(key);
			}
		}
		items.forEach((item, i) => {
			const key = keyOf(item);
			if (!shown.has(key))
				shown.set(key, make(item));
			const row = shown.get(key);
			row.update(item);
			if (parent.children[i] !== row.element)
				parent.insertBefore(row.element, parent.children[i] ?? null);
		});
	};
}

// A table whose rows become cards on a narrow screen (style.css).  The roles are given because browsers
// forget them when a row is no longer laid out as one.
export function table(caption, columns) {
	const body = h("tbody", { role: "rowgroup" });
	const element = h("table", { role: "table" },
		h("caption", { class: "hidden" }, caption),
		h("thead", { role: "rowgroup" }, h("tr", { role: "row" },
			columns.map((name) => h("th", { role: "columnheader", scope: "col" }, name)))),
		body);
	return { element, body, row: (cells) => h("tr", { role: "row" }, cells.map((cell, i) => {
		const head = i === 0;
		return h(head ? "th" : "td",
			{ role: head ? "rowheader" : "cell", scope: head && "row", "data-label": columns[i] }, cell);
	})) };
}

// Names and values.
export function facts(pairs) {
	return h("dl", { class: "facts" }, pairs
		.filter(([, value]) => value !== null && value !== undefined && value !== "")
		.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

// The API's message and hint.  Words of our own come first.
export function errorBox(error, what) {
	return h("div", { class: "error", role: "alert" },
		h("p", {}, what ? `${what}: ${error.message}` : error.message),
		error.hint ? h("p", { class: "hint" }, `hint: ${error.hint}`) : null);
}

// Say for a while what has happened.  An error stays until it is closed.
export function note(content) {
	const isError = content instanceof Error;
	const element = h("div", { class: isError ? "note" : "note good" },
		isError ? errorBox(content) : content,
		h("button", { class: "quiet", "aria-label": "Close this note", onclick: () => element.remove() }, "×"));
	document.getElementById("notes").append(element);
	if (!isError)
		setTimeout(() => element.remove(), 6000);
}

// Ask in a dialog.  `fields` are elements; `confirmed(form)` runs on OK and may fail, which the dialog shows.
export function ask(title, fields, okText, confirmed) {
	const failure = h("div");
	const ok = h("button", { class: "main" }, okText);
	const form = h("form", { method: "dialog" },
		h("h2", { id: "dialog-title" }, title), fields, failure,
		h("div", { class: "buttons" },
			h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"), ok));
	const dialog = h("dialog", { "aria-labelledby": "dialog-title", onclose: () => dialog.remove() }, form);
	form.addEventListener("submit", async (event) => {
		event.preventDefault();
		ok.disabled = true;
		try {
			await confirmed(form);
			dialog.close();
		} catch (error) {
			failure.replaceChildren(errorBox(error));
		}
		ok.disabled = false;
	});
	document.body.append(dialog);
	dialog.showModal();
}

let fieldCount = 0;
// A labelled input, select or other control, with a hint below it.
export function field(label, control, hint) {
	control.id = `field-${++fieldCount}`;
	const text = hint ? h("small", { id: `${control.id}-hint` }, hint) : null;
	if (text)
		control.setAttribute("aria-describedby", text.id);
	return h("p", { class: "field" }, h("label", { for: control.id }, label), control, text);
}
