// SPDX-License-Identifier: Apache-2.0
// A terminal in an instance: a command on a pseudo terminal of the guest, by WebSocket.

import { ApiError, get, sessionKey } from "./api.js";
import { errorBox, field, h } from "./dom.js";
import { fit, Terminal } from "./xterm.js";

const PIECE = 65536; // bytes of input in a message
const dark = { background: "#000000", foreground: "#e8eaed" };

// Open the socket of a command.  The browser lets scripts set no header here, so the session's key goes
// where protocols are named.
function openSocket(name, command, user, size) {
	const query = new URLSearchParams({ tty: "true", rows: size.rows, columns: size.cols });
	if (user)
		query.set("user", user);
	for (const word of command)
		query.append("command", word);
	const url = new URL(`/v1/instances/${encodeURIComponent(name)}/exec?${query}`, location.href);
	url.protocol = url.protocol.replace("http", "ws");
	const socket = new WebSocket(url, ["mvm.exec.v1", `mvm.key.${sessionKey()}`]);
	socket.binaryType = "arraybuffer";
	return socket;
}

export function terminalView(name, signal) {
	const command = h("input", { value: "sh", required: true, autocapitalize: "none", spellcheck: "false", autocomplete: "off" });
	const user = h("input", { placeholder: "root", autocapitalize: "none", spellcheck: "false", autocomplete: "off" });
	const connect = h("button", { class: "main" }, "Connect");
	const form = h("form", { class: "bar fields" }, field("Command", command), field("User", user), connect);
	const failure = h("div");
	const status = h("p", { role: "status" });
	const place = h("div", { class: "terminal", hidden: true });
	const help = h("p", { class: "hint", hidden: true }, "Alt+Shift+L leaves the terminal.");
	let socket = null; // while it is open

	function begin() {
		place.hidden = help.hidden = false;
		place.replaceChildren();
		const terminal = new Terminal({ screenReaderMode: true, scrollback: 5000, theme: dark, fontFamily: "monospace", fontSize: 14 });
		terminal.open(place);
		fit(terminal);
		terminal.textarea.name = "terminal-input";
		terminal.attachCustomKeyEventHandler((event) => {
			const leaves = event.altKey && event.shiftKey && event.code === "KeyL";
			if (leaves && event.type === "keydown")
				connect.focus();
			return !leaves;
		});
		socket = openSocket(name, command.value.trim().split(/\s+/), user.value.trim(), terminal);
		talk(terminal);
		terminal.focus();
	}

	// Carry bytes both ways until the command ends.
	function talk(terminal) {
		const encoder = new TextEncoder(), decoder = new TextDecoder();
		const fitted = () => fit(terminal);
		let outcome = "The connection has ended.";
		const say = (event) => {
			if (event.event === "started")
				status.textContent = `Connected to ${name}.`;
			else if (event.event === "exited")
				outcome = `The command has ended with ${event.status}.`;
			else if (event.event === "error")
				failure.replaceChildren(errorBox(event.error));
		};
		socket.onmessage = ({ data }) => {
			if (typeof data === "string")
				say(JSON.parse(data));
			else // the first byte tells stdout and stderr apart
				terminal.write(decoder.decode(new Uint8Array(data, 1), { stream: true }));
		};
		const send = (data) => socket?.readyState === WebSocket.OPEN && socket.send(data);
		socket.onclose = () => {
			socket = null;
			status.textContent = outcome;
			terminal.setOption("disableStdin", true);
			connect.textContent = "Connect again";
			window.removeEventListener("resize", fitted);
		};
		terminal.on("data", (text) => {
			const bytes = encoder.encode(text);
			for (let i = 0; i < bytes.length; i += PIECE)
				send(bytes.subarray(i, i + PIECE));
		});
		terminal.on("resize", ({ rows, cols }) => send(JSON.stringify({ resize: { rows, columns: cols } })));
		window.addEventListener("resize", fitted, { signal });
		connect.textContent = "Disconnect";
	}

	// A browser does not tell scripts why a socket was refused, so ask for the instance first.
	async function check() {
		const { state } = await get(`/v1/instances/${encodeURIComponent(name)}`, signal);
		if (state !== "running")
			throw new ApiError(409, { code: "busy", message: `${name} is ${state}`, hint: "start or resume it first" });
	}

	form.addEventListener("submit", async (event) => {
		event.preventDefault();
		if (socket) {
			socket.close();
			return;
		}
		failure.replaceChildren();
		status.textContent = "Connecting…";
		connect.disabled = true;
		try {
			await check();
			begin();
		} catch (error) {
			status.textContent = "";
			failure.replaceChildren(errorBox(error));
		}
		connect.disabled = false;
	});
	signal.addEventListener("abort", () => socket?.close());
	return { content: Terminal ? [form, failure, status, help, place] : [errorBox({
		message: "this mvmd was built without xterm.js, so its console has no terminal",
		hint: `mvm exec -it ${name} -- sh` })] };
}
