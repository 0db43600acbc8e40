// SPDX-License-Identifier: Apache-2.0
// The list of instances, which follows what happens.

import { actionButtons, askStart } from "./actions.js";
import { list } from "./api.js";
import { errorBox, h, keyedList, note, setText, table } from "./dom.js";
import { bytes } from "./format.js";
import { every, Load } from "./live.js";

export const instanceHref = (name) => `#/instances/${encodeURIComponent(name)}`;

// A state as text, with a colour that only repeats it.
export function stateBadge() {
	const element = h("span", { class: "state" });
	return { element, update({ state, health }) {
		element.dataset.state = health === "unhealthy" ? "failed" : state;
		setText(element, health === "unhealthy" || health === "starting" ? `${state} (${health})` : state);
	} };
}

function makeRow(rows, refresh) {
	return (first) => {
		const load = new Load();
		const state = stateBadge(), buttons = actionButtons(refresh, ["resume", "start", "stop", "remove"]);
		const template = h("span"), cpu = h("span"), memory = h("span");
		const element = rows.row([h("a", { href: instanceHref(first.name) }, first.name),
			template, state.element, cpu, memory, buttons.element]);
		return { element, update(instance) {
			state.update(instance);
			buttons.update(instance);
			load.add(instance);
			setText(template, instance.template_id);
			setText(cpu, load.cpuText());
			setText(memory, load.memory === null ? "–" : bytes(load.memory));
		} };
	};
}

export function instancesPage(signal) {
	const rows = table("Instances", ["Name", "Template", "State", "CPU", "Memory", "Actions"]);
	const failure = h("div"), empty = h("p", { hidden: true }, "No instance. Start one from a template.");
	const refresh = every(2000, signal, async () => {
		const instances = await list("/v1/instances", signal);
		failure.replaceChildren();
		empty.hidden = instances.length > 0;
		rows.element.hidden = instances.length === 0;
		update(instances);
	}, (error) => failure.replaceChildren(errorBox(error)));
	const update = keyedList(rows.body, (instance) => instance.name, makeRow(rows, refresh));

	const start = h("button", { class: "main", onclick: async () => {
		try {
			const templates = await list("/v1/templates", signal);
			askStart(templates.filter((t) => t.revision_hash).map((t) => t.template_id), null, refresh);
		} catch (error) {
			note(error);
		}
	} }, "Start…");
	return { title: "Instances", content: [h("div", { class: "buttons" }, start), failure, empty, rows.element] };
}
