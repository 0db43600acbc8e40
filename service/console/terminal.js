// SPDX-License-Identifier: Apache-2.0
// A terminal in an instance: a command on a pseudo terminal of the guest, by WebSocket.

import { sessionKey } from "./api.js";
import { errorBox, field, h } from "./dom.js";
import { fit, Terminal } from "./xterm.js";

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
	const user = h("input", { autocapitalize: "none", spellcheck: "false", autocomplete: "off" });
	const connect = h("button", { class: "main" }, "Connect");
	const form = h("form", { class: "bar fields" }, field("Command", command), field("User", user, "Empty: root."), connect);
	const status = h("p", { role: "status" });
	const place = h("div", { class: "terminal", hidden: true });
	const help = h("p", { class: "hint", hidden: true }, "Alt+Shift+L leaves the terminal.");

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
		talk(terminal, openSocket(name, command.value.trim().split(/\s+/), user.value.trim(), terminal));
		terminal.focus();
	}
	// Carry bytes both ways until the command ends.
	function talk(terminal, socket) {
		const encoder = new TextEncoder(), decoder = new TextDecoder();
		const fitted = () => fit(terminal);
		const end = (text) => {
			terminal.setOption("disableStdin", true);
			status.textContent = text;
			connect.disabled = false;
			connect.textContent = "Connect again";
			window.removeEventListener("resize", fitted);
		};
		connect.disabled = true;
		status.textContent = "Connecting…";
		socket.onopen = () => { status.textContent = `Connected to ${name}.`; };
		socket.onmessage = ({ data }) => {};
		socket.onclose = ({ reason }) => end(reason || "The connection has ended.");
		terminal.on("data", (text) => socket.send(encoder.encode(text)));
		window.addEventListener("resize", fitted, { signal });
		signal.addEventListener("abort", () => socket.close());
	}

	form.addEventListener("submit", (event) => {
		event.preventDefault();
		begin();
	});
	return { content: Terminal ? [form, status, help, place] : [errorBox({
		message: "this mvmd was built without xterm.js, so its console has no terminal",
		hint: `mvm exec -it ${name} -- sh` })] };
}
