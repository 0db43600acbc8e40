// SPDX-License-Identifier: Apache-2.0
// Pools: templates of which VMs wait, started, for whoever wants one.

import { get } from "./api.js";
import { errorBox, h, keyedList, setText, table } from "./dom.js";
import { every } from "./live.js";

export function poolsPage(signal) {
	const rows = table("Pools", ["Template", "Ready", "Size", "Note"]);
	const failure = h("div"), about = h("p", { hidden: true }), empty = h("p", { hidden: true }, "No pool.");
	const update = keyedList(rows.body, (pool) => pool.template_id, (first) => {
		const ready = h("span"), size = h("span"), why = h("span");
		return { element: rows.row([h("a", { href: `#/templates/${first.template_id}` }, first.template_id), ready, size, why]),
			update(pool) {
				setText(ready, pool.ready);
				setText(size, pool.size);
				setText(why, pool.note ?? "");
			} };
	});
	every(2000, signal, async () => {
		const { server, pools } = await get("/v1/pools", signal);
		failure.replaceChildren();
		setText(about, server ? `Maintained by ${server}.` : "Nobody maintains pools: run 'mvm pool serve'.");
		about.hidden = pools.length === 0;
		empty.hidden = pools.length > 0;
		rows.element.hidden = pools.length === 0;
		update(pools);
	}, (error) => failure.replaceChildren(errorBox(error)));
	return { title: "Pools", content: [failure, empty, about, rows.element] };
}
