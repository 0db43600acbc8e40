// SPDX-License-Identifier: Apache-2.0
// An instance's logs, followed.

import { lines } from "./api.js";
import { errorBox, h } from "./dom.js";
import { printable } from "./format.js";

const SHOWN = 5000; // lines

function source(name, kind, tail) {
	const query = new URLSearchParams({ follow: "true", tail });
	if (kind !== "all")
		query.set("log", kind);
	return `/v1/instances/${encodeURIComponent(name)}/logs?${query}`;
}

export function logsView(name, signal) {
	const failure = h("div");
	const text = h("pre", { class: "log", tabindex: "0", role: "log", "aria-label": `Logs of ${name}` });
	const kind = h("select", { id: "log-kind", onchange: () => restart() },
		[["all", "Both"], ["workload", "Its command"], ["console", "Console"]].map(([value, label]) =>
			h("option", { value }, label)));
	const times = h("input", { type: "checkbox", id: "log-times",
		onchange: () => text.classList.toggle("times", times.checked) });

	// An entry that is not full is continued by the next entry of the same log.
	const open = {};
	function add(entry) {
		const atEnd = text.scrollTop + text.clientHeight >= text.scrollHeight - 4;
		let line = open[entry.log];
		if (!line) {
			line = h("span", { class: `line ${entry.log}` },
				h("time", { datetime: entry.time }, entry.time ? `${entry.time.slice(11, 23)} ` : ""), h("span"));
			text.append(line);
			if (text.children.length > SHOWN)
				text.firstChild.remove();
		}
		line.lastChild.append(printable(entry.text));
		open[entry.log] = entry.full ? null : line;
		if (atEnd)
			text.scrollTop = text.scrollHeight;
	}

	let stop = new AbortController();
	async function follow(ended) {
		for await (const entry of lines(source(name, kind.value, 1000), ended))
			add(entry);
		text.append(h("span", { class: "line end" }, "The log has ended."));
	}
	function restart() {
		stop.abort();
		stop = new AbortController();
		text.replaceChildren();
		open.console = open.workload = null;
		const ended = AbortSignal.any([signal, stop.signal]);
		follow(ended).catch((error) => ended.aborted || failure.replaceChildren(errorBox(error)));
	}
	restart();
	return { content: [
		h("div", { class: "bar" }, h("label", { for: "log-kind" }, "Show"), kind,
			times, h("label", { for: "log-times" }, "Times")),
		failure, text] };
}
