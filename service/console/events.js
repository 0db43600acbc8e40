// SPDX-License-Identifier: Apache-2.0
// What happens to instances, as it happens.

import { lines } from "./api.js";
import { errorBox, h, table } from "./dom.js";
import { when } from "./format.js";
import { instanceHref } from "./instances.js";

const SHOWN = 500;

export function eventsPage(signal) {
	const rows = table("Events, the latest first", ["Time", "Instance", "Event", "Message"]);
	const failure = h("div");
	const follow = async () => {
		for await (const event of lines("/v1/events?follow=true&since=24h", signal)) {
			rows.body.prepend(rows.row([h("time", { datetime: event.time }, when(event.time)),
				h("a", { href: instanceHref(event.instance) }, event.instance),
				event.event, event.message ?? ""]));
			if (rows.body.children.length > SHOWN)
				rows.body.lastChild.remove();
		}
	};
	follow().catch((error) => signal.aborted || failure.replaceChildren(errorBox(error)));
	return { title: "Events", content: [failure, rows.element] };
}
