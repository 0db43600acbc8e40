/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "usernet/gate.h"
#include "usernet/link.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_hosts(void *arg, const struct policy_address *address)
{
	(void)arg;
	return address->bytes[15] == 1;
}

/* Frames, each after its length.  The gate lets out only flows to public addresses.  Its answer to
 * a refused or reset flow is a valid frame. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct gate g;
	uint8_t reply[FRAME_MAX];
	g.is_hosts = is_hosts;
	while (size > 2) {
		size_t len = (size_t)data[0] << 8 | data[1];
		len = len < size - 2 ? len : size - 2;
		struct frame f, answer;
		frame_read(data + 2, len, &f);
		bool is_flow = f.kind == FRAME_TCP || f.kind == FRAME_UDP || f.kind == FRAME_PING;
		enum gate_verdict verdict = gate_out(&g, &f, (int64_t)size);
		bool dhcp = f.kind == FRAME_UDP && f.from_port == 68 && f.to_port == 67;
		if (verdict == GATE_PASS && is_flow && !dhcp &&
		    (!policy_is_public(&f.to) || is_hosts(NULL, &f.to)))
			abort();
		if (verdict == GATE_REFUSE) {
			struct policy_address from = f.to;
			size_t got = frame_write_prohibited(data + 2, len, &from, reply);
			if (got && frame_read(reply, got, &answer) != FRAME_PING)
				abort();
		}
		if (verdict == GATE_RESET) {
			size_t got = frame_write_reset(data + 2, len, reply);
			if (frame_read(reply, got, &answer) != FRAME_TCP || !answer.resets)
				abort();
		}
		data += 2 + len;
		size -= 2 + len;
	}
	return 0;
}
