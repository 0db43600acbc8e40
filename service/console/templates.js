// SPDX-License-Identifier: Apache-2.0
// Templates, and of one of them its revisions and their snapshots.

import { askStart } from "./actions.js";
import { get, list, operate } from "./api.js";
import { errorBox, facts, h, keyedList, note, setText, table } from "./dom.js";
import { bytes, shortHash, when } from "./format.js";
import { instanceHref } from "./instances.js";
import { every } from "./live.js";

const startedHere = (made) => { location.hash = instanceHref(made.name); };

const startButton = (id) => h("button", { class: "small", "aria-label": `Start an instance of ${id}`,
	onclick: () => askStart([id], id, startedHere) }, "Start…");

const snapshotText = (item) => (item.has_snapshot ? bytes(item.snapshot_mem_bytes) : "none");

export function templatesPage(signal) {
	const rows = table("Templates", ["Template", "Revision", "Machine", "Root image", "Snapshot", "Actions"]);
	const failure = h("div"), empty = h("p", { hidden: true }, "No template. 'mvm template init' begins one.");
	const update = keyedList(rows.body, (template) => template.template_id, (first) => {
		const id = first.template_id;
		const cells = [h("span"), h("span"), h("span"), h("span")], start = startButton(id);
		return { element: rows.row([h("a", { href: `#/templates/${encodeURIComponent(id)}` }, id), ...cells, start]),
			update(template) {
				const built = Boolean(template.revision_hash);
				[template.problem ?? (built ? shortHash(template.revision_hash) : "not built"),
					template.problem ? "" : `${template.vcpus} CPU, ${template.mem_mib} MiB`,
					built ? bytes(template.rootfs_bytes) : "–",
					built ? snapshotText(template) : "–"].forEach((text, i) => setText(cells[i], text));
				start.hidden = !built;
			} };
	});
	every(10000, signal, async () => {
		const templates = await list("/v1/templates", signal);
		failure.replaceChildren();
		empty.hidden = templates.length > 0;
		rows.element.hidden = templates.length === 0;
		update(templates);
	}, (error) => failure.replaceChildren(errorBox(error)));
	return { title: "Templates", content: [failure, empty, rows.element] };
}

function revisionRow(rows, revision) {
	const marks = [revision.current && "current", revision.in_use && "in use"].filter(Boolean).join(", ");
	return rows.row([h("code", {}, shortHash(revision.revision_hash)), marks,
		revision.problem ?? when(revision.built_at), bytes(revision.disk_bytes),
		revision.has_snapshot ? `${bytes(revision.snapshot_mem_bytes)}, ${when(revision.snapshot_at)}` : "none"]);
}

export function templatePage(signal, id) {
	const path = `/v1/templates/${encodeURIComponent(id)}`;
	const rows = table(`Revisions of ${id}`, ["Revision", "State", "Built", "On disk", "Snapshot"]);
	const failure = h("div"), about = h("div"), start = startButton(id);
	start.hidden = true;
	// a step of the template that may take minutes
	const slow = (text, verb, done) => h("button", { class: "small", onclick: async ({ target }) => {
		target.disabled = true;
		try {
			await operate("POST", `${path}/${verb}`, {});
			note(done);
		} catch (error) {
			note(error);
		}
		target.disabled = false;
		refresh();
	} }, text);
	const build = slow("Build", "build", `${id} was built`), snapshot = slow("Take a snapshot", "snapshot", `${id} has a snapshot`);
	const refresh = every(10000, signal, async () => {
		const [template, revisions] = await Promise.all([get(path, signal), list(`${path}/revisions`, signal)]);
		const { spec, revision, run } = template;
		failure.replaceChildren();
		start.hidden = snapshot.hidden = !revision;
		about.replaceChildren(facts([
			["Profile", spec.profile], ["Role", spec.role],
			["A start", run && (run.reason ? `${run.start} (${run.reason})` : `${run.start}, ${run.backend}`)],
			["On disk", template.disk_bytes !== undefined ? bytes(template.disk_bytes) : null],
		]));
		rows.body.replaceChildren(...revisions.map((one) => revisionRow(rows, one)));
	}, (error) => failure.replaceChildren(errorBox(error)));
	return { title: id, content: [h("div", { class: "bar" }, start, build, snapshot), failure, about, h("h2", {}, "Revisions"), rows.element] };
}
