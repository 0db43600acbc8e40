// SPDX-License-Identifier: Apache-2.0
// What can be done with an instance, and the buttons for it.

import { operate } from "./api.js";
import { ask, field, h, note } from "./dom.js";

const at = (name, verb) => `/v1/instances/${encodeURIComponent(name)}/${verb}`;

// Run a long operation; say what came of it.
async function run(text, method, path, body) {
	try {
		const result = await operate(method, path, body);
		note(text);
		return result;
	} catch (error) {
		note(error);
		return null;
	}
}

function askFork({ name }) {
	const count = h("input", { type: "number", min: 1, max: 64, value: 1, required: true });
	ask(`Fork ${name}`,
		[field("How many", count, "Each continues from this moment with a copy of the VM's memory and disks.")],
		"Fork", async () => {
			const made = await operate("POST", at(name, "fork"), { count: count.valueAsNumber });
			note(`${name} was forked: ${made.map((one) => one.name).join(", ")}`);
		});
}

function askRemove({ name }) {
	ask(`Remove ${name}?`, [h("p", {}, "Its disks and logs are deleted with it.")], "Remove", async () => {
		await operate("DELETE", `/v1/instances/${encodeURIComponent(name)}`);
		note(`${name} was removed`);
	});
}

const actions = {
	pause: { text: "Pause", states: ["running"], go: ({ name }) => run(`${name} is paused`, "POST", at(name, "pause")) },
	resume: { text: "Resume", states: ["paused", "suspended"], go: ({ name }) => run(`${name} runs again`, "POST", at(name, "resume")) },
	suspend: { text: "Suspend", states: ["running"], go: ({ name }) => run(`${name} is suspended`, "POST", at(name, "suspend")) },
	fork: { text: "Fork…", states: ["running", "paused"], go: askFork },
	stop: { text: "Stop", states: ["starting", "running", "paused"], go: ({ name }) => run(`${name} has stopped`, "POST", at(name, "stop")) },
	start: { text: "Start again", states: ["exited", "failed"], go: ({ name }) => run(`${name} was started`, "POST", at(name, "start")) },
	remove: { text: "Remove…", states: ["exited", "failed", "suspended"], go: askRemove },
};

// Buttons for an instance: {element, update(instance)}.  `changed` is called after each action.
export function actionButtons(changed, only = Object.keys(actions)) {
	let instance;
	const element = h("div", { class: "buttons", role: "group" });
	const buttons = only.map((key) => {
		const action = actions[key];
		const button = h("button", { class: "small", onclick: async () => {
			button.setAttribute("aria-busy", "true");
			await action.go(instance);
			button.removeAttribute("aria-busy");
			changed();
		} }, action.text);
		element.append(button);
		return { action, button };
	});
	return { element, update(now) {
		instance = now;
		element.setAttribute("aria-label", `Actions on ${now.name}`);
		for (const { action, button } of buttons) {
			button.hidden = !action.states.includes(now.state);
			button.setAttribute("aria-label", `${action.text.replace("…", "")} ${now.name}`);
		}
	} };
}

// Ask for a template and start instances of it.
export function askStart(templates, chosen, changed) {
	const template = h("select", { required: true }, templates.map((id) =>
		h("option", { value: id, selected: id === chosen }, id)));
	const name = h("input", { autocapitalize: "none", spellcheck: "false" });
	ask("Start an instance", [
		field("Template", template),
		field("Name", name, "Empty: mvm chooses one."),
	], "Start", async () => {
		const made = await operate("POST", "/v1/instances",
			{ template: template.value, ...(name.value ? { name: name.value } : {}) });
		note(`${made.name} was started`);
		changed(made);
	});
}
