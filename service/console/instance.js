// SPDX-License-Identifier: Apache-2.0
// One instance: what it is and does, its logs, a terminal in it.

import { actionButtons } from "./actions.js";
import { get } from "./api.js";
import { errorBox, facts, h, setText } from "./dom.js";
import { age, bytes, shortHash, when } from "./format.js";
import { instanceHref, stateBadge } from "./instances.js";
import { every, Load, sparkline } from "./live.js";
import { logsView } from "./logs.js";
import { terminalView } from "./terminal.js";

const parts = { overview: "Overview", logs: "Logs", terminal: "Terminal" };

function partLinks(name, chosen) {
	return h("nav", { class: "parts", "aria-label": `Parts of ${name}` }, Object.entries(parts).map(([part, text]) =>
		h("a", { href: `${instanceHref(name)}/${part}`, "aria-current": part === chosen && "page" }, text)));
}

function describe(instance) {
	const ports = (instance.forwards ?? []).map((f) => `${f.host_address}:${f.host_port} → ${f.guest_port}/${f.protocol}`);
	return facts([
		["Template", h("a", { href: `#/templates/${encodeURIComponent(instance.template_id)}` }, instance.template_id)],
		["Revision", shortHash(instance.revision_hash)],
		["Start", instance.start && (instance.reason ? `${instance.start} (${instance.reason})` : instance.start)],
		["Backend", instance.backend && `${instance.backend} ${instance.backend_version}, ${instance.accelerator}`],
		["Machine", `${instance.vcpus} CPU, ${instance.mem_mib} MiB`],
		["Host name", instance.hostname],
		["Ports", ports.join(", ")],
		["Labels", Object.entries(instance.labels ?? {}).map(([key, value]) => `${key}=${value}`).join(", ")],
		["Started", instance.started_at && `${when(instance.started_at)} (${age(instance.started_at)} ago)`],
		["Ends", instance.expires_at && when(instance.expires_at)],
		["Ended", instance.ended_at && when(instance.ended_at)],
		["Exit code", instance.exit_code],
		["Error", instance.error],
		["Health", instance.health_message],
		["Isolation", instance.isolation],
	]);
}

// A number with the line of its last minutes.
function gauge(label) {
	const value = h("strong"), line = sparkline();
	return { element: h("div", { class: "gauge" }, h("span", {}, label), value, line.element),
		update(text, values, most) {
			setText(value, text);
			line.update(values, most);
		} };
}

function overview() {
	const load = new Load(), cpu = gauge("CPU"), memory = gauge("Memory of its own"), described = h("div");
	let before = "";
	return { content: [h("div", { class: "gauges" }, cpu.element, memory.element), described],
		update(instance) {
			load.add(instance);
			cpu.update(load.cpuText(), load.history.map(([share]) => share), instance.vcpus);
			memory.update(load.memory === null ? "–" : bytes(load.memory),
				load.history.map(([, own]) => own), instance.mem_mib * 1048576 / 8);
			// the rest changes rarely, and a selection in it should survive
			const now = JSON.stringify({ ...instance, usage: null }) + age(instance.started_at);
			if (now !== before)
				described.replaceChildren(describe(instance));
			before = now;
		} };
}

const views = {
	overview,
	logs: (name, signal) => logsView(name, signal),
	terminal: (name, signal) => terminalView(name, signal),
};

export function instancePage(signal, name, part = "overview") {
	const chosen = Object.hasOwn(parts, part) ? part : "overview";
	const state = stateBadge(), failure = h("div"), view = views[chosen](name, signal);
	const refresh = every(2000, signal, async () => {
		const instance = await get(`/v1/instances/${encodeURIComponent(name)}`, signal);
		failure.replaceChildren();
		state.update(instance);
		buttons.update(instance);
		view.update?.(instance);
	}, (error) => {
		if (error.code === "not_found") // it was removed
			buttons.element.hidden = true;
		failure.replaceChildren(errorBox(error));
	});
	const buttons = actionButtons(refresh);
	return { title: name, content: [
		h("div", { class: "bar" }, state.element, buttons.element), failure, partLinks(name, chosen), ...view.content] };
}
