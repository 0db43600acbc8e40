// SPDX-License-Identifier: Apache-2.0
// The console: pages by the part of the address after '#', and signing in.

import * as api from "./api.js";
import { errorBox, field, h, note } from "./dom.js";
import { eventsPage } from "./events.js";
import { instancePage } from "./instance.js";
import { instancesPage } from "./instances.js";
import { operationsPage } from "./operations.js";
import { poolsPage } from "./pools.js";
import { templatePage, templatesPage } from "./templates.js";

const main = document.getElementById("main");
const nav = document.querySelector("nav");
const signOutButton = document.getElementById("sign-out");

// A page is a function of (its names in the address, a signal that ends it).  It returns its title and
// elements at once and fills them as answers come.
const pages = {
	instances: (names, signal) => (names.length ? instancePage : instancesPage)(signal, ...names),
	templates: (names, signal) => (names.length ? templatePage : templatesPage)(signal, ...names),
	pools: (_, signal) => poolsPage(signal),
	events: (_, signal) => eventsPage(signal),
	operations: (_, signal) => operationsPage(signal),
};

let leave = new AbortController();

function show(title, content) {
	document.title = title === "mvm" ? title : `${title} – mvm`;
	main.replaceChildren(h("h1", { tabindex: "-1" }, title), ...content);
	main.firstChild.focus({ preventScroll: true });
	window.scrollTo(0, 0);
}

function route() {
	leave.abort();
	leave = new AbortController();
	const [name, ...names] = location.hash.replace(/^#\//, "").split("/").map(decodeURIComponent);
	const page = Object.hasOwn(pages, name) ? name : "instances";
	for (const link of nav.children) {
		if (link.hash === `#/${page}`)
			link.setAttribute("aria-current", "page");
		else
			link.removeAttribute("aria-current");
	}
	const { title, content } = pages[page](names.filter(Boolean), leave.signal);
	show(title, content);
}

function signInPage() {
	leave.abort();
	nav.hidden = signOutButton.hidden = true;
	window.onhashchange = null;
	const token = h("input", { type: "password", required: true, autocomplete: "current-password", spellcheck: "false" });
	const failure = h("div");
	const form = h("form", { class: "sign-in" },
		field("Token", token, "'mvm token add NAME' prints a new one."), failure,
		h("button", { class: "main" }, "Sign in"));
	form.addEventListener("submit", async (event) => {
		event.preventDefault();
		try {
			await api.signIn(token.value.trim());
			await begin();
		} catch (error) {
			failure.replaceChildren(errorBox(error, "cannot sign in"));
			token.select();
		}
	});
	show("Sign in", [form]);
	token.focus();
}

// Show the pages if the server takes us: by a session, or without one over its Unix socket.
async function begin() {
	const { signed_in: signedIn } = await api.get("/console/session");
	if (!signedIn) {
		signInPage();
		return;
	}
	nav.hidden = false;
	signOutButton.hidden = !api.sessionKey();
	window.onhashchange = route;
	route();
}

signOutButton.addEventListener("click", async () => {
	try {
		await api.signOut();
		signInPage();
	} catch (error) {
		note(error);
	}
});
document.querySelector(".skip").addEventListener("click", (event) => {
	event.preventDefault(); // the address after '#' names a page
	main.focus();
});

api.whenSignedOut(signInPage);
begin().catch((error) => show("mvm", [errorBox(error)]));
