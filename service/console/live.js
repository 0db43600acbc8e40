// SPDX-License-Identifier: Apache-2.0
// What changes by itself: asking again and again, and rates from counters.

// Call fn now, every `ms` while the page is looked at, and whenever the returned function is called, until
// the signal ends it.  Never twice at a time.
export function every(ms, signal, fn, failed) {
	let timer = null, busy = false, again = false;
	async function turn() {
		clearTimeout(timer);
		if (busy) {
			again = true;
			return;
		}
		busy = true;
		do {
			again = false;
			try {
				await fn();
			} catch (error) {
				if (!signal.aborted)
					failed(error);
			}
		} while (again && !signal.aborted);
		busy = false;
		if (!signal.aborted && !document.hidden)
			timer = setTimeout(turn, ms);
	}
	document.addEventListener("visibilitychange", () => document.hidden || turn(), { signal });
	signal.addEventListener("abort", () => clearTimeout(timer));
	queueMicrotask(turn);
	return turn;
}

// CPU and memory of an instance while it runs, from its `usage`, whose CPU time is a counter.
export class Load {
	history = []; // [CPU share of one core, memory in bytes] of the last samples
	#last = null;
	cpu = null;
	memory = null;

	add({ state, usage }) {
		if (!usage || !["starting", "running", "paused"].includes(state)) {
			this.#last = this.cpu = this.memory = null;
			return;
		}
		const now = performance.now(), last = this.#last;
		// a VM that was started again counts from 0
		if (last && now > last.at)
			this.cpu = Math.max(0, (usage.cpu_ns - last.cpu_ns) / 1e6 / (now - last.at));
		this.#last = { at: now, cpu_ns: usage.cpu_ns };
		this.memory = usage.memory_private_bytes;
		this.history.push([this.cpu ?? 0, this.memory]);
		if (this.history.length > 60)
			this.history.shift();
	}

	cpuText() {
		return this.cpu === null ? "–" : `${Math.round(this.cpu * 100)} %`;
	}
}

const SVG = "http://www.w3.org/2000/svg";

// A line of the last samples.  It is a decoration: the same number stands beside it.
export function sparkline() {
	const line = document.createElementNS(SVG, "polyline");
	const element = document.createElementNS(SVG, "svg");
	element.setAttribute("viewBox", "0 0 60 20");
	element.setAttribute("preserveAspectRatio", "none");
	element.setAttribute("aria-hidden", "true");
	element.classList.add("sparkline");
	element.append(line);
	return { element, update(values, most) {
		const top = Math.max(most, ...values);
		line.setAttribute("points", values.map((value, i) =>
			`${60 - values.length + i},${(19 - (value / top) * 18).toFixed(1)}`).join(" "));
	} };
}
