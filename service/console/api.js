// SPDX-License-Identifier: Apache-2.0
// Calls to mvmd's API (openapi.yaml).  A session is a cookie that scripts cannot read and a key that only
// this origin's scripts know; the server wants both.

const KEY = "mvm-session-key";

export class ApiError extends Error {
	constructor(status, error) {
		super(error.message);
		this.status = status;
		this.code = error.code;
		this.hint = error.hint;
	}
}

let onSignedOut = () => {};
export const whenSignedOut = (fn) => { onSignedOut = fn; };

export const sessionKey = () => localStorage.getItem(KEY) ?? "";

async function failure(response) {
	let error;
	try {
		error = (await response.json()).error;
	} catch {
		// no JSON: it came from something in front of mvmd, or was cut
	}
	return new ApiError(response.status, error ?? {
		code: "unknown", message: `the server answered ${response.status} ${response.statusText}` });
}

async function request(method, path, { body, signal, headers } = {}) {
	let response;
	try {
		response = await fetch(path, {
			method, signal, redirect: "error", cache: "no-store",
			headers: { "X-Mvm-Session-Key": sessionKey(), ...headers,
				...(body === undefined ? {} : { "Content-Type": "application/json" }) },
			body: body === undefined ? undefined : JSON.stringify(body),
		});
	} catch (error) {
		if (error.name === "AbortError")
			throw error;
		throw new ApiError(0, { code: "unreachable", message: "mvmd does not answer",
			hint: "see whether mvmd runs and this computer has a network" });
	}
	if (response.ok)
		return response;
	const error = await failure(response);
	if (response.status === 401 && path.startsWith("/v1"))
		onSignedOut();
	throw error;
}

// One call: returns the envelope's metadata.
export async function call(method, path, body, signal) {
	const response = await request(method, path, { body, signal });
	return (await response.json()).metadata;
}

export const get = (path, signal) => call("GET", path, undefined, signal);

// All pages of a list.
export async function list(path, signal) {
	const items = [];
	for (let next = path; next;) {
		const reply = await (await request("GET", next, { signal })).json();
		items.push(...reply.metadata);
		next = reply.next ? `${path}${path.includes("?") ? "&" : "?"}next=${encodeURIComponent(reply.next)}` : null;
	}
	return items;
}

// What may take long: start an operation, call started(path) with its path, and wait for its result.
export async function operate(method, path, body, started) {
	const response = await request(method, path, { body, headers: { Prefer: "respond-async" } });
	const reply = await response.json();
	if (reply.type !== "async")
		return reply.metadata;
	started?.(reply.operation);
	for (;;) {
		const { state, status, error, metadata } = await get(`${reply.operation}/wait?timeout=30`);
		if (error)
			throw new ApiError(status, error);
		if (state !== "running")
			return metadata;
	}
}

// The lines of a stream of JSON, as they come, until the signal or the server ends it.
export async function* lines(path, signal) {
	const response = await request("GET", path, { signal });
	const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
	let rest = "";
	for (;;) {
		const { value, done } = await reader.read();
		if (done)
			return;
		const parts = (rest + value).split("\n");
		rest = parts.pop();
		for (const line of parts) {
			if (line)
				yield JSON.parse(line);
		}
	}
}

export async function signIn(token) {
	const { key } = await call("POST", "/console/session", { token });
	localStorage.setItem(KEY, key);
}

export async function signOut() {
	await call("DELETE", "/console/session");
	localStorage.removeItem(KEY);
}
