// SPDX-License-Identifier: Apache-2.0
// Numbers and times as people read them.

export function bytes(n) {
	if (n === null || n === undefined)
		return "–";
	const units = ["B", "KiB", "MiB", "GiB", "TiB"];
	let i = 0;
	for (; n >= 1024 && i < units.length - 1; i++)
		n /= 1024;
	return `${n < 10 && i > 0 ? n.toFixed(1) : Math.round(n)} ${units[i]}`;
}

export function age(time) {
	if (!time)
		return "–";
	const s = Math.max(0, Math.round((Date.now() - new Date(time)) / 1000));
	if (s < 60)
		return `${s} s`;
	if (s < 3600)
		return `${Math.floor(s / 60)} min`;
	if (s < 48 * 3600)
		return `${Math.floor(s / 3600)} h`;
	return `${Math.floor(s / 86400)} d`;
}

export const when = (time) => (time ? new Date(time).toLocaleString() : "–");

export const shortHash = (hash) => (hash ? hash.slice(0, 12) : "–");

// Output of a guest for display: escape sequences of terminals go, other control characters become visible.
export function printable(text) {
	return text
		.replace(/\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])/g, "")
		.replace(/[\x00-\x08\x0b-\x1f\x7f]/g, (c) => (c === "\r" ? "" : String.fromCharCode(0x2400 + (c.charCodeAt(0) & 0x1f))));
}
