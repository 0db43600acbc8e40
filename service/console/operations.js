// SPDX-License-Identifier: Apache-2.0
// What the server works on, or has just done.

import { call, list } from "./api.js";
import { errorBox, h, keyedList, note, setText, table } from "./dom.js";
import { when } from "./format.js";
import { every } from "./live.js";

export function operationsPage(signal) {
	const rows = table("Operations", ["Operation", "About", "State", "Began", "Actions"]);
	const failure = h("div"), empty = h("p", { hidden: true }, "Nothing is under way.");
	const update = keyedList(rows.body, (operation) => operation.id, (first) => {
		const state = h("span");
		const cancel = h("button", { class: "small", "aria-label": `Cancel ${first.kind}`, onclick: async () => {
			try {
				await call("DELETE", `/v1/operations/${first.id}`);
			} catch (error) {
				note(error);
			}
			refresh();
		} }, "Cancel");
		return { element: rows.row([first.kind, first.target ?? "", state, when(first.created_at), cancel]),
			update(operation) {
				setText(state, operation.error?.message ?? operation.state);
				cancel.hidden = operation.state !== "running";
			} };
	});
	const refresh = every(2000, signal, async () => {
		const operations = await list("/v1/operations", signal);
		failure.replaceChildren();
		empty.hidden = operations.length > 0;
		rows.element.hidden = operations.length === 0;
		update(operations);
	}, (error) => failure.replaceChildren(errorBox(error)));
	return { title: "Operations", content: [failure, empty, rows.element] };
}
